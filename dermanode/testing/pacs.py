"""A PACS on loopback: takes every storage class, keeps what it gets, and can be told to misbehave."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Self

from pydicom import Dataset, dcmread
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification

from dermanode.config import DimseDestination
from dermanode.domain import AETitle

COMMON_TRANSFER_SYNTAXES = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEG2000Lossless,
    JPEG2000,
    RLELossless,
)
"""Not all that there are: the library copies every pair of class and syntax at each association, which took 100 ms with all of them."""


@dataclass(frozen=True, slots=True)
class Received:
    """One object that came, each time that it came."""

    sop_class_uid: UID
    sop_instance_uid: UID
    transfer_syntax_uid: UID
    calling_ae: str
    association: int
    """Counts the associations that were opened, from 1."""
    content: bytes
    """The object as a DICOM file."""

    def dataset(self) -> Dataset:
        return dcmread(BytesIO(self.content))


class LoopbackPacs:
    """A real Storage SCP on 127.0.0.1; use it with `with`, or call `start` and `stop`.

    `status` is what it answers to an object: a number, or a function of the SOP Instance UID. `delay_s` is how long it thinks first.
    With `drops_after` it aborts an association in place of answering its next object after so many. `is_closed` rejects associations.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        ae_title: str = "LOOPBACK",
        port: int = 0,
        sop_classes: Sequence[str] | None = None,
        transfer_syntaxes: Sequence[str] = COMMON_TRANSFER_SYNTAXES,
    ) -> None:
        """Objects are also written into `folder`, by SOP Instance UID. `sop_classes` narrows what it accepts, which is every class."""
        self.ae_title, self.folder = AETitle(ae_title), folder
        self.status: int | Callable[[str], int] = 0x0000
        self.delay_s = 0.0
        self.drops_after: int | None = None
        self.is_closed = False
        self._wanted_port = port
        self._received: list[Received] = []
        self._associations: dict[object, tuple[int, int]] = {}
        self._opened = 0
        self._changed = threading.Condition()
        self._entity = AE(ae_title=self.ae_title)
        self._entity.maximum_pdu_size = 131072
        self._entity.add_supported_context(Verification)
        for sop_class in sop_classes or [context.abstract_syntax for context in AllStoragePresentationContexts]:
            self._entity.add_supported_context(sop_class, list(transfer_syntaxes))
        self._server: object | None = None
        self.port = port

    def start(self) -> None:
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_REQUESTED, self._request)]
        self._server = server = self._entity.start_server(("127.0.0.1", self._wanted_port), block=False, evt_handlers=handlers)
        self.port = server.server_address[1]

    def stop(self) -> None:
        if self._server is not None:
            self._entity.shutdown()
            self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def destination(self, **settings: object) -> DimseDestination:
        """The settings under which a node sends here."""
        return DimseDestination.model_validate(
            {"type": "dimse", "ae_title": self.ae_title, "host": "127.0.0.1", "port": self.port, "timeout_s": 10.0, **settings}
        )

    @property
    def received(self) -> tuple[Received, ...]:
        """Everything that was answered with success or a warning, in the order in which it came; what came twice is there twice."""
        with self._changed:
            return tuple(self._received)

    @property
    def uids(self) -> frozenset[str]:
        """The SOP Instance UIDs it holds."""
        return frozenset(str(one.sop_instance_uid) for one in self.received)

    @property
    def associations(self) -> int:
        """How many associations were opened."""
        return self._opened

    def wait_for(self, count: int, timeout_s: float = 30.0) -> bool:
        """Waits until so many different objects are held; False when they are not after the time."""
        with self._changed:
            return self._changed.wait_for(lambda: len({one.sop_instance_uid for one in self._received}) >= count, timeout_s)

    def _request(self, event: evt.Event) -> None:
        with self._changed:
            self._opened += 1
            self._associations[event.assoc] = (self._opened, 0)
        # Nobody is called so: the association is rejected as from an unknown caller
        self._entity.require_calling_aet = ["NOBODY"] if self.is_closed else []

    def _store(self, event: evt.Event) -> int:
        uid = UID(event.request.AffectedSOPInstanceUID)
        with self._changed:
            association, count = self._associations[event.assoc]
            self._associations[event.assoc] = (association, count + 1)
        if self.drops_after is not None and count >= self.drops_after:
            event.assoc.abort(block=False)
            return 0x0110
        time.sleep(self.delay_s)
        status = self.status(str(uid)) if callable(self.status) else self.status
        if status == 0x0000 or 0xB000 <= status <= 0xBFFF:
            self._keep(event, uid, association)
        return status

    def _keep(self, event: evt.Event, uid: UID, association: int) -> None:
        content = event.encoded_dataset()
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / f"{uid}.dcm").write_bytes(content)
        received = Received(
            sop_class_uid=UID(event.request.AffectedSOPClassUID),
            sop_instance_uid=uid,
            transfer_syntax_uid=UID(event.context.transfer_syntax),
            calling_ae=str(event.assoc.requestor.ae_title).strip(),
            association=association,
            content=content,
        )
        with self._changed:
            self._received.append(received)
            self._changed.notify_all()
