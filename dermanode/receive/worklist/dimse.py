"""A manager of procedure steps by DIMSE: the UPS Pull SOP Class as SCU (PS3.4 CC.2.5 to CC.2.8)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.tag import BaseTag
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import UnifiedProcedureStepPull, UnifiedProcedureStepPush

from dermanode.config import Worklist
from dermanode.config.tls import towards
from dermanode.deliver.answers import undisturbed
from dermanode.deliver.dimse import without_delay
from dermanode.dicom.procedure_step import (
    CHANGE_STATE,
    ProcedureStep,
    StepMalformed,
    StepProgress,
    matches,
    query_data,
    read_step,
    state_data,
)
from dermanode.domain.identifiers import UID, AETitle
from dermanode.errors import ConfigurationError
from dermanode.receive.worklist.session import Answer, Verdict, WorklistUnavailable

log = structlog.get_logger(__name__)

# PS3.4 tables CC.2.1-2 and CC.2.6-1
_WORDS = {
    0xC300: "the step may no longer be updated",
    0xC301: "the correct Transaction UID was not provided",
    0xC302: "the step is already in progress",
    0xC303: "a step only becomes scheduled when it is made",
    0xC304: "the step has not met the requirements of its final state",
    0xC307: "no such step",
    0xC310: "the step is not yet in progress",
    0xC311: "the step is already completed",
}
_CONFLICTS = frozenset({0xC300, 0xC301, 0xC302, 0xC310, 0xC311})
_UNKNOWN = frozenset({0xC307, 0x0112})
# 0xB304 and 0xB306: it is in the requested state already. The others: attributes were left out or coerced.
_DONE = frozenset({0x0000, 0x0001, 0xB300, 0xB304, 0xB305, 0xB306})
_PENDING = frozenset({0xFF00, 0xFF01})
_ASKED_FOR = (
    "ProcedureStepState",
    "ProcedureStepLabel",
    "PatientID",
    "StudyInstanceUID",
    "InputInformationSequence",
    "ScheduledWorkitemCodeSequence",
)


class DimseManager:
    """A manager at the other end of an association."""

    def __init__(self, name: str, settings: Worklist, calling_ae: AETitle) -> None:
        self.name, self._settings, self._calling_ae = name, settings, calling_ae

    @contextmanager
    def session(self) -> Iterator[DimseSession]:
        assert self._settings.host is not None
        assert self._settings.port is not None
        try:
            tls = towards(self._settings.host, self._settings.tls)
        except ConfigurationError as error:
            raise WorklistUnavailable(self.name, str(error)) from error
        entity = AE(ae_title=self._calling_ae)
        limit_s = self._settings.timeout_s
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = limit_s
        association = entity.associate(
            self._settings.host,
            self._settings.port,
            contexts=[build_context(UnifiedProcedureStepPull)],
            ae_title=self._settings.ae_title,
            evt_handlers=[(evt.EVT_CONN_OPEN, without_delay), (evt.EVT_CONN_OPEN, undisturbed)],
            tls_args=tls,
        )
        if not association.is_established:
            where = f"{self._settings.ae_title} at {self._settings.host}:{self._settings.port}"
            why = "does not offer procedure steps (UPS Pull)" if association.rejected_contexts else "takes no association"
            raise WorklistUnavailable(self.name, f"{where} {why}.")
        try:
            yield DimseSession(self.name, association)
        finally:
            if association.is_established:
                association.release()


class DimseSession:
    """One association."""

    def __init__(self, name: str, association: Association) -> None:
        self._name, self._association = name, association

    def find(self, label: str, station: str) -> Sequence[ProcedureStep]:
        found = []
        try:
            for status, identifier in self._association.send_c_find(query_data(label, station), UnifiedProcedureStepPull):
                code = status.get("Status")
                if code in _PENDING and identifier is not None and matches(identifier, label, station):
                    found.append(self._read(identifier))
                elif code is None or (code not in _PENDING and code != 0x0000):
                    raise WorklistUnavailable(self._name, "gave no answer to a search." if code is None else f"answered 0x{code:04X}.")
        except RuntimeError as error:
            raise WorklistUnavailable(self._name, "the association was lost.") from error
        return [one for one in found if one is not None]

    def get(self, sop_instance_uid: UID) -> ProcedureStep | None:
        tags = [BaseTag(tag) for keyword in _ASKED_FOR if (tag := tag_for_keyword(keyword)) is not None]
        try:
            status, data = self._association.send_n_get(tags, UnifiedProcedureStepPush, sop_instance_uid)
        except RuntimeError as error:
            raise WorklistUnavailable(self._name, "the association was lost.") from error
        code = self._code(status)
        if code in _UNKNOWN:
            return None
        if code not in (0x0000, 0x0001) or data is None:
            raise WorklistUnavailable(self._name, f"answered 0x{code:04X} to the question for a step.")
        step = self._read(data, sop_instance_uid)
        if step is None:
            raise WorklistUnavailable(self._name, "described a step in a way that cannot be understood.")
        return step

    def change_state(self, sop_instance_uid: UID, transaction_uid: UID, progress: StepProgress) -> Answer:
        data = state_data(transaction_uid, progress)
        try:
            status, _ = self._association.send_n_action(data, CHANGE_STATE, UnifiedProcedureStepPush, sop_instance_uid)
        except RuntimeError as error:
            raise WorklistUnavailable(self._name, "the association was lost.") from error
        return self._answer(status)

    def update(self, sop_instance_uid: UID, transaction_uid: UID, changes: Dataset) -> Answer:
        try:
            status, _ = self._association.send_n_set(changes, UnifiedProcedureStepPush, sop_instance_uid)
        except RuntimeError as error:
            raise WorklistUnavailable(self._name, "the association was lost.") from error
        return self._answer(status)

    def _read(self, data: Dataset, sop_instance_uid: str = "") -> ProcedureStep | None:
        try:
            return read_step(data, sop_instance_uid)
        except StepMalformed as error:
            log.warning("procedure_step_malformed", worklist=self._name, reason=str(error))
            return None

    def _code(self, status: Dataset) -> int:
        code: int | None = status.get("Status")
        if code is None:
            raise WorklistUnavailable(self._name, "gave no answer.")
        return code

    def _answer(self, status: Dataset) -> Answer:
        code = self._code(status)
        words = _WORDS.get(code, "") or str(status.get("ErrorComment", ""))
        words = f"0x{code:04X} {words}".rstrip()
        if code in _DONE:
            return Answer(Verdict.DONE, words)
        if code in _CONFLICTS:
            return Answer(Verdict.CONFLICT, words)
        if code in _UNKNOWN:
            return Answer(Verdict.UNKNOWN, words)
        return Answer(Verdict.REFUSED, words)
