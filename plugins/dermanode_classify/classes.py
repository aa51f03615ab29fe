"""What the outputs of a classifier mean: the bundle's `configs/classes.json`, parsed once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dermanode.domain import ClassProbability, Code
from dermanode.errors import BundleError


@dataclass(frozen=True, slots=True)
class Concept:
    """A label and its code."""

    label: str
    code: Code


@dataclass(frozen=True, slots=True)
class Classes:
    """The diagnoses in the order of the network's outputs, and the group that each belongs to."""

    diagnoses: tuple[Concept, ...]
    groups: tuple[Concept, ...]
    group_of: tuple[int, ...]
    """For each diagnosis its place in `groups`."""

    def labels_in(self, group: str) -> tuple[str, ...]:
        """The labels of the diagnoses that belong to a group."""
        return tuple(one.label for one, k in zip(self.diagnoses, self.group_of, strict=True) if self.groups[k].label == group)

    def diagnosis(self, chances: NDArray[np.float64], spread: NDArray[np.float64] | None) -> tuple[ClassProbability, ...]:
        """The diagnoses, most probable first."""
        order = np.argsort(-chances, kind="stable")
        return tuple(_probability(self.diagnoses[k], chances[k], None if spread is None else spread[k]) for k in order)

    def grouped(self, chances: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities of the groups: ... x diagnoses becomes ... x groups."""
        belongs = np.equal.outer(np.asarray(self.group_of), np.arange(len(self.groups)))
        return np.asarray(chances @ belongs)

    def group(self, chances: NDArray[np.float64], spread: NDArray[np.float64] | None) -> tuple[ClassProbability, ...]:
        """The groups in their own order."""
        return tuple(_probability(one, chances[k], None if spread is None else spread[k]) for k, one in enumerate(self.groups))


def read_classes(bundle: str, path: Path) -> Classes:
    """Raises `BundleError` where the file is missing or does not say what is needed."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        groups = tuple(Concept(one["label"], Code(*one["concept"])) for one in told["groups"])
        places = {one.label: place for place, one in enumerate(groups)}
        return Classes(
            diagnoses=tuple(Concept(one["label"], Code(*one["concept"])) for one in told["classes"]),
            groups=groups,
            group_of=tuple(places[one["group"]] for one in told["classes"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(bundle, f"{path} does not say what the classes are ({error!r}). Restore the bundle.") from error


def _probability(concept: Concept, chance: float, spread: float | None) -> ClassProbability:
    return ClassProbability(
        label=concept.label, concept=concept.code, probability=float(chance), spread=None if spread is None else float(spread)
    )
