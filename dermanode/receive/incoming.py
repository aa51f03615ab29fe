"""An object that the node fetches, on its way in: taken only when it is whole and of the series and patient that were asked for."""

from __future__ import annotations

from dataclasses import dataclass

from dermanode.dicom.scan import scan
from dermanode.domain.identifiers import UID
from dermanode.errors import IdentifierError, SourceRefused, SourceUnavailable, SpoolError, UnreadableObject
from dermanode.receive.intake import OUT_OF_RESOURCES, SUCCESS, Caller, Intake, Reception, StoreRequest
from dermanode.receive.part10 import file_head, read_file_head

SNIFFED_BYTES = 1 << 18
"""So much of a data set is looked into for whose it is: that stands in front of what is long."""
_PATIENT_ID, _ISSUER, _STUDY, _SERIES = 0x00100020, 0x00100021, 0x0020000D, 0x0020000E


@dataclass(frozen=True, slots=True)
class Belonging:
    """What an object must say of itself; None where anything will do."""

    study_instance_uid: UID
    series_instance_uid: UID
    patient_id: str | None = None
    issuer_of_patient_id: str | None = None


class Incoming:
    """One object as a DICOM file, in pieces.

    Its own head gives way to the one that the node writes, as for C-STORE: by any road the same object has the same digest.
    """

    def __init__(self, intake: Intake, caller: Caller, source: str, belonging: Belonging | None = None) -> None:
        """`source` names the place in what is raised."""
        self._intake, self._caller, self._source, self._belonging = intake, caller, source, belonging
        self._start: bytearray | None = bytearray()
        self._sniffed = bytearray()
        self._reception: Reception | None = None
        self._instance: UID | None = None

    def write(self, data: bytes | memoryview) -> None:
        """Takes more of the file. Raises `UnreadableObject` for what is no DICOM file."""
        if self._start is None:
            self._store(memoryview(data))
            return
        self._start += data
        head = read_file_head(self._start)
        if head is not None:
            rest, self._start = bytes(self._start[head.length :]), None
            self._open(StoreRequest(head.sop_class_uid, head.sop_instance_uid, head.transfer_syntax_uid))
            self._store(memoryview(rest))

    def begin(self, request: StoreRequest) -> None:
        """The file has no head of its own: what is written is the data set alone. Raises `UnreadableObject`."""
        self._start = None
        self._open(request)

    def finish(self) -> UID:
        """The SOP Instance UID of the object, which is on disk and recorded now.

        Raises `UnreadableObject`, `SpoolError` where there is no room, `SourceRefused` for another patient's object and
        `SourceUnavailable` for one of another series.
        """
        if self._reception is None or self._instance is None:
            raise UnreadableObject("an object", "it ends within its file meta information")
        try:
            if self._belonging is not None:
                self._check(self._belonging)
        except BaseException:
            self.abandon()
            raise
        reception, self._reception = self._reception, None
        answer = reception.finish()
        if answer.status == OUT_OF_RESOURCES:
            raise SpoolError(f"An object of {self._source} could not be stored: {answer.comment}.")
        if answer.status != SUCCESS:
            raise UnreadableObject(str(self._instance), answer.comment)
        return self._instance

    def abandon(self) -> None:
        """The file ends here, unfinished: nothing remains."""
        if self._reception is not None:
            self._reception.abandon()
            self._reception = None

    def _open(self, request: StoreRequest) -> None:
        try:
            self._instance = UID(request.sop_instance_uid)
            head = file_head(UID(request.sop_class_uid), self._instance, UID(request.transfer_syntax_uid))
        except IdentifierError as error:
            raise UnreadableObject("an object", f"its meta information does not say what it is ({error})") from error
        self._reception = self._intake.begin(request, self._caller)
        self._sniffed += head

    def _store(self, data: memoryview) -> None:
        assert self._reception is not None
        self._reception.write([data])
        room = SNIFFED_BYTES - len(self._sniffed)
        if room > 0:
            self._sniffed += data[:room]

    def _check(self, belonging: Belonging) -> None:
        elements = scan(bytes(self._sniffed), frozenset({_PATIENT_ID, _ISSUER, _STUDY, _SERIES}), str(self._instance)).elements
        for tag, expected in ((_PATIENT_ID, belonging.patient_id), (_ISSUER, belonging.issuer_of_patient_id)):
            if expected is not None and elements.text(tag) != expected:
                raise SourceRefused(self._source, f"it gave {self._instance}, which is another patient's than was asked for: look there")
        if (elements.uid(_STUDY), elements.uid(_SERIES)) != (belonging.study_instance_uid, belonging.series_instance_uid):
            raise SourceUnavailable(self._source, f"it gave {self._instance}, which is not of the series that was asked for")
