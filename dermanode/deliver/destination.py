"""Where a package can be taken, whatever the road."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Package:
    """What one destination gets of one case."""

    case_id: str
    files: tuple[Path, ...]
    """In the order of sending; each existed when the package was made."""


class Destination(Protocol):
    """One destination; used by one thread."""

    def deliver(self, package: Package) -> str:
        """Takes the whole package there and returns what was answered, in words; taking it twice leaves one.

        Raises `DeliveryRefused` where another try would be refused too, `DestinationUnavailable` where it may not.
        """
        ...
