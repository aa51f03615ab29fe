"""Whose reports are believed, which of them are earlier visits, and how long anybody waits for them."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmwrite
from structlog.testing import capture_logs

from dermanode.config import DicomwebSource, OrthancWatch, Settings, Source
from dermanode.dicom.encode import EncodingOrder, encode_case
from dermanode.dicom.read_report import EarlierReport, ReportedLesion, read_report
from dermanode.domain import UID, AETitle, Algorithm, Code, Features, LesionKey, Measurement, Outcome
from dermanode.domain.codes import MM2
from dermanode.errors import SourceUnavailable
from dermanode.ledger.records import CaseRecord, CaseState, Evidence, SeriesKey
from dermanode.receive import priors
from dermanode.receive.earlier import Earlier, earlier_visits
from dermanode.receive.priors import PriorSearch, sources_of
from dermanode.receive.report_sources import DicomwebReports, DimseReports, OrthancReports
from dermanode.testing import worked_cases
from dermanode.testing.ports import free_port

NOW = datetime(2026, 11, 20, 10, 30, tzinfo=UTC)
LESION = LesionKey(UID("1.2.77"), "Lesion 3", "45980000", "L")
SERIES = UID("1.2.3.1")


def record(**values: object) -> CaseRecord:
    """A case of the patient P1 of the clinic, ready to run."""
    case = CaseRecord(
        id="case-2",
        key=SeriesKey(UID("1.2.3"), SERIES, "P1", "CLINIC"),
        revision=1,
        pipeline="test",
        plan=(),
        evidence=Evidence("by hand", "A test."),
        state=CaseState.RUNNING,
        attempts=1,
        opened_at=NOW,
        started_at=NOW,
        finished_at=None,
        reason="",
        lesion=LESION,
        acquired_at=NOW,
        accession_number="",
        source_ae="",
        outcome=None,
        supersedes=None,
    )
    return replace(case, **values)  # type: ignore[arg-type]  # the tests' own fields


def report(number: int = 1, *, days_ago: int = 90, lesion: LesionKey = LESION, **values: object) -> EarlierReport:
    """A report of the same lesion."""
    area = Measurement(key="area_mm2", concept=Code("42798000", "SCT", "Area"), value=20.0, unit=MM2)
    features = Features(algorithm=Algorithm("fuse", "1"), measurements=(area,))
    uid = UID(f"1.2.9.{number}")
    made = EarlierReport(
        sop_instance_uid=uid,
        patient_id="P1",
        issuer="CLINIC",
        acquired_at=NOW - timedelta(days=days_ago),
        reported_at=NOW - timedelta(days=days_ago) + timedelta(minutes=number),
        source_series=frozenset({UID(f"1.2.8.{number}")}),
        predecessors=frozenset(),
        lesions=(ReportedLesion(lesion, Outcome(case_id=uid, revision=1, is_failed=False, reports=(), features=features)),),
    )
    return replace(made, **values)  # type: ignore[arg-type]  # the tests' own fields


def chosen(*reports: EarlierReport, case: CaseRecord | None = None, known: frozenset[UID] = frozenset(), most: int = 20) -> Earlier:
    return earlier_visits(reports, case or record(), known, most)


def used(found: Earlier) -> list[str]:
    return [visit.case_id for visit in found.visits]


def test_earlier_reports_of_the_lesion_are_its_visits_oldest_first() -> None:
    found = chosen(report(1, days_ago=30), report(2, days_ago=400))
    assert used(found) == ["1.2.9.2", "1.2.9.1"]
    assert found.visits[0].acquired_at == NOW - timedelta(days=400)
    assert found.visits[0].outcome.features is not None
    assert found.visits[0].files == ()
    assert found.skipped == ()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"patient_id": "P2"}, "another patient"),
        ({"patient_id": ""}, "another patient"),
        ({"issuer": ""}, "another patient, or of another issuer's"),
        ({"issuer": "OTHER CLINIC"}, "another patient, or of another issuer's"),
        ({"acquired_at": NOW}, "not earlier"),
        ({"acquired_at": NOW + timedelta(days=1)}, "not earlier"),
        ({"acquired_at": None}, "is not known"),
        ({"lesions": ()}, "another lesion"),
        ({"source_series": frozenset({SERIES})}, "the very photographs of this case"),
    ],
)
def test_a_report_that_is_none_of_its_visits_is_skipped_with_the_reason(values: dict[str, object], reason: str) -> None:
    found = chosen(report(**values))
    assert found.visits == ()
    ((_, why),) = found.skipped
    assert reason in why


def test_the_same_tracking_uid_of_another_patient_is_another_lesion() -> None:
    stranger, own = report(1, patient_id="P2"), report(2)
    assert used(chosen(stranger, own)) == ["1.2.9.2"]


def test_a_case_without_a_patient_id_has_no_earlier_visits() -> None:
    nobody = record(key=SeriesKey(UID("1.2.3"), SERIES, "", ""))
    assert chosen(report(patient_id="", issuer=""), case=nobody).visits == ()


@pytest.mark.parametrize(
    "lesion",
    [
        LesionKey(UID("1.2.78"), "Lesion 3", "45980000"),
        LesionKey(None, "Lesion 4", "45980000"),
        LesionKey(None, "Lesion 3", "1"),
        LesionKey(None, "Lesion 3", "45980000", "R"),
    ],
    ids=["another UID", "another name", "another site", "the other side"],
)
def test_another_lesion_is_no_visit(lesion: LesionKey) -> None:
    assert chosen(report(lesion=lesion)).visits == ()


def test_without_a_uid_the_name_and_the_site_tell_the_lesion() -> None:
    assert used(chosen(report(lesion=LesionKey(None, "Lesion 3", "45980000")))) == ["1.2.9.1"]


def test_a_report_that_was_replaced_is_dropped() -> None:
    photographs = frozenset({UID("1.2.8")})
    first = report(1, source_series=photographs)
    second = report(2, source_series=photographs, predecessors=frozenset({first.sop_instance_uid}))
    assert used(chosen(second, first)) == ["1.2.9.2"]


def test_a_report_is_not_replaced_by_another_patients_or_another_seriess() -> None:
    first = report(1)
    foreign = report(2, patient_id="P2", source_series=first.source_series, predecessors=frozenset({first.sop_instance_uid}))
    elsewhere = report(3, days_ago=10, predecessors=frozenset({first.sop_instance_uid}))
    assert used(chosen(first, foreign, elsewhere)) == ["1.2.9.1", "1.2.9.3"]


def test_a_failed_later_revision_replaces_too() -> None:
    first = report(1)
    failed = report(2, source_series=first.source_series, lesions=(), predecessors=frozenset({first.sop_instance_uid}))
    assert chosen(first, failed).visits == ()


def test_of_two_reports_on_the_same_photographs_the_later_counts() -> None:
    photographs = frozenset({UID("1.2.8")})
    assert used(chosen(report(2, source_series=photographs), report(1, source_series=photographs))) == ["1.2.9.2"]


def test_visits_that_the_ledger_knows_are_not_doubled() -> None:
    found = chosen(report(1), report(2), known=frozenset({UID("1.2.8.1")}))
    assert used(found) == ["1.2.9.2"]


def test_the_same_report_from_two_places_is_one_visit() -> None:
    assert used(chosen(report(1), report(1))) == ["1.2.9.1"]


def test_only_the_latest_reports_are_used() -> None:
    found = chosen(*(report(number, days_ago=10 * number) for number in range(1, 6)), most=2)
    assert used(found) == ["1.2.9.2", "1.2.9.1"]
    assert {why for _, why in found.skipped} == {"there are 2 later ones"}
    assert found.too_old == 3


def test_visits_that_are_left_out_are_said(last_year: bytes, tmp_path: Path) -> None:
    settings = Settings.model_validate({"priors": {"timeout_s": 10, "most_reports": 1}})
    older = written(tmp_path, datetime(2024, 1, 1, tzinfo=UTC), study="older")
    asked = PriorSearch(settings, [Place(contents=[last_year, older])])(record(), ())
    assert [visit.case_id for visit in asked.visits] == [read_report(last_year, "").sop_instance_uid]
    assert asked.gaps == ("the oldest earlier visits were left out: 1 beyond the latest 1",)


@dataclass
class Place:
    """A place that gives what it is told to give."""

    name: str = "pacs"
    contents: list[bytes | Exception] = field(default_factory=list)
    hangs_at: int | None = None
    asked: list[str] = field(default_factory=list)
    is_released: threading.Event = field(default_factory=threading.Event)

    def reports(self, patient_id: str, deadline: float) -> Generator[bytes, None, None]:
        self.asked.append(patient_id)
        for number, content in enumerate(self.contents):
            if number == self.hangs_at:
                self.is_released.wait(20)
            if isinstance(content, Exception):
                raise content
            yield content
        if self.hangs_at == len(self.contents):
            self.is_released.wait(20)


def written(folder: Path, taken: datetime, patient_id: str = "P1", study: str = "earlier") -> bytes:
    """A real report of ours on photographs of that date."""
    photograph = worked_cases.photograph(1, study=study)
    photograph.PatientID, photograph.TrackingUID = patient_id, LESION.tracking_uid
    case = worked_cases.case_of([photograph], folder)
    view = replace(case.series.views[0], acquired_at=taken)
    case = replace(case, id=study, series=replace(case.series, views=(view,), acquired_at=taken))
    case = replace(case, findings=worked_cases.numbers(case))
    order = EncodingOrder(made_at=taken, pipeline="test", kinds=("SR",))
    (encoded,) = encode_case(case, worked_cases.outcome_of(case), order)
    return as_file(encoded.dataset)


def as_file(dataset: Dataset) -> bytes:
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def last_year(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return written(tmp_path_factory.mktemp("earlier"), datetime(2025, 11, 20, tzinfo=UTC))


def search(*places: Place, timeout_s: float = 0.3, clock: Callable[[], float] = time.monotonic) -> PriorSearch:
    return PriorSearch(Settings.model_validate({"priors": {"timeout_s": timeout_s}}), places, clock)


def test_a_report_that_a_place_holds_becomes_an_earlier_visit(last_year: bytes) -> None:
    place = Place(contents=[last_year])
    asked = search(place, timeout_s=10)(record(), ())
    assert place.asked == ["P1"]
    assert asked.gaps == ()
    (visit,) = asked.visits
    assert visit.case_id == read_report(last_year, "").sop_instance_uid
    assert visit.acquired_at == datetime(2025, 11, 20, tzinfo=UTC)
    assert visit.outcome.features is not None
    assert visit.outcome.features.value("area_mm2") == 21.37


def test_what_is_no_report_of_measurements_is_passed_over(last_year: bytes) -> None:
    place = Place(contents=[b"not DICOM", as_file(worked_cases.photograph(1)), last_year])
    with capture_logs() as logs:
        asked = search(place, timeout_s=10)(record(), ())
    assert len(asked.visits) == 1
    assert asked.gaps == ()
    assert [log["event"] for log in logs].count("report_not_read") == 2


def test_another_patients_report_is_not_believed_whatever_the_query_said(tmp_path: Path) -> None:
    with capture_logs() as logs:
        asked = search(Place(contents=[written(tmp_path, datetime(2025, 1, 1, tzinfo=UTC), "P2")]), timeout_s=10)(record(), ())
    assert asked.visits == ()
    assert any(log["event"] == "report_skipped" and "another patient" in log["reason"] for log in logs)


def test_no_patient_stands_in_the_log(last_year: bytes) -> None:
    with capture_logs() as logs:
        search(Place(contents=[last_year, b"broken", SourceUnavailable("pacs", "it stopped answering")]), timeout_s=10)(record(), ())
    assert logs
    assert not any(word in str(logs) for word in ("P1", "CLINIC", "Jörg", "Lesion 3"))


@pytest.mark.parametrize(
    "values",
    [
        {"key": SeriesKey(UID("1.2.3"), SERIES, "", "")},
        {"acquired_at": None},
        {"lesion": LesionKey(None, None, "45980000")},
    ],
    ids=["no patient", "no date", "no name"],
)
def test_nobody_is_asked_where_nothing_could_be_known_again(values: dict[str, object]) -> None:
    place = Place()
    asked = search(place)(record(**values), ())
    assert (place.asked, asked.visits, asked.gaps) == ([], (), ())


def test_a_dead_place_is_said_and_the_others_still_answer(last_year: bytes) -> None:
    dead = Place("old", [SourceUnavailable("old", "it does not answer")])
    asked = search(dead, Place("new", [last_year]), timeout_s=10)(record(), ())
    assert len(asked.visits) == 1
    assert asked.gaps == ("earlier visits could not be asked for at old: it does not answer",)


def test_a_place_that_nobody_understands_is_said_and_costs_nothing() -> None:
    asked = search(Place(contents=[KeyError("Instances")]), timeout_s=10)(record(), ())
    assert asked.gaps == ("earlier visits could not be asked for at pacs: its answer was not understood (KeyError)",)


def test_a_slow_place_is_not_waited_for_beyond_the_limit_and_what_came_is_used(last_year: bytes) -> None:
    place = Place(contents=[last_year, last_year], hangs_at=1)
    read_report(last_year, "")  # what is slow the first time is not what is waited for here
    began = time.monotonic()
    asked = search(place, timeout_s=2)(record(), ())
    place.is_released.set()
    assert time.monotonic() - began < 10
    assert len(asked.visits) == 1
    assert asked.gaps == ("not all earlier visits could be asked for at pacs: it was not done after 2 s",)


def test_a_place_that_lets_a_case_wait_in_vain_is_left_alone_for_a_minute() -> None:
    place = Place(hangs_at=0)
    now = 1000.0

    def clock() -> float:
        return now

    asking = search(place, timeout_s=0.1, clock=clock)
    first = asking(record(), ())
    assert first.gaps == ("earlier visits could not be asked for at pacs: it was not done after 0.1 s",)
    second = asking(record(), ())
    assert "left alone for a minute" in second.gaps[0]
    assert len(place.asked) == 1
    now += priors.LEFT_ALONE_S + 1
    place.is_released.set()
    asking(record(), ())
    assert len(place.asked) == 2


def test_two_slow_places_cost_one_wait() -> None:
    places = [Place("one", hangs_at=0), Place("two", hangs_at=0)]
    began = time.monotonic()
    asked = search(*places, timeout_s=1.5)(record(), ())
    took_s = time.monotonic() - began
    for place in places:
        place.is_released.set()
    assert len(asked.gaps) == 2
    assert took_s < 2.9


def test_stopping_ends_the_waiting() -> None:
    place = Place(hangs_at=0)
    asking = search(place, timeout_s=20)
    threading.Timer(0.2, asking.stop).start()
    began = time.monotonic()
    asked = asking(record(), ())
    place.is_released.set()
    assert time.monotonic() - began < 10
    assert asked.gaps == ("earlier visits could not be asked for at pacs: the node is being stopped",)


def test_not_all_reports_of_a_patient_with_hundreds_are_read(last_year: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(priors, "MOST_READ", 2)
    asked = search(Place(contents=[last_year] * 3), timeout_s=10)(record(), ())
    assert len(asked.visits) == 1
    assert "only the latest were read" in asked.gaps[0]


def test_the_settings_name_who_is_asked_and_how() -> None:
    settings = Settings.model_validate(
        {
            "sources": {"pacs": {"ae_title": "PACS", "host": "127.0.0.1", "port": 104}},
            "orthanc": {"clinic": {"url": "http://127.0.0.1:8042"}},
            "priors": {"ask": ["clinic", "pacs"]},
        }
    )
    assert [(type(one), one.name) for one in sources_of(settings)] == [(OrthancReports, "clinic"), (DimseReports, "pacs")]


def test_a_pacs_that_is_not_there_is_unavailable() -> None:
    source = DimseReports("pacs", Source(ae_title=AETitle("NOBODY"), host="127.0.0.1", port=free_port()), AETitle("DERMANODE"))
    with pytest.raises(SourceUnavailable, match="does not answer"):
        list(source.reports("P1", time.monotonic() + 5))


def test_an_orthanc_that_is_not_there_is_unavailable_and_its_address_is_not_told() -> None:
    port = free_port()
    source = OrthancReports("clinic", OrthancWatch(url=f"http://127.0.0.1:{port}"))
    with pytest.raises(SourceUnavailable, match="does not answer") as caught:
        list(source.reports("P1", time.monotonic() + 5))
    assert str(port) not in str(caught.value)


def test_a_pacs_that_takes_the_call_and_says_nothing_is_given_up_in_time() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        source = DimseReports(
            "pacs", Source(ae_title=AETitle("SILENT"), host="127.0.0.1", port=silent.getsockname()[1]), AETitle("DERMANODE")
        )
        began = time.monotonic()
        with pytest.raises(SourceUnavailable):
            list(source.reports("P1", time.monotonic() + 1))
        assert time.monotonic() - began < 10


def test_an_orthanc_that_takes_the_call_and_says_nothing_is_given_up_in_time() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        source = OrthancReports("clinic", OrthancWatch(url=f"http://127.0.0.1:{silent.getsockname()[1]}"))
        began = time.monotonic()
        with pytest.raises(SourceUnavailable, match="too slow"):
            list(source.reports("P1", time.monotonic() + 1))
        assert time.monotonic() - began < 10


def test_a_pacs_that_only_moves_is_a_gap_in_words() -> None:
    source = Source(ae_title=AETitle("PACS"), host="127.0.0.1", port=1, retrieve="move")
    asked = PriorSearch(Settings(), [DimseReports("pacs", source, AETitle("DERMANODE"))])(record(), ())
    assert asked.gaps == (
        "earlier visits could not be asked for at pacs: it is set to `retrieve: move`, and reports are read only by C-GET or DICOMweb",
    )


def test_a_pacs_by_dicomweb_that_does_not_answer_is_a_gap_in_words() -> None:
    source = DicomwebSource(type="dicomweb", url="http://127.0.0.1:1/web")
    asked = PriorSearch(Settings(), [DicomwebReports("pacs", source)])(record(), ())
    assert asked.gaps == ("earlier visits could not be asked for at pacs: it does not answer (Connection refused)",)
