"""A case: one revision of a series on its way through the chain."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from dermanode.domain.findings import (
    Classification,
    CleanViews,
    Features,
    Finding,
    HeatMaps,
    PicturedProgression,
    Progression,
    Risk,
    Segmentation,
    Surface,
    ViewComparison,
)
from dermanode.domain.order import Order
from dermanode.domain.outcome import Outcome
from dermanode.domain.series import Series, View

F = TypeVar("F", bound=Finding)


@dataclass(frozen=True, eq=False)
class Prior:
    """An earlier visit of the same lesion, as its outcome recorded it."""

    case_id: str
    """Of the ledger; for a visit that only the PACS knows, the SOP Instance UID of its report."""
    acquired_at: datetime | None
    outcome: Outcome
    views: tuple[View, ...] = ()
    """Its photographs, decoded when asked for; none where they are no longer here."""


@dataclass(frozen=True, eq=False)
class Case:
    """A series, what was found so far, and the lesion's earlier visits. Stages read it and never change it."""

    id: str
    revision: int
    series: Series
    priors: tuple[Prior, ...] = ()
    """Oldest first."""
    findings: tuple[Finding, ...] = ()
    prior_gaps: tuple[str, ...] = ()
    """Why earlier visits may be missing among the priors: sentences without full stop. Empty where everybody answered who was asked."""
    order: Order | None = None
    """What the hospital ordered, where it said so."""
    is_correction: bool = False
    """An earlier revision was told already: what is told of this one corrects it."""
    origin: str = ""
    """The id of the series' first case, by which all its revisions are known, also when the patient was merged meanwhile.

    Empty: this is the first.
    """

    def with_finding(self, finding: Finding) -> Case:
        """This case with one more finding."""
        return replace(self, findings=(*self.findings, finding))

    def finding(self, kind: type[F]) -> F | None:
        """The last finding of that type, else None."""
        return next((f for f in reversed(self.findings) if isinstance(f, kind)), None)

    @property
    def clean_views(self) -> CleanViews | None:
        return self.finding(CleanViews)

    @property
    def segmentation(self) -> Segmentation | None:
        return self.finding(Segmentation)

    @property
    def surface(self) -> Surface | None:
        return self.finding(Surface)

    @property
    def features(self) -> Features | None:
        return self.finding(Features)

    @property
    def classification(self) -> Classification | None:
        return self.finding(Classification)

    @property
    def heat_maps(self) -> tuple[HeatMaps, ...]:
        """Every explanation there is, in the order of the stages."""
        return tuple(found for found in self.findings if isinstance(found, HeatMaps))

    @property
    def progression(self) -> Progression | None:
        return self.finding(Progression)

    @property
    def comparisons(self) -> tuple[ViewComparison, ...]:
        """The views laid over those of earlier visits; none where the progression brings no pictures."""
        found = self.progression
        return found.comparisons if isinstance(found, PicturedProgression) else ()

    @property
    def risk(self) -> Risk | None:
        return self.finding(Risk)
