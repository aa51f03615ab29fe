"""What the node asks of the probability that a mask was cut from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dermanode.domain import Case, LesionProbability, Segmentation
from dermanode.errors import WrongFinding
from dermanode.pipeline.promise import check
from dermanode.testing import worked_cases


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return worked_cases.case_of([worked_cases.photograph(1)], tmp_path_factory.mktemp("promise"))


def found(case: Case, probability: LesionProbability) -> Segmentation:
    masks = worked_cases.segmentation(case)
    return replace(masks, masks=tuple(replace(mask, probability=probability) for mask in masks.masks))


def test_a_probability_on_a_grid_of_its_own_is_kept(case: Case) -> None:
    whole = found(case, worked_cases.slope(96, 128))
    assert check(whole, stage="segment", plugin="acme", case=case) is whole


@pytest.mark.parametrize(
    ("values", "matrix", "words"),
    [
        (np.full((6, 8), 1.5, np.float32), np.eye(3), "probability from 0 to 1"),
        (np.full((6, 8), np.nan, np.float32), np.eye(3), "probability from 0 to 1"),
        (np.zeros((6, 8, 3), np.float32), np.eye(3), "6 x 8 x 3"),
        (np.zeros((6, 8), np.uint8), np.eye(3), "uint8 of 6 x 8"),
        (np.zeros((6, 8), np.float32), np.zeros((3, 3)), "can be inverted"),
    ],
    ids=["more than 1", "no number", "colours", "bytes", "a matrix that leads nowhere"],
)
def test_a_probability_that_is_none_fails_the_stage(case: Case, values: np.ndarray, matrix: np.ndarray, words: str) -> None:
    with pytest.raises(WrongFinding, match=words):
        check(found(case, LesionProbability(values=values, to_source=matrix)), stage="segment", plugin="acme", case=case)
