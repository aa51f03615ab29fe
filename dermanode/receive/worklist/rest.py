"""A manager of procedure steps by DICOMweb: UPS-RS as user agent (PS3.18 11)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import structlog
from pydicom import Dataset

from dermanode.config import Worklist
from dermanode.config.tls import ClientTls
from dermanode.dicom.procedure_step import ProcedureStep, StepMalformed, StepProgress, matches, read_step, state_data
from dermanode.domain.identifiers import UID
from dermanode.receive.worklist.session import Answer, Verdict, WorklistUnavailable

log = structlog.get_logger(__name__)

Parameters = list[tuple[str, str | int | float | bool | None]]
"""httpx's own type for them."""
_JSON = "application/dicom+json"
_MOST = 100
"""Steps in one answer: more than are ever claimed at once."""
# Input Information, Scheduled Workitem Code, Procedure Step Label, Patient ID, Study Instance UID
_FIELDS = ("00404021", "00404018", "00741204", "00100020", "0020000D")


class RestManager:
    """A manager behind a URL."""

    def __init__(self, name: str, settings: Worklist) -> None:
        """Raises `ConfigurationError` for certificates that cannot be used."""
        assert settings.url is not None
        self.name, self._settings, self._url = name, settings, settings.url.rstrip("/")
        self._trust = (settings.tls or ClientTls()).context()

    @contextmanager
    def session(self) -> Iterator[RestSession]:
        headers = {"accept": _JSON}
        if self._settings.token:
            headers["authorization"] = f"Bearer {self._settings.token}"
        with httpx.Client(headers=headers, timeout=self._settings.timeout_s, verify=self._trust) as client:
            yield RestSession(self.name, self._url, client)


class RestSession:
    """Requests to one manager."""

    def __init__(self, name: str, url: str, client: httpx.Client) -> None:
        self._name, self._url, self._client = name, url, client

    def find(self, label: str, station: str) -> Sequence[ProcedureStep]:
        asked: Parameters = [("00741000", StepProgress.SCHEDULED.value), ("00404041", "READY")]
        if label:
            asked.append(("00741202", label))
        if station:
            asked.append(("00404025.00080100", station))
        response = self._call("GET", "/workitems", params=[*asked, *(("includefield", field) for field in _FIELDS), ("limit", str(_MOST))])
        if response.status_code == 204:
            return []
        if response.status_code != 200:
            raise WorklistUnavailable(self._name, f"answered a search with HTTP {response.status_code}.")
        answers = self._json(response)
        if not isinstance(answers, list):
            raise WorklistUnavailable(self._name, "answered a search with something else than a list.")
        found = []
        for answer in answers:
            try:
                data = self._dataset(answer)
                # Which keys are matched is the manager's affair; what it returns of them is looked at again.
                if matches(data, label if "WorklistLabel" in data else "", station if "ScheduledStationNameCodeSequence" in data else ""):
                    found.append(read_step(data))
            except StepMalformed as error:
                log.warning("procedure_step_malformed", worklist=self._name, reason=str(error))
        return found

    def get(self, sop_instance_uid: UID) -> ProcedureStep | None:
        response = self._call("GET", f"/workitems/{sop_instance_uid}")
        if response.status_code in (404, 410):
            return None
        if response.status_code != 200:
            raise WorklistUnavailable(self._name, f"answered the question for a step with HTTP {response.status_code}.")
        content = self._json(response)
        try:
            return read_step(self._dataset(content[0] if isinstance(content, list) and content else content), sop_instance_uid)
        except StepMalformed as error:
            raise WorklistUnavailable(self._name, "described a step in a way that cannot be understood.") from error

    def change_state(self, sop_instance_uid: UID, transaction_uid: UID, progress: StepProgress) -> Answer:
        body = [state_data(transaction_uid, progress).to_json_dict()]
        return self._answer(self._call("PUT", f"/workitems/{sop_instance_uid}/state", json=body))

    def update(self, sop_instance_uid: UID, transaction_uid: UID, changes: Dataset) -> Answer:
        # PS3.18 11.6.1: the key stands in the query; in the data set, where N-SET has it, other servers look.
        parameters: Parameters = [("transaction", str(transaction_uid))]
        return self._answer(self._call("POST", f"/workitems/{sop_instance_uid}", params=parameters, json=[changes.to_json_dict()]))

    def _call(self, method: str, path: str, *, params: Parameters | None = None, json: Any = None) -> httpx.Response:
        try:
            headers = {"content-type": _JSON} if json is not None else None
            response = self._client.request(method, f"{self._url}{path}", params=params, json=json, headers=headers)
        except httpx.TimeoutException as error:
            raise WorklistUnavailable(self._name, "gave no answer in time.") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise WorklistUnavailable(self._name, f"cannot be reached: {error}") from error
        if response.status_code in (401, 403, 408, 429) or response.is_server_error:
            raise WorklistUnavailable(self._name, f"answered with HTTP {response.status_code}.")
        return response

    def _json(self, response: httpx.Response) -> Any:
        try:
            return response.json()
        except ValueError as error:
            raise WorklistUnavailable(self._name, "answered with something else than JSON.") from error

    def _dataset(self, content: Any) -> Dataset:
        """Raises `StepMalformed`."""
        try:
            return Dataset.from_json(content)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise StepMalformed(f"It is no DICOM JSON ({type(error).__name__}).") from error

    def _answer(self, response: httpx.Response) -> Answer:
        words = f"HTTP {response.status_code} {response.headers.get('warning', '')}".rstrip()
        if response.is_success:
            return Answer(Verdict.DONE, words)
        if response.status_code in (404, 410):
            return Answer(Verdict.UNKNOWN, words)
        # 400 too: a missing or a wrong Transaction UID is answered so by some (PS3.18 table 11.7.3-1).
        return Answer(Verdict.CONFLICT if response.status_code in (400, 409) else Verdict.REFUSED, words)
