"""Who may see the page: HTTP Basic with a salted scrypt hash, and a guard against other sites' scripts."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import os
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from fastapi import Request, Response

from dermanode.config import Web
from dermanode.web.dicomweb.origins import PREFIX

Next = Callable[[Request], Awaitable[Response]]

_COST = {"n": 2**14, "r": 8, "p": 1}
_OPEN_PATHS = ("/health",)
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


def guard(settings: Web) -> Callable[[Request, Next], Awaitable[Response]]:
    """Middleware: asks for the login where one is set, and refuses what another site's script sends.

    Without a login the page is on loopback only, and then only requests for a loopback name are answered, so that a site that
    rebinds its own name to 127.0.0.1 sees nothing.
    """
    known: set[str] = set()  # Authorization headers that were right: scrypt costs 30 ms, and a page is many requests

    def is_known(header: str) -> bool:
        if settings.login is None or header in known:
            return True
        try:
            scheme, _, encoded = header.partition(" ")
            username, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return False
        is_right = is_password(password, settings.login.password_hash)
        if scheme.lower() != "basic" or not hmac.compare_digest(username.encode(), settings.login.username.encode()) or not is_right:
            return False
        known.add(header)
        return True

    def is_allowed(request: Request, origin: str | None) -> bool:
        return origin in settings.allow_origins and request.url.path.startswith(f"{PREFIX}/")

    async def check(request: Request, call_next: Next) -> Response:
        host = request.headers.get("host", "")
        if settings.login is None and not _is_loopback(urlsplit(f"//{host}").hostname or ""):
            return Response("This page is served to this machine only; configure web.login to open it.", 403)
        origin = request.headers.get("origin")
        is_foreign = origin is not None and urlsplit(origin).netloc != host
        if request.method not in ("GET", "HEAD") and is_foreign and not is_allowed(request, origin):
            return Response("This request came from another site.", 403)
        if request.url.path not in _OPEN_PATHS and not is_known(request.headers.get("authorization", "")):
            return Response("Please log in.", 401, {"WWW-Authenticate": 'Basic realm="DermaNode", charset="UTF-8"'})
        response = await call_next(request)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "same-origin"
        response.headers["X-Frame-Options"] = "DENY"
        if not request.url.path.startswith("/api/"):
            response.headers["Content-Security-Policy"] = _POLICY
        return response

    return check


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
