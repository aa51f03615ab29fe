"""The pages that people see: the cases, one case, the objects and the state of the node."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from fastapi.templating import Jinja2Templates

from dermanode import __version__
from dermanode.document import chart
from dermanode.document.visits import Visits, visits_of
from dermanode.errors import UnknownSubject
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import CaseRecord, CaseState, DeliveryState, ObjectState
from dermanode.web.words import FILTERS, LETTERING

PAGE_SIZE = 50


def page_templates() -> Jinja2Templates:
    """The templates, with the filters that they use."""
    templates = Jinja2Templates(Path(__file__).parent / "templates")
    templates.env.filters.update(FILTERS)
    templates.env.globals["version"] = __version__
    return templates


def page_routes(ledger: Ledger, results_dir: Path, wake: Callable[[], None], now: Callable[[], datetime]) -> APIRouter:
    """The pages. `wake` is called after a command that gives the engine or the outbox something to do."""
    routes = APIRouter(include_in_schema=False)
    templates = page_templates()

    def show(request: Request, template: str, **values: object) -> HTMLResponse:
        return templates.TemplateResponse(request, template, values)

    @routes.get("/")
    def cases(request: Request, state: CaseState | None = None, search: str = "", page: Annotated[int, Query(ge=1)] = 1) -> HTMLResponse:
        found = ledger.cases.list(PAGE_SIZE + 1, (page - 1) * PAGE_SIZE, state=state, search=search or None)
        return show(
            request,
            "cases.html",
            cases=found[:PAGE_SIZE],
            has_more=len(found) > PAGE_SIZE,
            page=page,
            state=state,
            states=list(CaseState),
            search=search,
            case_counts=ledger.cases.counts(),
            object_counts=ledger.objects.counts(),
            delivery_counts=ledger.deliveries.counts(),
            suspended=ledger.plugins.suspended(),
        )

    @routes.get("/cases/{case_id}")
    def case(request: Request, case_id: str) -> HTMLResponse:
        record = ledger.cases.get(case_id)
        return show(
            request,
            "case.html",
            case=record,
            outcome=record.outcome,
            **_followed(ledger, record),
            objects=ledger.objects.of_case(case_id),
            deliveries=ledger.deliveries.of_case(case_id),
            revisions=ledger.cases.revisions(record.key),
            events=ledger.history.of_case(case_id),
            is_over=record.state not in (CaseState.READY, CaseState.RUNNING),
        )

    @routes.get("/cases/{case_id}/files/{path:path}")
    def file(case_id: str, path: str) -> Response:
        folder = (results_dir / ledger.cases.get(case_id).id).resolve()
        wanted = (folder / path).resolve()
        if not (wanted.is_relative_to(folder) and wanted.is_file()):
            raise HTTPException(404, f"Case {case_id} has no file {path}.")
        return FileResponse(wanted)

    @routes.post("/cases/{case_id}/reopen")
    def reopen(case_id: str) -> RedirectResponse:
        ledger.cases.reopen(case_id, now())
        wake()
        return RedirectResponse(f"/cases/{case_id}", 303)

    @routes.post("/cases/{case_id}/redeliver")
    def redeliver(case_id: str, destination: str | None = None) -> RedirectResponse:
        ledger.deliveries.retry(case_id, now(), destination=destination)
        wake()
        return RedirectResponse(f"/cases/{case_id}#deliveries", 303)

    @routes.post("/plugins/{plugin}/resume")
    def resume(plugin: str) -> RedirectResponse:
        ledger.plugins.resume(plugin, now())
        wake()
        return RedirectResponse("/node", 303)

    @routes.get("/objects")
    def objects(request: Request, state: ObjectState | None = None) -> HTMLResponse:
        return show(
            request,
            "objects.html",
            objects=ledger.objects.recent(200, state=state),
            state=state,
            states=list(ObjectState),
            counts=ledger.objects.counts(),
        )

    @routes.get("/explain")
    def explain(request: Request, name: str = "") -> HTMLResponse:
        story: list[str] = []
        problem = ""
        if name.strip():
            try:
                story = ledger.explain(name.strip())
            except UnknownSubject as unknown:
                problem = str(unknown)
        return show(request, "explain.html", name=name, story=story, problem=problem)

    @routes.get("/node")
    def node(request: Request) -> HTMLResponse:
        return show(
            request,
            "node.html",
            audit=ledger.audit(None),
            plugins=ledger.plugins.all(),
            waiting=ledger.deliveries.list(DeliveryState.PENDING, 100),
            dead=ledger.deliveries.list(DeliveryState.DEAD, 100),
            events=ledger.history.recent(100),
            messages=ledger.messages.recent(50),
            steps=ledger.steps.recent(50),
            folders=ledger.history.recent(50, about="folder:"),
            own=ledger.history.recent(50, about="node"),
        )

    return routes


def _followed(ledger: Ledger, record: CaseRecord) -> dict[str, object]:
    """What the case page shows of the lesion's visits, and how it names the views."""
    outcome = record.outcome
    visits = visits_of(outcome, record.acquired_at) if outcome is not None else None
    numbers = {view.sop_instance_uid: number for number, view in enumerate(outcome.views if outcome is not None else (), start=1)}
    named = {row.case_id for row in visits.rows if not row.is_this} if visits is not None else set()
    named |= {one.prior_case_id for one in outcome.comparisons} if outcome is not None else set()
    return {
        "visits": visits,
        "charts": chart.charts(visits, outcome.progression, LETTERING) if visits is not None and outcome and outcome.progression else (),
        "chart_size": (chart.WIDTH, chart.HEIGHT),
        "chart_box": {"left": chart.LEFT, "right": chart.WIDTH - chart.RIGHT},
        "linked": frozenset(case_id for case_id in named if _is_of_patient(ledger, case_id, record)),
        "visit_days": _days(visits),
        "view_number": lambda uid: numbers.get(uid, "–"),
    }


def _is_of_patient(ledger: Ledger, case_id: str, record: CaseRecord) -> bool:
    """Whether the ledger knows that case, of the same patient: a plugin may name any, and the PACS knows visits that we do not."""
    try:
        key = ledger.cases.get(case_id).key
    except UnknownSubject:
        return False
    return (key.patient_id, key.issuer_of_patient_id) == (record.key.patient_id, record.key.issuer_of_patient_id)


def _days(visits: Visits | None) -> dict[str, str]:
    """The day of each dated visit, by its case."""
    rows = visits.rows if visits is not None else ()
    return {row.case_id: row.acquired_at.date().isoformat() for row in rows if row.acquired_at is not None}
