"""WADO-RS (PS3.18 10.4): objects, their frames, their headers and their pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from typing import BinaryIO

import structlog
from fastapi.responses import Response, StreamingResponse

from dermanode.dicom.layout import MOST_PIXELS
from dermanode.dicom.scan import EXPLICIT_LITTLE, scanned
from dermanode.errors import UnreadableObject
from dermanode.web.dicomweb.accept import Range
from dermanode.web.dicomweb.frames import Frames, frames_of
from dermanode.web.dicomweb.json_model import little_endian, vr_of
from dermanode.web.dicomweb.metadata import EVERYTHING, element_at
from dermanode.web.dicomweb.parts import Part, multipart
from dermanode.web.dicomweb.picture import KINDS, rendered
from dermanode.web.dicomweb.problem import Problem
from dermanode.web.dicomweb.shelf import Volume
from dermanode.web.dicomweb.transcode import transcoded

log = structlog.get_logger(__name__)

CHUNK_BYTES = 1 << 18
DICOM, OCTETS = "application/dicom", "application/octet-stream"
_LOSSY = frozenset(f"1.2.840.10008.1.2.4.{suffix}" for suffix in (50, 51, 81, 91, 203, 111, 112))
_BELOW_4 = "1.2.840.10008.1.2.4"
# PS3.18 table 8.7.3-4
_KIND_OF_SYNTAX = {
    **{f"{_BELOW_4}.{suffix}": "image/jpeg" for suffix in (50, 51, 57, 70)},
    **{f"{_BELOW_4}.{suffix}": "image/jls" for suffix in (80, 81)},
    **{f"{_BELOW_4}.{suffix}": "image/jp2" for suffix in (90, 91)},
    **{f"{_BELOW_4}.{suffix}": "image/jphc" for suffix in (201, 202, 203)},
    **{f"{_BELOW_4}.{suffix}": "image/jxl" for suffix in (110, 111, 112)},
    "1.2.840.10008.1.2.5": "image/dicom-rle",
}


def entity_tag(volumes: Sequence[Volume], what: str) -> str:
    """An entity tag that is another one when any of the objects, or the kind of answer, is."""
    digest = hashlib.sha256("\n".join([what, *(volume.tag for volume in volumes)]).encode()).hexdigest()
    return f'"{digest[:32]}"'


def objects(volumes: Sequence[Volume], ranges: Sequence[Range], root: str, headers: dict[str, str]) -> Response:
    """The objects as files. Raises `Problem` 406 where one cannot be given as it is asked for."""
    wanted = [one for one in ranges if one.takes(DICOM)]
    if not wanted:
        raise Problem(406, f"Objects are given as multipart/related of {DICOM}.")
    if len(volumes) == 1:
        first = _object(volumes[0], _is_as_stored(volumes[0], wanted), root)  # what cannot be decoded is told before an answer begins
        if not wanted[0].is_multipart and wanted[0].kind == DICOM:
            return StreamingResponse(first.content, headers=headers, media_type=DICOM)
        return multipart([first], DICOM, headers)
    chosen = []
    for volume in volumes:
        try:
            chosen.append((volume, _is_as_stored(volume, wanted)))
        except UnreadableObject as error:  # purged a moment ago
            log.warning("object_not_given", sop_instance_uid=str(volume.instance), reason=error.reason)
    return multipart(_objects(chosen, root), DICOM, headers)


def _objects(chosen: Sequence[tuple[Volume, bool]], root: str) -> Iterator[Part]:
    """One after the other. The answer has begun: one that cannot be decoded goes out as it is stored, one that is gone is left out."""
    for volume, as_it_is in chosen:
        for is_next_as_stored in dict.fromkeys((as_it_is, True)):
            try:
                yield _object(volume, is_next_as_stored, root)
                break
            except UnreadableObject as error:
                log.warning("object_not_given_as_asked", sop_instance_uid=str(volume.instance), reason=error.reason)


def _is_as_stored(volume: Volume, wanted: Sequence[Range]) -> bool:
    """Whether the file goes out as it is, or else in Explicit VR Little Endian."""
    stored = volume.read(frozenset()).transfer_syntax
    for one in wanted:
        if one.transfer_syntax in ("*", stored):
            return True
        if one.transfer_syntax == EXPLICIT_LITTLE:
            return False
        if not one.transfer_syntax:
            # PS3.18 8.7.3.5.2: the default is Explicit VR Little Endian, unless all that there is is lossy.
            return stored == EXPLICIT_LITTLE or stored in _LOSSY
    raise Problem(406, f"The object {volume.instance} can be given as it is stored, {stored}, or in Explicit VR Little Endian.")


def _object(volume: Volume, is_as_stored: bool, root: str) -> Part:
    if not is_as_stored:
        content = transcoded(volume.path)
        first = next(content)
        return Part(f"{DICOM}; transfer-syntax={EXPLICIT_LITTLE}", f"{root}{volume.place}", chain([first], content))
    syntax = volume.read(frozenset()).transfer_syntax
    return Part(f"{DICOM}; transfer-syntax={syntax}", f"{root}{volume.place}", _file(volume))


def _file(volume: Volume) -> Iterator[bytes]:
    try:
        file = volume.path.open("rb")
    except OSError as error:
        raise UnreadableObject(str(volume.instance), "its file is gone") from error
    return _chunks(file)


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def frames(volume: Volume, numbers: Sequence[int], ranges: Sequence[Range], root: str, headers: dict[str, str]) -> Response:
    """Frames, counted from 1. Raises `Problem` 404 for one that there is not, 406 for a form that it cannot be given in."""
    stack = ExitStack()
    found = stack.enter_context(frames_of(volume.path))
    try:
        if too_far := [number for number in numbers if number > found.count]:
            raise Problem(404, f"The object has {found.count} frames, and no frame {too_far[0]}.")
        kind, is_stored, is_single = _form(found, ranges)
        syntax = found.syntax_of_stored if is_stored else EXPLICIT_LITTLE
        first = _frame(found, numbers[0], is_stored)  # what cannot be decoded is told before an answer begins
    except BaseException:
        stack.close()
        raise
    if is_single and len(numbers) == 1:
        stack.close()
        return Response(first, headers=headers, media_type=kind)

    def parts() -> Iterator[Part]:
        with stack:
            for number in numbers:
                content = first if number == numbers[0] else _frame(found, number, is_stored)
                yield Part(f"{kind}; transfer-syntax={syntax}", f"{root}{volume.place}/frames/{number}", [content])

    return multipart(parts(), kind, headers)


def _form(found: Frames, ranges: Sequence[Range]) -> tuple[str, bool, bool]:
    """The media type, whether frames go out as they are stored, and whether without a multipart."""
    stored = found.syntax_of_stored
    own = _KIND_OF_SYNTAX.get(stored, OCTETS)
    for one in ranges:
        is_single = not one.is_multipart and one.kind != "*/*"
        if one.takes(OCTETS) and one.transfer_syntax in ("", EXPLICIT_LITTLE):
            return OCTETS, stored == EXPLICIT_LITTLE, is_single
        if one.transfer_syntax not in ("", "*", stored):
            continue
        if one.kind == OCTETS:
            return OCTETS, True, is_single
        if one.takes(own):
            return own, True, is_single
    raise Problem(406, f"Frames are given as {own} with transfer-syntax={stored}, or decoded as {OCTETS}.")


def _frame(found: Frames, number: int, is_stored: bool) -> bytes:
    return found.stored(number) if is_stored else found.decoded(number).content


def bulk_data(volume: Volume, path: str, ranges: Sequence[Range], root: str, headers: dict[str, str]) -> Response:
    """One long value. Raises `Problem` 404 and 406."""
    if not any(one.takes(OCTETS) or (path.startswith("7FE0") and one.kind.startswith("image/")) for one in ranges):
        raise Problem(406, f"Bulk data are given as {OCTETS}.")
    location = f"{root}{volume.place}/bulkdata/{path}"
    if path in ("7FE00008", "7FE00009", "7FE00010"):
        with frames_of(volume.path) as found:
            numbers = range(1, found.count + 1)
        return multipart(_all_frames(volume, numbers, location), OCTETS, headers)
    with scanned(volume.path, EVERYTHING) as scan:
        elements, tag, raw = element_at(scan.elements, path)
        content = little_endian(elements, tag, vr_of(tag, raw))
    if not ranges[0].is_multipart and ranges[0].kind == OCTETS:
        return Response(content, headers=headers, media_type=OCTETS)
    return multipart([Part(OCTETS, location, [content])], OCTETS, headers)


def _all_frames(volume: Volume, numbers: Iterable[int], location: str) -> Iterator[Part]:
    with frames_of(volume.path) as found:
        if not found.is_encapsulated:
            yield Part(OCTETS, location, (found.stored(number) for number in numbers))
            return
        for number in numbers:
            yield Part(f"{OCTETS}; transfer-syntax={found.transfer_syntax}", location, [found.stored(number)])


def picture(
    volumes: Sequence[Volume], ranges: Sequence[Range], size: tuple[int, int] | None, jpeg_quality: int, headers: dict[str, str]
) -> Response:
    """The picture of the first of the objects that has one. Raises `Problem` 406."""
    kind = next((kind for one in ranges for kind in KINDS if one.takes(kind)), None)
    if kind is None:
        raise Problem(406, f"Pictures are given as {' and '.join(KINDS)}.")
    reason = ""
    for volume in volumes:
        try:
            return Response(rendered(volume.path, kind, size, jpeg_quality), headers=headers, media_type=kind)
        except UnreadableObject as error:
            reason = reason or error.reason
    raise Problem(406, f"No picture can be made: {reason}.")


def frame_numbers(text: str) -> list[int]:
    """`1,2,5`. Raises `Problem` 400."""
    numbers = text.split(",")
    if len(numbers) > 10000 or not all(number.isascii() and number.isdigit() and 0 < int(number[:10]) <= MOST_PIXELS for number in numbers):
        raise Problem(400, f"{text[:40]!r} is no list of frames: they are counted from 1, such as 1,2,3.")
    return [int(number) for number in numbers]
