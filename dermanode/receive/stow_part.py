"""One object of a STOW-RS request: from the first bytes of its part to what its sender is told."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import cache
from typing import Protocol

import structlog

from dermanode.dicom.scan import scan
from dermanode.domain.identifiers import UID
from dermanode.errors import IdentifierError, UnreadableObject
from dermanode.receive.contexts import TRANSFER_SYNTAXES, storage_classes
from dermanode.receive.intake import CANNOT_UNDERSTAND, CLASS_MISMATCH, SUCCESS, Caller, Reception, StoreRequest
from dermanode.receive.multipart import MediaType
from dermanode.receive.part10 import FileHead, file_head, read_file_head

log = structlog.get_logger(__name__)

# PS3.18 table I.2-2
PROCESSING_FAILURE = 0x0110
CLASS_NOT_SUPPORTED = 0x0122
SYNTAX_NOT_SUPPORTED = 0xC122


SNIFFED_BYTES = 1 << 18
"""So much of a data set is looked into for its study and series: they stand in front of what is long."""
_STUDY, _SERIES = 0x0020000D, 0x0020000E
_DICOM_ROOT = "1.2.840.10008."


@dataclass(frozen=True, slots=True)
class StowedPart:
    """What became of one part; texts are empty where the part does not say them."""

    status: int
    """0, or a Failure Reason (0008,1197)."""
    words: str = ""
    """Why it was not stored, for a person."""
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""

    @property
    def is_stored(self) -> bool:
        return self.status == SUCCESS


class Road(Protocol):
    """Where the parts of a request go."""

    def begin_object(self, request: StoreRequest, caller: Caller) -> Reception: ...

    def keep(self, reception: Reception, part: StowedPart) -> Future[StowedPart]: ...


class StowPart:
    """One part on its way in: its own head gives way to the node's, so that by either road the same object has the same digest."""

    def __init__(self, road: Road, caller: Caller, study: UID | None, content_type: str) -> None:
        self._road, self._caller, self._study = road, caller, study
        self._start: bytearray | None = bytearray()
        self._sniffed = bytearray()
        self._reception: Reception | None = None
        self._story = StowedPart(SUCCESS)
        kind = MediaType.parse(content_type).name
        if kind not in ("", "application/dicom"):
            self._refuse(CANNOT_UNDERSTAND, f"a part of type {kind} is no DICOM file")

    def write(self, data: memoryview) -> None:
        if self._start is None:
            self._store(data)
            return
        start = self._start
        start += data
        try:
            head = read_file_head(start)
        except UnreadableObject as error:
            self._refuse(CANNOT_UNDERSTAND, error.reason)
            return
        if head is not None:
            self._start = None
            self._open(head)
            self._store(memoryview(bytes(start[head.length :])))

    def end(self) -> Future[StowedPart]:
        """Raises `StowClosed`."""
        if self._start is not None:
            self._refuse(CANNOT_UNDERSTAND, "it ends within its file meta information")
        if self._story.is_stored and self._reception is not None:
            self._look_into()
        if self._story.is_stored and self._reception is not None:
            return self._road.keep(self._reception, self._story)
        self.abandon()
        refused: Future[StowedPart] = Future()
        refused.set_result(self._story)
        return refused

    def broken(self, words: str) -> StowedPart:
        """What is told of it when the body breaks off here."""
        return replace(self._story, status=CANNOT_UNDERSTAND, words=words)

    def abandon(self) -> None:
        if self._reception is not None:
            self._reception.abandon()
            self._reception = None

    def _open(self, head: FileHead) -> None:
        request = StoreRequest(head.sop_class_uid, head.sop_instance_uid, head.transfer_syntax_uid)
        self._story = replace(self._story, sop_class_uid=_uid(head.sop_class_uid), sop_instance_uid=_uid(head.sop_instance_uid))
        status, words = _verdict(request)
        if status != SUCCESS:
            self._refuse(status, words)
            return
        self._reception = self._road.begin_object(request, self._caller)
        if self._story.sop_class_uid and self._story.sop_instance_uid and head.transfer_syntax_uid:
            self._sniffed += file_head(UID(head.sop_class_uid), UID(head.sop_instance_uid), UID(head.transfer_syntax_uid))

    def _store(self, data: memoryview) -> None:
        if self._reception is None:
            return
        self._reception.write([data])
        room = SNIFFED_BYTES - len(self._sniffed)
        if room > 0:
            self._sniffed += data[:room]

    def _look_into(self) -> None:
        """Finds study and series, and refuses what belongs elsewhere."""
        try:
            elements = scan(bytes(self._sniffed), frozenset({_STUDY, _SERIES}), "the object").elements
            study, series = elements.uid(_STUDY), elements.uid(_SERIES)
        except UnreadableObject as error:
            self._refuse(CANNOT_UNDERSTAND, error.reason)
            return
        except Exception as error:  # noqa: BLE001  the web request's wall: any sender may send any bytes
            self._refuse(CANNOT_UNDERSTAND, f"its header cannot be parsed ({type(error).__name__})")
            return
        is_whole = len(self._sniffed) < SNIFFED_BYTES
        if study is not None and series is not None:
            self._story = replace(self._story, study_instance_uid=str(study), series_instance_uid=str(series))
        elif is_whole or self._study is not None:
            self._refuse(CLASS_MISMATCH, "it names no study and series")
            return
        if self._study is not None and study != self._study:
            self._refuse(PROCESSING_FAILURE, f"it belongs to the study {study}, not to that of the request")

    def _refuse(self, status: int, words: str) -> None:
        self.abandon()
        self._start, self._story = None, replace(self._story, status=status, words=words)
        log.warning(
            "object_refused",
            association=self._caller.association,
            calling_ae=self._caller.calling_ae,
            status=f"{status:#06x}",
            reason=words,
        )


@cache
def _known_classes() -> frozenset[str]:
    return frozenset(storage_classes())


def _verdict(request: StoreRequest) -> tuple[int, str]:
    """The status and the reason for which an object is refused before it is received; success where it is not."""
    sop_class, syntax = request.sop_class_uid, request.transfer_syntax_uid
    if sop_class.startswith(_DICOM_ROOT) and sop_class not in _known_classes():
        return CLASS_NOT_SUPPORTED, f"the SOP class {sop_class} is no storage class"
    if syntax and syntax not in TRANSFER_SYNTAXES:
        return SYNTAX_NOT_SUPPORTED, f"the transfer syntax {syntax} is not supported"
    return SUCCESS, ""


def _uid(text: str) -> str:
    try:
        return str(UID(text))
    except IdentifierError:
        return ""
