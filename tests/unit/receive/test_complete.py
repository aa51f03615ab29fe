from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dermanode.config import Complete, Match, Pipeline, Source, Views
from dermanode.domain.identifiers import UID, AETitle, Digest
from dermanode.errors import LedgerError
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import Arrival, CaseState, Header, ObjectState, SeriesKey, WaitingSeries
from dermanode.pipeline.plan import plan
from dermanode.receive.complete import MIXED_PATIENTS, NO_IMAGE, Completion, Facts, evidence
from dermanode.receive.source import SourceCount, SourceCounts
from dermanode.testing.ledgers import ledger_at

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
CAMERA = AETitle("CAMERA1")
SERIES = WaitingSeries(
    key=SeriesKey(UID("1.2"), UID("1.2.3"), "P1"),
    waiting=6,
    in_case=2,
    first_at=NOW - timedelta(seconds=9),
    last_at=NOW - timedelta(seconds=5),
    associations=frozenset({"a1"}),
    sop_classes=frozenset({"1.2.840.10008.5.1.4.1.1.77.1.4"}),
    modality="XC",
    calling_aes=frozenset({"CAMERA1"}),
    called_aes=frozenset({"DERMANODE"}),
    body_site="",
    is_image=True,
)
WAIT = Facts(quiet_s=20)


def test_a_series_that_still_comes_is_not_complete() -> None:
    assert evidence(SERIES, WAIT, NOW) is None


def test_a_quiet_period_is_enough_in_the_end() -> None:
    found = evidence(SERIES, WAIT, NOW + timedelta(seconds=15))
    assert found is not None
    assert (found.kind, found.words) == ("quiet period", "no new object came for 20 s")


def test_the_sources_own_count_ends_the_wait_and_is_put_into_words() -> None:
    found = evidence(SERIES, replace(WAIT, source_count=SourceCount(CAMERA, 8)), NOW)
    assert found is not None
    assert (found.kind, found.words) == ("source count", "the source CAMERA1 counts 8, and 8 are here")


def test_a_source_that_counts_more_is_waited_for_until_the_quiet_period_which_says_so() -> None:
    facts = replace(WAIT, source_count=SourceCount(CAMERA, 9))
    assert evidence(SERIES, facts, NOW) is None
    found = evidence(SERIES, facts, NOW + timedelta(seconds=15))
    assert found is not None
    assert found.words == "no new object came for 20 s, though the source CAMERA1 counts 9 and only 8 are here"


def test_release_with_the_expected_views_ends_the_wait() -> None:
    found = evidence(SERIES, replace(WAIT, expected_views=8), NOW)
    assert found is not None
    assert (found.kind, found.words) == ("association released", "the association ended with 8 views here, and 8 are expected")


@pytest.mark.parametrize(
    "facts",
    [
        replace(WAIT, expected_views=9),
        replace(WAIT, expected_views=8, open_associations=frozenset({"a1"})),
        replace(WAIT, expected_views=8, unread_associations=frozenset({"a1"})),
    ],
    ids=["too few views", "association open", "headers unread"],
)
def test_release_is_no_evidence_while(facts: Facts) -> None:
    assert evidence(SERIES, facts, NOW) is None


def test_release_is_no_evidence_while_the_source_counts_more() -> None:
    assert evidence(SERIES, replace(WAIT, expected_views=8, source_count=SourceCount(CAMERA, 9)), NOW) is None


def test_another_open_association_does_not_matter() -> None:
    facts = replace(WAIT, expected_views=8, open_associations=frozenset({"a2"}), unread_associations=frozenset({"a3"}))
    assert evidence(SERIES, facts, NOW) is not None


def test_a_quiet_series_with_unread_headers_waits_for_them() -> None:
    facts = replace(WAIT, unread_associations=frozenset({"a1"}))
    assert evidence(SERIES, facts, NOW + timedelta(hours=1)) is None


def test_a_stable_series_is_taken_at_its_word() -> None:
    found = evidence(SERIES, replace(WAIT, stable="Orthanc"), NOW)
    assert found is not None
    assert (found.kind, found.words) == ("stable series", "Orthanc calls the series stable, with 8 objects here")


def test_a_stable_series_waits_for_its_unread_headers() -> None:
    assert evidence(SERIES, replace(WAIT, stable="Orthanc", unread_associations=frozenset({"a1"})), NOW) is None


PHOTOGRAPHS = Pipeline(
    name="photographs", match=Match(modalities=("XC",), views=Views(fewest=2)), expected_views=3, stages={"segment": ("some-plugin",)}
)


