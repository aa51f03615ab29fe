"""An order: what a hospital asked for, and under which numbers it wants the answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A request for an examination, as the hospital's information system placed it. Every field may be empty."""

    accession_number: str = ""
    placer_number: str = ""
    """ORC-2: the number that the requester gave it."""
    filler_number: str = ""
    """ORC-3: the number of whoever fills it."""
    procedure_code: str = ""
    """OBR-4, the code itself."""
    procedure_words: str = ""
    requester: str = ""
    """ORC-12, as a DICOM person name."""
