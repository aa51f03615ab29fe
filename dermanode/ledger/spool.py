"""The spool: the files of accepted objects, named by their digest, one folder a day.

How a file stays true through a crash. It is written and hashed under `incoming/`, then linked to its final name, then its data and
the folder are synced, then the ledger gets its row, and only then does its name under `incoming/` go. So a row always has a whole
file; and whatever lies under `incoming/` at a start is unfinished, or is a file whose row must be looked for.
"""

from __future__ import annotations

import itertools
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import structlog
from blake3 import blake3

from dermanode.domain.identifiers import Digest
from dermanode.errors import SpoolError

log = structlog.get_logger(__name__)

Buffer = bytes | bytearray | memoryview

_INCOMING = "incoming"
_VECTORS = 512
"""Buffers for one writev; Linux takes 1024."""


@dataclass(frozen=True, slots=True)
class SpooledFile:
    """A file under its final name."""

    digest: Digest
    size_bytes: int
    path: str
    """Relative to the spool."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a start found and removed: files that nobody was told were stored."""

    unfinished: int
    unrecorded: int


class Spool:
    """The folder of accepted files: `2026-11-21/<digest>.dcm`, by the day on which they came.

    One folder a day, so that one sync of it serves all objects that come at the same time.
    """

    def __init__(self, root: Path) -> None:
        """Opens the spool and makes it when missing. Raises `SpoolError`."""
        self.root = root
        self._numbers = itertools.count(1)
        self._incoming = root / _INCOMING
        self._days: set[str] = set()
        self._lock = threading.Lock()
        try:
            self._incoming.mkdir(parents=True, exist_ok=True)
            _sync_folder(root)
        except OSError as error:
            raise SpoolError(f"The spool {root} cannot be made: {error.strerror}. Check the path and its permissions.") from error

    def create(self, day: date | None = None) -> IncomingFile:
        """A new file for that day, by default today (UTC). Raises OSError, as the file's own calls do."""
        name = (day or datetime.now(UTC).date()).isoformat()
        with self._lock:
            if name not in self._days:
                (self.root / name).mkdir(exist_ok=True)
                _sync_folder(self.root)
                self._days.add(name)
        return IncomingFile(self.root, name, self._incoming / f"{os.getpid():x}-{next(self._numbers):x}.part")

    def sync_folders(self, paths: Iterable[str]) -> None:
        """Makes the names of these files durable, relative to the spool. Raises OSError."""
        for day in sorted({path.partition("/")[0] for path in paths}):
            _sync_folder(self.root / day)

    def fold(self, copy: str, kept: str | None) -> None:
        """Removes a copy of the bytes that lie under `kept`; where that file is gone or short, the copy takes its place. Raises OSError."""
        source = self.root / copy
        if kept is not None and source.is_file():
            target = self.root / kept
            if not target.is_file() or target.stat().st_size != source.stat().st_size:
                log.warning("spool_file_restored", path=kept)
                target.parent.mkdir(exist_ok=True)
                source.replace(target)
                _sync_folder(target.parent)
                return
        source.unlink(missing_ok=True)

    def path(self, relative: str) -> Path:
        """The file of that name. Raises `SpoolError` for a name that leads out of the spool."""
        if Path(relative).is_absolute() or ".." in Path(relative).parts:
            raise SpoolError(f"{relative!r} does not lie in the spool.")
        return self.root / relative

    def free_mib(self) -> int:
        """Free space for this user, in MiB."""
        return shutil.disk_usage(self._incoming).free >> 20

    def recover(self, is_recorded: Callable[[str], bool] | None = None) -> Recovered:
        """Removes, at a start, what no sender was told is stored; nothing may be writing then.

        `is_recorded` tells whether the ledger has a row for a relative path: a file that has one is never touched. Without it
        only unfinished files go, and the others are left for a later call.
        """
        unfinished = unrecorded = 0
        for part in sorted(self._incoming.glob("*.part")):
            finals = self._finals_of(part)
            if finals and is_recorded is None:
                continue
            for final in finals:
                relative = final.relative_to(self.root).as_posix()
                if is_recorded is not None and not is_recorded(relative):
                    log.info("unrecorded_file_removed", path=relative)
                    final.unlink()
                    unrecorded += 1
            unfinished += not finals
            part.unlink()
        if unfinished or unrecorded:
            log.info("spool_recovered", unfinished=unfinished, unrecorded=unrecorded)
        return Recovered(unfinished, unrecorded)

    def _finals_of(self, part: Path) -> list[Path]:
        if part.stat().st_nlink < 2:
            return []
        return [final for final in self.root.glob(f"*/{_digest_of(part)}.dcm") if final.samefile(part)]


class IncomingFile:
    """A file on its way into the spool: `write`, `settle`, `sync`, and when its row is on disk `finish`; or `discard`."""

    def __init__(self, root: Path, day: str, part: Path) -> None:
        self._root, self._day, self._part = root, day, part
        self._hasher = blake3()
        self._descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o640)
        self.size_bytes = 0

    def write(self, buffers: Sequence[Buffer]) -> None:
        """Appends the buffers and hashes them. Raises OSError."""
        for buffer in buffers:
            self._hasher.update(buffer)
        rest = [memoryview(buffer) for buffer in buffers if len(buffer)]
        while rest:
            written = os.writev(self._descriptor, rest[:_VECTORS])
            self.size_bytes += written
            while rest and written >= rest[0].nbytes:
                written -= rest.pop(0).nbytes
            if written:
                rest[0] = rest[0][written:]

    def settle(self) -> SpooledFile:
        """Gives the file its final name; the same bytes on the same day are the same file. Raises OSError."""
        name = self._hasher.hexdigest()
        file = SpooledFile(Digest(name), self.size_bytes, f"{self._day}/{name}.dcm")
        final = self._root / file.path
        try:
            os.link(self._part, final)
        except FileExistsError:
            if _digest_of(final) != name:  # torn by a crash before its row was written: nobody relies on it
                final.unlink()
                os.link(self._part, final)
            else:
                self._take_over(final)
        return file

    def sync(self) -> None:
        """Makes the file's data durable. Raises OSError."""
        os.fsync(self._descriptor)

    def seal(self) -> SpooledFile:
        """Settles and syncs at once, without the trace that a start looks for: for who can fetch the object again. Raises OSError."""
        file = self.settle()
        self.sync()
        self.finish()
        return file

    def finish(self) -> None:
        """The row is on disk: the file is no longer on its way."""
        self._part.unlink(missing_ok=True)
        self.close()

    def discard(self) -> None:
        """Removes an unsettled file; nothing remains of it."""
        self._part.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Leaves a settled file as it is: whether it has a row is looked up at the next start."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _take_over(self, final: Path) -> None:
        """Goes on with the same bytes that are there already, which another association may not have synced yet."""
        there = os.open(final, os.O_RDONLY | os.O_CLOEXEC)
        self.discard()
        self._descriptor = there


def _sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest_of(file: Path) -> str:
    return blake3().update_mmap(file).hexdigest()
