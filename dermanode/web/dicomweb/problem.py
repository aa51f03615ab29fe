"""A request that cannot be served as it stands: a status and a sentence."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import Request
from fastapi.responses import PlainTextResponse, Response

from dermanode.errors import DermaNodeError, UnreadableObject


class Problem(DermaNodeError):
    """Answered with this HTTP status, and the sentence as its body."""

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        self.status, self.headers = status, headers or {}
        super().__init__(sentence)


def answer_problem(request: Request, error: Exception) -> Response:
    """What a `Problem` is answered with."""
    assert isinstance(error, Problem)
    return PlainTextResponse(str(error), error.status, dict(error.headers))


def answer_unreadable(request: Request, error: Exception) -> Response:
    """What an `UnreadableObject` is answered with: the node holds it, and cannot make of it what is asked for."""
    assert isinstance(error, UnreadableObject)
    return PlainTextResponse(f"The object cannot be given so: {error.reason}.", 406)
