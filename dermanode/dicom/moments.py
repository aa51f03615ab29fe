"""When the photographs behind a report were taken, as its image library says it (PS3.16 TID 1602)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from dermanode.dicom.content import Item
from dermanode.dicom.elements import Elements
from dermanode.domain.codes import Code

ACQUISITION = (Code("126201", "DCM", "Acquisition Date"), Code("126202", "DCM", "Acquisition Time"))
CONTENT = (Code("111018", "DCM", "Content Date"), Code("111019", "DCM", "Content Time"))
_DATE, _TIME, _TIMEZONE_OFFSET = 0x0040A121, 0x0040A122, 0x00080201


def first_moment(entries: Iterable[Item], header: Elements) -> datetime | None:
    """The earliest moment that the entries of an image library state, in UTC; None where none does.

    Times of an object are of one zone (PS3.3 C.12.1.1.8): that of its header.
    """
    found = (_moment(entry, names, header) for entry in entries for names in (ACQUISITION, CONTENT))
    return min((moment for moment in found if moment is not None), default=None)


def _moment(entry: Item, names: tuple[Code, Code], header: Elements) -> datetime | None:
    day, time = (entry.child(name) for name in names)
    if day is None:
        return None
    raw = {_DATE: day.elements.raw.get(_DATE), _TIME: time.elements.raw.get(_TIME) if time else None}
    raw[_TIMEZONE_OFFSET] = header.raw.get(_TIMEZONE_OFFSET)
    return Elements({tag: one for tag, one in raw.items() if one is not None}).moment(_DATE, _TIME)
