"""Where the pictures of a set are: a folder or a zip of its name, beside the table."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Protocol

from dermanode.errors import DermaNodeError

ARCHIVES = {"HAM10000": "ham10000", "ISIC2018T1": "isic2018_task1"}
"""Where a set's name and its archive's name differ; any other set is looked for under its own name."""


class DataMissing(DermaNodeError):
    """Training data that are not where they were said to be."""


class PictureSet(Protocol):
    """The files of one set. Names are found whatever their case, and below a folder that was zipped with them."""

    def has(self, member: str) -> bool: ...

    def read(self, member: str) -> bytes:
        """Raises `DataMissing` where there is no such file, or it cannot be read."""
        ...


def open_set(folder: Path, name: str) -> PictureSet:
    """The folder or zip called as the set is, upper and lower case alike. Raises `DataMissing`."""
    if not folder.is_dir():
        raise DataMissing(f"{folder} is no folder: give the one that holds the sets, as folders or zips.")
    wanted = [_plain(name), *([_plain(ARCHIVES[name])] if name in ARCHIVES else [])]
    for path in sorted(folder.iterdir()):
        if path.is_dir() and _plain(path.name) in wanted:
            return FolderSet(name, path)
        if path.suffix.lower() == ".zip" and _plain(path.stem) in wanted:
            return ZipSet(name, path)
    places = " or ".join(f"{one}.zip" for one in dict.fromkeys((name, ARCHIVES.get(name, name))))
    raise DataMissing(f"The set {name} is missing: put its folder {name}/ or its archive {places} into {folder}.")


class FolderSet:
    """A set whose files lie in a folder."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path

    def has(self, member: str) -> bool:
        return self._place(member) is not None

    def read(self, member: str) -> bytes:
        place = self._place(member)
        if place is None:
            raise DataMissing(f"{member} of the set {self.name} is not in {self.path}: put it there, or take its row out of lesions.csv.")
        try:
            return place.read_bytes()
        except OSError as error:
            raise DataMissing(f"{place} of the set {self.name} cannot be read ({error.strerror}).") from error

    def _place(self, member: str) -> Path | None:
        if (self.path / member).is_file():
            return self.path / member
        found = self._names.get(_tail(member))
        return None if found is None else self.path / found

    @cached_property
    def _names(self) -> dict[str, str]:
        return _by_tail(path.relative_to(self.path).as_posix() for path in sorted(self.path.rglob("*")) if path.is_file())


class ZipSet:
    """A set whose files lie in a zip."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path
        try:
            self._archive = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise DataMissing(f"{path} of the set {name} is no zip that can be read ({error}). Fetch it again.") from error

    def has(self, member: str) -> bool:
        return self._place(member) is not None

    def read(self, member: str) -> bytes:
        place = self._place(member)
        if place is None:
            raise DataMissing(f"{member} of the set {self.name} is not in {self.path}: add it, or take its row out of lesions.csv.")
        try:
            return self._archive.read(place)
        except (OSError, zipfile.BadZipFile, RuntimeError) as error:
            raise DataMissing(f"{member} in {self.path} cannot be read ({error}). Fetch the archive again.") from error

    def _place(self, member: str) -> str | None:
        return member if member in self._members else self._names.get(_tail(member))

    @cached_property
    def _members(self) -> frozenset[str]:
        return frozenset(self._archive.namelist())

    @cached_property
    def _names(self) -> dict[str, str]:
        return _by_tail(name for name in self._archive.namelist() if not name.endswith("/"))


def _plain(name: str) -> str:
    """Letters and digits in lower case: `ISIC-2018 Task1` and `isic2018_task1` are one name."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _tail(member: str) -> str:
    """The last folder and the name: what stays the same when a folder is zipped with what is in it."""
    return "/".join(PurePosixPath(member.replace("\\", "/")).parts[-2:]).casefold()


def _by_tail(names: Iterable[str]) -> dict[str, str]:
    """Each name by its last folder and name, and by its name alone; the first of two that are alike counts."""
    found: dict[str, str] = {}
    for name in names:
        found.setdefault(_tail(name), name)
        found.setdefault(PurePosixPath(name).name.casefold(), name)
    return found
