"""The DICOM JSON model (PS3.18 F.2) of what was read of a header: what cannot be told in it is left out, and nothing raises."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydicom.datadict import dictionary_VR

from dermanode.dicom.elements import Elements, Raw

Model = dict[str, dict[str, Any]]
"""Attributes by tag, as eight hexadecimal digits."""

LONGEST_INLINE_BYTES = 1024
"""A longer binary value is given by reference, where there is something to refer to, or left out."""
_LONGEST_TEXT_BYTES = 1 << 16
_BINARY_NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
_WIDTHS = {"OB": 1, "UN": 1, "OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
_ONE_TEXT = frozenset({"LT", "ST", "UT", "UR"})
_PIXEL_REPRESENTATION = 0x00280103
_PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})


def name_of(tag: int) -> str:
    """`00080018`."""
    return f"{tag:08X}"


def attribute(vr: str, values: Sequence[object]) -> dict[str, Any]:
    """An attribute with these values, which JSON can hold; none is an empty one."""
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}


def model_of(elements: Elements, tags: Iterable[int], uri: str = "") -> Model:
    """Those of these attributes that the header has. `uri` is where the long values are, by tag; '' leaves them out."""
    told: Model = {}
    is_signed = elements.unsigned(_PIXEL_REPRESENTATION) == 1
    for tag in sorted(tags):
        raw = elements.raw.get(tag)
        if raw is None or tag & 0xFFFF == 0 or tag in _PIXELS:
            continue
        value = _attribute(elements, tag, vr_of(tag, raw, is_signed), f"{uri}/{name_of(tag)}" if uri else "")
        if value is not None:
            told[name_of(tag)] = value
    return told


def texts(elements: Elements, tag: int) -> tuple[str, ...]:
    """The values of an attribute as text, for comparing; empty ones are left out."""
    vr = vr_of(tag, elements.raw.get(tag))
    if vr in _BINARY_NUMBERS or vr in ("IS", "DS"):
        return tuple(str(number) for number in _numbers(elements, tag, vr))
    if vr in _ONE_TEXT:
        return tuple(filter(None, [elements.text(tag)]))
    return tuple(filter(None, elements.texts(tag)))


def vr_of(tag: int, raw: Raw | None, is_signed: bool = False) -> str:
    """The VR that the file states, or the dictionary's."""
    if raw is not None and raw.vr not in ("", "UN"):
        return raw.vr
    try:
        known = str(dictionary_VR(tag))
    except KeyError:
        return "UN"
    if known.startswith("US or SS"):
        return "SS" if is_signed else "US"
    return "OW" if known == "OB or OW" else known.split(" ")[0]


def _attribute(elements: Elements, tag: int, vr: str, uri: str) -> dict[str, Any] | None:
    raw = elements.raw[tag]
    if vr == "SQ":
        return attribute(vr, [model_of(item, item.raw, f"{uri}/{number}" if uri else "") for number, item in enumerate(raw.items)])
    if raw.items:
        return None
    if len(raw.value) > (_LONGEST_TEXT_BYTES if vr not in _WIDTHS else LONGEST_INLINE_BYTES):
        return {"vr": vr, "BulkDataURI": uri} if uri else None
    if vr in _WIDTHS:
        value = base64.b64encode(little_endian(elements, tag, vr)).decode("ascii")
        return {"vr": vr, "InlineBinary": value} if value else {"vr": vr}
    if vr in _BINARY_NUMBERS or vr in ("IS", "DS"):
        # PS3.18 F.2.2: JSON has no number that is none.
        return attribute(vr, [number if math.isfinite(number) else None for number in _numbers(elements, tag, vr)])
    if vr == "AT":
        pairs = struct.iter_unpack("<HH" if elements.is_little_endian else ">HH", raw.value[: len(raw.value) // 4 * 4])
        return attribute(vr, [f"{group:04X}{element:04X}" for group, element in pairs])
    if vr == "PN":
        return attribute(vr, [_name(text) if text else None for text in elements.texts(tag)])
    found = [elements.text(tag)] if vr in _ONE_TEXT else elements.texts(tag)
    return attribute(vr, [text or None for text in found] if any(found) else [])


def little_endian(elements: Elements, tag: int, vr: str) -> bytes:
    """A binary value as JSON and bulk data have it (PS3.18 F.2.7)."""
    value, width = elements.bytes(tag), _WIDTHS.get(vr, 1)
    if elements.is_little_endian or width == 1:
        return value
    return b"".join(value[at : at + width][::-1] for at in range(0, len(value), width))


def _numbers(elements: Elements, tag: int, vr: str) -> Sequence[int | float]:
    kind = _BINARY_NUMBERS.get(vr)
    if kind is None:
        numbers = elements.numbers(tag)
        return [int(number) for number in numbers] if vr == "IS" else numbers
    value, size = elements.bytes(tag), struct.calcsize(kind)
    return struct.unpack(f"{'<' if elements.is_little_endian else '>'}{len(value) // size}{kind}", value[: len(value) // size * size])


def _name(text: str) -> Mapping[str, str]:
    writings = zip(("Alphabetic", "Ideographic", "Phonetic"), text.split("="), strict=False)
    return {kind: written for kind, written in writings if written}
