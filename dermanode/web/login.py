"""Who may see the page: HTTP Basic with a salted scrypt hash, and a guard against other sites' scripts."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import os
from urllib.parse import urlsplit

from fastapi import Request, Response
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dermanode.config import Web
from dermanode.web.dicomweb.origins import PREFIX

_COST = {"n": 2**14, "r": 8, "p": 1}
_OPEN_PATHS = ("/health",)
_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "X-Frame-Options": "DENY"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""No page runs or loads anything but its own, and sends nothing elsewhere, whatever a plugin says. Plotly styles its parts in line.
FastAPI's page of the API, under /api, has its script in the page and goes without."""


def hash_password(password: str, salt: bytes | None = None) -> str:
    """What goes into `web.login.password_hash`: `scrypt$salt$hash`, hexadecimal."""
    salt = salt or os.urandom(16)
    return f"scrypt${salt.hex()}${hashlib.scrypt(password.encode(), salt=salt, **_COST).hex()}"


def is_password(password: str, password_hash: str) -> bool:
    """Whether the password is the one that was hashed, in constant time."""
    salt = bytes.fromhex(password_hash.split("$")[1])
    return hmac.compare_digest(hash_password(password, salt), password_hash)


class Guard:
    """Middleware: asks for the login where one is set, and refuses what another site's script sends.

    Without a login the page is on loopback only, and then only requests for a loopback name are answered, so that a site that
    rebinds its own name to 127.0.0.1 sees nothing. Plain ASGI: Starlette's own kind would take twice the time for a long upload.
    """

    def __init__(self, app: ASGIApp, settings: Web) -> None:
        self._app, self._settings = app, settings
        self._known: set[str] = set()  # Authorization headers that were right: scrypt costs 30 ms, and a page is many requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        refusal = self._refusal(request)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        added = _HEADERS if request.url.path.startswith("/api/") else _HEADERS | {"Content-Security-Policy": _POLICY}

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(added)
            await send(message)

        await self._app(scope, receive, guarded)

    def _refusal(self, request: Request) -> Response | None:
        settings, host = self._settings, request.headers.get("host", "")
        if settings.login is None and not _is_loopback(urlsplit(f"//{host}").hostname or ""):
            return Response("This page is served to this machine only; configure web.login to open it.", 403)
        origin = request.headers.get("origin")
        is_foreign = origin is not None and urlsplit(origin).netloc != host
        is_allowed = origin in settings.allow_origins and request.url.path.startswith(f"{PREFIX}/")
        if request.method not in ("GET", "HEAD") and is_foreign and not is_allowed:
            return Response("This request came from another site.", 403)
        if request.url.path not in _OPEN_PATHS and not self._is_known(request.headers.get("authorization", "")):
            return Response("Please log in.", 401, {"WWW-Authenticate": 'Basic realm="DermaNode", charset="UTF-8"'})
        return None

    def _is_known(self, header: str) -> bool:
        login = self._settings.login
        if login is None or header in self._known:
            return True
        try:
            scheme, _, encoded = header.partition(" ")
            username, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return False
        is_right = is_password(password, login.password_hash)
        if scheme.lower() != "basic" or not hmac.compare_digest(username.encode(), login.username.encode()) or not is_right:
            return False
        self._known.add(header)
        return True


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
