"""D of the ABCD rule: which differential structures a lesion has (Stolz et al. 1994).

Five count: pigment network, dots, globules, branched streaks, structureless areas. The rule was made for trained eyes; what is here reads
them off the second derivatives of lightness (L), at scales that are shares of the lesion's diameter, because few pictures have millimetres:
a dot of 0.1 mm in a lesion of 6 mm is a sixtieth of it. In a much smaller or larger lesion the same share is another structure. The
thresholds are settings, and none has been checked against dermatologists. A coarse mottling passes for a network, and every structure is
found more often where the contrast is higher.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from dermanode_fuse.patch import Patch
from dermanode_fuse.settings import FuseSettings
from dermanode_fuse.shape import Mask

Field = NDArray[np.float32]

_FINE = 0.010
"""Scale of dots and of the lines of a network, in diameters."""
_COARSE = 0.024
"""Scale of globules."""
_WINDOW = 0.16
"""Side of the window in which a network's lines and holes are counted."""
_ROUND = 0.5
"""A spot's two curvatures differ by no more than this factor ..."""
_LINEAR = 0.4
"""... and along a line there is no more than this share of the curvature across it."""
_RADIAL = 0.6
"""Cosine of the largest angle between a streak and the way out of the lesion: 53 degrees, because streaks branch."""
_STREAK = 0.06
"""A streak is at least so long, in diameters."""
_RIM = (-0.15, 0.05)
"""Where streaks are looked for, from the outline, in diameters."""

_BEND, _SLOPE, _HERE = (np.array(kernel, np.float32) for kernel in ((1, -2, 1), (-0.5, 0, 0.5), (1,)))
"""Central differences."""


@dataclass(frozen=True, eq=False)
class _Curved:
    """Second derivatives of lightness at one scale, times the scale squared: units of L. Positive is darker than around."""

    across: Field
    """The larger of the two curvatures."""
    along: Field
    """The smaller."""
    difference: Field
    """d2/dx2 - d2/dy2: with `mixed`, twice the direction of `across`."""
    mixed: Field
    """2 d2/dxdy."""

    @property
    def line(self) -> Field:
        """How strong a dark line passes here; 0 where none does."""
        return np.where(abs(self.along) < _LINEAR * self.across, self.across, np.float32(0))


@dataclass(frozen=True)
class Structures:
    """How much there is of each structure; `names` applies the thresholds."""

    network_share: float
    """Of the lesion's inside, where dark lines enclose light holes."""
    network_irregularity: float
    """Coefficient of variation of the distance from hole to nearest hole."""
    dots: int
    globules: int
    streaks: int
    structureless_share: float
    """Of the lesion's inside, where lightness hardly varies."""

    def names(self, settings: FuseSettings) -> tuple[str, ...]:
        """The structures that count."""
        has_network = self.network_share >= settings.least_network_share and self.network_irregularity <= settings.network_irregularity
        found = {
            "pigment network": has_network,
            "dots": self.dots >= settings.least_dots,
            "globules": self.globules >= settings.least_globules,
            "branched streaks": self.streaks >= settings.least_streaks,
            "structureless areas": self.structureless_share >= settings.least_structureless_share,
        }
        return tuple(name for name, is_there in found.items() if is_there)


def structures(patch: Patch, settings: FuseSettings) -> Structures:
    """Measures all five."""
    diameter = 2 * float(np.sqrt(patch.lesion.sum() / np.pi))
    # Skin far from the lesion shows none of them.
    left, top, width, height = cv2.boundingRect((patch.distance < 2 * _RIM[1]).astype(np.uint8))
    box = np.s_[top : top + height, left : left + width]
    light, distance, is_inside = np.ascontiguousarray(patch.lab[..., 0][box]), patch.distance[box], patch.is_inside[box]
    # At the outline itself lightness bends because skin begins.
    inside = is_inside & (distance < -0.04)
    whole = max(1, _count(inside))
    fine, coarse = _curved(light, _FINE * diameter), _curved(light, _COARSE * diameter)
    network, irregularity = _network(fine, inside, diameter, settings)
    # The mesh of a network is no row of dots. A dot is gone at the coarser scale, where a globule is at its clearest.
    apart = inside & ~network
    dots = _spots(fine.along, fine.across, settings.spot_contrast) & apart & (fine.along > coarse.along)
    globules = _spots(coarse.along, coarse.across, settings.globule_contrast) & apart & (coarse.along >= _largest(fine.along, 3))
    # Neither is a network's line that ends at the border a streak.
    rim = is_inside & ~network & (distance > _RIM[0]) & (distance < _RIM[1])
    return Structures(
        network_share=_count(network) / whole,
        network_irregularity=irregularity,
        dots=_count(dots),
        globules=_count(globules),
        streaks=_streaks(fine, distance, rim, diameter, settings),
        structureless_share=_count(_is_flat(light, diameter, settings) & inside) / whole,
    )


