"""What the bundle's inference.json is told after a pass over `val`: temperature, bias, and from where on a picture is strange."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dermanode.errors import DermaNodeError
from dermanode_training.measuring.listing import Listing
from dermanode_training.measuring.measure import Measured
from dermanode_training.scoring import weighted
from dermanode_training.scoring.bootstrap import Estimate, estimate, resamples
from dermanode_training.scoring.calibration import Calibration, Chosen, choose, folds_of

FAMILIAR_SHARE = 0.99
"""The share of the photographs that choose which must pass as familiar."""


DECLINED = 10.0
"""So many times the limit of strangeness, a picture is of something else altogether and nothing is said of it. Far off: the photographs of
another hospital may be strange, and are to be classified with a warning rather than not at all."""


class NothingToChooseFrom(DermaNodeError):
    """A split without what a calibration is chosen by."""


@dataclass(frozen=True, eq=False)
class Choice:
    """A calibration with what it was chosen from."""

    chosen: Chosen
    strangeness_limit: float
    images: int

    @property
    def calibration(self) -> Calibration:
        return self.chosen.calibration

    def write(self, bundle: Path, split: str) -> None:
        """Into `configs/inference.json`, whose other entries stay as they are."""
        path = bundle / "configs" / "inference.json"
        told = json.loads(path.read_text(encoding="utf-8"))
        told |= {
            "temperature": self.calibration.temperature,
            "strangeness_limit": self.strangeness_limit,
            "decline_limit": round(DECLINED * self.strangeness_limit, 1),
            "calibrated_on": split,
        }
        # SERVING reads `temperature` and an optional `logit_bias`: 8 numbers added to logits/temperature before the softmax.
        told.pop("logit_bias", None)
        if self.calibration.logit_bias:
            told["logit_bias"] = list(self.calibration.logit_bias)
        path.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")

    def apply(self, rows: Sequence[Measured], served: Calibration, groups: Listing) -> list[Measured]:
        """The rows as this calibration would have served them."""
        return [self._applied(row, served, groups) for row in rows]

    def _applied(self, row: Measured, served: Calibration, groups: Listing) -> Measured:
        if row.chances is None:
            return row
        chances = self.calibration.chances(served.logits(row.chances[None]))[0]
        return replace(row, chances=chances, groups=groups.fold(chances), is_in_domain=row.strangeness <= self.strangeness_limit)

    def __str__(self) -> str:
        bias = f"logit bias of strength {self.calibration.strength:g}" if self.calibration.logit_bias else "no logit bias"
        return (
            f"Chosen on {self.images} photographs: temperature {self.calibration.temperature:g} "
            f"(by fold {', '.join(f'{one:.3f}' for one in self.chosen.temperatures)}), {bias} (on held-out folds it would change the mean "
            f"of accuracy and balanced accuracy by {self.chosen.gain:+.4f}), limit of strangeness {self.strangeness_limit:g}."
        )


def choice(rows: Sequence[Measured], served: Calibration, ways: Sequence[Listing]) -> Choice:
    """By the rows that have a `label8`, photographs of one lesion always in one fold. Raises `NothingToChooseFrom`."""
    chosen = _chosen(rows, served, ways)
    strangeness = [row.strangeness for row in rows if not np.isnan(row.strangeness)]
    if chosen is None or not strangeness:
        raise NothingToChooseFrom("No photograph of this split has a label8 and was classified: a calibration needs some hundreds.")
    return Choice(chosen, round(float(np.quantile(strangeness, FAMILIAR_SHARE)), 3), len(_known(rows, ways)))


def cross_fitted_errors(rows: Sequence[Measured], served: Calibration, ways: Sequence[Listing]) -> dict[str, Estimate]:
    """By listing, the ECE of probabilities each of which was calibrated by the other four fifths of the photographs."""
    chosen = _chosen(rows, served, ways)
    if chosen is None:
        return {}
    known = _known(rows, ways)
    weights = resamples([row.lesion.group for row, _ in known])
    found = {}
    for way in ways:
        truth = np.array([way.truth(row.lesion) for row, _ in known])
        found[way.name] = estimate(weighted.calibration_error(truth, way.fold(chosen.held_out), weights))
    return found


def _known(rows: Sequence[Measured], ways: Sequence[Listing]) -> list[tuple[Measured, int]]:
    (eight,) = (way for way in ways if way.name == "8")
    return [(row, place) for row in rows if row.chances is not None and (place := eight.truth(row.lesion)) is not None]


def _chosen(rows: Sequence[Measured], served: Calibration, ways: Sequence[Listing]) -> Chosen | None:
    """None where there are too few photographs to part."""
    known = _known(rows, ways)
    folds = folds_of([row.lesion.group for row, _ in known])
    if len(np.unique(folds)) < 2:
        return None
    (seven,) = (way for way in ways if way.name == "7")
    (eight,) = (way for way in ways if way.name == "8")
    logits = served.logits(np.stack([row.chances for row, _ in known if row.chances is not None]))
    outputs = eight.belongs.argmax(0)  # the eight labels may be listed in another order than the outputs
    truth = np.array([outputs[place] for _, place in known])
    return choose(logits, truth, seven.belongs, folds)
