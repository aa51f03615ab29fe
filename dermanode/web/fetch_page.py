"""Fetching from the page and over the API: a form, the latest requests, and how they went."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Form, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.templating import Jinja2Templates
from pydantic import BaseModel, ConfigDict, Field

from dermanode.errors import QueryRefused
from dermanode.ledger.fetch_query import FetchQuery
from dermanode.ledger.fetches import Fetch
from dermanode.ledger.ledger import Ledger

SHOWN = 50
KEYS = {
    "accession_number": "Accession number",
    "patient_id": "Patient ID",
    "study_date": "Study date or range",
    "study_instance_uid": "Study Instance UID",
    "series_instance_uid": "Series Instance UID",
}
"""What the form asks for, one at a time."""


class FetchRequest(BaseModel):
    """What is to be fetched: the studies that all of it matches. Names are exact; wildcards are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(description="Its name under `sources` in the settings.")
    patient_id: str = ""
    issuer_of_patient_id: str = Field("", description="Who gave out the patient id; the source must state it then.")
    accession_number: str = ""
    study_date: str = Field("", description="`2026-11-01`, or `2026-11-01..2026-11-28`.")
    study_instance_uid: str = ""
    series_instance_uid: str = Field("", description="Only this series.")


def fetch_routes(
    ledger: Ledger, sources: Sequence[str], templates: Jinja2Templates, wake: Callable[[], None], now: Callable[[], datetime]
) -> APIRouter:
    """`sources` are those of the settings; `wake` is called after a request."""
    routes = APIRouter()

    def ask(wanted: FetchRequest, asked_by: str) -> Fetch:
        """Raises `QueryRefused`."""
        if wanted.source not in sources:
            known = ", ".join(sources) or "none"
            raise QueryRefused(f"The settings have no source {wanted.source!r} (known: {known}). Name one, or add it under `sources`.")
        query = FetchQuery.parse(**wanted.model_dump(exclude={"source"}))
        fetch = ledger.fetches.ask(wanted.source, query, asked_by=asked_by, now=now())
        wake()
        return fetch

    def page(request: Request, *, source: str = "", key: str = "", value: str = "", problem: str = "") -> HTMLResponse:
        shown = {
            "sources": sources,
            "keys": KEYS,
            "fetches": ledger.fetches.recent(SHOWN),
            "source": source,
            "key": key,
            "value": value,
            "problem": problem,
        }
        return templates.TemplateResponse(request, "fetch.html", shown, status_code=422 if problem else 200)

    @routes.get("/fetch", include_in_schema=False)
    def show(request: Request) -> HTMLResponse:
        return page(request)

    @routes.post("/fetch", include_in_schema=False)
    def post(
        request: Request, source: Annotated[str, Form()] = "", key: Annotated[str, Form()] = "", value: Annotated[str, Form()] = ""
    ) -> Response:
        try:
            if key not in KEYS:
                raise QueryRefused("Choose what is to be looked for.")
            ask(FetchRequest.model_validate({"source": source, key: value}), "page")
        except QueryRefused as error:
            return page(request, source=source, key=key, value=value, problem=str(error))
        return RedirectResponse("/fetch", 303)

    @routes.get("/api/fetches", summary="The latest requests to fetch, and how they went")
    def fetches(limit: Annotated[int, Query(ge=1, le=1000, description="At most so many.")] = 50) -> list[Fetch]:
        return list(ledger.fetches.recent(limit))

    @routes.get("/api/fetches/{fetch_id}", summary="One request to fetch")
    def fetch(fetch_id: int) -> Fetch:
        return ledger.fetches.get(fetch_id)

    @routes.post("/api/fetches", status_code=201, summary="Fetch series from a source")
    def post_api(wanted: FetchRequest) -> Fetch:
        try:
            return ask(wanted, "API")
        except QueryRefused as error:
            raise HTTPException(422, str(error)) from error

    return routes