@dataclass
class Room:
    """A completion over a real ledger, with a clock that the test sets."""

    ledger: Ledger
    now: datetime = NOW
    opened: set[str] = field(default_factory=set)
    counts: SourceCounts | None = None
    number: int = 0

    def completion(self) -> Completion:
        return Completion(
            self.ledger,
            Complete(quiet_s=20),
            [PHOTOGRAPHS],
            lambda series: plan(series, [PHOTOGRAPHS], {}, {}),
            open_associations=lambda: frozenset(self.opened),
            counts=self.counts,
            clock=lambda: self.now,
        )

    def arrive(self, *, series: str = "1.2.3", patient: str = "P1", modality: str = "XC", is_image: bool = True, read: bool = True) -> int:
        """An object of that series; its row."""
        self.number += 1
        arrival = Arrival(
            sop_instance_uid=UID(f"1.2.9.{self.number}"),
            sop_class_uid=UID("1.2.840.10008.5.1.4.1.1.77.1.4"),
            transfer_syntax_uid=UID("1.2.840.10008.1.2.1"),
            digest=Digest(f"{self.number:064x}"),
            size_bytes=1,
            path=f"x/{self.number}.dcm",
            association="a1",
            calling_ae="CAMERA1",
            called_ae="DERMANODE",
            source_address="127.0.0.1",
            received_at=self.now,
        )
        receipt = self.ledger.objects.record([arrival])[0]
        if read:
            header = Header(UID("1.2"), UID(series), modality, patient, is_image=is_image)
            self.ledger.objects.set_headers({receipt.object_id: header})
        return receipt.object_id

    def state(self, object_id: int) -> tuple[ObjectState, str]:
        found = self.ledger.objects.get(object_id)
        return found.state, found.reason


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with Ledger.open(ledger_at(tmp_path / "ledger.db")) as ledger:
        yield Room(ledger)


def test_a_complete_series_becomes_a_case_with_its_evidence(room: Room) -> None:
    objects = [room.arrive() for _ in range(3)]
    assert room.completion().step() == 1
    (case,) = room.ledger.cases.list(10)
    assert (case.state, case.pipeline, case.evidence.kind) == (CaseState.READY, "photographs", "association released")
    assert {room.state(one)[0] for one in objects} == {ObjectState.IN_CASE}


def test_a_series_waits_while_its_association_is_open(room: Room) -> None:
    room.opened.add("a1")
    for _ in range(3):
        room.arrive()
    assert room.completion().step() == 0
    room.opened.clear()
    assert room.completion().step() == 1


def test_a_series_waits_for_the_headers_of_its_association(room: Room) -> None:
    for _ in range(3):
        room.arrive()
    room.arrive(read=False)
    assert room.completion().step() == 0


def test_a_late_image_opens_a_new_revision(room: Room) -> None:
    completion = room.completion()
    for _ in range(3):
        room.arrive()
    completion.step()
    room.arrive()
    completion.step()
    assert sorted(case.revision for case in room.ledger.cases.list(10)) == [1, 2]


def test_what_no_pipeline_wants_is_ignored_at_once_with_the_reason(room: Room) -> None:
    scan = room.arrive(series="1.2.4", modality="CT")
    room.completion().step()
    state, reason = room.state(scan)
    assert state is ObjectState.IGNORED
    assert "not CT" in reason


def test_a_series_that_needs_more_views_is_given_its_quiet_period(room: Room) -> None:
    first = room.arrive()
    completion = room.completion()
    assert completion.step() == 0
    room.now += timedelta(seconds=21)
    assert completion.step() == 1
    state, reason = room.state(first)
    assert state is ObjectState.IGNORED
    assert "needs 2 views" in reason


def test_views_that_come_one_by_one_are_a_case_once_they_are_enough(room: Room) -> None:
    completion = room.completion()
    first = room.arrive()
    room.now += timedelta(seconds=21)
    completion.step()
    assert room.state(first)[0] is ObjectState.IGNORED
    other = room.arrive(patient="P2", series="1.2.5")
    assert room.state(first)[0] is ObjectState.IGNORED
    second = room.arrive()
    assert room.state(first) == (ObjectState.WAITING, "")
    room.now += timedelta(seconds=21)
    completion.step()
    assert [room.state(one)[0] for one in (first, second, other)] == [ObjectState.IN_CASE, ObjectState.IN_CASE, ObjectState.IGNORED]


def test_an_object_that_is_no_image_does_not_hold_up_the_images_of_its_series(room: Room) -> None:
    note = room.arrive(is_image=False)
    images = [room.arrive() for _ in range(3)]
    completion = room.completion()
    completion.step()
    completion.step()
    assert room.state(note) == (ObjectState.IGNORED, NO_IMAGE)
    assert {room.state(one)[0] for one in images} == {ObjectState.IN_CASE}


def test_two_patients_under_one_series_uid_go_to_quarantine(room: Room) -> None:
    objects = [room.arrive(patient=patient) for patient in ("P1", "P2") for _ in range(3)]
    room.completion().step()
    assert {room.state(one) for one in objects} == {(ObjectState.QUARANTINED, MIXED_PATIENTS)}
    assert room.ledger.cases.list(10) == []


