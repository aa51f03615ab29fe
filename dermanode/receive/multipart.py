"""The parts of a multipart/related body (RFC 2387), as its bytes come in: nothing is kept but the headers of the part at hand."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartState, parse_options_header

from dermanode.errors import DermaNodeError

BOUNDARY_LIMIT = 200
"""RFC 2046 5.1.1 ends at 70 characters, and Orthanc sends 73."""


class MalformedMultipart(DermaNodeError):
    """A body, or its Content-Type, that is no multipart/related."""


@dataclass(frozen=True, slots=True)
class MediaType:
    """A media type with its parameters; names in small letters."""

    name: str
    parameters: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> MediaType:
        """Of a Content-Type, values quoted or not."""
        name, parameters = parse_options_header(text.encode("latin_1", "replace"))
        return cls(
            name.decode("latin_1").strip().lower(),
            {key.decode("latin_1").lower(): value.decode("latin_1") for key, value in parameters.items()},
        )

    def boundary(self) -> bytes:
        """Where its parts end. Raises `MalformedMultipart` without one."""
        boundary = self.parameters.get("boundary", "")
        if not boundary:
            raise MalformedMultipart("The Content-Type of the request names no boundary.")
        if len(boundary) > BOUNDARY_LIMIT or not boundary.isascii() or not boundary.isprintable():
            raise MalformedMultipart("The boundary in the Content-Type of the request is none (RFC 2046 5.1.1).")
        return boundary.encode("ascii")


class PartSink(Protocol):
    """Takes the parts, one after the other."""

    def begin(self, content_type: str) -> None:
        """A part begins; '' where it does not say what it is."""

    def write(self, data: memoryview) -> None:
        """More of the part; the buffer is the caller's again afterwards."""

    def end(self) -> None:
        """The part is whole."""


class PartReader:
    """Cuts a body into its parts, with or without headers of their own. Its errors are `MalformedMultipart`."""

    def __init__(self, boundary: bytes, sink: PartSink) -> None:
        # What is wrong with a sender's body is said in the answer.
        logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
        self._sink = sink
        self._name, self._value = bytearray(), bytearray()
        self._content_type = ""
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begun,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._header_ended,
                "on_headers_finished": lambda: sink.begin(self._content_type),
                "on_part_data": lambda data, start, end: sink.write(memoryview(data)[start:end]),
                "on_part_end": sink.end,
            },
        )

    def write(self, data: bytes) -> None:
        """Takes more of the body."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise MalformedMultipart(f"The body is no multipart of the boundary in its Content-Type ({error}).") from error

    def finish(self) -> None:
        """The body ends here."""
        if self._parser.state != MultipartState.END:
            raise MalformedMultipart("The body ends before its closing boundary.")

    def _part_begun(self) -> None:
        self._content_type = ""

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_ended(self) -> None:
        if bytes(self._name).strip().lower() == b"content-type":
            self._content_type = self._value.decode("latin_1").strip()
        self._name.clear()
        self._value.clear()
