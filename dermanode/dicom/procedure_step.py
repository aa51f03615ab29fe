"""The data sets of unified procedure steps: what is asked of a manager, and what it is told (PS3.4 CC)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pydicom import Dataset
from pydicom.sequence import Sequence as Items

from dermanode.domain import Code
from dermanode.domain.identifiers import UID
from dermanode.errors import DermaNodeError, IdentifierError

CHANGE_STATE = 1
"""Action Type ID (PS3.4 CC.2.1.2)."""


class StepProgress(StrEnum):
    """Procedure Step State (0074,1000)."""

    SCHEDULED = "SCHEDULED"
    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    CANCELED = "CANCELED"


class StepMalformed(DermaNodeError):
    """A procedure step without what it must have."""


@dataclass(frozen=True, slots=True)
class InputSeries:
    """A series that a step is about."""

    study_instance_uid: UID
    series_instance_uid: UID
    instances: tuple[str, ...]
    """SOP Instance UIDs; empty where the manager names the series only."""


@dataclass(frozen=True, slots=True)
class ProcedureStep:
    """One unified procedure step, as its manager describes it."""

    sop_instance_uid: UID
    progress: str
    label: str
    """Procedure Step Label."""
    patient_id: str
    study_instance_uid: str
    """'' where it is not said."""
    inputs: tuple[InputSeries, ...]
    workitem: Code | None
    """Scheduled Workitem Code."""


@dataclass(frozen=True, slots=True)
class OutputSeries:
    """A series that was made for a step, and from where it can be had."""

    study_instance_uid: str
    series_instance_uid: str
    instances: tuple[tuple[str, str], ...]
    """SOP Class and SOP Instance UIDs."""
    retrieve_ae_titles: tuple[str, ...] = ()
    retrieve_urls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Performed:
    """What was done for a step."""

    started_at: datetime
    ended_at: datetime
    """Both with their zone."""
    station: Code
    workitem: Code
    outputs: tuple[OutputSeries, ...]


def query_data(label: str, station: str) -> Dataset:
    """The keys of a search for scheduled steps whose input is ready; '' matches any (PS3.4 table CC.2.5-3)."""
    data = Dataset()
    data.ProcedureStepState = StepProgress.SCHEDULED.value
    data.InputReadinessState = "READY"
    data.WorklistLabel = label
    item = Dataset()
    item.CodeValue = station
    item.CodingSchemeDesignator = item.CodeMeaning = ""
    data.ScheduledStationNameCodeSequence = Items([item])
    for keyword in (
        "SOPInstanceUID",
        "SOPClassUID",
        "ProcedureStepLabel",
        "PatientID",
        "StudyInstanceUID",
        "ScheduledProcedureStepPriority",
    ):
        setattr(data, keyword, "")
    data.ScheduledProcedureStepStartDateTime = None
    data.InputInformationSequence = Items([])
    return data


def matches(data: Dataset, label: str, station: str) -> bool:
    """Whether an answer is what was asked for: some managers heed only a part of the keys."""
    stations = {str(item.get("CodeValue", "")) for item in _items(data, "ScheduledStationNameCodeSequence")}
    is_scheduled = str(data.get("ProcedureStepState") or StepProgress.SCHEDULED.value) == StepProgress.SCHEDULED.value
    is_ready = str(data.get("InputReadinessState") or "READY") == "READY"
    is_of_label = not label or str(data.get("WorklistLabel", "")) == label
    return is_scheduled and is_ready and is_of_label and (not station or station in stations)


def read_step(data: Dataset, sop_instance_uid: str = "") -> ProcedureStep:
    """`sop_instance_uid` where the data set does not name it. Raises `StepMalformed`."""
    name = str(data.get("SOPInstanceUID") or data.get("AffectedSOPInstanceUID") or sop_instance_uid)
    try:
        uid = UID(name)
        inputs = tuple(_input(item) for item in _items(data, "InputInformationSequence") if item.get("SeriesInstanceUID"))
    except IdentifierError as error:
        raise StepMalformed(f"A procedure step has no usable UIDs: {error}") from error
    return ProcedureStep(
        sop_instance_uid=uid,
        progress=str(data.get("ProcedureStepState") or ""),
        label=str(data.get("ProcedureStepLabel") or ""),
        patient_id=str(data.get("PatientID") or ""),
        study_instance_uid=str(data.get("StudyInstanceUID") or (inputs[0].study_instance_uid if inputs else "")),
        inputs=inputs,
        workitem=next((_read_code(item) for item in _items(data, "ScheduledWorkitemCodeSequence")), None),
    )


def _items(data: Dataset, keyword: str) -> Iterable[Dataset]:
    """None where a manager gives something else than a sequence: one such step must not hide the others."""
    value = data.get(keyword)
    return value if isinstance(value, Items) else ()


def state_data(transaction_uid: UID, progress: StepProgress) -> Dataset:
    """The Action Information of Change UPS State (PS3.4 table CC.2.1-1)."""
    data = Dataset()
    data.ProcedureStepState = progress.value
    data.TransactionUID = str(transaction_uid)
    return data


def progress_data(transaction_uid: UID, percent: int, words: str) -> Dataset:
    """How far the work is."""
    item = Dataset()
    item.ProcedureStepProgress = str(percent)
    item.ProcedureStepProgressDescription = words[:1024]
    return _modification(transaction_uid, ProcedureStepProgressInformationSequence=[item])


def cancellation_data(transaction_uid: UID, reason: str, at: datetime) -> Dataset:
    """What the manager wants to know before a step is canceled (PS3.4 table CC.2.5-3)."""
    item = Dataset()
    item.ProcedureStepCancellationDateTime = _moment(at)
    item.ReasonForCancellation = reason[:10240]
    # PS3.16 CID 9300: "Discontinued for unspecified reason"
    item.ProcedureStepDiscontinuationReasonCodeSequence = Items([_code(Code("110513", "DCM", "Discontinued for unspecified reason"))])
    return _modification(transaction_uid, ProcedureStepProgressInformationSequence=[item])


def performed_data(transaction_uid: UID, performed: Performed) -> Dataset:
    """What the manager wants to know before a step is completed (PS3.4 table CC.2.5-3)."""
    item = Dataset()
    item.PerformedStationNameCodeSequence = Items([_code(performed.station)])
    item.PerformedWorkitemCodeSequence = Items([_code(performed.workitem)])
    item.PerformedProcedureStepStartDateTime = _moment(performed.started_at)
    item.PerformedProcedureStepEndDateTime = _moment(performed.ended_at)
    item.OutputInformationSequence = Items([_output(one) for one in performed.outputs])
    return _modification(transaction_uid, UnifiedProcedureStepPerformedProcedureSequence=[item])


def _modification(transaction_uid: UID, **sequences: Sequence[Dataset]) -> Dataset:
    data = Dataset()
    data.TransactionUID = str(transaction_uid)
    for keyword, items in sequences.items():
        setattr(data, keyword, Items(items))
    return data


def _read_code(item: Dataset) -> Code:
    return Code(*(str(item.get(keyword, "")) for keyword in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")))


def _input(item: Dataset) -> InputSeries:
    return InputSeries(
        UID(str(item.get("StudyInstanceUID", ""))),
        UID(str(item.SeriesInstanceUID)),
        tuple(str(UID(str(one.get("ReferencedSOPInstanceUID", "")))) for one in _items(item, "ReferencedSOPSequence")),
    )


def _output(series: OutputSeries) -> Dataset:
    """The Referenced Instances and Access Macro (PS3.3 table 10-3b)."""
    item = Dataset()
    item.TypeOfInstances = "DICOM"
    item.StudyInstanceUID, item.SeriesInstanceUID = series.study_instance_uid, series.series_instance_uid
    references = []
    for sop_class, instance in series.instances:
        reference = Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = sop_class, instance
        references.append(reference)
    item.ReferencedSOPSequence = Items(references)
    if series.retrieve_ae_titles:
        item.DICOMRetrievalSequence = Items(_each("RetrieveAETitle", series.retrieve_ae_titles))
    if series.retrieve_urls:
        item.WADORSRetrievalSequence = Items(_each("RetrieveURL", series.retrieve_urls))
    return item


def _each(keyword: str, values: Iterable[str]) -> list[Dataset]:
    items = []
    for value in values:
        item = Dataset()
        setattr(item, keyword, value)
        items.append(item)
    return items


def _code(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme, code.meaning
    return item


def _moment(moment: datetime) -> str:
    return f"{moment:%Y%m%d%H%M%S%z}"