def asked(answers: list[int | None]) -> Callable[[Source, AETitle, SeriesKey], int | None]:
    return lambda _source, _title, _key: answers.pop(0)


def counts_of(answers: list[int | None]) -> SourceCounts:
    source = Source(ae_title=CAMERA, host="127.0.0.1", port=11112)
    return SourceCounts({"camera": source}, AETitle("DERMANODE"), 1.0, asked(answers))


def settle(counts: SourceCounts) -> None:
    for question in counts._questions.values():
        question.answer.result(timeout=30)


def test_the_source_is_asked_a_while_after_the_last_object_and_its_answer_opens_the_case(room: Room) -> None:
    room.counts = counts_of([2])
    room.opened.add("a1")
    for _ in range(2):
        room.arrive()
    completion = room.completion()
    assert completion.step() == 0
    room.now += timedelta(seconds=1)
    assert completion.step() == 0
    settle(room.counts)
    assert completion.step() == 1
    assert room.ledger.cases.list(1)[0].evidence.words == "the source CAMERA1 counts 2, and 2 are here"


def test_nothing_is_asked_about_a_series_that_waits_no_more() -> None:
    gate, about = threading.Event(), list[str]()

    def ask(_source: object, _title: AETitle, key: SeriesKey) -> int:
        about.append(key.series_instance_uid)
        gate.wait(30)
        return 1

    counts = SourceCounts({"camera": Source(ae_title=CAMERA, host="127.0.0.1", port=11112)}, AETitle("DERMANODE"), 0.0, ask)
    first, second = (replace(SERIES, key=replace(SERIES.key, series_instance_uid=UID(uid))) for uid in ("1.2.98", "1.2.99"))
    for one in (first, second, replace(second, last_at=NOW)):
        assert counts.count(one, NOW + timedelta(seconds=1)) is None
    counts.keep_only([first.key])
    gate.set()
    counts._threads[CAMERA].shutdown(wait=True)
    assert about == ["1.2.98"]


def test_a_source_that_counts_more_is_asked_again() -> None:
    counts = counts_of([9, 8])
    assert counts.count(SERIES, NOW) is None
    settle(counts)
    assert counts.count(SERIES, NOW) == SourceCount(CAMERA, 9)
    assert counts.count(SERIES, NOW + timedelta(seconds=6)) == SourceCount(CAMERA, 9)
    settle(counts)
    assert counts.count(SERIES, NOW + timedelta(seconds=7)) == SourceCount(CAMERA, 8)


def test_a_new_object_makes_an_old_answer_void() -> None:
    counts = counts_of([8, 9])
    counts.count(SERIES, NOW)
    settle(counts)
    later = replace(SERIES, last_at=SERIES.last_at + timedelta(seconds=1))
    assert counts.count(later, NOW) is None


def test_a_source_that_does_not_answer_is_no_evidence() -> None:
    counts = counts_of([None])
    counts.count(SERIES, NOW)
    settle(counts)
    assert counts.count(SERIES, NOW) is None


def test_a_source_that_answers_nonsense_is_no_evidence() -> None:
    counts = counts_of([])
    counts.count(SERIES, NOW)
    with pytest.raises(IndexError):
        settle(counts)
    assert counts.count(SERIES, NOW) is None


def test_a_sender_that_is_no_configured_source_is_not_asked() -> None:
    assert counts_of([]).count(replace(SERIES, calling_aes=frozenset({"OTHER"})), NOW) is None


def test_answers_about_series_that_no_longer_wait_are_forgotten() -> None:
    counts = counts_of([8])
    counts.count(SERIES, NOW)
    counts.keep_only([])
    assert not counts._questions


def test_a_series_that_the_ledger_refuses_holds_up_no_other(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    for series in ("1.2.3", "1.2.4"):
        for _ in range(3):
            room.arrive(series=series)
    opened = room.ledger.cases.open

    def picky(key: SeriesKey, **details: Any) -> Any:
        if key.series_instance_uid == "1.2.3":
            raise LedgerError("The ledger refused a record.")
        return opened(key, **details)

    monkeypatch.setattr(room.ledger.cases, "open", picky)
    assert room.completion().step() == 1
    assert [case.key.series_instance_uid for case in room.ledger.cases.list(10)] == ["1.2.4"]


def test_a_source_that_has_not_counted_the_series_yet_is_no_evidence() -> None:
    none = replace(WAIT, source_count=SourceCount(CAMERA, 0))
    assert evidence(SERIES, none, NOW) is None
    assert evidence(SERIES, replace(none, expected_views=8), NOW) == evidence(SERIES, replace(WAIT, expected_views=8), NOW)
