"""The web application: pages, API, metrics, health."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

from fastapi import APIRouter, FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles
from fastapi_offline import FastAPIOffline

from dermanode import __version__
from dermanode.config import Web
from dermanode.errors import LedgerUnavailable, UnknownSubject, UnreadableObject
from dermanode.ledger.ledger import Ledger
from dermanode.web.api import api_routes
from dermanode.web.dicomweb.origins import AllowedOrigins
from dermanode.web.dicomweb.problem import Problem, answer_problem, answer_unreadable
from dermanode.web.fetch_page import fetch_routes
from dermanode.web.login import Guard
from dermanode.web.metrics import metrics_text
from dermanode.web.page import page_routes, page_templates


def make_site(
    ledger: Ledger,
    results_dir: Path,
    settings: Web,
    *,
    wake: Callable[[], None],
    now: Callable[[], datetime],
    dicomweb: APIRouter | None = None,
    sources: Sequence[str] = (),
) -> FastAPI:
    """The application over this ledger. It decides nothing: it shows what is recorded, and retries or fetches what it is told to.

    `sources` are the names of those that can be fetched from.
    """
    site: FastAPI = FastAPIOffline(
        title="DermaNode",
        version=__version__,
        description="Cases, objects and deliveries of this node. Research software, not a cleared medical device.",
        docs_url="/api/docs",
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    site.add_middleware(Guard, settings)
    if dicomweb is not None:
        site.include_router(dicomweb)
        site.add_exception_handler(Problem, answer_problem)
        site.add_exception_handler(UnreadableObject, answer_unreadable)
        site.add_middleware(AllowedOrigins, settings.allow_origins)
    site.include_router(page_routes(ledger, results_dir, wake, now))
    site.include_router(api_routes(ledger, wake, now))
    site.include_router(fetch_routes(ledger, sources, page_templates(), wake, now))
    site.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")

    @site.get("/plotly.min.js", include_in_schema=False)
    def plotly() -> FileResponse:
        return FileResponse(_plotly_script(), media_type="text/javascript", headers={"Cache-Control": "max-age=86400"})

    @site.get("/metrics", include_in_schema=False)
    def metrics() -> Response:
        return Response(metrics_text(ledger), media_type="text/plain; version=0.0.4; charset=utf-8")

    @site.get("/health", include_in_schema=False)
    def health() -> JSONResponse:
        try:
            ledger.cases.counts()
        except LedgerUnavailable as unavailable:
            return JSONResponse({"status": "unavailable", "reason": str(unavailable)}, 503)
        return JSONResponse({"status": "ok", "version": __version__})

    @site.exception_handler(UnknownSubject)
    def unknown(request: Request, error: UnknownSubject) -> Response:
        if request.url.path.startswith("/api"):
            return JSONResponse({"detail": str(error)}, 404)
        return HTMLResponse(f"<p>{_escape(str(error))}</p><p><a href='/'>All cases</a></p>", 404)

    @site.exception_handler(LedgerUnavailable)
    def unavailable(request: Request, error: LedgerUnavailable) -> Response:
        return PlainTextResponse(str(error), 503)

    return site


def _plotly_script() -> Path:
    # The Python package is 15 MB of modules that are never imported here: only its browser script is served.
    found = find_spec("plotly")
    if found is None or found.origin is None:
        raise HTTPException(404, "The package plotly is not installed.")
    return Path(found.origin).parent / "package_data" / "plotly.min.js"


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
