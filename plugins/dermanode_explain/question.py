"""What is explained: one class of the classification, as a sum over outputs of the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from dermanode_classify.classifier import Classifier
from numpy.typing import NDArray

from dermanode.domain import Classification, ClassProbability


@dataclass(frozen=True, eq=False)
class Question:
    """Why did the classifier give this class its probability?"""

    explained: ClassProbability
    outputs: tuple[int, ...]
    """The network's outputs whose probabilities are summed in it."""
    temperature: float
    logit_bias: torch.Tensor

    @classmethod
    def of(cls, explained: ClassProbability, outputs: tuple[int, ...], classifier: Classifier) -> Question:
        return cls(explained, outputs, classifier.temperature, torch.from_numpy(classifier.logit_bias))

    def score(self, logits: torch.Tensor) -> torch.Tensor:
        """The logarithm of the class's odds, calibrated, for each row of logits: it does not saturate as the probability does."""
        moved = logits / self.temperature + self.logit_bias.to(logits)
        ours = list(self.outputs)
        others = [place for place in range(moved.shape[1]) if place not in ours]
        return torch.logsumexp(moved[:, ours], 1) - torch.logsumexp(moved[:, others], 1)

    def chance(self, chances: NDArray[np.float64]) -> NDArray[np.float64]:
        """The class's probability, from those of all outputs: ... x outputs becomes ..."""
        return np.asarray(chances[..., list(self.outputs)].sum(-1))


def question(classification: Classification, classifier: Classifier, label: str) -> Question | None:
    """The question after the class of that label, `top` for the most probable diagnosis; None where there is no such class."""
    wanted = classification.top.label if label == "top" else label
    listed: Sequence[ClassProbability] = (*classification.diagnosis, *classification.groups)
    explained = next((one for one in listed if one.label == wanted), None)
    concepts = (*classifier.classes.diagnoses(len(classification.diagnosis)), *classifier.classes.groups)
    concept = next((one for one in concepts if one.label == wanted), None)
    if explained is None or concept is None:
        return None
    return Question.of(explained, concept.outputs, classifier)
