"""The routes of the service: which of its parts answers what."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from dermanode.domain.identifiers import UID
from dermanode.errors import IdentifierError, UnreadableObject
from dermanode.ledger.served import Served
from dermanode.receive.multipart import MalformedMultipart, MediaType
from dermanode.receive.stow import Stow, StowClosed, Upload
from dermanode.receive.stow_part import StowedPart
from dermanode.web.dicomweb import answers, picture, query, retrieve, store
from dermanode.web.dicomweb.accept import accepted
from dermanode.web.dicomweb.attributes import Level
from dermanode.web.dicomweb.headers import Headers
from dermanode.web.dicomweb.metadata import metadata
from dermanode.web.dicomweb.origins import PREFIX
from dermanode.web.dicomweb.problem import Problem
from dermanode.web.dicomweb.search import search
from dermanode.web.dicomweb.shelf import Shelf, Volume

_GATHERED_BYTES = 1 << 20
"""So much of a request is given to the disk at once."""
_XML = "application/dicom+xml"
_THUMBNAIL = (256, 256)


def dicomweb_routes(
    served: Served, spool_dir: Path, results_dir: Path, stow: Stow, free_mib: Callable[[], int], silence_s: float = 60.0
) -> APIRouter:
    """STOW-RS into `stow`; QIDO-RS and WADO-RS over what the ledger serves.

    `free_mib` tells what may still be written; a request whose body is silent for `silence_s` is given up.
    """
    routes = APIRouter(prefix=PREFIX, include_in_schema=False)
    shelf = Shelf(served, spool_dir, results_dir, Headers())
    _add_store(routes, stow, free_mib, silence_s)
    _add_search(routes, shelf)
    _add_retrieve(routes, shelf)
    return routes


def _root(request: Request) -> str:
    return str(request.base_url).rstrip("/") + PREFIX


def _add_store(routes: APIRouter, stow: Stow, free_mib: Callable[[], int], silence_s: float) -> None:
    @routes.post("/studies")
    @routes.post("/studies/{study}")
    async def store_objects(request: Request, study: str | None = None) -> Response:
        wanted = _study(study)
        is_xml = _is_xml_wanted(request)
        boundary = _boundary(request)
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length) >> 20 > free_mib():
            raise Problem(413, "The node's disk has no room for the request.")
        try:
            address = request.client.host if request.client else ""
            upload = stow.begin(boundary, user=_user(request), address=address, study=wanted)
        except StowClosed as closed:
            raise Problem(503, str(closed), {"Retry-After": "10"}) from closed
        parts = await _received(request, upload, silence_s)
        if not parts:
            raise Problem(400, "The body of the request has no part.")
        return store.answer(parts, _root(request), study, is_xml=is_xml)


async def _received(request: Request, upload: Upload, silence_s: float) -> Sequence[StowedPart]:
    """What became of the parts. Raises `Problem`."""
    is_over = False
    try:
        try:
            gathered, size = list[bytes](), 0
            async for chunk in _without_silence(request.stream(), silence_s):
                gathered.append(chunk)
                size += len(chunk)
                if size >= _GATHERED_BYTES:
                    await run_in_threadpool(upload.feed, b"".join(gathered))
                    gathered, size = [], 0
            await run_in_threadpool(upload.feed, b"".join(gathered))
            parts = await run_in_threadpool(upload.finish)
        except MalformedMultipart as error:
            parts = await run_in_threadpool(upload.give_up, error)
        is_over = True
        return parts
    except MalformedMultipart as error:
        raise Problem(400, str(error)) from error
    except StowClosed as closed:
        raise Problem(503, str(closed), {"Retry-After": "10"}) from closed
    except TimeoutError as error:
        raise Problem(408, f"Nothing came for {silence_s:g} s.") from error
    except ClientDisconnect as error:
        raise Problem(400, "The body of the request ended early.") from error
    finally:
        if not is_over:
            await run_in_threadpool(upload.abandon)


async def _without_silence(stream: AsyncIterator[bytes], silence_s: float) -> AsyncIterator[bytes]:
    """The same chunks. Raises TimeoutError."""
    while True:
        try:
            async with asyncio.timeout(silence_s):
                chunk = await anext(stream)
        except StopAsyncIteration:
            return
        yield chunk


def _boundary(request: Request) -> bytes:
    media = MediaType.parse(request.headers.get("content-type", ""))
    kind = media.parameters.get("type", "application/dicom").strip().lower()
    if media.name != "multipart/related" or kind != "application/dicom":
        raise Problem(415, 'Objects are taken as multipart/related; type="application/dicom".')
    try:
        return media.boundary()
    except MalformedMultipart as error:
        raise Problem(400, str(error)) from error


def _study(text: str | None) -> UID | None:
    try:
        return UID(text) if text is not None else None
    except IdentifierError as error:
        raise Problem(400, f"{(text or '')[:80]!r} is no UID.") from error


def _is_xml_wanted(request: Request) -> bool:
    for one in accepted(request):
        if one.takes(answers.KIND) or one.takes("application/json"):
            return False
        if one.kind == _XML:
            return True
    raise Problem(406, f"The answer is given as {answers.KIND} or {_XML}.")


def _user(request: Request) -> str:
    """Who has logged in; the guard has checked it."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(encoded, validate=True).decode("utf-8", "replace").partition(":")[0][:64]
    except binascii.Error:
        return ""


