"""What the page shows, as JSON under /api, with its OpenAPI page."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query

from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import Audit, CaseRecord, CaseState, Delivery, Event, ObjectState, PluginHealth, StoredObject

Limit = Annotated[int, Query(ge=1, le=1000, description="At most so many.")]
Offset = Annotated[int, Query(ge=0, description="Leave out so many.")]


def api_routes(ledger: Ledger, wake: Callable[[], None], now: Callable[[], datetime]) -> APIRouter:
    """The JSON interface. `wake` is called after a command that gives the engine or the outbox something to do."""
    routes = APIRouter(prefix="/api")

    @routes.get("/cases", summary="The cases, newest first")
    def cases(limit: Limit = 50, offset: Offset = 0, state: CaseState | None = None, search: str | None = None) -> list[CaseRecord]:
        return list(ledger.cases.list(limit, offset, state=state, search=search))

    @routes.get("/cases/{case_id}", summary="One case with its outcome")
    def case(case_id: str) -> CaseRecord:
        return ledger.cases.get(case_id)

    @routes.get("/cases/{case_id}/objects", summary="The objects a case was made of")
    def case_objects(case_id: str) -> list[StoredObject]:
        return list(ledger.objects.of_case(ledger.cases.get(case_id).id))

    @routes.get("/cases/{case_id}/deliveries", summary="Where a case's results go, and how far they are")
    def case_deliveries(case_id: str) -> list[Delivery]:
        return list(ledger.deliveries.of_case(ledger.cases.get(case_id).id))

    @routes.get("/cases/{case_id}/events", summary="The audit trail of a case")
    def case_events(case_id: str) -> list[Event]:
        return list(ledger.history.of_case(ledger.cases.get(case_id).id))

    @routes.post("/cases/{case_id}/reopen", summary="Run a case again")
    def reopen(case_id: str) -> CaseRecord:
        record = ledger.cases.reopen(case_id, now())
        wake()
        return record

    @routes.post("/cases/{case_id}/redeliver", summary="Try a case's deliveries again, now")
    def redeliver(case_id: str, destination: str | None = None) -> list[Delivery]:
        ledger.deliveries.retry(ledger.cases.get(case_id).id, now(), destination=destination)
        wake()
        return list(ledger.deliveries.of_case(case_id))

    @routes.get("/objects", summary="The objects received last")
    def objects(limit: Limit = 50, state: ObjectState | None = None) -> list[StoredObject]:
        return list(ledger.objects.recent(limit, state=state))

    @routes.get("/objects/{sop_instance_uid}", summary="What became of an object: more than one where contents conflicted")
    def found(sop_instance_uid: str) -> list[StoredObject]:
        return list(ledger.objects.find(sop_instance_uid))

    @routes.get("/explain/{name}", summary="The story of any object, series or case, in sentences")
    def explain(name: str) -> list[str]:
        return ledger.explain(name)

    @routes.get("/audit", summary="The proof of conservation: every accepted object in exactly one state")
    def audit() -> Audit:
        return ledger.audit(None)

    @routes.get("/plugins", summary="How the plugins have done lately")
    def plugins() -> list[PluginHealth]:
        return list(ledger.plugins.all())

    return routes
