"""A manager of unified procedure steps on loopback, by DIMSE and by DICOMweb, as strict as the standard (PS3.4 CC, PS3.18 11)."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from pydicom import Dataset
from pydicom.datadict import keyword_for_tag
from pynetdicom import AE, evt
from pynetdicom.sop_class import UnifiedProcedureStepPull
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

SCHEDULED, IN_PROGRESS, COMPLETED, CANCELED = "SCHEDULED", "IN PROGRESS", "COMPLETED", "CANCELED"
UPS_PUSH = "1.2.840.10008.5.1.4.34.6.1"
_FINAL = (COMPLETED, CANCELED)
# PS3.4 tables CC.2.1-2 and CC.2.6-1
NO_MORE, WRONG_KEY, TAKEN, ONLY_MADE, INCOMPLETE, UNKNOWN, NOT_STARTED = 0xC300, 0xC301, 0xC302, 0xC303, 0xC304, 0xC307, 0xC310
ALREADY_CANCELED, ALREADY_COMPLETED = 0xB304, 0xB306


@dataclass
class Kept:
    """One step as the manager keeps it."""

    data: Dataset
    key: str | None = None
    """The Transaction UID of who holds it; it is never told."""
    changes: list[Dataset] = field(default_factory=list)

    @property
    def state(self) -> str:
        return str(self.data.ProcedureStepState)


class StepStore:
    """The state machine of PS3.4 table CC.1.1-2, and the steps that are in it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.steps: dict[str, Kept] = {}
        self.log: list[str] = []

    def add(self, uid: str, inputs: Sequence[tuple[str, str, Sequence[str]]], *, label: str = "DERMA", station: str = "AI1") -> None:
        """Schedules a step; `inputs` are Study, Series and SOP Instance UIDs."""
        data = Dataset()
        data.SOPClassUID, data.SOPInstanceUID = UPS_PUSH, uid
        data.ProcedureStepState, data.InputReadinessState = SCHEDULED, "READY"
        data.WorklistLabel, data.ProcedureStepLabel = label, "Analyse dermoscopy"
        data.ScheduledProcedureStepPriority = "MEDIUM"
        data.PatientID, data.StudyInstanceUID = "P", inputs[0][0] if inputs else ""
        data.ScheduledStationNameCodeSequence = [_coded(station, "99TEST", "A station")]
        data.ScheduledWorkitemCodeSequence = [_coded("110004", "DCM", "Computer Aided Detection")]
        data.InputInformationSequence = [_input(*one) for one in inputs]
        self.steps[uid] = Kept(data)

    def find(self, keys: Dataset) -> list[Dataset]:
        """What matches, without inputs where they are not asked for."""
        with self._lock:
            return [_only(one.data, keys) for one in self.steps.values() if _matches(one.data, keys)]

    def get(self, uid: str) -> Dataset | None:
        with self._lock:
            one = self.steps.get(uid)
            return None if one is None else _copy(one.data)

    def change(self, uid: str, key: str | None, wanted: str) -> int:
        """The status of Change UPS State (PS3.4 table CC.1.1-2)."""
        with self._lock:
            status = self._change(uid, key, wanted)
            self.log.append(f"{wanted} 0x{status:04X}")
            return status

    def _change(self, uid: str, key: str | None, wanted: str) -> int:
        one = self.steps.get(uid)
        if one is None:
            return UNKNOWN
        if wanted == SCHEDULED:
            return ONLY_MADE
        if not key or (one.key is not None and key != one.key):
            return WRONG_KEY
        if wanted == IN_PROGRESS:
            if one.state != SCHEDULED:
                return TAKEN if one.state == IN_PROGRESS else NO_MORE
            one.key, one.data.ProcedureStepState = key, IN_PROGRESS
            return 0x0000
        if one.state == SCHEDULED:
            return NOT_STARTED
        if one.state in _FINAL:
            return NO_MORE if one.state != wanted else ALREADY_COMPLETED if wanted == COMPLETED else ALREADY_CANCELED
        if not (_is_complete if wanted == COMPLETED else _is_explained)(one.data):
            return INCOMPLETE
        one.data.ProcedureStepState = wanted
        return 0x0000

    def set(self, uid: str, key: str | None, changes: Dataset) -> int:
        """The status of Set UPS Information (PS3.4 CC.2.6)."""
        with self._lock:
            one = self.steps.get(uid)
            if one is None:
                return UNKNOWN
            if one.state in _FINAL:
                return NO_MORE
            if one.state == SCHEDULED and key:
                return NOT_STARTED
            if one.state == IN_PROGRESS and key != one.key:
                return WRONG_KEY
            if "ProcedureStepState" in changes:
                return 0x0106  # the state is no attribute to be set
            one.changes.append(_copy(changes))
            for element in _copy(changes):
                if keyword_for_tag(element.tag) != "TransactionUID":
                    one.data.add(element)
            return 0x0000


