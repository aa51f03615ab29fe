"""From a case to files: objects, the gate, messages, the page's mesh, and the outcome that lists them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import structlog
from PIL import Image
from pydicom import Dataset

from dermanode.config import Destination, FhirDestination, MllpDestination, Pipeline, Referral
from dermanode.dicom import encapsulated, gate, overlay, report
from dermanode.dicom.capture import named_maps
from dermanode.dicom.encode import Encoded, EncodingOrder, encode_case
from dermanode.dicom.sources import PYDICOM_RAISES, merged_identities
from dermanode.document.report import encode_pdf
from dermanode.domain import UID, Case, HeatMap, Outcome, ProducedObject, StageReport, StageStatus
from dermanode.errors import EncodingError
from dermanode.messages.letters import write_letters
from dermanode.messages.selection import rejection_name
from dermanode.pipeline.mesh import encode_mesh
from dermanode.pipeline.results_folder import ResultsFolder, encode_jpeg
from dermanode.pipeline.run import Folded
from dermanode.pipeline.summary import comparison_names, heat_name, summarise
from dermanode.pipeline.superseded import object_name, predecessor, rejections
from dermanode.pipeline.wire import Job

log = structlog.get_logger(__name__)

T = TypeVar("T")

STAGE = "encode"
"""The name under which assembly stands beside the stages, in reports."""
TIMEOUT_S = 300.0

HEAT_SIZE_PX = 256
DOCUMENT_NAME = "report.pdf"


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be made of a case."""

    job: Job
    pipeline: Pipeline
    destinations: Mapping[str, Destination]
    """Those of the pipeline: messages are written for them."""
    facility: str
    unreadable: tuple[tuple[UID, str], ...]
    extra: Sequence[tuple[str, Dataset]]
    """(plugin, object) that plugins add."""
    default_issuer: str = ""
    """The assigning authority of patients whose images name none."""
    referral: Referral | None = None
    """The directory of centres that messages propose a referral to."""
    is_bare: bool = False
    """Nothing was found out: the report and the messages say so, and nothing else is made."""
    elapsed_s: Callable[[], float]
    """Since the case began."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """What to encode."""
        return tuple(kind for kind in self.pipeline.outputs.kinds if not self.is_bare or kind == report.KIND)


def assemble(folded: Folded, folder: ResultsFolder, order: Order) -> Outcome:
    """Writes all files of a case into its folder and returns how it ended. What cannot be encoded, or fails the gate, is reported."""
    outcome = summarise(folded, order.unreadable, order.elapsed_s())
    if order.is_bare:
        outcome = replace(outcome, views=())  # no pixels, so no pictures of them for the page
    document = _document(folded.case, outcome, order)
    encoded, problems = _encode(folded.case, outcome, order, folder, document)
    objects = list(_gated(_write_objects(encoded, folder, problems), folded.case, folder))
    problems += [f"{made.description or made.kind} failed the output gate: {'; '.join(made.reasons)}" for made in objects if made.reasons]
    outcome = _with_problems(outcome, problems)
    if folded.case.surface is not None:
        objects.append(folder.write("mesh.json", encode_mesh(folded.case.surface), kind="MESH", description="Surface, for the page"))
    objects += [_write_heat(number, heat_map, folded.case, folder) for number, _, heat_map in named_maps(folded.case)]
    objects += _write_comparisons(folded.case, folder)
    if document.content is not None:
        objects.append(folder.write(DOCUMENT_NAME, document.content, kind="PREVIEW", description="Report for people, for the page"))
    outcome = replace(outcome, objects=(*objects, *folder.previews))
    letters = write_letters(
        folded.case,
        outcome,
        order.destinations,
        made_at=order.job.made_at,
        facility=order.facility,
        default_issuer=order.default_issuer,
        referral=order.referral,
        pdf=document.content,
    )
    written = [folder.write(letter.name, letter.content, kind=letter.kind, description=f"{letter.kind} message") for letter in letters]
    return replace(outcome, objects=(*objects, *written, *folder.previews), took_s=order.elapsed_s())


@dataclass(frozen=True, slots=True)
class _Document:
    """The report for people, or why there is none."""

    content: bytes | None = None
    why_none: str = ""


def _document(case: Case, outcome: Outcome, order: Order) -> _Document:
    """The PDF, where an object or a message is to carry it. A machine without its fonts, or a defect, loses the PDF and nothing else."""
    embedding = [one for one in order.destinations.values() if isinstance(one, MllpDestination | FhirDestination)]
    if order.is_bare or (encapsulated.KIND not in order.kinds and not any(one.is_pdf_embedded for one in embedding)):
        return _Document()
    language, made_at = order.pipeline.outputs.language, order.job.made_at
    pdf, why_none = _made(
        "document_not_written", case, lambda: encode_pdf(case, outcome, language=language, made_at=made_at, institution=order.facility)
    )
    return _Document(pdf, why_none)


def _made(event: str, case: Case, make: Callable[[], T]) -> tuple[T | None, str]:
    """What `make` gives, or why it gives nothing: a wall inside the case, because one thing that fails must not cost the others."""
    try:
        return make(), ""
    except EncodingError as error:
        log.warning(event, case=case.id, reason=str(error))
        return None, str(error)
    except Exception as defect:
        log.error(event, case=case.id, reason=f"{type(defect).__name__}: {defect}", exc_info=defect)
        return None, f"a defect of the node ended it ({type(defect).__name__}: {defect})"


def _encode(case: Case, outcome: Outcome, order: Order, folder: ResultsFolder, document: _Document) -> tuple[list[Encoded], list[str]]:
    """The objects, and what kept others from being made. One kind that fails does not cost the others, least of all the report."""
    kinds = order.kinds
    earlier = folder.results_dir, order.job.supersedes
    notes, why_no_notes = rejections(*earlier, order.destinations if "KOS" in kinds else {}, case.series.patient)
    encoding = EncodingOrder(
        made_at=order.job.made_at,
        pipeline=order.pipeline.name,
        series_description=order.pipeline.outputs.series_description,
        kinds=kinds,
        predecessor_report=predecessor(*earlier),
        rejections=notes,
        why_no_rejections=why_no_notes,
        why_no_document=document.why_none,
    )
    extra = [Encoded("OTHER", dataset, f"Added by {plugin}") for plugin, dataset in order.extra]
    together, _ = _made("encoding_failed", case, lambda: encode_case(case, outcome, encoding, document.content))
    if together is not None:
        return [*together, *extra], []
    encoded: list[Encoded] = []
    problems: list[str] = []
    for kind in kinds:
        so_far, alone = _with_problems(outcome, problems), replace(encoding, kinds=(kind,))
        made, problem = _made("kind_not_encoded", case, partial(encode_case, case, so_far, alone, document.content))
        encoded += made or ()
        problems += [f"{kind}: {problem}"] if problem else []
    return [*encoded, *extra], problems


def _with_problems(outcome: Outcome, problems: Sequence[str]) -> Outcome:
    if not problems:
        return outcome
    report = StageReport(stage=STAGE, status=StageStatus.FAILED, reason="; ".join(problems))
    return replace(outcome, is_failed=True, reports=(*outcome.reports, report))


def _write_objects(encoded: Sequence[Encoded], folder: ResultsFolder, problems: list[str]) -> list[ProducedObject]:
    """The files of the objects; one that cannot be written as DICOM becomes a problem."""
    written: list[ProducedObject] = []
    for item in encoded:
        number = 1 + sum(made.kind == item.kind for made in written)
        name = rejection_name(item.destination) if item.destination else object_name(item.kind, number)
        stream = io.BytesIO()
        try:
            item.dataset.save_as(stream, enforce_file_format=True)
            sop = (UID(item.dataset.SOPClassUID), UID(item.dataset.SOPInstanceUID))
        except PYDICOM_RAISES as error:
            problems.append(f"{item.description} cannot be written as DICOM: {error}")
            continue
        written.append(folder.write(name, stream.getvalue(), kind=item.kind, sop=sop, description=item.description))
    return written


def _gated(written: Sequence[ProducedObject], case: Case, folder: ResultsFolder) -> Iterator[ProducedObject]:
    """Each object as the gate found its file, read back and held against its sources and the others."""
    sources = _source_files(case)
    files = [folder.file(made.path.removeprefix(f"{case.id}/")) for made in written]
    verdicts = gate.check_all(files, sources, merged=merged_identities(case.series.patient))
    for made, reasons in zip(written, verdicts, strict=True):
        yield folder.refuse(made, reasons) if reasons else made


def _write_heat(finding: int, heat_map: HeatMap, case: Case, folder: ResultsFolder) -> ProducedObject:
    """The heat alone, small and transparent: the page lays it over the view, and the browser enlarges it smoothly."""
    view = case.series.view(heat_map.sop_instance_uid)
    scale = min(1.0, HEAT_SIZE_PX / max(view.rows, view.columns))
    size = max(1, round(view.rows * scale)), max(1, round(view.columns * scale))
    stream = io.BytesIO()
    Image.fromarray(overlay.coloured(overlay.heat_on(heat_map, size, (view.rows, view.columns)))).save(stream, "PNG")
    name = heat_name(finding, heat_map.sop_instance_uid)
    return folder.write(name, stream.getvalue(), kind="PREVIEW", description="Heat map, for the page")


def _write_comparisons(case: Case, folder: ResultsFolder) -> Iterator[ProducedObject]:
    for number, comparison in enumerate(case.comparisons):
        pictures = {"now": comparison.now, "then": comparison.then, "difference": comparison.difference}
        for picture, name in comparison_names(number).items():
            description = f"View of this and an earlier visit ({picture}), for the page"
            yield folder.write(name, encode_jpeg(pictures[picture]), kind="PREVIEW", description=description)


def _source_files(case: Case) -> list[Path]:
    paths: list[Any] = [getattr(view.source, "path", None) for view in case.series.views]
    return [path for path in paths if path is not None]
