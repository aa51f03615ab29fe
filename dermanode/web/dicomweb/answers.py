"""Answers as DICOM JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping

from fastapi.responses import Response

KIND = "application/dicom+json"


def json_response(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A model, or a list of them."""
    return Response(encoded(content), status, dict(headers or {}), KIND)


def encoded(content: object) -> bytes:
    """JSON in UTF-8; a lone surrogate, which UTF-8 cannot hold, is replaced."""
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")
