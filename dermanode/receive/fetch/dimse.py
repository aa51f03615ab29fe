"""A PACS by C-FIND, and by C-GET or C-MOVE (PS3.4 C.4.2, C.4.3)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import structlog
from pydicom import Dataset
from pydicom.uid import UncompressedTransferSyntaxes
from pynetdicom import build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from dermanode.config import Source
from dermanode.dicom.visible import DERMOSCOPIC
from dermanode.domain.identifiers import UID, AETitle
from dermanode.errors import DermaNodeError, SourceRefused, SourceUnavailable, SpoolError
from dermanode.receive.contexts import TRANSFER_SYNTAXES, register_storage_classes
from dermanode.receive.dimse_peer import PENDING, DimsePeer, DimseSearch, find_context, identifier, words
from dermanode.receive.fetch.door import STOPPED, Begin
from dermanode.receive.fetch.listing import SeriesOrder
from dermanode.receive.incoming import Incoming
from dermanode.receive.intake import CANNOT_UNDERSTAND, OUT_OF_RESOURCES, SUCCESS, StoreRequest
from dermanode.receive.searcher import Searcher

log = structlog.get_logger(__name__)

CLASSES_AT_ONCE = 6
"""An association has 127 odd presentation context ids (PS3.8 9.3.2.2), and each class takes one for every transfer syntax."""
_COMPRESSED = tuple(syntax for syntax in TRANSFER_SYNTAXES if syntax not in UncompressedTransferSyntaxes)
_CLASSES_WHERE_UNSTATED = (DERMOSCOPIC, "1.2.840.10008.5.1.4.1.1.77.1.4", "1.2.840.10008.5.1.4.1.1.7")
_UNKNOWN_DESTINATION = 0xA801


class _DimseDoor:
    """What C-GET and C-MOVE have in common."""

    def __init__(self, name: str, source: Source, own_title: AETitle) -> None:
        self._peer = DimsePeer(name, source, own_title)
        self.name, self.title, self.address = name, str(source.ae_title), source.host

    @contextmanager
    def search(self) -> Iterator[Searcher]:
        with self._peer.association([find_context()]) as association:
            yield DimseSearch(self._peer, association)

    def _questions(self, order: SeriesOrder, missing: Collection[UID]) -> Iterator[Dataset]:
        """The series as a whole where all of it is missing; else one instance after the other: a PACS need not know lists of UIDs."""
        keys = {"StudyInstanceUID": str(order.study_instance_uid), "SeriesInstanceUID": str(order.series_instance_uid)}
        if len(missing) == len(order.instances):
            yield identifier("SERIES", keys)
        else:
            for uid in sorted(missing):
                yield identifier("IMAGE", keys | {"SOPInstanceUID": str(uid)})

    def _follow(self, association: Association, answers: Any, stopping: threading.Event) -> Dataset:
        """The last answer; raises `SourceUnavailable` where there is none."""
        for status, _ in answers:
            if "Status" not in status:
                raise SourceUnavailable(self.name, "the association was lost" if not association.is_established else "it stopped answering")
            if status.Status not in PENDING:
                return status
            if stopping.is_set():
                raise SourceUnavailable(self.name, STOPPED)
        raise SourceUnavailable(self.name, "it stopped answering")


class GetDoor(_DimseDoor):
    """C-GET: the objects come over the association that we open, in the transfer syntaxes that the source has."""

    is_bringing = True

    def retrieve(self, order: SeriesOrder, missing: Collection[UID], begin: Begin, stopping: threading.Event) -> None:
        register_storage_classes()
        shelf = _Shelf(self.name, lambda: begin(order))
        reason = self._offer(TRANSFER_SYNTAXES, order, missing, shelf, stopping)
        rest = [uid for uid in missing if uid not in shelf.came]
        if reason and rest:
            # Some choose the first context of a class, whatever the object (dcmqrscp 3.6.7): uncompressed is not offered any more.
            with suppress(SourceRefused):
                self._offer(_COMPRESSED, order, rest, shelf, stopping)
        if reason and not shelf.came.issuperset(missing):
            raise SourceUnavailable(self.name, reason)

    def _offer(
        self, syntaxes: Sequence[str], order: SeriesOrder, missing: Collection[UID], shelf: _Shelf, stopping: threading.Event
    ) -> str:
        """Gets what the source can give in these transfer syntaxes; why not all came, as it tells it."""
        reasons = [
            self._get(order, some, _contexts(classes, syntaxes), classes, shelf, stopping) for classes, some in _parts(order, missing)
        ]
        shelf.complain()
        return next(filter(None, reasons), "")

    def _get(
        self,
        order: SeriesOrder,
        missing: Collection[UID],
        contexts: Sequence[PresentationContext],
        classes: Sequence[str],
        shelf: _Shelf,
        stopping: threading.Event,
    ) -> str:
        """Why not all came, as the source tells it; '' where it tells of no failure."""
        roles = [build_role(uid, scp_role=True) for uid in classes]  # PS3.4 C.5.3: who gets is the SCP of the storage that follows
        reason = ""
        with self._peer.association(contexts, roles=roles, handlers=[(evt.EVT_C_STORE, shelf.store)]) as association:
            self._require(association)
            for question in self._questions(order, missing):
                answers = association.send_c_get(question, StudyRootQueryRetrieveInformationModelGet)
                status = self._follow(association, answers, stopping)
                if status.Status != SUCCESS:
                    reason = f"it gives not all: {words(status)}{_counts(status)}"
        return reason

    def _require(self, association: Association) -> None:
        accepted = {str(context.abstract_syntax) for context in association.accepted_contexts}
        if StudyRootQueryRetrieveInformationModelGet not in accepted:
            raise SourceRefused(self.name, "it offers no retrieval by C-GET: set `retrieve: move`")
        if not accepted - {StudyRootQueryRetrieveInformationModelGet, StudyRootQueryRetrieveInformationModelFind}:
            raise SourceRefused(self.name, "it gives none of the SOP classes of the series")


class _Shelf:
    """Takes the objects of a C-GET in, on the association that asked for them."""

    def __init__(self, source: str, begin: Callable[[], Incoming]) -> None:
        self._source, self._begin = source, begin
        self.came: set[UID] = set()
        self._refusals: list[DermaNodeError] = []

    def store(self, event: evt.Event) -> int:
        request = event.request
        incoming = self._begin()
        try:
            syntax = str(event.context.transfer_syntax)
            incoming.begin(StoreRequest(str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID), syntax))
            incoming.write(request.DataSet.getbuffer())
            self.came.add(incoming.finish())
        except DermaNodeError as error:
            log.warning("object_not_fetched", source=self._source, reason=str(error))
            self._refusals.append(error)
            incoming.abandon()
            return OUT_OF_RESOURCES if isinstance(error, SpoolError) else CANNOT_UNDERSTAND
        return SUCCESS

    def complain(self) -> None:
        """Raises why an object was not taken: that it is another patient's weighs more than that it cannot be read."""
        if self._refusals:
            raise next((error for error in self._refusals if isinstance(error, SourceRefused)), self._refusals[0])


