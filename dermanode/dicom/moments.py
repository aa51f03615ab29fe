"""When the photographs behind a report were taken: written into its image library, and read from there (PS3.16 TID 1602)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from highdicom import sr

from dermanode.dicom.coding import coded
from dermanode.dicom.content import Item
from dermanode.dicom.elements import Elements
from dermanode.dicom.result import ResultContext, in_zone
from dermanode.dicom.sources import SourceImage, raw_value
from dermanode.domain.codes import Code

_ACQUISITION = (Code("126201", "DCM", "Acquisition Date"), Code("126202", "DCM", "Acquisition Time"))
_CONTENT = (Code("111018", "DCM", "Content Date"), Code("111019", "DCM", "Content Time"))
_STATED_BY = ((_ACQUISITION, ("AcquisitionDateTime", "AcquisitionDate")), (_CONTENT, ("ContentDate",)))
"""Best first. A photograph with neither is as old as its study, whose date every report has."""
_DATE, _TIME, _TIMEZONE_OFFSET = 0x0040A121, 0x0040A122, 0x00080201


def moment_items(context: ResultContext, image: SourceImage) -> list[sr.ContentItem]:
    """Date and time of one photograph, in the zone of the report; none where the photograph does not state its own."""
    taken = image.view.acquired_at
    names = next((names for names, keywords in _STATED_BY if any(raw_value(image.header, keyword) for keyword in keywords)), None)
    if taken is None or names is None:
        return []
    shown = in_zone(taken, str(context.sources.first.header.get("TimezoneOffsetFromUTC", "") or ""))
    date_name, time_name = (coded(name, context.sources.repertoire) for name in names)
    relation = sr.RelationshipTypeValues.HAS_ACQ_CONTEXT
    return [
        sr.DateContentItem(date_name, shown.strftime("%Y%m%d"), relation),
        sr.TimeContentItem(time_name, shown.strftime("%H%M%S.%f"), relation),
    ]


def first_moment(entries: Iterable[Item], header: Elements) -> datetime | None:
    """The earliest moment that the entries of an image library state, in UTC; None where none does.

    Times of an object are of one zone (PS3.3 C.12.1.1.8): that of its header.
    """
    found = (_moment(entry, names, header) for entry in entries for names in (_ACQUISITION, _CONTENT))
    return min((moment for moment in found if moment is not None), default=None)


def _moment(entry: Item, names: tuple[Code, Code], header: Elements) -> datetime | None:
    day, time = (entry.child(name) for name in names)
    if day is None:
        return None
    raw = {_DATE: day.elements.raw.get(_DATE), _TIME: time.elements.raw.get(_TIME) if time else None}
    raw[_TIMEZONE_OFFSET] = header.raw.get(_TIMEZONE_OFFSET)
    return Elements({tag: one for tag, one in raw.items() if one is not None}).moment(_DATE, _TIME)
