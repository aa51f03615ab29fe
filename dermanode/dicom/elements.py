"""The values of a header, asked for by tag: plain Python or nothing, never an exception for a value that is odd."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone

from dermanode.dicom.charset import decode_text
from dermanode.domain import UID, Code
from dermanode.errors import IdentifierError

_BINARY = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"}
_DATE = re.compile(r"(\d{4})[.\-/]?(\d{2})[.\-/]?(\d{2})")
_TIME = re.compile(r"(\d{2}):?(\d{2})?:?(\d{2})?(?:\.(\d{1,6}))?")
_DATETIME = re.compile(r"(\d{4})(\d{2})?(\d{2})?(\d{2})?(\d{2})?(\d{2})?(?:\.(\d{1,6}))?([+-]\d{4})?")
_OFFSET = re.compile(r"([+-])(\d{2})(\d{2})")


@dataclass(frozen=True, slots=True)
class Raw:
    """One element as it lies in the file."""

    vr: str
    """Empty where the transfer syntax does not state it."""
    value: bytes
    items: tuple[Elements, ...] = ()


@dataclass(frozen=True, slots=True)
class Elements:
    """The wanted elements of one data set (or of one item of a sequence)."""

    raw: Mapping[int, Raw]
    is_little_endian: bool = True
    charsets: tuple[str, ...] = ()

    def bytes(self, tag: int) -> bytes:
        """The value as it lies in the file; empty where there is none."""
        element = self.raw.get(tag)
        return element.value if element else b""

    def text(self, tag: int) -> str:
        """The value as text, outer blanks and padding removed; '' where there is none."""
        return decode_text(self.bytes(tag), self.charsets).replace("\0", "").strip()

    def texts(self, tag: int) -> tuple[str, ...]:
        """The values of a multi-valued text."""
        text = self.text(tag)
        return tuple(part.strip() for part in text.split("\\")) if text else ()

    def numbers(self, tag: int) -> tuple[float, ...]:
        """Every finite number of the value, binary or text; () if any of them is none."""
        element = self.raw.get(tag)
        if element is None:
            return ()
        if kind := _BINARY.get(element.vr):
            size = struct.calcsize(kind)
            count = len(element.value) // size
            found = struct.unpack(f"{'<' if self.is_little_endian else '>'}{count}{kind}", element.value[: count * size])
        else:
            try:
                found = tuple(float(part) for part in self.texts(tag))
            except ValueError:
                return ()
        return found if all(math.isfinite(number) for number in found) else ()

    def number(self, tag: int) -> float | None:
        """The first number of the value."""
        return next(iter(self.numbers(tag)), None)

    def integer(self, tag: int) -> int | None:
        """The first number of the value, where it is a whole one."""
        number = self.number(tag)
        return int(number) if number is not None and number == int(number) else None

    def unsigned(self, tag: int) -> int | None:
        """The value of a US element, also where an implicit transfer syntax does not name its VR."""
        element = self.raw.get(tag)
        if element is not None and element.vr in ("", "UN", "OW", "OB") and len(element.value) >= 2:
            return int.from_bytes(element.value[:2], "little" if self.is_little_endian else "big")
        return self.integer(tag)

    def uid(self, tag: int) -> UID | None:
        """The UID, or None where the value is none."""
        try:
            return UID(self.text(tag))
        except IdentifierError:
            return None

    def items(self, tag: int) -> tuple[Elements, ...]:
        """The items of a sequence."""
        element = self.raw.get(tag)
        return element.items if element else ()

    def code(self, tag: int) -> Code | None:
        """The first code of a code sequence (PS3.3 8.8); None without a value."""
        for item in self.items(tag):
            value = item.text(0x00080100) or item.text(0x00080119) or item.text(0x00080120)
            if value:
                return Code(value, item.text(0x00080102), item.text(0x00080104))
        return None

    def date(self, tag: int) -> date | None:
        """A DA value, also in the old form with dots."""
        match = _DATE.fullmatch(self.text(tag))
        return _date(*match.groups()) if match else None

    def moment(self, date_tag: int, time_tag: int) -> datetime | None:
        """A date with its time, in UTC; midnight without a time.

        Where the object states no Timezone Offset From UTC, its clock is taken to show UTC, so that moments compare.
        """
        day = self.date(date_tag)
        if day is None:
            return None
        match = _TIME.fullmatch(self.text(time_tag))
        at = _time(*match.groups()) if match else time()
        return _in_utc(datetime.combine(day, at), self.text(0x00080201))

    def datetime(self, tag: int) -> datetime | None:
        """A DT value, in UTC; what it leaves out is the earliest possible."""
        match = _DATETIME.fullmatch(self.text(tag))
        day = _date(match[1], match[2] or "01", match[3] or "01") if match else None
        if match is None or day is None:
            return None
        return _in_utc(datetime.combine(day, _time(match[4], match[5], match[6], match[7])), match[8] or self.text(0x00080201))


def _date(year: str, month: str, day: str) -> date | None:
    try:
        return date(int(year), int(month), int(day))
    except ValueError:
        return None


def _time(hour: str | None, minute: str | None, second: str | None, fraction: str | None) -> time:
    try:
        # PS3.5 6.2: second 60 is a leap second, which Python does not know.
        return time(int(hour or 0), int(minute or 0), min(int(second or 0), 59), int((fraction or "0").ljust(6, "0")))
    except ValueError:
        return time()


def _in_utc(moment: datetime, offset: str) -> datetime | None:
    match = _OFFSET.fullmatch(offset)
    delta = timedelta(hours=int(match[2]), minutes=int(match[3])) if match else timedelta()
    if match and match[1] == "-":
        delta = -delta
    try:
        return moment.replace(tzinfo=timezone(delta)).astimezone(UTC)
    except (ValueError, OverflowError):
        return moment.replace(tzinfo=UTC)