class DimseWorklist:
    """The store by DIMSE: UPS Pull as SCP. Use it with `with`."""

    def __init__(self, store: StepStore, ae_title: str = "MANAGER") -> None:
        self.store, self.ae_title = store, ae_title
        self._entity = AE(ae_title=ae_title)
        self._entity.add_supported_context(UnifiedProcedureStepPull)
        self.port = 0

    def __enter__(self) -> DimseWorklist:
        handlers = [
            (evt.EVT_C_FIND, self._find),
            (evt.EVT_N_GET, self._get),
            (evt.EVT_N_SET, self._set),
            (evt.EVT_N_ACTION, self._action),
        ]
        server = self._entity.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        self.port = server.server_address[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._entity.shutdown()

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        for found in self.store.find(event.identifier):
            yield 0xFF00, found
        yield 0x0000, None

    def _get(self, event: evt.Event) -> tuple[int, Dataset | None]:
        data = self.store.get(str(event.request.RequestedSOPInstanceUID))
        if data is None:
            return UNKNOWN, None
        wanted = {int(tag) for tag in event.attribute_identifiers}
        for element in list(data):
            if wanted and int(element.tag) not in wanted:
                del data[element.tag]
        return 0x0000, data

    def _set(self, event: evt.Event) -> tuple[int, Dataset | None]:
        changes = event.modification_list
        key = changes.get("TransactionUID")
        return self.store.set(str(event.request.RequestedSOPInstanceUID), None if key is None else str(key), changes), None

    def _action(self, event: evt.Event) -> tuple[int, Dataset | None]:
        data = event.action_information
        key = data.get("TransactionUID")
        wanted = str(data.ProcedureStepState)
        return self.store.change(str(event.request.RequestedSOPInstanceUID), None if key is None else str(key), wanted), None


@contextmanager
def rest_worklist(store: StepStore) -> Iterator[str]:
    """The store by UPS-RS; its base URL, for as long as the block runs."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(_application(store), log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/dicom-web"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


def _application(store: StepStore) -> Starlette:
    async def search(request: Request) -> Response:
        keys = Dataset()
        for name, value in request.query_params.multi_items():
            if name == "00404025.00080100":
                keys.ScheduledStationNameCodeSequence = [_coded(value, "", "")]
            elif name.isalnum() and len(name) == 8:
                setattr(keys, keyword_for_tag(int(name, 16)), value)
        found = [_copy(one.data).to_json_dict() for one in store.steps.values() if _matches(one.data, keys)]
        return _json(found) if found else Response(status_code=204)

    async def retrieve(request: Request) -> Response:
        data = store.get(request.path_params["uid"])
        return Response(status_code=404) if data is None else _json([data.to_json_dict()])

    async def update(request: Request) -> Response:
        (content,) = json.loads(await request.body())
        return _answer(store.set(request.path_params["uid"], request.query_params.get("transaction"), Dataset.from_json(content)))

    async def state(request: Request) -> Response:
        (content,) = json.loads(await request.body())
        data = Dataset.from_json(content)
        key = data.get("TransactionUID")
        return _answer(store.change(request.path_params["uid"], None if key is None else str(key), str(data.ProcedureStepState)))

    return Starlette(
        routes=[
            Route("/dicom-web/workitems", search, methods=["GET"]),
            Route("/dicom-web/workitems/{uid}", retrieve, methods=["GET"]),
            Route("/dicom-web/workitems/{uid}", update, methods=["POST"]),
            Route("/dicom-web/workitems/{uid}/state", state, methods=["PUT"]),
        ]
    )


def _answer(status: int) -> Response:
    """PS3.18 tables 11.6.3-1 and 11.7.3-1."""
    warning = {"warning": f"299 test: 0x{status:04X}"}
    if status in (0x0000, ALREADY_CANCELED, ALREADY_COMPLETED):
        return Response(status_code=200, headers=warning if status else None)
    if status == UNKNOWN:
        return Response(status_code=404)
    return Response(status_code=400 if status == WRONG_KEY else 409, headers=warning)


def _json(content: Any) -> Response:
    return JSONResponse(content, media_type="application/dicom+json")


def _is_complete(data: Dataset) -> bool:
    """Table CC.2.5-3, final state P: what must be there before a step is completed."""
    items: Sequence[Dataset] = data.get("UnifiedProcedureStepPerformedProcedureSequence") or ()
    valued = (
        "PerformedStationNameCodeSequence",
        "PerformedWorkitemCodeSequence",
        "PerformedProcedureStepStartDateTime",
        "PerformedProcedureStepEndDateTime",
    )
    return len(items) == 1 and all(items[0].get(keyword) for keyword in valued) and "OutputInformationSequence" in items[0]


def _is_explained(data: Dataset) -> bool:
    """Final state X: what must be there before a step is canceled."""
    items: Sequence[Dataset] = data.get("ProcedureStepProgressInformationSequence") or ()
    valued = ("ProcedureStepCancellationDateTime", "ProcedureStepDiscontinuationReasonCodeSequence")
    return len(items) == 1 and all(items[0].get(keyword) for keyword in valued)


def _matches(data: Dataset, keys: Dataset) -> bool:
    for keyword in ("ProcedureStepState", "InputReadinessState", "WorklistLabel", "PatientID", "StudyInstanceUID"):
        if keys.get(keyword) and str(data.get(keyword)) != str(keys.get(keyword)):
            return False
    wanted = {str(item.CodeValue) for item in keys.get("ScheduledStationNameCodeSequence") or () if item.get("CodeValue")}
    return not wanted or bool(wanted & {str(item.CodeValue) for item in data.ScheduledStationNameCodeSequence})


def _only(data: Dataset, keys: Dataset) -> Dataset:
    shown = Dataset()
    for element in data:
        if element.tag in keys:
            shown.add(element)
    return _copy(shown)


def _copy(data: Dataset) -> Dataset:
    return Dataset.from_json(data.to_json())


def _coded(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _input(study: str, series: str, instances: Sequence[str]) -> Dataset:
    item = Dataset()
    item.TypeOfInstances, item.StudyInstanceUID, item.SeriesInstanceUID = "DICOM", study, series
    references = []
    for uid in instances:
        reference = Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.77.1.4", uid
        references.append(reference)
    item.ReferencedSOPSequence = references
    return item
