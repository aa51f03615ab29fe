"""A look into a folder: which files lie there whole, unchanged for long enough to be taken."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

Signature = tuple[int, int]
"""Size in bytes, time of the last change in ns. No inode: some network shares give another one with every look."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file below the folder."""

    path: Path
    name: PurePath
    """Relative to the folder."""
    signature: Signature

    @property
    def size_bytes(self) -> int:
        return self.signature[0]

    @property
    def key(self) -> str:
        """The name by which a sidecar is found: in lower case, with slashes."""
        return self.name.as_posix().casefold()


@dataclass(frozen=True, slots=True)
class Sight:
    """What a look found."""

    settled: tuple[FoundFile, ...]
    """In the order of their names."""
    problems: tuple[tuple[str, str], ...]
    """What cannot be looked into or is passed over: a name, and why."""


class Looker:
    """Remembers what it saw, by a clock of its own: those of a network share's machines differ."""

    def __init__(self, root: Path, settle_s: float) -> None:
        self._root, self._settle_s = root, settle_s
        self._seen: dict[PurePath, tuple[Signature, float]] = {}

    def look(self, now_s: float) -> Sight:
        """One look at `now_s` of a clock that never goes back."""
        problems: list[tuple[str, str]] = []
        found = sorted(self._files(self._root, problems), key=lambda file: file.name)
        seen: dict[PurePath, tuple[Signature, float]] = {}
        settled = []
        for file in found:
            signature, since_s = self._seen.get(file.name, (file.signature, now_s))
            if signature != file.signature:
                since_s = now_s
            seen[file.name] = (file.signature, since_s)
            # An empty file is one that somebody has begun to write.
            if file.size_bytes and now_s - since_s >= self._settle_s:
                settled.append(file)
        self._seen = seen
        return Sight(tuple(settled), tuple(problems))

    def _files(self, folder: Path, problems: list[tuple[str, str]]) -> Iterator[FoundFile]:
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            problems.append((str(folder), f"it cannot be looked into: {error.strerror}"))
            return
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                if entry.is_symlink():
                    problems.append((entry.path, "it is a link, and links are not followed: put the file itself here"))
                elif entry.is_dir(follow_symlinks=False):
                    yield from self._files(Path(entry.path), problems)
                elif entry.is_file(follow_symlinks=False):
                    stat = entry.stat(follow_symlinks=False)
                    path = Path(entry.path)
                    yield FoundFile(path, path.relative_to(self._root), signature_of(stat))
            except FileNotFoundError:  # it went away between two calls
                continue
            except OSError as error:
                problems.append((entry.path, f"it cannot be looked at: {error.strerror}"))


def signature_of(stat: os.stat_result) -> Signature:
    return stat.st_size, stat.st_mtime_ns


def read_whole(file: FoundFile) -> bytes | None:
    """The file's bytes; None when it went away or changed since it was seen. Raises OSError."""
    try:
        descriptor = os.open(file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as reader:
        data = reader.read()
        after = signature_of(os.fstat(descriptor))
    return data if after == file.signature and len(data) == file.size_bytes else None