def _add_search(routes: APIRouter, shelf: Shelf) -> None:
    def found(request: Request, level: Level, **named: str) -> Response:
        _require_json(request)
        answer = search(shelf, query.parse(level, request.query_params.multi_items(), **named), _root(request))
        headers = {"Warning": ", ".join(f'299 DermaNode "{words}"' for words in answer.warnings)} if answer.warnings else {}
        return answers.json_response(answer.entities, headers=headers)

    @routes.get("/studies")
    def studies(request: Request) -> Response:
        return found(request, Level.STUDY)

    @routes.get("/series")
    def series(request: Request) -> Response:
        return found(request, Level.SERIES)

    @routes.get("/instances")
    def instances(request: Request) -> Response:
        return found(request, Level.INSTANCE)

    @routes.get("/studies/{study}/series")
    def series_of_study(request: Request, study: str) -> Response:
        return found(request, Level.SERIES, StudyInstanceUID=study)

    @routes.get("/studies/{study}/instances")
    def instances_of_study(request: Request, study: str) -> Response:
        return found(request, Level.INSTANCE, StudyInstanceUID=study)

    @routes.get("/studies/{study}/series/{series}/instances")
    def instances_of_series(request: Request, study: str, series: str) -> Response:
        return found(request, Level.INSTANCE, StudyInstanceUID=study, SeriesInstanceUID=series)


def _require_json(request: Request) -> None:
    if not any(one.takes(answers.KIND) or one.takes("application/json") for one in accepted(request)):
        raise Problem(406, f"The answer is given as {answers.KIND}.")


_OBJECTS = ("/studies/{study}", "/studies/{study}/series/{series}", "/studies/{study}/series/{series}/instances/{instance}")


def _add_retrieve(routes: APIRouter, shelf: Shelf) -> None:
    def objects(request: Request, study: str, series: str | None = None, instance: str | None = None) -> Response:
        volumes = shelf.find(study, series, instance)
        ranges = accepted(request)
        return _unless_known(request, volumes, "objects", lambda headers: retrieve.objects(volumes, ranges, _root(request), headers))

    def metadatas(request: Request, study: str, series: str | None = None, instance: str | None = None) -> Response:
        _require_json(request)
        volumes, root = shelf.find(study, series, instance), _root(request)
        return _unless_known(
            request, volumes, root, lambda headers: StreamingResponse(_metadata(volumes, root), headers=headers, media_type=answers.KIND)
        )

    def rendered(request: Request, study: str, series: str | None = None, instance: str | None = None) -> Response:
        return pictures(request, shelf.find(study, series, instance), None)

    def thumbnail(request: Request, study: str, series: str | None = None, instance: str | None = None) -> Response:
        return pictures(request, shelf.find(study, series, instance), _THUMBNAIL)

    def pictures(request: Request, volumes: Sequence[Volume], usual: tuple[int, int] | None) -> Response:
        parameters = request.query_params
        size, quality = picture.viewport(parameters.get("viewport", "")) or usual, picture.quality(parameters.get("quality", ""))
        ranges = accepted(request)
        return _unless_known(
            request, volumes, f"{size} {quality}", lambda headers: retrieve.picture(volumes, ranges, size, quality, headers)
        )

    for path in _OBJECTS:
        routes.get(path)(objects)
        routes.get(f"{path}/metadata")(metadatas)
        routes.get(f"{path}/rendered")(rendered)
        routes.get(f"{path}/thumbnail")(thumbnail)

    @routes.get(f"{_OBJECTS[2]}/frames/{{numbers}}")
    def frames(request: Request, study: str, series: str, instance: str, numbers: str) -> Response:
        wanted, ranges = retrieve.frame_numbers(numbers), accepted(request)
        volumes = shelf.find(study, series, instance)
        return _unless_known(
            request, volumes, numbers, lambda headers: retrieve.frames(volumes[0], wanted, ranges, _root(request), headers)
        )

    @routes.get(f"{_OBJECTS[2]}/frames/{{number}}/rendered")
    def rendered_frame(request: Request, study: str, series: str, instance: str, number: str) -> Response:
        if retrieve.frame_numbers(number) != [1]:
            raise Problem(406, "Pictures are made of objects with one frame.")
        return pictures(request, shelf.find(study, series, instance), None)

    @routes.get(f"{_OBJECTS[2]}/bulkdata/{{path:path}}")
    def bulk_data(request: Request, study: str, series: str, instance: str, path: str) -> Response:
        ranges, volumes = accepted(request), shelf.find(study, series, instance)
        return _unless_known(request, volumes, path, lambda headers: retrieve.bulk_data(volumes[0], path, ranges, _root(request), headers))


def _unless_known(request: Request, volumes: Sequence[Volume], what: str, give: Callable[[dict[str, str]], Response]) -> Response:
    """304 for a client that has the answer already (RFC 9110 13.1.2)."""
    tag = retrieve.entity_tag(volumes, f"{what} {request.headers.get('accept', '')}")
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Accept"}
    if any(tag == known.strip().removeprefix("W/") for known in request.headers.get("if-none-match", "").split(",")):
        return Response(status_code=304, headers=headers)
    return give(headers)


def _metadata(volumes: Sequence[Volume], root: str) -> Iterator[bytes]:
    separator = b"["
    for volume in volumes:
        try:
            told = answers.encoded(metadata(volume, root))
        except UnreadableObject:  # purged a moment ago
            continue
        yield separator + told
        separator = b","
    yield b"]" if separator == b"," else b"[]"
