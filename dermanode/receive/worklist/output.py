"""What was made for a procedure step, and from where it can be had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from dermanode.config import Destination as DestinationSettings
from dermanode.config import DicomwebDestination, DimseDestination
from dermanode.dicom.procedure_step import OutputSeries
from dermanode.ledger.steps import Made, SeriesFacts

Archive = DimseDestination | DicomwebDestination
"""A destination from which results can be had again."""


def archives_of(destinations: Mapping[str, DestinationSettings]) -> dict[str, Archive]:
    return {name: one for name, one in destinations.items() if isinstance(one, DimseDestination | DicomwebDestination)}


def outputs_of(case: SeriesFacts, made: Sequence[Made], archives: Mapping[str, Archive], results_dir: Path) -> list[OutputSeries]:
    """The series that archives have of a case, each with all places that have all of it; what is nowhere but here is left out."""
    places: dict[str, list[Archive]] = {}
    for delivered in case.deliveries:
        archive = archives.get(delivered.destination)
        if archive is not None:
            for path in delivered.paths:
                places.setdefault(path, []).append(archive)
    series: dict[tuple[str, str], list[Made]] = {}
    for one in made:
        if one.path in places and (key := _series_of(results_dir / one.path)) is not None:
            series.setdefault(key, []).append(one)
    outputs = []
    for (study, series_uid), members in series.items():
        common = [place for place in places[members[0].path] if all(place in places[one.path] for one in members)]
        outputs.append(
            OutputSeries(
                study,
                series_uid,
                tuple((one.sop_class_uid, one.sop_instance_uid) for one in members),
                tuple(str(place.ae_title) for place in common if isinstance(place, DimseDestination)),
                tuple(
                    f"{place.url.rstrip('/')}/studies/{study}/series/{series_uid}"
                    for place in common
                    if isinstance(place, DicomwebDestination)
                ),
            )
        )
    return outputs


def _series_of(file: Path) -> tuple[str, str] | None:
    try:
        header = dcmread(file, stop_before_pixels=True, specific_tags=["StudyInstanceUID", "SeriesInstanceUID"])
        return str(header.StudyInstanceUID), str(header.SeriesInstanceUID)
    except (OSError, InvalidDicomError, AttributeError):
        return None
