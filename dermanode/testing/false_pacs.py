"""A PACS to search and retrieve from that can be told to misbehave: by C-FIND, C-GET and C-MOVE, and by DICOMweb."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from dermanode.testing.real_pacs import as_file

_LEVELS = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}


@dataclass
class Manners:
    """What it does wrong; by default nothing."""

    believes_anything: bool = False
    """Answers a search with all it has, whatever was asked."""
    states: int | None = None
    """The Number of Series Related Instances that it states; None: it states none."""
    gives_at_most: int | None = None
    """Of each retrieval only so many objects."""
    aborts_after: int | None = None
    """The association, or the connection, after so many objects of a retrieval."""
    gives_instead: Dataset | None = None
    """In place of the first object of each retrieval."""
    page: int = 1000
    """DICOMweb: results in one answer, whatever was asked for."""
    status: int = 200
    """DICOMweb: of every answer."""
    wado_type: str | None = None
    """DICOMweb: another Content-Type for what is retrieved."""
    retrieved: list[tuple[str, ...]] = field(default_factory=list)
    """The UIDs that were asked for by retrievals, whole ones as ()."""
    may_give: threading.Event = field(default_factory=threading.Event)
    """Retrievals wait for it."""

    def __post_init__(self) -> None:
        self.may_give.set()

    def parcel(self, found: Sequence[Dataset]) -> Iterator[Dataset]:
        self.may_give.wait(30)
        given = list(found if self.gives_at_most is None else found[: self.gives_at_most])
        if self.gives_instead is not None and given:
            given[0] = self.gives_instead
        yield from given


class FalsePacs:
    """By DIMSE, on 127.0.0.1, called FALSEPACS."""

    def __init__(self, instances: Iterable[Dataset], *, knows: Sequence[str] = ("DERMANODE",)) -> None:
        """`knows`: who may call, and who is known as a destination of C-MOVE."""
        self.instances, self.manners = list(instances), Manners()
        self.destinations: dict[str, tuple[str, int]] = {}
        self._entity = AE(ae_title="FALSEPACS")
        self._entity.require_calling_aet = list(knows)
        for model in (
            StudyRootQueryRetrieveInformationModelFind,
            StudyRootQueryRetrieveInformationModelGet,
            StudyRootQueryRetrieveInformationModelMove,
        ):
            self._entity.add_supported_context(model)
        for sop_class in sorted({str(one.SOPClassUID) for one in self.instances}):
            self._entity.add_supported_context(sop_class, scu_role=True, scp_role=True)
            self._entity.add_requested_context(sop_class)
        self.port = 0

    def __enter__(self) -> Self:
        handlers = [(evt.EVT_C_FIND, self._find), (evt.EVT_C_GET, self._get), (evt.EVT_C_MOVE, self._move)]
        self._server = self._entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self.port = self._server.server_address[1]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.manners.may_give.set()
        self._entity.shutdown()

    def source(self, retrieve: str = "get") -> dict[str, Any]:
        return {"ae_title": "FALSEPACS", "host": "127.0.0.1", "port": self.port, "retrieve": retrieve}

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        query = event.identifier
        for answer in answers(self.instances, query, self.manners):
            yield 0xFF00, answer

    def _get(self, event: evt.Event) -> Iterator[Any]:
        found = self._asked(event.identifier)
        yield len(found)
        for number, instance in enumerate(self.manners.parcel(found)):
            if self.manners.aborts_after is not None and number >= self.manners.aborts_after:
                event.assoc.abort()
                return
            yield 0xFF00, instance

    def _move(self, event: evt.Event) -> Iterator[Any]:
        destination = self.destinations.get(str(event.move_destination).strip())
        if destination is None:
            yield None, None
            return
        found = self._asked(event.identifier)
        yield destination
        yield len(found)
        for instance in self.manners.parcel(found):
            yield 0xFF00, instance

    def _asked(self, query: Dataset) -> list[Dataset]:
        named = query.get("SOPInstanceUID") or ()
        named = (named,) if isinstance(named, str) else tuple(named)
        self.manners.retrieved.append(tuple(str(uid) for uid in named))
        return [
            one
            for one in self.instances
            if one.SeriesInstanceUID == query.SeriesInstanceUID and (not named or str(one.SOPInstanceUID) in named)
        ]


class FalseWeb:
    """By DICOMweb, on 127.0.0.1."""

    def __init__(self, instances: Iterable[Dataset]) -> None:
        self.instances, self.manners = list(instances), Manners()
        self.requests: list[tuple[str, dict[str, str]]] = []
        """Path and headers of each."""

    def __enter__(self) -> Self:
        false_web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                false_web.answer(self)

            def log_message(self, *_arguments: object) -> None:
                """Nothing: tests print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.manners.may_give.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def source(self, **settings: object) -> dict[str, Any]:
        return {"type": "dicomweb", "url": f"http://127.0.0.1:{self._server.server_address[1]}/web", **settings}

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        address = urlsplit(request.path)
        self.requests.append((request.path, {name.lower(): value for name, value in request.headers.items()}))
        path = [unquote(part) for part in address.path.split("/")[2:]]
        if self.manners.status != 200:
            self._send(request, b"", "text/plain", self.manners.status)
        elif path[-1] in ("studies", "series", "instances"):
            self._search(request, path, {key: values[0] for key, values in parse_qs(address.query).items()})
        else:
            self._retrieve(request, path)

    def _search(self, request: BaseHTTPRequestHandler, path: list[str], parameters: dict[str, str]) -> None:
        level = {"studies": "STUDY", "series": "SERIES", "instances": "IMAGE"}[path[-1]]
        query = Dataset()
        query.QueryRetrieveLevel = level
        keys = ("PatientID", "IssuerOfPatientID", "AccessionNumber", "StudyDate", "StudyInstanceUID", "SeriesInstanceUID", "Modality")
        for keyword in keys:
            setattr(query, keyword, parameters.get(keyword, ""))
        for name, value in zip(path[:-1:2], path[1::2], strict=False):
            setattr(query, {"studies": "StudyInstanceUID", "series": "SeriesInstanceUID"}[name], value)
        found = list(answers(self.instances, query, self.manners))
        offset, limit = int(parameters.get("offset", 0)), min(int(parameters.get("limit", 1000)), self.manners.page)
        body = json.dumps([answer.to_json_dict() for answer in found[offset : offset + limit]]).encode()
        self._send(request, body, "application/dicom+json", 200)

    def _retrieve(self, request: BaseHTTPRequestHandler, path: list[str]) -> None:
        named = path[5:6]
        self.manners.retrieved.append(tuple(named))
        found = [one for one in self.instances if one.SeriesInstanceUID == path[3] and (not named or one.SOPInstanceUID in named)]
        body = b""
        for number, instance in enumerate(self.manners.parcel(found)):
            part = b"--cut\r\nContent-Type: application/dicom\r\n\r\n" + as_file(instance) + b"\r\n"
            if self.manners.aborts_after is not None and number >= self.manners.aborts_after:
                self._send(request, body + part[: len(part) // 2], None, 200)
                return
            body += part
        self._send(request, body + b"--cut--\r\n", self.manners.wado_type, 200)

    def _send(self, request: BaseHTTPRequestHandler, body: bytes, kind: str | None, status: int) -> None:
        request.send_response(status)
        request.send_header("Content-Type", kind or 'multipart/related; type="application/dicom"; boundary=cut')
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)


def answers(instances: Iterable[Dataset], query: Dataset, manners: Manners) -> Iterator[Dataset]:
    """What a search finds, each thing once."""
    level = query.QueryRetrieveLevel
    matched = [one for one in instances if manners.believes_anything or _matches(one, query)]
    for uid in dict.fromkeys(str(one[_LEVELS[level]].value) for one in matched):
        first = next(one for one in matched if one[_LEVELS[level]].value == uid)
        answer = Dataset()
        keywords: tuple[str, ...] = (
            "StudyInstanceUID",
            "PatientID",
            "IssuerOfPatientID",
            "AccessionNumber",
            "StudyDate",
            "SpecificCharacterSet",
        )
        keywords += ("SeriesInstanceUID", "Modality") if level != "STUDY" else ()
        keywords += ("SOPInstanceUID", "SOPClassUID") if level == "IMAGE" else ()
        for keyword in keywords:
            if keyword in first:
                setattr(answer, keyword, first[keyword].value)
        if level == "SERIES" and manners.states is not None:
            answer.NumberOfSeriesRelatedInstances = manners.states
        if level != "IMAGE" or manners.believes_anything:
            answer.QueryRetrieveLevel = level
        yield answer


def _matches(instance: Dataset, query: Dataset) -> bool:
    for keyword in ("PatientID", "IssuerOfPatientID", "AccessionNumber", "StudyInstanceUID", "SeriesInstanceUID", "Modality"):
        wanted = str(query.get(keyword) or "")
        if wanted and str(instance.get(keyword) or "") != wanted:
            return False
    first, _, last = str(query.get("StudyDate") or "").partition("-")
    date = str(instance.StudyDate)
    return not first or (date == first if not last else first <= date <= last)
