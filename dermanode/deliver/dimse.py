"""A PACS as a destination: C-STORE, one association for all objects of a case."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS

from dermanode.config import DimseDestination
from dermanode.config.tls import towards
from dermanode.deliver.answers import undisturbed
from dermanode.deliver.destination import Package
from dermanode.domain import AETitle
from dermanode.errors import ConfigurationError, DeliveryRefused, DestinationUnavailable

# PS3.8 table 9-21, by (source, reason)
_REJECTIONS = {
    (1, 2): "it does not support the application context",
    (1, 3): "it does not know our AE title",
    (1, 7): "it does not answer to that AE title",
    (3, 1): "it is congested",
    (3, 2): "it has as many associations as it allows",
}

# PS3.4 B.2.3 and PS3.7 annex C. Answers outside these ranges may pass, so they are tried again: 0xA7xx, out of resources, above all.
_STORED = frozenset({0x0000, 0x0001, 0x0107, 0x0111, 0x0116})
"""0x0111: it has the instance already, from an earlier try whose answer was lost."""
_FINAL = frozenset({0x0105, 0x0106, 0x0112, 0x0115, 0x0117, 0x0118, 0x0119, 0x0120, 0x0121, 0x0122, 0x0124, 0x0210, 0x0211, 0x0212})


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one object: the PACS's status, or None where no answer came."""

    file_name: str
    status: int | None
    words: str

    @property
    def is_stored(self) -> bool:
        return self.status is not None and (self.status in _STORED or 0xB000 <= self.status <= 0xBFFF)

    @property
    def is_final(self) -> bool:
        """The object, or the service for it, was refused, and would be again."""
        return self.status is not None and (0xA900 <= self.status <= 0xA9FF or 0xC000 <= self.status <= 0xCFFF or self.status in _FINAL)


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    sop_class: UID
    transfer_syntax: UID

    @property
    def is_native(self) -> bool:
        """Little endian and not compressed: another VR encoding holds the same."""
        return self.transfer_syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian)


class Dimse:
    """Stores objects in a PACS: the bytes of a file as they are, or in Implicit VR where the PACS takes nothing else."""

    def __init__(self, name: str, settings: DimseDestination, calling_ae: AETitle) -> None:
        self.name, self.settings, self.calling_ae = name, settings, calling_ae

    def deliver(self, package: Package) -> str:
        """Tries every object, also after one was refused. What a PACS has already it may be sent again: the UIDs are the same."""
        files = [self._opened(path) for path in package.files]
        with self._association(_contexts(files)) as association:
            answers = list(_store_all(association, files))
        return self._verdict(answers)

    def _opened(self, path: Path) -> _File:
        try:
            meta = read_file_meta_info(path)
            return _File(path, UID(meta.MediaStorageSOPClassUID), UID(meta.TransferSyntaxUID))
        except (InvalidDicomError, AttributeError) as error:
            raise DeliveryRefused(self.name, f"{path.name} is no DICOM file: {error}") from error

    @contextmanager
    def _association(self, contexts: Sequence[PresentationContext]) -> Iterator[Association]:
        # Files go out in chunks, as they are; the switch is the library's and holds for the whole process.
        _config.STORE_SEND_CHUNKED_DATASET = True
        entity = AE(ae_title=self.calling_ae)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = self.settings.timeout_s
        association = entity.associate(
            self.settings.host,
            self.settings.port,
            contexts=list(contexts),
            ae_title=self.settings.ae_title,
            evt_handlers=[(evt.EVT_CONN_OPEN, without_delay), (evt.EVT_CONN_OPEN, undisturbed)],
            tls_args=self._tls(),
        )
        if not association.is_established:
            raise self._not_established(association)
        try:
            yield association
        finally:
            if association.is_established:
                association.release()

    def _tls(self) -> tuple[ssl.SSLContext, str] | None:
        try:
            return towards(self.settings.host, self.settings.tls)
        except ConfigurationError as error:
            raise DestinationUnavailable(self.name, str(error)) from error

    def _not_established(self, association: Association) -> DeliveryRefused | DestinationUnavailable:
        where = f"{self.settings.ae_title} at {self.settings.host}:{self.settings.port}"
        if association.rejected_contexts:
            names = ", ".join(sorted({context.abstract_syntax.name for context in association.rejected_contexts}))
            return DeliveryRefused(self.name, f"{where} takes none of {names}")
        answer = association.acceptor.primitive
        if association.is_rejected and answer is not None:
            why = _REJECTIONS.get((answer.result_source, answer.diagnostic), f"source {answer.result_source}, reason {answer.diagnostic}")
            return DestinationUnavailable(self.name, f"{where} rejected the association: {why}")
        return DestinationUnavailable(self.name, f"{where} cannot be reached, or gave no answer")

    def _verdict(self, answers: Sequence[Answer]) -> str:
        stored = [answer for answer in answers if answer.is_stored]
        failed = [f"{answer.file_name}: {answer.words}" for answer in answers if not answer.is_stored]
        if failed:
            reason = f"stored {len(stored)} of {len(answers)}; {'; '.join(failed)}"
            is_hopeless = all(answer.is_final for answer in answers if not answer.is_stored)
            raise (DeliveryRefused if is_hopeless else DestinationUnavailable)(self.name, reason)
        remarks = [f"{answer.file_name}: {answer.words}" for answer in stored if answer.status != 0x0000]
        return "; ".join([f"{len(stored)} objects stored by {self.settings.ae_title}", *remarks])


def without_delay(event: evt.Event) -> None:
    # Nagle's delay costs 40 ms an object
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _contexts(files: Sequence[_File]) -> list[PresentationContext]:
    """One context for each pair of SOP class and transfer syntax; Implicit VR, which everybody has to know, beside native ones."""
    wanted = {(file.sop_class, file.transfer_syntax): None for file in files}
    wanted |= {(file.sop_class, ImplicitVRLittleEndian): None for file in files if file.is_native}
    return [build_context(sop_class, transfer_syntax) for sop_class, transfer_syntax in wanted]


def _store_all(association: Association, files: Sequence[_File]) -> Iterator[Answer]:
    """An answer for every file; after one that got none the association is lost, which the library may only notice later."""
    is_lost = False
    for number, file in enumerate(files, start=1):
        answer = Answer(file.path.name, None, "not sent, the association was lost") if is_lost else _store(association, file, number)
        is_lost = answer.status is None
        yield answer


def _store(association: Association, file: _File, message_id: int) -> Answer:
    name = file.path.name
    accepted = {(c.abstract_syntax, c.transfer_syntax[0]) for c in association.accepted_contexts}
    if (file.sop_class, file.transfer_syntax) in accepted:
        content = file.path
    elif file.is_native and (file.sop_class, ImplicitVRLittleEndian) in accepted:
        content = dcmread(file.path)
    else:
        return Answer(name, 0x0122, f"{file.sop_class.name} in {file.transfer_syntax.name} is not accepted")
    try:
        status = association.send_c_store(content, msg_id=message_id)
    except RuntimeError:  # the association was lost before this object
        return Answer(name, None, "not sent, the association was lost")
    if "Status" not in status:
        return Answer(name, None, "no answer")
    code: int = status.Status
    known = STORAGE_SERVICE_CLASS_STATUS.get(code, ("", ""))[1]
    return Answer(name, code, " ".join(filter(None, [f"0x{code:04X}", known, str(status.get("ErrorComment", ""))])))
