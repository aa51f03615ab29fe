"""One thing that `doctor` looked at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    GOOD = "good"
    NOTE = "note"
    """Works, but somebody should know."""
    MISSING = "MISSING"
    """Something will not work."""


@dataclass(frozen=True, slots=True)
class Sign:
    """One thing that was looked at."""

    subject: str
    health: Health
    words: str
