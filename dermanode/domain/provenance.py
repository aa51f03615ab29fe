"""Who computed something: the algorithm behind a finding."""

from __future__ import annotations

from dataclasses import dataclass

from dermanode.domain.codes import ARTIFICIAL_INTELLIGENCE, Code


@dataclass(frozen=True, slots=True)
class Algorithm:
    """An algorithm as DICOM identifies it (PS3.16 TID 4019)."""

    name: str
    version: str
    manufacturer: str = "DermaNode"
    family: Code = ARTIFICIAL_INTELLIGENCE
    bundle: str | None = None
    """The model bundle that served, as `name version`."""
    weights_digest: str | None = None
    """SHA-256 of the weights: it changes at every retraining."""
