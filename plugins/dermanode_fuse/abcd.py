"""Asymmetry, border and colour as the ABCD rule of dermatoscopy counts them (Stolz et al. 1994; Nachbar et al. 1994).

The rule was made for trained eyes. What is here follows its words by measurement; the thresholds are settings, and none has been
checked against dermatologists. D, the differential structures, is in `structures`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dermanode_fuse.patch import SIDE_PX, Patch
from dermanode_fuse.settings import FuseSettings

_TURNS = 18
_SECTORS = 8
_LEAST_RING_PX = 200

# Lab centres for skin at (71, 11, 6); None is skin itself, which is no colour of the lesion.
_COLOURS: tuple[tuple[str | None, tuple[float, float, float]], ...] = (
    ("white", (91.0, 2.0, 2.0)),
    ("red", (52.0, 38.0, 20.0)),
    ("light brown", (55.0, 14.0, 22.0)),
    ("dark brown", (32.0, 14.0, 17.0)),
    ("blue-grey", (48.0, 0.0, -7.0)),
    ("black", (12.0, 2.0, 2.0)),
    (None, (71.0, 11.0, 6.0)),
)


@dataclass(frozen=True)
class Symmetry:
    """How much a lesion differs from its mirror images across the two perpendicular axes that suit it best."""

    shape: tuple[float, float]
    """For each axis, the share of the lesion without mirror image, 0 to 1."""
    colour: tuple[float, float]
    """For each axis, the mean CIE76 distance between mirrored places."""

    @property
    def asymmetry(self) -> float:
        """Mean over both axes of the share of the lesion without mirror image."""
        return sum(self.shape) / 2

    def score(self, settings: FuseSettings) -> int:
        """A: the number of asymmetric axes, 0 to 2."""
        pairs = zip(self.shape, self.colour, strict=True)
        return sum(s > settings.asymmetric_shape or c > settings.asymmetric_colour for s, c in pairs)


def symmetry(patch: Patch, settings: FuseSettings) -> Symmetry:
    """Tries perpendicular axes through the centroid in steps of 5 degrees, from the lesion's long axis on, and keeps the pair with the
    least asymmetry of shape and colour together, each in units of its threshold."""
    # Colour is compared coarsely: texture is no asymmetry.
    coarse = (SIDE_PX // 4, SIDE_PX // 4)
    lab = cv2.GaussianBlur(cv2.resize(patch.lab, coarse, interpolation=cv2.INTER_AREA), (0, 0), 1.5)
    lesion = cv2.resize(patch.lesion, coarse, interpolation=cv2.INTER_AREA)
    found: list[tuple[float, Symmetry]] = []
    for turn in range(_TURNS):
        angle_deg = np.rad2deg(patch.major_angle_rad) + 90 * turn / _TURNS
        whole = _turned(patch.lesion, angle_deg)
        turned_lesion, turned_lab = _turned(lesion, angle_deg), _turned(lab, angle_deg)
        shape = (_shape_across(whole, 0), _shape_across(whole, 1))
        colour = (_colour_across(turned_lesion, turned_lab, 0), _colour_across(turned_lesion, turned_lab, 1))
        total = sum(shape) / settings.asymmetric_shape + sum(colour) / settings.asymmetric_colour
        found.append((total, Symmetry(shape, colour)))
    return min(found, key=lambda pair: pair[0])[1]


def _turned(image: NDArray[np.float32], angle_deg: float) -> NDArray[np.float32]:
    side = image.shape[0]
    rotation = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), angle_deg, 1.0)
    turned: NDArray[np.float32] = cv2.warpAffine(image, rotation, (side, side))
    return turned


def _shape_across(lesion: NDArray[np.float32], axis: int) -> float:
    """The share of the lesion without mirror image when `axis` is turned over."""
    apart = cv2.norm(lesion, cv2.flip(lesion, axis), cv2.NORM_L1)
    return min(1.0, float(apart / (2 * cv2.norm(lesion, cv2.NORM_L1))))


def _colour_across(lesion: NDArray[np.float32], lab: NDArray[np.float32], axis: int) -> float:
    """The mean CIE76 distance between places of the lesion that `axis` turned over brings together."""
    both = cv2.inRange(cv2.min(lesion, cv2.flip(lesion, axis)), 0.5, 1.0)
    squares = cv2.transform(cv2.pow(cv2.absdiff(lab, cv2.flip(lab, axis)), 2), np.ones((1, 3)))
    # cv2.mean over nothing is 0.
    return float(cv2.mean(cv2.sqrt(squares), both)[0])


def abrupt_sectors(patch: Patch, settings: FuseSettings) -> int | None:
    """B: in how many eighths of the border pigment ends abruptly, 0 to 8. None where an eighth has no skin beside it.

    In each eighth, the step of L across the outline (0.01 to 0.05 diameters on either side) is held against the whole contrast
    (lesion 0.08 to 0.20 diameters inside, skin 0.10 to 0.25 outside).
    """
    light, distance = patch.lab[..., 0], patch.distance
    offset = np.arange(SIDE_PX) - (SIDE_PX - 1) / 2
    angle = (np.arctan2(offset[:, None], offset[None]) - patch.major_angle_rad) % (2 * np.pi)
    sector = (angle * _SECTORS / (2 * np.pi)).astype(np.int8) % _SECTORS
    abrupt = 0
    for one in range(_SECTORS):
        here = (sector == one) & patch.is_inside
        bands = [here & (distance > low) & (distance <= high) for low, high in ((0.01, 0.05), (-0.05, -0.01), (0.10, 0.25), (-0.20, -0.08))]
        if not all(band.any() for band in bands):
            return None
        just_outside, just_inside, skin, lesion = (float(light[band].mean()) for band in bands)
        contrast = skin - lesion
        abrupt += contrast >= settings.abrupt_contrast and just_outside - just_inside >= settings.abrupt_share * contrast
    return abrupt


def colours(patch: Patch, settings: FuseSettings) -> tuple[str, ...] | None:
    """C: which of white, red, light brown, dark brown, blue-grey and black the lesion has. None without skin around it to compare with.

    Colours are moved so that the skin around the lesion (0.05 to 0.25 diameters outside) is the reference skin; each pixel then
    counts for the nearest colour in Lab (CIE76), skin's own among them.
    """
    distance = patch.distance
    ring = patch.is_inside & (distance > 0.05) & (distance < 0.25)
    if ring.sum() < _LEAST_RING_PX:
        return None
    shift = np.asarray(settings.reference_skin) - np.median(patch.lab[ring], axis=0)
    inside = patch.lab[patch.is_lesion & patch.is_inside] + shift
    centres = np.array([centre for _, centre in _COLOURS]) + (np.asarray(settings.reference_skin) - _COLOURS[-1][1])
    # |x - c|^2 less what is the same for every centre.
    nearest = ((centres**2).sum(axis=1) - 2 * inside @ centres.T).argmin(axis=1)
    share = np.bincount(nearest, minlength=len(_COLOURS)) / max(1, len(nearest))
    named = zip(_COLOURS, share, strict=True)
    return tuple(name for (name, _), part in named if name is not None and part >= settings.least_colour_share)


def colour_variance(patch: Patch) -> float:
    """Mean squared CIE76 distance of the lesion's pixels from their mean colour: the trace of the covariance of (L, a, b).

    The outermost 2 % of the diameter are left out, where lesion and skin share pixels.
    """
    lesion = patch.is_lesion & patch.is_inside
    core = lesion & (patch.distance < -0.02)
    inside = patch.lab[core if core.any() else lesion].astype(np.float64)
    return float(inside.var(axis=0).sum())
