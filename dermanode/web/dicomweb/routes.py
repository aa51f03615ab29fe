"""The routes of the service: which of its parts answers what."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from dermanode.errors import UnreadableObject
from dermanode.ledger.served import Served
from dermanode.receive.stow import Stow
from dermanode.web.dicomweb import answers, picture, query, retrieve
from dermanode.web.dicomweb.accept import accepted
from dermanode.web.dicomweb.attributes import Level
from dermanode.web.dicomweb.headers import Headers
from dermanode.web.dicomweb.metadata import metadata
from dermanode.web.dicomweb.origins import PREFIX, root
from dermanode.web.dicomweb.problem import Problem
from dermanode.web.dicomweb.search import search
from dermanode.web.dicomweb.shelf import Shelf, Volume
from dermanode.web.dicomweb.uploads import add_store

_THUMBNAIL = (256, 256)


def dicomweb_routes(
    served: Served, spool_dir: Path, results_dir: Path, stow: Stow, free_mib: Callable[[], int], silence_s: float = 60.0
) -> APIRouter:
    """STOW-RS into `stow`; QIDO-RS and WADO-RS over what the ledger serves.

    `free_mib` tells what may still be written; a request whose body is silent for `silence_s` is given up.
    """
    routes = APIRouter(prefix=PREFIX, include_in_schema=False)
    shelf = Shelf(served, spool_dir, results_dir, Headers())
    add_store(routes, stow, free_mib, silence_s)
    _add_search(routes, shelf)
    _add_retrieve(routes, shelf)
    return routes


def _add_search(routes: APIRouter, shelf: Shelf) -> None:
    def found(request: Request, level: Level, **named: str) -> Response:
        _require_json(request)
        answer = search(shelf, query.parse(level, request.query_params.multi_items(), **named), root(request))
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
        return _unless_known(request, volumes, "objects", lambda headers: retrieve.objects(volumes, ranges, root(request), headers))

    def metadatas(request: Request, study: str, series: str | None = None, instance: str | None = None) -> Response:
        _require_json(request)
        volumes, base = shelf.find(study, series, instance), root(request)
        return _unless_known(
            request, volumes, base, lambda headers: StreamingResponse(_metadata(volumes, base), headers=headers, media_type=answers.KIND)
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
        return _unless_known(request, volumes, numbers, lambda headers: retrieve.frames(volumes[0], wanted, ranges, root(request), headers))

    @routes.get(f"{_OBJECTS[2]}/frames/{{number}}/rendered")
    def rendered_frame(request: Request, study: str, series: str, instance: str, number: str) -> Response:
        if retrieve.frame_numbers(number) != [1]:
            raise Problem(406, "Pictures are made of objects with one frame.")
        return pictures(request, shelf.find(study, series, instance), None)

    @routes.get(f"{_OBJECTS[2]}/bulkdata/{{path:path}}")
    def bulk_data(request: Request, study: str, series: str, instance: str, path: str) -> Response:
        ranges, volumes = accepted(request), shelf.find(study, series, instance)
        return _unless_known(request, volumes, path, lambda headers: retrieve.bulk_data(volumes[0], path, ranges, root(request), headers))


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
