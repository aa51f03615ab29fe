"""A way of telling the classifier's eight outputs: by seven diagnoses, by eight, or by three groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from dermanode_classify.classes import Classes, Concept
from numpy.typing import NDArray

from dermanode_training.data.lesions import Lesion


@dataclass(frozen=True, eq=False)
class Listing:
    """Labels, how the outputs are summed to them, and which of them a row of the table says."""

    name: str
    """`7`, `8` or `groups`."""
    labels: tuple[str, ...]
    alarm: str
    """The label that must not be missed: its sensitivity is told at stated thresholds."""
    belongs: NDArray[np.float64]
    """Outputs x labels, 0 or 1."""
    places: Mapping[str, int]
    """For a `label8` or a `label7` of the table its place in `labels`, where it has one."""

    def fold(self, chances: NDArray[np.float64]) -> NDArray[np.float64]:
        """... x outputs becomes ... x labels."""
        return np.asarray(chances @ self.belongs)

    def truth(self, lesion: Lesion) -> int | None:
        """The place of the row's label; None where it has none, or only a coarser one (AKIEC, where AK and SCC are apart)."""
        return self.places.get(lesion.label, self.places.get(lesion.label8))


def listings(classes: Classes) -> tuple[Listing, Listing, Listing]:
    """By 7, by 8 and by groups, as the bundle's `classes.json` says."""
    seven = classes.diagnoses(7)
    return (
        _listing("7", seven, "MEL", classes, seven),
        _listing("8", classes.diagnoses(8), "MEL", classes, seven),
        _listing("groups", classes.groups, "MALIGNANT", classes, seven),
    )


def _listing(name: str, concepts: Sequence[Concept], alarm: str, classes: Classes, seven: Sequence[Concept]) -> Listing:
    belongs = np.zeros((len(classes.outputs), len(concepts)))
    for place, concept in enumerate(concepts):
        belongs[list(concept.outputs), place] = 1
    places = {output: int(belongs[k].argmax()) for k, output in enumerate(classes.outputs)}
    for coarse in seven:
        among = {int(belongs[output].argmax()) for output in coarse.outputs}
        if len(among) == 1:
            places[coarse.label] = among.pop()
    return Listing(name, tuple(one.label for one in concepts), alarm, belongs, places)
