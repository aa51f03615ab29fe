"""The answer to STOW-RS (PS3.18 10.5.3): what became of each object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi.responses import Response

from dermanode.receive.intake import OUT_OF_RESOURCES
from dermanode.receive.stow_part import StowedPart
from dermanode.web.dicomweb.answers import json_response
from dermanode.web.dicomweb.json_model import Model, attribute, name_of
from dermanode.web.dicomweb.native_xml import to_xml

_RETRIEVE_URL, _CLASS, _INSTANCE, _REASON = "00081190", "00081150", "00081155", "00081197"
_FAILED, _REFERENCED, _OTHER = "00081198", "00081199", "0008119A"
_MOST_WORDS = 5


def answer(parts: Sequence[StowedPart], root: str, study: str | None, *, is_xml: bool) -> Response:
    """200 where all are stored, 202 where some are, 409 where none is, or 503 where all of them may be sent again later."""
    failed = [part for part in parts if not part.is_stored]
    headers = {}
    if failed:
        words = "; ".join(f"{part.sop_instance_uid or 'a part'}: {part.words}" for part in failed[:_MOST_WORDS])
        more = f"; and {len(failed) - _MOST_WORDS} more" if len(failed) > _MOST_WORDS else ""
        headers["Warning"] = f'299 DermaNode "{_quotable(words + more)}"'
    status = 200 if not failed else 202 if len(failed) < len(parts) else 409
    if status == 409 and all(part.status == OUT_OF_RESOURCES for part in failed):
        status = 503
        headers["Retry-After"] = "60"
    model = _model(parts, root, study)
    if is_xml:
        return Response(to_xml(model), status, headers, "application/dicom+xml")
    return json_response(model, status, headers)


def _model(parts: Sequence[StowedPart], root: str, study: str | None) -> Model:
    stored = [_stored(part, root) for part in parts if part.is_stored]
    failed = [_failed(part) for part in parts if not part.is_stored and part.sop_instance_uid]
    other = [{_REASON: attribute("US", [part.status])} for part in parts if not part.is_stored and not part.sop_instance_uid]
    studies = {part.study_instance_uid for part in parts if part.is_stored} | ({study} if study else set())
    model: Model = {name_of(0x00080005): attribute("CS", ["ISO_IR 192"])}
    if len(studies) == 1 and (one := studies.pop()):
        model[_RETRIEVE_URL] = attribute("UR", [f"{root}/studies/{one}"])
    for name, items in ((_FAILED, failed), (_REFERENCED, stored), (_OTHER, other)):
        if items:
            model[name] = attribute("SQ", items)
    return dict(sorted(model.items()))


def _stored(part: StowedPart, root: str) -> dict[str, Any]:
    item = {_CLASS: attribute("UI", [part.sop_class_uid]), _INSTANCE: attribute("UI", [part.sop_instance_uid])}
    if part.study_instance_uid:
        place = f"/studies/{part.study_instance_uid}/series/{part.series_instance_uid}/instances/{part.sop_instance_uid}"
        item[_RETRIEVE_URL] = attribute("UR", [root + place])
    return item


def _failed(part: StowedPart) -> dict[str, Any]:
    return {
        _CLASS: attribute("UI", [part.sop_class_uid] if part.sop_class_uid else []),
        _INSTANCE: attribute("UI", [part.sop_instance_uid]),
        _REASON: attribute("US", [part.status]),
    }


def _quotable(words: str) -> str:
    return words.encode("ascii", "replace").decode("ascii").replace("\\", "/").replace('"', "'").replace("\r", " ").replace("\n", " ")
