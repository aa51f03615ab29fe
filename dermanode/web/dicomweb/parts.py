"""Answers in several parts (multipart/related, RFC 2387), part by part as they are sent."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice

import structlog
from fastapi.responses import StreamingResponse

from dermanode.errors import UnreadableObject

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Part:
    """One part."""

    content_type: str
    location: str
    content: Iterable[bytes]


def multipart(parts: Iterable[Part], kind: str, headers: dict[str, str]) -> StreamingResponse:
    """The answer, made of parts of that media type. What the first of them raises is raised here, before the answer begins."""
    boundary = uuid.uuid4().hex
    iterator = iter(parts)
    primed = chain(list(islice(iterator, 1)), iterator)
    return StreamingResponse(_body(primed, boundary), headers=headers, media_type=f'multipart/related; type="{kind}"; boundary={boundary}')


def _body(parts: Iterable[Part], boundary: str) -> Iterator[bytes]:
    try:
        for part in parts:
            head = f"\r\n--{boundary}\r\nContent-Type: {part.content_type}\r\nContent-Location: {part.location}\r\n\r\n"
            yield head.encode("latin_1", "replace")
            yield from part.content
    except UnreadableObject as error:
        # The status is long out: without its closing boundary the client sees that the answer broke off.
        log.warning("answer_broke_off", reason=error.reason)
        return
    yield f"\r\n--{boundary}--\r\n".encode("ascii")
