"""The spool: the files of accepted objects, named by their digest.

A file is written under `incoming/`, hashed on the way, synced, and only then renamed to its final place. So a final file is
always whole, the same bytes are always the same file, and whatever still lies under `incoming/` at a start was never acknowledged.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
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
    """A file in its final place."""

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
    """The folder of accepted files: `ab/<digest>.dcm`, where `ab` are the digest's first two digits.

    The 256 folders are made at the first use, so that storing a file never has to sync a folder's parent.
    """

    def __init__(self, root: Path) -> None:
        """Opens the spool and makes its folders when missing. Raises `SpoolError`."""
        self.root = root
        self._numbers = itertools.count(1)
        self._incoming = root / _INCOMING
        try:
            if not self._incoming.is_dir():
                for number in range(256):
                    (root / f"{number:02x}").mkdir(parents=True, exist_ok=True)
                self._incoming.mkdir(exist_ok=True)
                _sync_folder(root)
        except OSError as error:
            raise SpoolError(f"The spool {root} cannot be made: {error.strerror}. Check the path and its permissions.") from error

    def create(self) -> IncomingFile:
        """A new file under `incoming/`. Raises OSError, as its writes do: the caller knows what a full disk means to its peer."""
        return IncomingFile(self, self._incoming / f"{os.getpid():x}-{next(self._numbers):x}.part")

    def path(self, relative: str) -> Path:
        """The file of that name. Raises `SpoolError` for a name that leads out of the spool."""
        path = self.root / relative
        if Path(relative).is_absolute() or ".." in path.parts:
            raise SpoolError(f"{relative!r} does not lie in the spool.")
        return path

    def sync_folders(self, files: Iterable[SpooledFile]) -> None:
        """Makes the names of these files durable: one sync a folder. Raises OSError."""
        for folder in sorted({file.path[:2] for file in files}):
            _sync_folder(self.root / folder)

    def free_mib(self) -> int:
        """Free space for this user, in MiB."""
        return shutil.disk_usage(self._incoming).free >> 20

    def recover(self, is_recorded: Callable[[str], bool] | None = None) -> Recovered:
        """Removes, at a start, what no sender was told is stored; nothing may be writing then.

        That is everything under `incoming/` and, where `is_recorded` tells which relative paths the ledger knows, each final file
        without a row. A file that has a row is never touched.
        """
        unfinished = [file for file in self._incoming.iterdir() if file.is_file()]
        for file in unfinished:
            file.unlink()
        unrecorded = 0
        for path in self.root.glob("[0-9a-f][0-9a-f]/*.dcm") if is_recorded else ():
            relative = path.relative_to(self.root).as_posix()
            if is_recorded is not None and not is_recorded(relative):
                log.info("unrecorded_file_removed", path=relative)
                path.unlink()
                unrecorded += 1
        if unfinished or unrecorded:
            log.info("spool_recovered", unfinished=len(unfinished), unrecorded=unrecorded)
        return Recovered(len(unfinished), unrecorded)


class IncomingFile:
    """A file on its way into the spool; ends with `seal` or `discard`."""

    def __init__(self, spool: Spool, path: Path) -> None:
        self._spool, self._path = spool, path
        self._hasher = blake3()
        self._descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o640)
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

    def seal(self) -> SpooledFile:
        """Syncs the file and gives it its final name, which `Spool.sync_folders` makes durable. Raises OSError."""
        name = self._hasher.hexdigest()
        file = SpooledFile(Digest(name), self.size_bytes, f"{name[:2]}/{name}.dcm")
        final = self._spool.root / file.path
        if final.exists():  # the same bytes: it was synced before it got this name
            self.discard()
            return file
        os.fsync(self._descriptor)
        self._path.rename(final)
        self._close()
        return file

    def discard(self) -> None:
        """Removes the file; nothing remains of it."""
        self._path.unlink(missing_ok=True)
        self._close()

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
