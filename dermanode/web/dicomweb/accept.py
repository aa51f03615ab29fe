"""What a client accepts (RFC 9110 12.5.1, PS3.18 8.7): media types with their transfer syntaxes, the most wanted first."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fastapi import Request

from dermanode.receive.multipart import MediaType

_RANGES = re.compile(r'(?:[^,"]|"[^"]*")+')


@dataclass(frozen=True, slots=True)
class Range:
    """One media range."""

    is_multipart: bool
    kind: str
    """The type of the parts, or of the whole: `application/dicom`, `image/*`, `*/*`."""
    transfer_syntax: str
    """`*` for any; empty where none is named."""
    quality: float

    def takes(self, kind: str) -> bool:
        """Whether a media type is one of the range's."""
        return self.kind in ("*/*", kind) or (self.kind.endswith("/*") and kind.startswith(self.kind[:-1]))


def accepted(request: Request) -> tuple[Range, ...]:
    """The ranges of a request; one that says nothing takes anything. The query parameter `accept` stands before the header."""
    text = request.query_params.get("accept") or ", ".join(request.headers.getlist("accept"))
    ranges = [_range(one) for one in _RANGES.findall(text)[:50] if one.strip()]
    wanted = [one for one in ranges if one.quality > 0]
    return tuple(sorted(wanted, key=lambda one: -one.quality)) if ranges else (Range(False, "*/*", "", 1.0),)


def _range(text: str) -> Range:
    media = MediaType.parse(text.strip())
    try:
        quality = float(media.parameters.get("q", "1"))
    except ValueError:
        quality = 1.0
    is_multipart = media.name in ("multipart/related", "multipart/*")
    kind = media.parameters.get("type", "*/*").strip().lower() if is_multipart else media.name
    return Range(is_multipart, kind, media.parameters.get("transfer-syntax", "").strip(), quality)
