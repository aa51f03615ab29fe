"""A PACS on loopback that promises to keep what it got (storage commitment as SCP), and a device that asks a node for such a promise."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

from pydicom import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import StorageCommitmentPushModel

from dermanode.dicom.commitment import REQUEST, WELL_KNOWN_INSTANCE, Instance, read_request, report_data, request_data
from dermanode.domain import UID
from dermanode.testing.pacs import LoopbackPacs

Event = tuple[int, Dataset]
"""An Event Type ID and its Event Information."""


class CommittingPacs(LoopbackPacs):
    """A `LoopbackPacs` that takes storage commitment and reports as it is told to.

    `where` says on which association it reports: `here`, on the one that asked; `anew`, on one of its own to `reports_to`; `never`.
    `loses` names why it does not keep an object, by its SOP Instance UID; None where it does.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.where: Literal["here", "anew", "never"] = "here"
        self.reports_to: tuple[str, int] | None = None
        self.calls_itself = str(self.ae_title)
        self.loses: Callable[[str], int | None] = lambda uid: None if uid in self.uids else 0x0112
        self.action_status = 0x0000
        self.transactions: list[str] = []
        self.answers: list[int | None] = []
        """The status with which each report was answered; None where there was no answer."""
        self._entity.add_supported_context(StorageCommitmentPushModel)

    def start(self) -> None:
        super().start()
        assert self._server is not None
        self._server.bind(evt.EVT_N_ACTION, self._asked)  # type: ignore[attr-defined]  # pynetdicom's server, which has no types

    def report(self, transaction_uid: UID, instances: Sequence[Instance]) -> int | None:
        """Reports on an association of its own; the status of the answer."""
        assert self.reports_to is not None
        host, port = self.reports_to
        entity = AE(ae_title=self.calls_itself)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 10
        role = build_role(StorageCommitmentPushModel, scp_role=True)
        association = entity.associate(host, port, [build_context(StorageCommitmentPushModel)], "DERMANODE", ext_neg=[role])
        if not association.is_established:
            return self._remember(None)
        try:
            return self._send(association, transaction_uid, instances)
        finally:
            association.release()

    def _asked(self, event: evt.Event) -> tuple[int, None]:
        transaction_uid, instances = read_request(event.action_information)
        self.transactions.append(str(transaction_uid))
        if self.action_status == 0x0000 and self.where != "never":
            tell = partial(self._send, event.assoc) if self.where == "here" else self.report
            # After the answer, which goes out when this handler returns.
            threading.Timer(0.1, tell, (transaction_uid, instances)).start()
        return self.action_status, None

    def _send(self, association: Association, transaction_uid: UID, instances: Sequence[Instance]) -> int | None:
        reasons = [(instance, self.loses(instance[1])) for instance in instances]
        kept = [instance for instance, reason in reasons if reason is None]
        kind, data = report_data(transaction_uid, kept, [(instance, reason) for instance, reason in reasons if reason is not None])
        answer, _ = association.send_n_event_report(data, kind, StorageCommitmentPushModel, WELL_KNOWN_INSTANCE)
        return self._remember(answer.get("Status"))

    def _remember(self, status: int | None) -> int | None:
        self.answers.append(status)
        return status


class AskingDevice:
    """A device that asks a node to keep objects and waits for the report on the same association, or listens for it."""

    def __init__(self, port: int, ae_title: str = "CAMERA") -> None:
        """`port` is the node's."""
        self.ae_title, self._port = ae_title, port
        self.events: list[Event] = []
        """The reports that were answered."""
        self._unanswered: list[Event] = []
        self._came = threading.Condition()
        self._entity = AE(ae_title=ae_title)
        self._entity.acse_timeout = self._entity.dimse_timeout = self._entity.network_timeout = 10
        context = build_context(StorageCommitmentPushModel)
        self._entity.add_requested_context(StorageCommitmentPushModel)
        self._entity.add_supported_context(context.abstract_syntax, scu_role=True, scp_role=True)

    def listen(self) -> int:
        """Listens for reports; the port. `close` ends it."""
        server = self._entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=self._handlers)
        return int(server.server_address[1])

    def close(self) -> None:
        self._entity.shutdown()

    def associate(self) -> Association:
        return self._entity.associate("127.0.0.1", self._port, ae_title="DERMANODE", evt_handlers=self._handlers)

    @property
    def _handlers(self) -> list[evt.EventHandlerType]:
        return [(evt.EVT_N_EVENT_REPORT, self._reported), (evt.EVT_PDU_SENT, self._answered)]

    def ask(self, association: Association, transaction_uid: str, instances: Sequence[Instance]) -> int | None:
        """The status of the answer."""
        data = request_data(UID(transaction_uid), instances)
        answer, _ = association.send_n_action(data, REQUEST, StorageCommitmentPushModel, WELL_KNOWN_INSTANCE)
        status: int | None = answer.get("Status")
        return status

    def wait(self, count: int = 1, timeout_s: float = 30.0) -> list[Event]:
        """The reports, once there are so many. Raises `TimeoutError`."""
        with self._came:
            if not self._came.wait_for(lambda: len(self.events) >= count, timeout_s):
                raise TimeoutError(f"{len(self.events)} reports instead of {count}")
            return list(self.events)

    def _reported(self, event: evt.Event) -> tuple[int, None]:
        self._unanswered.append((event.event_type, event.event_information))
        return 0x0000, None

    def _answered(self, event: evt.Event) -> None:
        """Whoever waits may release the association now: before its answer is sent, pynetdicom would fail over it."""
        if isinstance(event.pdu, P_DATA_TF) and self._unanswered:
            with self._came:
                self.events += self._unanswered
                self._unanswered.clear()
                self._came.notify_all()
