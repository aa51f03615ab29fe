"""How an object refers to others: by instance, by series, by study."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pydicom import Dataset

from dermanode.dicom.result import ResultContext

_KEYWORDS = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")


@dataclass(frozen=True, slots=True)
class Instance:
    """Where an object is found that another refers to."""

    sop_class_uid: str
    sop_instance_uid: str
    series_uid: str
    study_uid: str

    @classmethod
    def of(cls, dataset: Dataset) -> Instance:
        return cls(*(str(dataset[keyword].value) for keyword in _KEYWORDS))


def instance_reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    """The item that names one instance (PS3.3 10.8)."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    return item


def view_reference(context: ResultContext, uid: str) -> Dataset:
    """A view that a result was made of. Raises `EncodingError` for one that is not in the case."""
    return instance_reference(context.sources.image(uid).view.sop_class_uid, uid)


def referenced_series(context: ResultContext) -> list[Dataset]:
    """Common Instance Reference: every view, used or not, sorted under its series."""
    series: dict[str, list[Dataset]] = {}
    for image in context.sources:
        reference = instance_reference(image.view.sop_class_uid, image.view.sop_instance_uid)
        series.setdefault(str(image.header.SeriesInstanceUID), []).append(reference)
    return [_of_series(uid, "ReferencedInstanceSequence", instances) for uid, instances in series.items()]


def evidence(instances: Iterable[Instance]) -> list[Dataset]:
    """The items of an evidence or predecessor sequence: studies, in them series, in them instances (PS3.3 C.17.2.1)."""
    studies: dict[str, dict[str, list[Dataset]]] = {}
    for one in instances:
        reference = instance_reference(one.sop_class_uid, one.sop_instance_uid)
        studies.setdefault(one.study_uid, {}).setdefault(one.series_uid, []).append(reference)
    items = []
    for study_uid, series in studies.items():
        study = Dataset()
        study.StudyInstanceUID = study_uid
        study.ReferencedSeriesSequence = [_of_series(uid, "ReferencedSOPSequence", referenced) for uid, referenced in series.items()]
        items.append(study)
    return items


def instances_in(dataset: Dataset, keyword: str) -> Iterator[Instance]:
    """What such a sequence of an object names."""
    for study in dataset.get(keyword) or ():
        for series in study.get("ReferencedSeriesSequence") or ():
            for item in series.get("ReferencedSOPSequence") or ():
                yield Instance(
                    str(item.get("ReferencedSOPClassUID", "")),
                    str(item.get("ReferencedSOPInstanceUID", "")),
                    str(series.get("SeriesInstanceUID", "")),
                    str(study.get("StudyInstanceUID", "")),
                )


def _of_series(uid: str, keyword: str, instances: Sequence[Dataset]) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = uid
    setattr(item, keyword, list(instances))
    return item
