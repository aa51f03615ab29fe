"""How far an Orthanc's changes were followed: kept in a file, so that a restart misses nothing and repeats little."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

START = 0
"""Orthanc counts its changes from 1."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the changes."""

    last: int = START
    """The number of the last change that was worked on."""
    resource: str = ""
    """Whom that change was about: another Orthanc, or one that was emptied, has given its number to somebody else."""
    broken: Mapping[str, int] = field(default_factory=dict)
    """Series that could not be fetched whole, and how often that was tried."""

    def at(self, last: int, resource: str) -> Self:
        return replace(self, last=last, resource=resource)

    def with_broken(self, series: str, attempts: int) -> Self:
        return replace(self, broken={**self.broken, series: attempts})

    def without_broken(self, series: str) -> Self:
        return replace(self, broken={other: attempts for other, attempts in self.broken.items() if other != series})


class PlaceFile:
    """Reads and writes a place. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Place:
        """The place that was written last; the start where there is none or it is damaged: what is here is not fetched again."""
        try:
            content = json.loads(self._path.read_text())
            if isinstance(content, int):  # as the first version wrote it
                return Place(content)
            broken = {str(series): int(attempts) for series, attempts in content["broken"].items()}
            return Place(int(content["last"]), str(content["resource"]), broken)
        except FileNotFoundError:
            return Place()
        except (ValueError, TypeError, KeyError, AttributeError):
            return Place()

    def write(self, place: Place) -> None:
        scratch = self._path.with_name(f"{self._path.name}.new")
        with scratch.open("w") as file:
            json.dump({"last": place.last, "resource": place.resource, "broken": place.broken}, file)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(self._path)
