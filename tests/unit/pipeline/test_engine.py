"""A case from the ledger to its results and back, with the inline engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest

from dermanode.domain import Outcome, StageStatus
from dermanode.ledger.records import CaseState, ObjectState
from dermanode.testing.plugin_package import write_plugin
from dermanode.testing.worked_cases import photograph
from dermanode.testing.workshop import Workshop

SEGMENT = """
import numpy as np

@hookimpl
def segment(case, context):
    masks = []
    for view in case.series.views:
        mask = view.pixels().mean(axis=2) < 140
        masks.append(ViewMask(sop_instance_uid=view.sop_instance_uid, mask=mask, confidence=0.9, touches_border=False))
    return Segmentation(algorithm=ALGORITHM, masks=tuple(masks))
"""

RISK = """
import numpy as np

@hookimpl
def risk(case, context):
    score = np.float32(0.5) if not case.priors else np.float32(0.75)
    return Risk(algorithm=ALGORITHM, score=score, level="low", terms=(RiskTerm(name="size", weight=1.0, value=0.5),))
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    workshop = Workshop(tmp_path)
    yield workshop
    workshop.close()


STAGES = {"segment": ["inline-segment"], "risk": ["inline-risk"]}


@pytest.fixture
def plugins(site: Path) -> None:
    # Written under one name for every test of this module: what is imported once stays imported.
    write_plugin(site, "inline-segment", SEGMENT, stages={"segment": {}})
    write_plugin(site, "inline-risk", RISK, stages={"risk": {}})


def image(number: int = 1, study: str = "study") -> pydicom.Dataset:
    return photograph(number, rows=48, columns=64, study=study)


def uids(outcome: Outcome) -> list[str]:
    return [str(made.sop_instance_uid) for made in outcome.objects if made.sop_instance_uid]


@pytest.mark.usefixtures("plugins")
def test_case_ends_with_objects_previews_and_a_summary_of_its_views(workshop: Workshop) -> None:
    workshop.start(STAGES, kinds=("SEG", "SURFACE_SEG", "SR"), is_inline=True)
    outcome = workshop.outcome_of(image(1), image(2))
    assert not outcome.is_failed
    assert [made.kind for made in outcome.objects] == ["SEG", "SEG", "SR", "PREVIEW", "PREVIEW"]
    assert all((workshop.results / made.path).stat().st_size == made.size_bytes for made in outcome.objects)
    assert all(made.passed_gate for made in outcome.objects), [made.reasons for made in outcome.objects]
    view = outcome.views[0]
    assert view.lesion_fraction is not None
    assert 0.1 < view.lesion_fraction < 0.5
    columns = [column for column, _ in view.outlines[0]]
    assert (min(columns), max(columns)) == pytest.approx((17.5, 46.5), abs=1.5)
    assert outcome.risk is not None
    assert outcome.risk.score == 0.5, "a NumPy number is kept as a number"


@pytest.mark.usefixtures("plugins")
def test_same_case_run_again_makes_the_same_objects_in_the_same_place(workshop: Workshop) -> None:
    workshop.start(STAGES, kinds=("SEG", "SR"), is_inline=True)
    first = workshop.end_of(workshop.receive(image()))
    assert first.outcome is not None
    stray = workshop.results / first.id / "stray.txt"
    stray.write_text("left over", encoding="utf-8")
    workshop.ledger.cases.reopen(first.id, datetime(2027, 1, 1, tzinfo=UTC))
    assert workshop.engine is not None
    workshop.engine.wake()
    second = workshop.end_of(first.id)
    assert second.outcome is not None
    assert [(made.path, made.digest, made.sop_instance_uid) for made in first.outcome.objects] == [
        (made.path, made.digest, made.sop_instance_uid) for made in second.outcome.objects
    ]
    assert not stray.exists(), "the folder was replaced as a whole"
    assert [path.name for path in workshop.results.iterdir()] == [first.id]


@pytest.mark.usefixtures("plugins")
def test_late_image_makes_a_new_revision_whose_report_names_the_earlier_one(workshop: Workshop) -> None:
    workshop.start(STAGES, is_inline=True)
    first = workshop.outcome_of(image(1))
    second = workshop.outcome_of(image(2))
    assert (second.revision, len(second.views)) == (2, 2)
    assert set(uids(first)).isdisjoint(uids(second))
    report = pydicom.dcmread(workshop.results / next(made.path for made in second.objects if made.kind == "SR"))
    named = report.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert named == uids(first)[0]


@pytest.mark.usefixtures("plugins")
def test_view_that_cannot_be_decoded_is_left_out_and_quarantined(workshop: Workshop) -> None:
    damaged = image(2)
    damaged.PixelData = b"\0" * 10
    workshop.start(STAGES, is_inline=True)
    case_id = workshop.receive(image(1), damaged)
    record = workshop.end_of(case_id)
    assert record.state is CaseState.FINISHED
    assert record.outcome is not None
    assert len(record.outcome.views) == 1
    assert [uid for uid, _ in record.outcome.unreadable] == [damaged.SOPInstanceUID]
    states = {item.arrival.sop_instance_uid: item.state for item in workshop.ledger.objects.of_case(case_id)}
    assert states[damaged.SOPInstanceUID] is ObjectState.QUARANTINED
    assert states[image(1).SOPInstanceUID] is ObjectState.IN_CASE