class MoveDoor(_DimseDoor):
    """C-MOVE to our own AE title: the source opens an association with our listener."""

    is_bringing = False

    def retrieve(self, order: SeriesOrder, missing: Collection[UID], begin: Begin, stopping: threading.Event) -> None:
        own = str(self._peer.own_title)
        with self._peer.association([find_context(), build_context(StudyRootQueryRetrieveInformationModelMove)]) as association:
            for question in self._questions(order, missing):
                answers = association.send_c_move(question, own, StudyRootQueryRetrieveInformationModelMove)
                status = self._follow(association, answers, stopping)
                if status.Status == _UNKNOWN_DESTINATION:
                    raise SourceRefused(
                        self.name, f"it does not know where {own} is: enter this node there, with its AE title, address and DICOM port"
                    )
                if status.Status != SUCCESS:
                    cure = "is the source under `receive.allow`, and does it know our address and port?"
                    raise SourceUnavailable(self.name, f"it does not send all to {own}: {words(status)}{_counts(status)}; {cure}")


def _parts(order: SeriesOrder, missing: Collection[UID]) -> Iterator[tuple[Sequence[str], Collection[UID]]]:
    """SOP classes, as many as one association has room for, and the missing instances that may be of them."""
    stated = sorted({order.instances[uid] for uid in missing} - {""})
    classes = stated if all(order.instances[uid] for uid in missing) else sorted({*stated, *_CLASSES_WHERE_UNSTATED})
    for start in range(0, len(classes), CLASSES_AT_ONCE):
        some = classes[start : start + CLASSES_AT_ONCE]
        yield some, [uid for uid in missing if order.instances[uid] in (*some, "")]


def _contexts(classes: Sequence[str], syntaxes: Sequence[str]) -> list[PresentationContext]:
    """A context for each transfer syntax of its own: in one context the source would have to choose before it knows the object."""
    # The search is offered along: some refuse retrieval to whoever does not (dcmqrscp --require-find).
    model = build_context(StudyRootQueryRetrieveInformationModelGet)
    return [find_context(), model, *(build_context(uid, [syntax]) for uid in classes for syntax in syntaxes)]


def _counts(status: Dataset) -> str:
    """The sub-operations, as far as they are told (PS3.4 C.4.3.1.4)."""
    kinds = ("Completed", "Failed", "Warning")
    told = [f"{status[keyword].value} {kind.lower()}" for kind in kinds if (keyword := f"NumberOf{kind}Suboperations") in status]
    return f" ({', '.join(told)})" if told else ""
