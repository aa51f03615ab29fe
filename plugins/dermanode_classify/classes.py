"""What the outputs of a classifier mean: the bundle's `configs/classes.json`, parsed once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermanode.domain import ClassProbability, Code
from dermanode.errors import BundleError


@dataclass(frozen=True, slots=True)
class Concept:
    """A label, its code, and the network's outputs that it sums."""

    label: str
    code: Code
    outputs: tuple[int, ...]
    """Places in `Classes.outputs`."""


@dataclass(frozen=True, slots=True)
class Classes:
    """The network's outputs, and the ways in which they are told: by so many diagnoses, and by groups."""

    outputs: tuple[str, ...]
    """In the order of the logits."""
    listings: tuple[tuple[Concept, ...], ...]
    """Ways of listing the diagnoses, which differ in how many there are. In each, every output belongs to one diagnosis."""
    groups: tuple[Concept, ...]
    """Every output belongs to one group."""

    def diagnoses(self, count: int) -> tuple[Concept, ...]:
        """The diagnoses of the listing of that length. Raises `KeyError` where there is none."""
        for listing in self.listings:
            if len(listing) == count:
                return listing
        raise KeyError(count)

    def listed(self, chances: NDArray[np.float64], count: int) -> NDArray[np.float64]:
        """Probabilities of `diagnoses(count)`: ... x outputs becomes ... x diagnoses."""
        return folded(chances, self.diagnoses(count))

    def grouped(self, chances: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities of the groups: ... x outputs becomes ... x groups."""
        return folded(chances, self.groups)

    def labels_in(self, group: str, count: int) -> tuple[str, ...]:
        """The diagnoses of which at least one output belongs to the group."""
        belonging = {output for one in self.groups if one.label == group for output in one.outputs}
        return tuple(one.label for one in self.diagnoses(count) if belonging.intersection(one.outputs))


def folded(chances: NDArray[np.float64], concepts: Sequence[Concept]) -> NDArray[np.float64]:
    """Probabilities of the concepts, each the sum over its outputs: ... x outputs becomes ... x concepts."""
    return np.stack([chances[..., list(one.outputs)].sum(-1) for one in concepts], -1)


def told(concepts: Sequence[Concept], chances: NDArray[np.float64]) -> tuple[ClassProbability, ...]:
    """The mean over views of `chances`, views x concepts, with their spread where there are several views; in the concepts' order."""
    means = chances.mean(0)
    spreads = chances.std(0) if len(chances) > 1 else [None] * len(concepts)
    return tuple(
        ClassProbability(label=one.label, concept=one.code, probability=float(mean), spread=None if spread is None else float(spread))
        for one, mean, spread in zip(concepts, means, spreads, strict=True)
    )


def read_classes(bundle: str, path: Path) -> Classes:
    """Raises `BundleError` where the file is missing or does not say what is needed."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        outputs = tuple(told["outputs"])
        return Classes(
            outputs=outputs,
            listings=tuple(_concepts(listing, outputs, f"diagnoses.{count}") for count, listing in told["diagnoses"].items()),
            groups=_concepts(told["groups"], outputs, "groups"),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(bundle, f"{path} does not say what the classes are ({error!r}). Restore the bundle.") from error


def _concepts(told: Sequence[Mapping[str, Any]], outputs: Sequence[str], where: str) -> tuple[Concept, ...]:
    concepts = tuple(Concept(one["label"], Code(*one["concept"]), tuple(outputs.index(name) for name in one["outputs"])) for one in told)
    if sorted(output for one in concepts for output in one.outputs) != list(range(len(outputs))):
        raise ValueError(f"{where} must name each output once")
    return concepts
