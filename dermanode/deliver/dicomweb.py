"""A PACS as a destination: STOW-RS, one request for all objects of a case (PS3.18 10.5)."""

from __future__ import annotations

import json
import ssl
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info

from dermanode.config import DicomwebDestination
from dermanode.deliver.destination import Package
from dermanode.deliver.dimse import Answer
from dermanode.errors import ConfigurationError, DeliveryRefused, DestinationUnavailable

CHUNK_BYTES = 1 << 18
_TRY_AGAIN = frozenset({408, 425, 429})
"""Answers below 500 that another try may change."""
_TOLD = frozenset({200, 202, 409, 503})
"""Answers that may tell object by object what became of them."""

# PS3.18 table I.2-2
_REASONS = {0xA7: "out of resources", 0xA9: "the data set does not match its SOP class", 0xC0: "not understood"}
_EXACT_REASONS = {
    0x0110: "processing failure",
    0x0111: "it has the instance already",
    0x0122: "the SOP class is not supported",
    0xC122: "the transfer syntax is not supported",
}
_INSTANCE, _REASON, _WARNING = "00081155", "00081197", "00081196"
_FAILED, _REFERENCED, _OTHER = "00081198", "00081199", "0008119A"


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    instance: str
    size_bytes: int


class Dicomweb:
    """Posts objects to a DICOMweb server: the bytes of each file as they are, read while they are sent."""

    def __init__(self, name: str, settings: DicomwebDestination) -> None:
        self.name, self.settings = name, settings
        self._url = f"{settings.url.rstrip('/')}/studies"

    def deliver(self, package: Package) -> str:
        """What a server has already it may be sent again: the UIDs are the same."""
        files = [self._opened(path) for path in package.files]
        settings = self.settings
        headers = {"accept": "application/dicom+json"}
        if settings.token:
            headers["authorization"] = f"Bearer {settings.token}"
        login = (settings.username, settings.password) if settings.username and not settings.token else None
        try:
            with httpx.Client(auth=login, headers=headers, verify=self._trust(), timeout=settings.timeout_s) as client:
                response = self._post(client, files)
        except httpx.TimeoutException as error:
            raise DestinationUnavailable(self.name, f"gave no answer within {settings.timeout_s:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise DestinationUnavailable(self.name, f"{self._url} cannot be reached: {error}") from error
        return self._verdict(response, files)

    def _opened(self, path: Path) -> _File:
        try:
            return _File(path, str(read_file_meta_info(path).MediaStorageSOPInstanceUID), path.stat().st_size)
        except (InvalidDicomError, AttributeError) as error:
            raise DeliveryRefused(self.name, f"{path.name} is no DICOM file: {error}") from error

    def _trust(self) -> ssl.SSLContext | bool:
        try:
            return self.settings.tls.context() if self._url.startswith("https:") else True
        except ConfigurationError as error:
            raise DeliveryRefused(self.name, str(error)) from error

    def _post(self, client: httpx.Client, files: Sequence[_File]) -> httpx.Response:
        boundary = uuid.uuid4().hex
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode("ascii")
        end = f"--{boundary}--\r\n".encode("ascii")
        headers = {
            "content-type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            # Said beforehand: not every server takes a body of unknown length.
            "content-length": str(sum(len(head) + file.size_bytes + 2 for file in files) + len(end)),
        }
        return client.post(self._url, content=_body(files, head, end), headers=headers)

    def _verdict(self, response: httpx.Response, files: Sequence[_File]) -> str:
        status = response.status_code
        told = _parsed(response) if status in _TOLD else None
        if told is None and status != 200:
            words = f"HTTP {status}" + (f": {said}" if (said := _said(response)) else "")
            if status in _TRY_AGAIN or response.is_server_error or status in _TOLD:
                raise DestinationUnavailable(self.name, f"answered {words}")
            # 3xx too: objects are not sent to an address that nobody configured
            raise DeliveryRefused(self.name, f"refused with {words}")
        answers = _answers(files, told or {}, is_all_stored=status == 200)
        stored = [answer for answer in answers if answer.is_stored]
        failed = [f"{answer.file_name}: {answer.words}" for answer in answers if not answer.is_stored]
        if failed:
            remark = f" ({warning})" if (warning := response.headers.get("warning", "")) else ""
            reason = f"stored {len(stored)} of {len(answers)}; {'; '.join(failed)}{remark}"[:2000]
            is_hopeless = all(answer.is_final for answer in answers if not answer.is_stored)
            raise (DeliveryRefused if is_hopeless else DestinationUnavailable)(self.name, reason)
        remarks = [f"{answer.file_name}: {answer.words}" for answer in stored if answer.status != 0x0000]
        return "; ".join([f"{len(stored)} objects stored at {self._url}", *remarks])


def _body(files: Sequence[_File], head: bytes, end: bytes) -> Iterator[bytes]:
    for file in files:
        yield head
        with file.path.open("rb") as content:
            while chunk := content.read(CHUNK_BYTES):
                yield chunk
        yield b"\r\n"
    yield end


def _answers(files: Sequence[_File], told: Mapping[str, Any], *, is_all_stored: bool) -> list[Answer]:
    """What became of each file; of one that the server does not mention only the status tells."""
    statuses: dict[str, int] = {}
    for item in _items(told, _REFERENCED):
        statuses[str(_value(item, _INSTANCE))] = _number(item, _WARNING) or 0x0000
    for item in _items(told, _FAILED):
        statuses[str(_value(item, _INSTANCE))] = _number(item, _REASON) or 0x0110
    others = [_number(item, _REASON) or 0x0110 for item in _items(told, _OTHER)]
    answers = []
    for file in files:
        status = statuses.get(file.instance, 0x0000 if is_all_stored else others[0] if others else None)
        answers.append(Answer(file.path.name, status, "not mentioned in the answer" if status is None else _words(status)))
    return answers


def _words(status: int) -> str:
    known = _EXACT_REASONS.get(status) or _REASONS.get(status >> 8, "")
    return " ".join(filter(None, [f"0x{status:04X}", known]))


def _parsed(response: httpx.Response) -> Mapping[str, Any] | None:
    try:
        said = response.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None
    if isinstance(said, list) and len(said) == 1:  # some servers answer with a list of one
        said = said[0]
    return said if isinstance(said, dict) else None


def _items(told: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    sequence = told.get(name)
    values = sequence.get("Value") if isinstance(sequence, dict) else None
    return [item for item in values if isinstance(item, dict)] if isinstance(values, list) else []


def _value(item: Mapping[str, Any], name: str) -> object:
    attribute = item.get(name)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    return values[0] if isinstance(values, list) and values else None


def _number(item: Mapping[str, Any], name: str) -> int | None:
    value = _value(item, name)
    try:
        return int(str(value)) if value is not None else None
    except ValueError:
        return None


def _said(response: httpx.Response) -> str:
    """What a server says in plain words; a page in HTML is none."""
    if not response.headers.get("content-type", "").startswith("text/plain"):
        return str(response.headers.get("warning", ""))[:500]
    return " ".join(response.text.split())[:500]
