"""The height that goes with a slope: the eikonal equation |grad z| = f, with z = 0 on the skin."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float64]


def rise(slope: Field, step: float, ground: NDArray[np.bool_]) -> Field:
    """The viscosity solution z >= 0 of |grad z| = slope with z = 0 where `ground` (Rouy and Tourin 1992), by Godunov's upwind scheme.

    Shading has no sign: this is the solution that rises from the ground everywhere. `slope` and the result are grid rows x columns,
    `step` is a cell's side in the unit of the result. `ground` has at least one True.

    The scheme is iterated over the whole grid at once: information moves one cell a round, so it ends after about as many rounds
    as the longest path has cells.
    """
    highest = float(slope.max()) * step * slope.size + step
    height: Field = np.where(ground, 0.0, highest)
    cost = slope * step
    for _ in range(4 * sum(slope.shape)):
        padded = np.pad(height, 1, constant_values=highest)
        a = np.minimum(padded[1:-1, :-2], padded[1:-1, 2:])
        b = np.minimum(padded[:-2, 1:-1], padded[2:, 1:-1])
        both = 0.5 * (a + b + np.sqrt(np.maximum(0.0, 2 * cost**2 - (a - b) ** 2)))
        update = np.where(abs(a - b) >= cost, np.minimum(a, b) + cost, both)
        before, height = height, np.where(ground, 0.0, np.minimum(height, update))
        if np.max(before - height) < 1e-9 * step:
            break
    return height
