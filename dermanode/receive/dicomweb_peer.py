"""A PACS by DICOMweb: QIDO-RS and WADO-RS (PS3.18 10.6, 10.4)."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
from pydicom import Dataset

from dermanode.config import DicomwebSource
from dermanode.errors import ConfigurationError, SourceRefused, SourceUnavailable
from dermanode.receive.multipart import MalformedMultipart, MediaType, PartReader, PartSink
from dermanode.receive.searcher import INSTANCE_KEYS, MOST_ANSWERS, SERIES_KEYS, STUDY_KEYS

STOPPED = "the node is being stopped"
PAGE = 500
"""Results asked for at once; a server may give fewer."""
CHUNK_BYTES = 1 << 18
_DICOM = "application/dicom"
_JSON = "application/dicom+json"


class DicomwebPeer:
    """Asks one source. Its errors are `SourceUnavailable`, and `SourceRefused` for what a setting has to change."""

    def __init__(self, name: str, source: DicomwebSource) -> None:
        self.name, self._source = name, source
        self._url = source.url.rstrip("/")

    @contextmanager
    def session(self, timeout_s: float | None = None) -> Iterator[DicomwebSession]:
        """Connections that are kept from one question to the next."""
        source = self._source
        headers = {"authorization": f"Bearer {source.token}"} if source.token else {}
        login = (source.username, source.password) if source.username and not source.token else None
        limit_s = source.timeout_s if timeout_s is None else max(0.1, timeout_s)
        try:
            with httpx.Client(auth=login, headers=headers, verify=self._trust(), timeout=limit_s) as client:
                yield DicomwebSession(self.name, self._url, client)
        except httpx.TimeoutException as error:
            raise SourceUnavailable(self.name, "it was too slow") from error
        except httpx.InvalidURL as error:
            raise SourceRefused(self.name, f"its `url` is none ({error})") from error
        except httpx.RemoteProtocolError as error:
            raise SourceUnavailable(self.name, "its answer broke off") from error
        except httpx.HTTPError as error:
            raise SourceUnavailable(self.name, f"it does not answer ({_why(error)})") from error

    def _trust(self) -> ssl.SSLContext | bool:
        try:
            return self._source.tls.context() if self._url.startswith("https:") else True
        except ConfigurationError as error:
            raise SourceRefused(self.name, str(error)) from error


class DicomwebSession:
    """A searcher, and WADO-RS."""

    def __init__(self, name: str, url: str, client: httpx.Client) -> None:
        self.name, self._url, self._client = name, url, client

    def studies(self, matching: Mapping[str, str]) -> list[Dataset]:
        return self._find("/studies", matching, STUDY_KEYS, "StudyInstanceUID")

    def series(self, study: str, matching: Mapping[str, str]) -> list[Dataset]:
        return self._find(f"/studies/{study}/series" if study else "/series", matching, SERIES_KEYS, "SeriesInstanceUID")

    def instances(self, study: str, series: str) -> list[Dataset]:
        return self._find(f"/studies/{study}/series/{series}/instances", {}, INSTANCE_KEYS, "SOPInstanceUID")

    def retrieve(self, path: str, sink: PartSink, stopping: threading.Event | None = None) -> None:
        """The DICOM files at that path below the base, streamed into the sink, in the transfer syntaxes that the source has."""
        # PS3.18 8.7.3.5.2: without the asterisk a server may transcode to Explicit VR Little Endian.
        accept = f'multipart/related; type="{_DICOM}"; transfer-syntax=*'
        with self._client.stream("GET", f"{self._url}{path}", headers={"accept": accept}) as response:
            self._check(response)
            kind = MediaType.parse(response.headers.get("content-type", ""))
            try:
                feed, finish = self._reader(kind, sink)
                for chunk in response.iter_bytes(CHUNK_BYTES):
                    feed(chunk)
                    if stopping is not None and stopping.is_set():
                        raise SourceUnavailable(self.name, STOPPED)
                finish()
            except MalformedMultipart as error:
                raise SourceUnavailable(self.name, f"its answer broke off, or is no multipart ({error})") from error

    def _reader(self, kind: MediaType, sink: PartSink) -> tuple[Callable[[bytes], None], Callable[[], None]]:
        if kind.name == _DICOM:  # a single instance may come without a wrapping
            sink.begin(_DICOM)
            return lambda chunk: sink.write(memoryview(chunk)), sink.end
        if kind.name != "multipart/related":
            raise SourceUnavailable(self.name, f"it answers with {kind.name or 'no media type'}, not with DICOM files")
        reader = PartReader(kind.boundary(), sink)
        return reader.write, reader.finish

    def _find(self, path: str, matching: Mapping[str, str], keys: Sequence[str], uid: str) -> list[Dataset]:
        """All results: asked for page by page until nothing new comes, since a server may give fewer than it was asked for."""
        found: dict[str, Dataset] = {}
        while True:
            parameters: list[tuple[str, str | int]] = [*matching.items(), *(("includefield", key) for key in keys)]
            page = self._page(path, [*parameters, ("limit", PAGE), ("offset", len(found))])
            before = len(found)
            found |= {str(one.get(uid)): one for one in page if one.get(uid)}
            if len(found) == before:
                return list(found.values())
            if len(found) > MOST_ANSWERS:
                raise SourceRefused(self.name, f"it answers more than {MOST_ANSWERS} times: ask for less")

    def _page(self, path: str, parameters: Sequence[tuple[str, str | int]]) -> list[Dataset]:
        response = self._client.get(f"{self._url}{path}", params=list(parameters), headers={"accept": _JSON})
        if response.status_code == 204:
            return []
        self._check(response)
        try:
            answers: Any = response.json()
            return [Dataset.from_json(answer) for answer in answers]
        except (json.JSONDecodeError, UnicodeDecodeError, TypeError, ValueError, KeyError, AttributeError) as error:
            raise SourceUnavailable(self.name, f"its answer to a search was not understood ({type(error).__name__})") from error

    def _check(self, response: httpx.Response) -> None:
        status = response.status_code
        if status in (401, 403):
            raise SourceRefused(self.name, f"it refuses us with HTTP {status}: check the user, the password or the token of the source")
        if not response.is_success:
            raise SourceUnavailable(self.name, f"it answers HTTP {status}")


def _why(error: BaseException) -> str:
    """What the system says of a connection, or the kind of error: httpx repeats the address, which is not for reports."""
    cause = error.__cause__ or error.__context__
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__ if cause is None else _why(cause)
