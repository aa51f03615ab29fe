"""A folder as a destination: one sub-folder a case, each file whole or not there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from dermanode.config import FolderDestination
from dermanode.deliver.destination import Package
from dermanode.errors import DestinationUnavailable


class Folder:
    """Copies results into a folder; a reader never meets half a file."""

    def __init__(self, name: str, settings: FolderDestination) -> None:
        self.name, self.root = name, settings.path

    def deliver(self, package: Package) -> str:
        """Copies, syncs and renames each file. Raises `DestinationUnavailable` for a disk that is full, missing or read-only."""
        folder = self.root / package.case_id
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for file in package.files:
                _copy(file, folder / file.name)
            for changed in (folder, self.root):  # a rename is only safe once its folder is on disk
                _sync(changed)
        except OSError as error:
            where = error.filename or folder
            raise DestinationUnavailable(self.name, f"{where} cannot be written: {error.strerror or error}") from error
        return f"{len(package.files)} files in {folder}"


def _copy(source: Path, target: Path) -> None:
    partial = target.with_name(f".{target.name}.part")
    with source.open("rb") as reader, partial.open("wb") as writer:
        shutil.copyfileobj(reader, writer, 1024 * 1024)
        writer.flush()
        os.fsync(writer.fileno())
    partial.replace(target)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
