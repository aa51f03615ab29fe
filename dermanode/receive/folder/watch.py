"""Watches a folder into which a dermatoscope writes, and takes each photograph in once, whatever happens in between."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Protocol

import structlog
from pydicom import Dataset, dcmwrite

from dermanode.config import Settings, WatchedFolder
from dermanode.deliver.steady import SteadyThread
from dermanode.dicom.photograph import Particulars, instance_uid, make_instance
from dermanode.dicom.picture import Picture, picture_of
from dermanode.domain.identifiers import UID
from dermanode.errors import DermaNodeError, LedgerError, PhotographError, SpoolError, UnreadableObject
from dermanode.ledger.records import ObjectState, StoredObject
from dermanode.ledger.spool import Spool
from dermanode.receive.folder.kept import KeptFiles
from dermanode.receive.folder.look import FoundFile, Looker, Sight, read_whole
from dermanode.receive.folder.sidecars import Sidecars
from dermanode.receive.folder.statements import NotUnderstood, Statements, particulars_of
from dermanode.receive.folder.template import NameTemplate
from dermanode.receive.intake import OUT_OF_RESOURCES, SUCCESS, Caller, Intake, StoreRequest
from dermanode.receive.part10 import read_file_head

log = structlog.get_logger(__name__)

MOST_BYTES = 1 << 29
"""Larger files are no photographs."""
TAKEN = ".taken"
MOST_TOLD = 10_000
"""Things that were put down, and are not put down again with the next look; the oldest are forgotten."""
_PHOTOGRAPHS = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".tif", ".tiff", ".bmp"})
_OBJECTS = frozenset({".dcm", ".dicom", ""})
_SIDECARS = frozenset({".json", ".csv"})


class FolderRefused(DermaNodeError):
    """A file that is not taken, and would not be if it were tried again."""


class FolderPostponed(DermaNodeError):
    """A file that cannot be taken now."""


class FolderObjects(Protocol):
    """The part of `ledger.objects` that a folder uses."""

    def find(self, sop_instance_uid: str) -> list[StoredObject]: ...


class FolderHistory(Protocol):
    def add(self, subject: str, kind: str, words: str, at: datetime) -> None: ...


class FolderLedger(Protocol):
    @property
    def objects(self) -> FolderObjects: ...

    @property
    def history(self) -> FolderHistory: ...


class FolderWatcher:
    """A thread that looks again and again: that also works where a network share tells nobody of changes.

    A photograph is moved only after its object is on disk and in the ledger. Where the node dies in between it is taken in again: its
    object is the same then, and is counted as a duplicate.
    """

    def __init__(
        self,
        name: str,
        folder: WatchedFolder,
        intake: Intake,
        ledger: FolderLedger,
        spool: Spool,
        settings: Settings,
        *,
        on_taken: Callable[[], None] = lambda: None,
        now: Callable[[], datetime] = lambda: datetime.now().astimezone(),
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """The intake must be open while the watcher runs. Raises `ConfigurationError` for a template that cannot be one."""
        self.name, self._folder, self._intake, self._ledger, self._spool = name, folder, intake, ledger, spool
        self._on_taken, self._now, self._clock_s = on_taken, now, clock_s
        self._root = folder.path.absolute()
        self._template = NameTemplate(folder.name_template, f"folders.{name}.name_template") if folder.name_template else None
        self._looker, self._sidecars = Looker(self._root, folder.settle_s), Sidecars(folder)
        self._kept = KeptFiles(settings.node.data_dir / f"folder-{name}.kept", self._root)
        self._refused: set[FoundFile] = set()
        self._undescribed: dict[str, None] = {}
        """Photographs that were taken without their JSON file, by its name: one that comes late speaks for none that follows."""
        self._told: dict[tuple[str, str], None] = {}
        self._waiting_since_s: dict[FoundFile, float] = {}
        self._caller = Caller(f"folder {name}", name.upper()[:16], str(settings.node.ae_title), f"folder {name}")
        self._is_stopping = threading.Event()
        self._thread = SteadyThread(f"folder-{name}", self._run, self._is_stopping)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends after the photograph at hand."""
        self._is_stopping.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def _run(self) -> None:
        while not self._is_stopping.wait(self._folder.poll_s):
            try:
                self.step()
            except (LedgerError, SpoolError, OSError) as error:
                log.warning("folder_not_read", folder=self.name, error=f"{type(error).__name__}: {error}")

    def step(self) -> int:
        """One look; how many files were taken in. Raises `LedgerError`, `SpoolError`, OSError."""
        sight = self._looker.look(self._clock_s())
        for place, why in sight.problems:
            self._tell("file_left_out", place, why)
        self._sidecars.look(sight)
        taken = 0
        for file in sight.settled:
            if self._is_stopping.is_set():
                break
            if file not in self._refused and file not in self._kept and self._is_for_us(file):
                taken += self._try(file)
        self._retire_sidecars(sight)
        here = set(sight.settled)
        self._refused &= here
        self._waiting_since_s = {file: since_s for file, since_s in self._waiting_since_s.items() if file in here}
        if taken:
            log.info("photographs_taken", folder=self.name, files=taken)
            self._on_taken()
        return taken

    def _is_for_us(self, file: FoundFile) -> bool:
        kind = file.path.suffix.casefold()
        if kind in _PHOTOGRAPHS | _OBJECTS:
            return True
        if not (kind in _SIDECARS and self._folder.sidecar != "none"):
            self._tell("file_left_out", str(file.name), "it is neither a photograph nor DICOM by its name's ending")
        return False

    def _try(self, file: FoundFile) -> bool:
        try:
            is_taken = self._take(file)
        except FolderRefused as error:
            self._refused.add(file)
            self._tell("photograph_refused", str(file.name), str(error))
        except NotUnderstood as error:
            self._tell("photograph_waits", str(file.name), str(error))
        except FolderPostponed as error:
            self._tell("photograph_waits", str(file.name), f"{error} It is tried again.")
        except (LedgerError, SpoolError, OSError):
            raise
        except Exception as error:  # noqa: BLE001  the DIMSE handler's wall, at another door: any device may write any bytes
            self._refused.add(file)
            self._tell("photograph_refused", str(file.name), f"it cannot be worked on ({type(error).__name__}): save it again.")
        else:
            if is_taken:
                self._clear_away(file)
            return is_taken
        return False

    def _take(self, file: FoundFile) -> bool:
        """False while it is to wait. Raises `FolderRefused`, `FolderPostponed`, `NotUnderstood`, `LedgerError`, `SpoolError`."""
        if file.size_bytes > MOST_BYTES:
            raise FolderRefused(f"it has {file.size_bytes >> 20} MiB: no photograph has more than {MOST_BYTES >> 20}.")
        try:
            data = read_whole(file)
            if data is None:  # it has changed, or gone
                return False
            if data[128:132] == b"DICM":
                self._offer(data)
                return True
            if file.path.suffix.casefold() in _OBJECTS:
                raise FolderRefused("it is neither DICOM nor a photograph by its name's ending.")
            beside = self._sidecars.beside(file)
            is_used_up = beside is not None and beside in self._kept  # it spoke for the photograph that had this name before
            said = None if is_used_up else self._sidecars.said_of(file)
        except OSError as error:
            raise FolderPostponed(f"it cannot be read: {error.strerror}. Give the node's user the right to.") from error
        if said is None and self._may_still_be_described(file):
            return False
        self._take_photograph(file, data, said)
        return True

    def _may_still_be_described(self, file: FoundFile) -> bool:
        if self._folder.sidecar == "none":
            return False
        since_s = self._waiting_since_s.setdefault(file, self._clock_s())
        return self._clock_s() - since_s < self._folder.sidecar_wait_s

    def _take_photograph(self, file: FoundFile, data: bytes, said: Statements | None) -> None:
        named = self._template.read(file.name) if self._template is not None else None
        particulars = particulars_of(said or {}, named or {}, issuer=self._folder.issuer_of_patient_id)
        reason = "" if particulars.patient_id else self._nobody(file, said, named)
        try:
            picture = picture_of(data, file.name)
        except PhotographError as error:
            raise FolderRefused(str(error)) from error
        uid = instance_uid(picture.digest, particulars, self._folder.photographs)
        again = self._earlier(uid)
        if again is None:
            try:
                made = make_instance(picture, particulars, self._moment(file, picture, particulars), self._folder.photographs)
            except PhotographError as error:
                # It is what was said that cannot be written: another sidecar cures it.
                raise NotUnderstood(str(error)) from error
            again = _file_of(made)
        self._offer(again, reason)
        if reason:
            self._tell("photograph_quarantined", str(file.name), f"as {uid}: {reason}")

    def _nobody(self, file: FoundFile, said: Statements | None, named: Statements | None) -> str:
        words = [f"{file.name} does not say whose it is"]
        if self._folder.sidecar != "none":
            kind = "NAME.json beside it" if self._folder.sidecar == "json" else "row of a table in its folder"
            words.append(f"no {kind} came within {self._folder.sidecar_wait_s:g} s" if said is None else f"its {kind} names no patient_id")
        if self._template is not None:
            form = f"its name has not the form {self._folder.name_template}"
            words.append(form if named is None else "its name holds no patient_id")
        return f"{', '.join(words)}. Put it into the folder again, under a name or with a sidecar that names its patient."

    def _moment(self, file: FoundFile, picture: Picture, particulars: Particulars) -> datetime:
        """When it was taken, with the zone of this machine where none is stated; without any statement, when the file was written."""
        stated = particulars.acquired_at or picture.taken_at
        return (stated or datetime.fromtimestamp(file.signature[1] / 1e9)).astimezone()

    def _earlier(self, uid: UID) -> bytes | None:
        """The object that this photograph made before, byte by byte: what was not stated then may differ now."""
        for one in self._ledger.objects.find(str(uid)):
            if one.state is not ObjectState.PURGED:
                try:
                    return self._spool.path(one.arrival.path).read_bytes()
                except OSError:  # the audit tells of it
                    continue
        return None

    def _offer(self, content: bytes, reason: str = "") -> None:
        """Takes a DICOM file in as C-STORE would. Raises `FolderRefused`, `FolderPostponed`, `LedgerError`, `SpoolError`."""
        try:
            head = read_file_head(content)
        except UnreadableObject as error:
            raise FolderRefused(f"{error.reason}.") from error
        if head is None:
            raise FolderRefused("it ends within its file meta information.")
        request = StoreRequest(head.sop_class_uid, head.sop_instance_uid, head.transfer_syntax_uid, reason)
        reception = self._intake.begin(request, self._caller)
        reception.write([memoryview(content)[head.length :]])
        answer = reception.finish()
        if answer.status == OUT_OF_RESOURCES:
            raise FolderPostponed(f"it could not be stored: {answer.comment}.")
        if answer.status != SUCCESS:
            raise FolderRefused(f"it could not be stored: {answer.comment}.")

    def _retire_sidecars(self, sight: Sight) -> None:
        """Sees to it that no sidecar speaks for another patient's photograph that gets the same name: cameras count anew."""
        if self._folder.sidecar != "json":
            return
        for file in sight.settled:
            beside = self._sidecars.beside(file) if file in self._kept else None
            if beside is not None and beside is not file and beside not in self._kept:
                self._kept.add(beside)
            if file.key in self._undescribed and not _has_photograph(file.path):
                del self._undescribed[file.key]
                self._tell("sidecar_late", str(file.name), "its photograph was taken in without it before it came")
                self._put_away(file)

    def _clear_away(self, file: FoundFile) -> None:
        """Does as the settings say with a file whose object is on disk and recorded."""
        beside = self._sidecars.beside(file)
        if beside is None and self._folder.after != "keep":
            self._undescribed[file.name.with_suffix(".json").as_posix().casefold()] = None
            if len(self._undescribed) > MOST_TOLD:
                del self._undescribed[next(iter(self._undescribed))]
        try:
            for one in (file, beside):
                if one is not None and self._folder.after != "keep":
                    self._put_away(one)
            if self._folder.after == "keep":
                self._kept.add(file)
        except FileNotFoundError:
            return
        except OSError as error:
            # It must not be taken again with every look.
            self._kept.add(file)
            self._tell("photograph_left", str(file.name), f"it was taken in, but cannot be moved or deleted: {error.strerror}")

    def _put_away(self, file: FoundFile) -> None:
        if self._folder.after == "delete":
            file.path.unlink(missing_ok=True)
        else:
            self._move(file)

    def _move(self, file: FoundFile) -> None:
        target = self._root / TAKEN / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        number = 1
        while target.exists():
            number += 1
            target = target.with_name(f"{file.name.stem}-{number}{file.name.suffix}")
        os.rename(file.path, target)  # noqa: PTH104  says that it replaces nothing that it did not look for

    def _tell(self, kind: str, place: str, words: str) -> None:
        """Puts a thing down once, not with every look. It names the file, for the administrator; the log does not."""
        if (place, words) in self._told:
            return
        self._told[place, words] = None
        if len(self._told) > MOST_TOLD:
            del self._told[next(iter(self._told))]
        log.info(kind, folder=self.name)
        self._ledger.history.add(f"folder:{self.name}", kind, f"{place}: {words}", self._now())


def _has_photograph(sidecar: Path) -> bool:
    """Whether a photograph of that name lies beside it, also one that is still being written."""
    stem = sidecar.stem.casefold()
    return any(one.suffix.casefold() in _PHOTOGRAPHS and one.stem.casefold() == stem for one in sidecar.parent.iterdir())


def _file_of(instance: Dataset) -> bytes:
    buffer = BytesIO()
    dcmwrite(buffer, instance, enforce_file_format=True)
    return buffer.getvalue()