@pytest.mark.usefixtures("plugins")
def test_messages_are_written_and_every_destination_gets_its_share(workshop: Workshop, tmp_path: Path) -> None:
    destinations: dict[str, dict[str, object]] = {
        "archive": {"type": "folder", "path": str(tmp_path / "archive"), "send": ["SR", "HL7", "FHIR"]},
        "his": {"type": "mllp", "host": "127.0.0.1", "port": 2575},
    }
    workshop.start(STAGES, kinds=("SEG", "SR"), is_inline=True, destinations=destinations)
    record = workshop.end_of(workshop.receive(image()))
    sent = {
        delivery.destination: [Path(path).name for path in delivery.paths] for delivery in workshop.ledger.deliveries.of_case(record.id)
    }
    assert sent == {"archive": ["sr.dcm", "oru-archive.hl7", "fhir-archive.json", "fhir-archive.2.json"], "his": ["oru-his.hl7"]}
    bundle = json.loads((workshop.results / record.id / "fhir-archive.json").read_bytes())
    assert bundle["resourceType"] == "Bundle"
    assert (workshop.results / record.id / "oru-his.hl7").read_bytes().startswith(b"MSH|")


@pytest.mark.usefixtures("plugins")
def test_earlier_visit_of_the_lesion_is_a_prior(workshop: Workshop) -> None:
    workshop.start(STAGES, is_inline=True)
    earlier = image(1, "first visit")
    earlier.AcquisitionDateTime = "20250101120000"
    workshop.outcome_of(earlier)
    later = workshop.outcome_of(image(1, "second visit"))
    assert later.risk is not None
    assert later.risk.score == 0.75


@pytest.mark.usefixtures("plugins")
def test_object_that_the_gate_refuses_is_set_aside_and_not_delivered(workshop: Workshop, site: Path, tmp_path: Path) -> None:
    body = """
    import pydicom

    @hookimpl
    def fuse(case, context):
        return context.decline("it only adds an object")

    @hookimpl
    def extra_objects(case, context):
        foreign = pydicom.dcmread(case.series.views[0].source.path)
        foreign.PatientID = "SOMEBODY ELSE"
        foreign.SOPInstanceUID = foreign.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.5"
        broken = pydicom.Dataset()
        return [foreign, broken]
    """
    write_plugin(site, "inline-extra", body, stages={"fuse": {}})
    archive = {"archive": {"type": "folder", "path": str(tmp_path / "archive")}}
    workshop.start({**STAGES, "fuse": ["inline-extra"]}, is_inline=True, destinations=archive)
    record = workshop.end_of(workshop.receive(image()))
    assert record.outcome is not None
    refused = next(made for made in record.outcome.objects if made.kind == "OTHER")
    assert refused.path == f"{record.id}/refused/other-1.dcm"
    assert (workshop.results / refused.path).is_file()
    assert any("PatientID" in reason for reason in refused.reasons)
    encode = record.outcome.report("encode")
    assert encode is not None
    assert "failed the output gate" in encode.reason
    assert "Added by inline-extra cannot be written as DICOM" in encode.reason
    paths = [path for delivery in workshop.ledger.deliveries.of_case(record.id) for path in delivery.paths]
    assert paths == [f"{record.id}/sr.dcm"]


@pytest.mark.usefixtures("plugins")
def test_plugin_that_fails_again_and_again_is_suspended_and_resumed_by_hand(workshop: Workshop, site: Path) -> None:
    write_plugin(site, "inline-weak", "@hookimpl\ndef fuse(case, context): raise OSError('no')", stages={"fuse": {}})
    workshop.start({**STAGES, "fuse": ["inline-weak"]}, is_inline=True, suspend_after=2)
    outcomes = [workshop.outcome_of(image(1, f"study {number}")) for number in range(3)]
    assert [outcome.report("fuse").status for outcome in outcomes] == [  # type: ignore[union-attr]
        StageStatus.FAILED,
        StageStatus.FAILED,
        StageStatus.NOT_SERVED,
    ]
    assert "it is suspended: fuse: raised OSError: no" in outcomes[2].reports[2].reason
    workshop.ledger.plugins.resume("inline-weak", datetime.now(UTC))
    assert workshop.outcome_of(image(1, "study 4")).reports[2].status is StageStatus.FAILED


@pytest.mark.usefixtures("plugins")
def test_case_of_a_pipeline_that_was_removed_ends_with_the_reason(workshop: Workshop) -> None:
    workshop.start(STAGES, is_inline=True)
    record = workshop.end_of(workshop.receive(image(), pipeline="gone"))
    assert record.state is CaseState.FAILED
    assert "the pipeline gone is no longer configured. Configure it and retry" in record.reason


@pytest.mark.usefixtures("plugins")
def test_progress_is_written_for_the_page(workshop: Workshop) -> None:
    workshop.start(STAGES, is_inline=True)
    case_id = workshop.receive(image())
    words = [event.words for event in workshop.ledger.history.of(f"case:{case_id}")]
    assert "segment: inline-segment began." in words
