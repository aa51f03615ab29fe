"""Three revisions of one case, each with an image more: what each says of the one before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import TypeAdapter
from pydicom import Dataset, dcmread

from dermanode.config import Destination, Pipeline
from dermanode.dicom.references import instances_in
from dermanode.domain import Case, Outcome
from dermanode.messages.selection import select
from dermanode.pipeline.assembly import Order, assemble
from dermanode.pipeline.results_folder import results_folder
from dermanode.pipeline.run import Folded
from dermanode.pipeline.superseded import kind_of, object_name
from dermanode.pipeline.wire import Job
from dermanode.testing import worked_cases
from dermanode.testing.workshop import utc_now

DESTINATIONS: dict[str, Destination] = TypeAdapter(dict[str, Destination]).validate_python(
    {
        "archive": {"type": "dimse", "ae_title": "A", "host": "h", "port": 1, "send": ["SEG", "SURFACE_SEG", "SR", "KOS"]},
        "ward": {"type": "folder", "path": "ward", "send": ["SR", "KOS"]},
        "plain": {"type": "folder", "path": "plain", "send": ["SR", "OVERLAY"]},
    }
)
PIPELINE = Pipeline.model_validate(
    {"name": "test", "match": {"modalities": ["DMS"]}, "stages": {}, "outputs": {"kinds": ["SEG", "SURFACE_SEG", "OVERLAY", "SR", "KOS"]}}
)


@dataclass(frozen=True)
class Revision:
    """One revision, with what was made of it."""

    case: Case
    outcome: Outcome
    results: Path

    def datasets(self, kind: str) -> list[Dataset]:
        return [dcmread(self.results / made.path) for made in self.outcome.objects if made.kind == kind]

    def uids_for(self, destination: str) -> set[str]:
        return {
            str(dcmread(self.results / path).SOPInstanceUID)
            for path in select(destination, DESTINATIONS[destination], self.outcome.objects)
        }

    @property
    def report(self) -> Dataset:
        return self.datasets("SR")[0]


def assembled(case: Case, supersedes: str | None, results: Path) -> Revision:
    job = Job(
        case_id=case.id,
        revision=case.revision,
        pipeline="test",
        files=(),
        stages=(),
        made_at=utc_now(),
        workdir=results,
        supersedes=supersedes,
    )
    with results_folder(results, case.id) as folder:
        order = Order(job=job, pipeline=PIPELINE, destinations=DESTINATIONS, facility="", unreadable=(), extra=(), elapsed_s=lambda: 1.0)
        outcome = assemble(Folded(case, ()), folder, order)
        folder.publish()
    return Revision(case, outcome, results)


@pytest.fixture(scope="module")
def revisions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Revision, ...]:
    folder = tmp_path_factory.mktemp("revisions")

    def made() -> Iterator[Revision]:
        for revision in (1, 2, 3):
            photographs = [worked_cases.photograph(n + 1) for n in range(revision)]
            case = replace(worked_cases.worked(photographs, folder / "sources"), id=f"case-{revision}", revision=revision)
            yield assembled(case, f"case-{revision - 1}" if revision > 1 else None, folder / "results")

    return tuple(made())


def test_every_object_of_every_revision_passes_the_gate(revisions: tuple[Revision, ...]) -> None:
    for revision in revisions:
        assert [made.reasons for made in revision.outcome.objects if made.reasons] == []
        assert len(revision.datasets("SEG")) == revision.case.revision


def test_each_report_names_the_one_before_and_only_that(revisions: tuple[Revision, ...]) -> None:
    first, second, third = (revision.report for revision in revisions)
    assert "PredecessorDocumentsSequence" not in first
    for earlier, later in ((first, second), (second, third)):
        (named,) = instances_in(later, "PredecessorDocumentsSequence")
        assert (named.sop_class_uid, named.sop_instance_uid) == (earlier.SOPClassUID, earlier.SOPInstanceUID)
        assert (named.series_uid, named.study_uid) == (earlier.SeriesInstanceUID, earlier.StudyInstanceUID)


def test_evidence_is_the_photographs_and_results_of_the_revision_itself(revisions: tuple[Revision, ...]) -> None:
    for revision in revisions:
        evidence = {one.sop_instance_uid for one in instances_in(revision.report, "CurrentRequestedProcedureEvidenceSequence")}
        views = {str(view.sop_instance_uid) for view in revision.case.series.views}
        results = {str(one.SOPInstanceUID) for kind in ("SEG", "SURFACE_SEG", "OVERLAY") for one in revision.datasets(kind)}
        assert evidence == views | results


def test_a_note_names_what_its_destination_got_of_the_revision_before(revisions: tuple[Revision, ...]) -> None:
    assert revisions[0].datasets("KOS") == []
    for earlier, later in pairwise(revisions):
        notes = {Path(made.path).name: dcmread(later.results / made.path) for made in later.outcome.objects if made.kind == "KOS"}
        assert sorted(notes) == ["kos-archive.dcm", "kos-ward.dcm"]
        for destination in ("archive", "ward"):
            named = {
                one.sop_instance_uid for one in instances_in(notes[f"kos-{destination}.dcm"], "CurrentRequestedProcedureEvidenceSequence")
            }
            got = earlier.uids_for(destination) - {str(one.SOPInstanceUID) for one in earlier.datasets("KOS")}
            assert named == got
            assert named


def test_each_destination_gets_its_own_note_and_no_other(revisions: tuple[Revision, ...]) -> None:
    third = revisions[2]
    chosen = {name: [Path(path).name for path in select(name, to, third.outcome.objects)] for name, to in DESTINATIONS.items()}
    assert [name for name in chosen["archive"] if name.startswith("kos")] == ["kos-archive.dcm"]
    assert chosen["ward"] == ["sr.dcm", "kos-ward.dcm"]
    assert chosen["plain"] == ["overlay-1.dcm", "overlay-2.dcm", "overlay-3.dcm", "sr.dcm"]


def test_results_under_another_patient_number_are_not_rejected_and_the_report_says_why(
    revisions: tuple[Revision, ...], tmp_path: Path
) -> None:
    photographs = [worked_cases.photograph(n + 1) for n in range(2)]
    for photograph in photographs:
        photograph.PatientID = "P-MERGED"
    case = replace(worked_cases.worked(photographs, tmp_path / "sources"), id="case-9", revision=2)
    merged = assembled(case, "case-1", revisions[0].results)
    assert merged.datasets("KOS") == []
    said = [item.TextValue for item in merged.report.ContentSequence[-1].ContentSequence if item.ValueType == "TEXT"]
    assert any(text.startswith("Rejection note not made: the earlier results are under another patient number") for text in said)


@pytest.mark.parametrize("kind", ["SEG", "SEG_FRACTIONAL", "SURFACE_SEG", "SR", "PMAP"])
def test_a_files_name_tells_its_kind(kind: str) -> None:
    assert [kind_of(object_name(kind, number)) for number in (1, 2)] == [kind, kind]
