"""Pictures that are of no use by themselves."""

from __future__ import annotations

from dermanode_reconstruct.photograph import Photograph

_LEAST_CONTRAST = 4.0
"""Standard deviation of the grey values below which a picture shows nothing: a lens cap, a flash."""


def why_empty(photograph: Photograph) -> str | None:
    """Why a picture is of no use, in words; None where it is."""
    grey = photograph.grey
    if float(grey.std()) >= _LEAST_CONTRAST:
        return None
    return "it is black: was the lens covered?" if float(grey.mean()) < 64 else "it shows nothing: its grey values hardly differ"
