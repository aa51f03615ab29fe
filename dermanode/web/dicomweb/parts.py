"""Answers in several parts (multipart/related, RFC 2387), part by part as they are sent."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fastapi.responses import StreamingResponse


@dataclass(frozen=True, slots=True)
class Part:
    """One part."""

    content_type: str
    location: str
    content: Iterable[bytes]


def multipart(parts: Iterable[Part], kind: str, headers: dict[str, str]) -> StreamingResponse:
    """The answer, made of parts of that media type."""
    boundary = uuid.uuid4().hex
    return StreamingResponse(_body(parts, boundary), headers=headers, media_type=f'multipart/related; type="{kind}"; boundary={boundary}')


def _body(parts: Iterable[Part], boundary: str) -> Iterator[bytes]:
    for part in parts:
        head = f"\r\n--{boundary}\r\nContent-Type: {part.content_type}\r\nContent-Location: {part.location}\r\n\r\n"
        yield head.encode("latin_1", "replace")
        yield from part.content
    yield f"\r\n--{boundary}--\r\n".encode("ascii")
