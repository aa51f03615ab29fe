"""STOW-RS requests (PS3.18 10.5), from their headers to the answer: the body is fed to the way in as it comes."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Callable, Sequence

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from dermanode.domain.identifiers import UID
from dermanode.errors import IdentifierError
from dermanode.receive.multipart import MalformedMultipart, MediaType
from dermanode.receive.stow import Stow, StowClosed, Upload
from dermanode.receive.stow_part import StowedPart
from dermanode.web.dicomweb import answers, store
from dermanode.web.dicomweb.accept import accepted
from dermanode.web.dicomweb.origins import root
from dermanode.web.dicomweb.problem import Problem

_GATHERED_BYTES = 1 << 20
"""So much of a request is given to the disk at once."""
_XML = "application/dicom+xml"


def add_store(routes: APIRouter, stow: Stow, free_mib: Callable[[], int], silence_s: float) -> None:
    """Adds STOW-RS; a request whose body is silent for `silence_s` is given up."""

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
        return store.answer(parts, root(request), study, is_xml=is_xml)


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