def _count(where: Mask) -> int:
    return int(np.count_nonzero(where))


def _curved(light: Field, scale_px: float) -> _Curved:
    scale_px = max(scale_px, 0.5)
    smooth = cv2.GaussianBlur(light, (0, 0), scale_px) * np.float32(scale_px**2)
    xx, yy = (cv2.sepFilter2D(smooth, -1, *kernels) for kernels in ((_BEND, _HERE), (_HERE, _BEND)))
    mixed = 2 * cv2.sepFilter2D(smooth, -1, _SLOPE, _SLOPE)
    difference = xx - yy
    mean, half = (xx + yy) / 2, cv2.magnitude(difference, mixed) / 2
    return _Curved(mean + half, mean - half, difference, mixed)


def _largest(field: Field, side: int) -> Field:
    largest: Field = cv2.dilate(field, np.ones((side, side), np.uint8))
    return largest


def _spots(least: Field, most: Field, above: float) -> Mask:
    """Where something round is darkest: `least` is the smaller curvature, and largest here among its neighbours."""
    found: Mask = (least > above) & (least > _ROUND * most) & (least >= _largest(least, 5))
    return found


def _network(fine: _Curved, inside: Mask, diameter: float, settings: FuseSettings) -> tuple[Mask, float]:
    """Where there are lines and holes enough, and how irregular the holes lie."""
    # A hole is a light spot: both curvatures are negative, and the larger is the weaker.
    holes = _spots(-fine.across, -fine.along, settings.network_contrast / 2) & inside
    lines = (fine.line > settings.network_contrast) & inside
    side = max(3, round(_WINDOW * diameter))
    line_share, hole_share = (cv2.boxFilter(where.astype(np.float32), -1, (side, side)) for where in (lines, holes))
    network = inside & (line_share >= settings.network_lines) & (hole_share * side**2 >= settings.network_holes)
    places = np.argwhere(holes & network)
    if len(places) < 3:
        return np.zeros_like(network), np.inf
    nearest = cKDTree(places).query(places, k=2)[0][:, 1]
    return network, float(nearest.std() / nearest.mean())


def _streaks(fine: _Curved, distance: Field, rim: Mask, diameter: float, settings: FuseSettings) -> int:
    """Dark lines at the border that lead out of the lesion."""
    smooth = cv2.GaussianBlur(distance, (0, 0), 1.5)
    out_x, out_y = (cv2.sepFilter2D(smooth, -1, *kernels) for kernels in ((_SLOPE, _HERE), (_HERE, _SLOPE)))
    # The direction across a line is half the angle of (difference, mixed). The cosine of the doubled angle between it and the way out
    # is -1 where the line leads out.
    xx, yy = out_x * out_x, out_y * out_y
    doubled = fine.difference * (xx - yy) + 2 * fine.mixed * out_x * out_y
    norm = cv2.magnitude(fine.difference, fine.mixed) * (xx + yy)
    radial = (fine.line > settings.spot_contrast) & rim & (doubled < (1 - 2 * _RADIAL**2) * norm)
    count, _, stats, _ = cv2.connectedComponentsWithStats(radial.astype(np.uint8), connectivity=8)
    lengths = np.hypot(stats[1:count, cv2.CC_STAT_WIDTH], stats[1:count, cv2.CC_STAT_HEIGHT])
    return _count(lengths >= _STREAK * diameter)


def _is_flat(light: Field, diameter: float, settings: FuseSettings) -> Mask:
    """Where lightness varies by no more than `flat_lightness` (standard deviation, slow shading taken out) around."""
    side = max(3, round(_WINDOW / 2 * diameter))
    detail = light - cv2.blur(light, (side, side))
    flat: Mask = cv2.boxFilter(detail * detail, -1, (side, side)) < settings.flat_lightness**2
    return flat
