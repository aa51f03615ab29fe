"""What the explain stage returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dermanode.domain import HeatMaps


@dataclass(frozen=True, eq=False, kw_only=True)
class Explanation(HeatMaps):
    """Heat maps of the classifier's answer; the grid of each is the crop that the network saw."""

    stage: ClassVar[str] = "explain"
