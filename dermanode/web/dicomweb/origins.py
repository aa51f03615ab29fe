"""Where the service is found, and from which other origins (the Fetch standard's CORS protocol)."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import Request
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

PREFIX = "/dicom-web"
_EXPOSED = ("Content-Location", "ETag", "Warning")


def root(request: Request) -> str:
    """The service's URL, as the client knows it: by its Host header, and the X-Forwarded-Proto of a proxy on this machine."""
    return str(request.base_url).rstrip("/") + PREFIX


class AllowedOrigins:
    """Middleware in front of the login, which preflights do not carry: lets scripts of these origins use DICOMweb, and nothing else."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self._app = app
        self._shared = CORSMiddleware(
            app,
            allow_origins=origins,
            allow_methods=("GET", "HEAD", "POST"),
            allow_headers=("*",),
            allow_credentials=True,
            allow_private_network=True,
            expose_headers=_EXPOSED,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_shared = scope["type"] == "http" and scope["path"].startswith(f"{PREFIX}/")
        await (self._shared if is_shared else self._app)(scope, receive, send)
