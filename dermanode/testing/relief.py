"""Raised lesions in closed form: the heights, outlines and exact volumes of the scenes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float64]


class Shape(StrEnum):
    DOME = "dome"
    PLATEAU = "plateau"
    TWO_LOBES = "two-lobes"
    FLAT = "flat"
    CRATER = "crater"


USUAL_HEIGHT_MM: Mapping[Shape, float] = {
    Shape.DOME: 2.0,
    Shape.PLATEAU: 1.0,
    Shape.TWO_LOBES: 1.5,
    Shape.FLAT: 0.15,
    Shape.CRATER: 1.0,
}
_PLATEAU_EDGE = 0.6
"""Share of the radius where a plateau starts to fall."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What a measurement of the lesion should find, above the skin plane and inside the outline."""

    volume_mm3: float
    area_mm2: float
    """Of the outline, in the skin plane."""
    surface_mm2: float
    """Of the raised skin."""
    height_mm: float
    diameter_mm: float
    """Largest, of the outline."""


@dataclass(frozen=True)
class Relief:
    """One lesion's height over the skin plane, in millimetres, centred on the origin.

    The outline is r(a) = R (1 + sum of c_k cos(k a + p_k)) for k = 2, 3, 5. A lesion's height is a profile of the share
    rho = r / r(a), so that its volume is 2 * height * area * integral of f(rho) rho: exact, whatever the outline.
    """

    shape: Shape
    radius_mm: float
    height_mm: float
    waves: tuple[tuple[int, float, float], ...] = ()
    """(k, c_k, p_k) of the outline."""

    def outline_mm(self, angle: Field) -> Field:
        """The distance from the centre to the outline, at angles in radians."""
        return self.radius_mm * (1 + sum((c * np.cos(k * angle + p) for k, c, p in self.waves), np.zeros_like(angle)))

    def rho(self, x_mm: Field, y_mm: Field) -> Field:
        """The share of the way from the centre to the outline: below 1 is lesion."""
        share: Field = np.hypot(x_mm, y_mm) / self.outline_mm(np.arctan2(y_mm, x_mm))
        return share

    def height(self, x_mm: Field, y_mm: Field) -> Field:
        """The height above the skin plane, in millimetres; 0 outside the outline."""
        if self.shape is not Shape.TWO_LOBES:
            return self.profile(self.rho(x_mm, y_mm))
        return sum(
            (height * _dome(np.minimum(np.hypot(x_mm - x, y_mm - y) / radius, 1.0)) for x, y, radius, height in self._lobes),
            np.zeros(np.broadcast(x_mm, y_mm).shape),
        )

    def profile(self, rho: Field) -> Field:
        """The height at a share of the way to the outline, of a shape that has one profile all around (all but two lobes)."""
        return self.height_mm * _PROFILES[self.shape](np.minimum(rho, 1.0))

    @property
    def _lobes(self) -> tuple[tuple[float, float, float, float], ...]:
        """(x, y, radius, height) of two domes, well inside the outline and hardly touching."""
        r = self.radius_mm
        return ((-0.38 * r, 0.06 * r, 0.48 * r, self.height_mm), (0.42 * r, -0.08 * r, 0.40 * r, 0.7 * self.height_mm))

    @cached_property
    def truth(self) -> Truth:
        area_mm2 = np.pi * self.radius_mm**2 * (1 + sum(c * c for _, c, _ in self.waves) / 2)
        if self.shape is Shape.TWO_LOBES:
            volume_mm3 = sum(height * np.pi * radius**2 / 3 for _, _, radius, height in self._lobes)
        else:
            volume_mm3 = 2 * self.height_mm * area_mm2 * _moment(_PROFILES[self.shape])
        around = self.outline_mm(np.linspace(0, np.pi, 720, endpoint=False)) + self.outline_mm(
            np.linspace(np.pi, 2 * np.pi, 720, endpoint=False)
        )
        return Truth(float(volume_mm3), float(area_mm2), self._surface_mm2(), self.height_mm, float(around.max()))

    def _surface_mm2(self) -> float:
        """Integral of sqrt(1 + |grad h|^2) over the outline, by the midpoint rule in polar coordinates (error below 0.01 %)."""
        angles = (np.arange(720) + 0.5) * (2 * np.pi / 720)
        shares = (np.arange(400) + 0.5) / 400
        angle, share = np.meshgrid(angles, shares)
        outline = self.outline_mm(angle)
        x, y = share * outline * np.cos(angle), share * outline * np.sin(angle)
        step = 1e-4
        slope_x = (self.height(x + step, y) - self.height(x - step, y)) / (2 * step)
        slope_y = (self.height(x, y + step) - self.height(x, y - step)) / (2 * step)
        cell = share * outline**2 * (2 * np.pi / 720) / 400
        return float((np.sqrt(1 + slope_x**2 + slope_y**2) * cell).sum())


def _dome(rho: Field) -> Field:
    profile: Field = (1 - rho**2) ** 2
    return profile


def _plateau(rho: Field) -> Field:
    fall = np.clip((rho - _PLATEAU_EDGE) / (1 - _PLATEAU_EDGE), 0, 1)
    profile: Field = 1 - fall**2 * (3 - 2 * fall)
    return profile


def _crater(rho: Field) -> Field:
    """A rim around a dent; its highest point, at rho^2 = 0.275, is 1."""
    profile: Field = (1 - rho**2) ** 2 * (0.3 + 4 * rho**2) / ((1 - 0.275) ** 2 * (0.3 + 4 * 0.275))
    return profile


_PROFILES: Mapping[Shape, Callable[[Field], Field]] = {
    Shape.DOME: _dome,
    Shape.PLATEAU: _plateau,
    Shape.FLAT: _plateau,
    Shape.CRATER: _crater,
}


def _moment(profile: Callable[[Field], Field]) -> float:
    """Integral of f(rho) rho from 0 to 1: exact, as the profiles are polynomials on both sides of the plateau's edge."""
    nodes, weights = np.polynomial.legendre.leggauss(12)
    total = 0.0
    for low, high in ((0.0, _PLATEAU_EDGE), (_PLATEAU_EDGE, 1.0)):
        rho = low + (high - low) * (nodes + 1) / 2
        total += float((weights * profile(rho) * rho).sum()) * (high - low) / 2
    return total
