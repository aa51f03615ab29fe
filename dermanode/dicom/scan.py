"""A scanner of DICOM files: finds the wanted elements and where the pixels lie, and reads nothing else.

pydicom reads a whole data set into objects, and warns where it is in doubt. The node asks every arriving object for a dozen
values, so this walks over the bytes once: tenths of a millisecond, and no opinion about values that nobody asked for.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dermanode.dicom.elements import Elements, Raw
from dermanode.errors import UnreadableObject

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"

Body = mmap.mmap | bytes
"""The bytes of a file or of an inflated data set."""

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_CHARSET = 0x00080005
_DEEPEST = 32
_INFLATED_HEADER_BYTES = 16 << 20
_INFLATED_BYTES = 1 << 30
"""A deflated object larger than this is refused: memory is the receiver's to protect."""


@dataclass(frozen=True, slots=True)
class PixelElement:
    """Where the pixel data lie."""

    offset: int
    length: int | None
    """None: undefined, so encapsulated (PS3.5 A.4)."""
    is_integer: bool
    """False for float and double float pixel data."""
    vr: str
    """Empty where the transfer syntax does not state it."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What a walk over a file found."""

    elements: Elements
    meta: Elements
    transfer_syntax: str
    is_implicit: bool
    pixels: PixelElement | None
    body: Body
    """The bytes that `pixels.offset` counts in: the file, or the inflated data set."""


@contextmanager
def scanned(path: Path, wanted: frozenset[int], *, with_pixels: bool = False) -> Iterator[Scan]:
    """The wanted top-level elements of a file; the bytes behind it are there until the context ends.

    `with_pixels` inflates a deflated object as a whole, not only its header. Raises `UnreadableObject`.
    """
    with _mapped(path) as body:
        yield scan(body, wanted, str(path), with_pixels=with_pixels)


def _mapped(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise UnreadableObject(str(path), f"the file cannot be opened ({error.strerror})") from error
    except ValueError as error:
        # mmap's word for an empty file
        raise UnreadableObject(str(path), "the file is empty") from error


def scan(body: Body, wanted: frozenset[int], subject: str, *, with_pixels: bool = False) -> Scan:
    """Walks over one object. Raises `UnreadableObject` for what is no DICOM, or broken before any wanted element."""
    start = 132 if body[128:132] == b"DICM" else 0
    meta, start = _Walk(body, False, True, frozenset({0x00020002, 0x00020003, 0x00020010}), subject).meta(start)
    syntax = meta.text(0x00020010)
    data: Body = body
    if syntax == DEFLATED:
        try:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(body[start:], _INFLATED_BYTES if with_pixels else _INFLATED_HEADER_BYTES)
        except zlib.error as error:
            raise UnreadableObject(subject, f"its deflated data set is damaged ({error})") from error
        start = 0
    elif not syntax:
        syntax = _guess(body, start, subject)
    is_implicit, is_little = syntax == IMPLICIT_LITTLE, syntax != EXPLICIT_BIG
    walk = _Walk(data, is_implicit, is_little, wanted | {_CHARSET}, subject)
    elements = walk.data_set(start)
    if not elements.raw and not meta.raw:
        raise UnreadableObject(subject, "it is no DICOM object")
    return Scan(elements, meta, syntax, is_implicit, walk.pixels, data)


def _guess(body: Body, start: int, subject: str) -> str:
    """The transfer syntax of an object that does not say it, from its first element."""
    head = body[start : start + 8]
    if len(head) == 8:
        group = int.from_bytes(head[:2], "little")
        if head[4:6].isalpha() and head[4:6].isupper():
            if group < 0x0100:
                return EXPLICIT_LITTLE
            if group & 0xFF == 0:
                return EXPLICIT_BIG
        elif group < 0x0100 and int.from_bytes(head[4:8], "little") < len(body):
            return IMPLICIT_LITTLE
    raise UnreadableObject(subject, "it is no DICOM object")


class _Walk:
    """One pass over a data set."""

    def __init__(self, body: Body, is_implicit: bool, is_little: bool, wanted: frozenset[int], subject: str) -> None:
        self.body, self.end, self.wanted, self.subject = body, len(body), wanted, subject
        self.is_implicit, self.is_little = is_implicit, is_little
        order = "<" if is_little else ">"
        self.tag_and_length = struct.Struct(f"{order}HHI").unpack_from
        self.short = struct.Struct(f"{order}H").unpack_from
        self.long = struct.Struct(f"{order}I").unpack_from
        self.pixels: PixelElement | None = None
        self.charsets: tuple[str, ...] = ()

    def head(self, at: int, is_implicit: bool) -> tuple[int, bytes, int, int]:
        """Tag, VR (b'' if not stated), value length and where the value starts."""
        group, element, length = self.tag_and_length(self.body, at)
        tag = group << 16 | element
        if is_implicit or group == 0xFFFE:
            return tag, b"", length, at + 8
        vr = self.body[at + 4 : at + 6]
        if vr in _LONG_VRS:
            if at + 12 > self.end:
                raise _Truncated
            return tag, vr, self.long(self.body, at + 8)[0], at + 12
        if vr.isalpha() and vr.isupper():
            return tag, vr, self.short(self.body, at + 6)[0], at + 8
        # Some writers switch to implicit VR inside sequences (pydicom issues 1035, 1067).
        return tag, b"", length, at + 8

    def meta(self, at: int) -> tuple[Elements, int]:
        """The file meta information, and where the data set starts."""
        found: dict[int, Raw] = {}
        while at + 8 <= self.end and self.body[at : at + 2] == b"\x02\x00":
            try:
                tag, vr, length, value = self.head(at, False)
            except _Truncated:
                length = value = self.end
            if length > self.end - value:
                raise UnreadableObject(self.subject, "the file ends within its first elements")
            if tag in self.wanted:
                found[tag] = Raw(vr.decode("latin_1"), self.body[value : value + length])
            at = value + length
        return Elements(found), at

    def data_set(self, at: int) -> Elements:
        """The wanted top-level elements; a file that ends early gives what lies before the end."""
        found: dict[int, Raw] = {}
        with suppress(_Truncated):
            self._elements(at, self.end, self.is_implicit, found, 0)
        return Elements(found, self.is_little, self.charsets)

    def _elements(self, at: int, end: int, is_implicit: bool, found: dict[int, Raw] | None, depth: int) -> int:
        """Walks over elements up to `end` or an item's delimiter; `found` takes those wanted (all, inside a wanted sequence)."""
        if depth > _DEEPEST:
            raise UnreadableObject(self.subject, f"its sequences are nested more than {_DEEPEST} deep")
        while at + 8 <= end:
            tag, vr, length, value = self.head(at, is_implicit)
            if tag == _ITEM_END:
                return value
            if depth == 0 and tag in _PIXELS:
                self.pixels = PixelElement(value, None if length == _UNDEFINED else length, tag == 0x7FE00010, vr.decode("latin_1"))
                return end
            is_wanted = found is not None and (depth > 0 or tag in self.wanted)
            if length == _UNDEFINED:
                # PS3.5 6.2.2: UN of undefined length is an implicit VR sequence.
                items: list[Elements] | None = [] if is_wanted else None
                at = self._items(value, end, is_implicit or vr == b"UN", items, depth + 1)
                if found is not None and items is not None:
                    found[tag] = Raw("SQ", b"", tuple(items))
                continue
            if length > end - value:
                raise _Truncated
            if found is not None and is_wanted:
                found[tag] = self._wanted(tag, vr, value, length, is_implicit, depth)
            at = value + length
        return at

    def _wanted(self, tag: int, vr: bytes, value: int, length: int, is_implicit: bool, depth: int) -> Raw:
        if vr == b"SQ" or (vr in (b"", b"UN") and length >= 8 and self.tag_and_length(self.body, value)[:2] == (0xFFFE, 0xE000)):
            items: list[Elements] = []
            self._items(value, value + length, is_implicit or vr == b"UN", items, depth + 1)
            return Raw("SQ", b"", tuple(items))
        raw = Raw(vr.decode("latin_1"), self.body[value : value + length])
        if tag == _CHARSET and depth == 0:
            self.charsets = Elements({tag: raw}).texts(tag)
        return raw

    def _items(self, at: int, end: int, is_implicit: bool, items: list[Elements] | None, depth: int) -> int:
        """Walks over the items of a sequence, or the fragments of an encapsulated value."""
        while at + 8 <= end:
            tag, _, length, value = self.head(at, True)
            if tag == _SEQUENCE_END:
                return value
            if tag != _ITEM:
                raise _Truncated
            found: dict[int, Raw] | None = None if items is None else {}
            if length == _UNDEFINED:
                at = self._elements(value, end, is_implicit, found, depth)
            else:
                if length > end - value:
                    raise _Truncated
                if items is not None:
                    self._elements(value, value + length, is_implicit, found, depth)
                at = value + length
            if items is not None and found is not None:
                items.append(Elements(found, self.is_little, self.charsets))
        return at


class _Truncated(Exception):
    """The bytes end, or make no sense any more: what was found before still stands."""
