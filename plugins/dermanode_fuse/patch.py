"""A lesion cut out of its view, centred, with equal scales along both axes: what symmetry, border and colour are judged on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from dermanode.domain import View
from dermanode_fuse.shape import Mask, Region

SIDE_PX = 256
_LESION_SHARE = 0.66
"""The lesion reaches this far from the middle to the patch's sides; the rest is skin."""


@dataclass(frozen=True, eq=False)
class Patch:
    """`SIDE_PX` squared, the lesion's centroid in the middle."""

    lesion: NDArray[np.float32]
    """Share of each pixel that is lesion, 0 to 1."""
    lab: NDArray[np.float32]
    """x 3: CIE L, a, b of the source pixels."""
    is_inside: Mask
    """False where the patch reaches beyond the picture."""
    major_angle_rad: float
    """Direction of the lesion's longest extent, from the columns' axis towards the rows'."""

    @cached_property
    def is_lesion(self) -> Mask:
        return self.lesion > 0.5

    @cached_property
    def distance(self) -> NDArray[np.float32]:
        """From the outline, in diameters of the circle of the lesion's area: positive outside, negative inside."""
        outside = cv2.distanceTransform((~self.is_lesion).astype(np.uint8), cv2.DIST_L2, 5)
        inside = cv2.distanceTransform(self.is_lesion.astype(np.uint8), cv2.DIST_L2, 5)
        diameter = 2 * np.sqrt(float(self.lesion.sum()) / np.pi)
        signed: NDArray[np.float32] = (outside - inside) / np.float32(diameter)
        return signed


def cut_patch(view: View, region: Region) -> Patch:
    """The patch around a region of the view. Raises `UnreadableObject`."""
    row_mm, column_mm = view.geometry.pixel_spacing_mm or (1.0, 1.0)
    spacing = np.array([column_mm, row_mm])
    middle, covariance = region.second_moments(spacing)
    values, vectors = np.linalg.eigh(covariance)
    major = vectors[:, values.argmax()]
    reach = float(np.linalg.norm((region.outline - middle) * spacing, axis=1).max()) + float(spacing.max())
    step_x, step_y = 2 * reach / (_LESION_SHARE * SIDE_PX) / spacing
    half = (SIDE_PX - 1) / 2
    to_source = np.array([[step_x, 0, middle[0] - half * step_x], [0, step_y, middle[1] - half * step_y], [0, 0, 1]])

    to_box = np.array([[1, 0, -region.left], [0, 1, -region.top], [0, 0, 1]]) @ to_source
    # Skin all around, so that the region's edge is an edge also where the box ends.
    padded = cv2.copyMakeBorder(region.pixels * np.uint8(255), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    lesion = _sample(padded, np.array([[1, 0, 1], [0, 1, 1], [0, 0, 1]]) @ to_box, cv2.BORDER_CONSTANT) / np.float32(255)

    columns = to_source[0, 0] * np.arange(SIDE_PX) + to_source[0, 2]
    rows = to_source[1, 1] * np.arange(SIDE_PX) + to_source[1, 2]
    is_inside = ((rows >= 0) & (rows <= view.rows - 1))[:, None] & ((columns >= 0) & (columns <= view.columns - 1))[None]

    longest_px = max(view.rows, view.columns)
    pixels = view.pixels(longest_side_px=min(longest_px, int(np.ceil(longest_px / min(step_x, step_y, longest_px)))))
    sx, sy = pixels.shape[1] / view.columns, pixels.shape[0] / view.rows
    to_decoded = np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]]) @ to_source
    rgb = _sample(pixels, to_decoded, cv2.BORDER_REPLICATE) / np.float32(255)
    lab = cv2.cvtColor(cv2.GaussianBlur(rgb, (0, 0), 1.0), cv2.COLOR_RGB2Lab)
    return Patch(lesion, lab, is_inside, float(np.arctan2(major[1], major[0])))


def _sample(image: NDArray[np.uint8], to_image: NDArray[np.float64], border: int) -> NDArray[np.float32]:
    """The patch's pixels out of `image`; what is reduced is averaged first, so that it does not alias."""
    rows, columns = image.shape[:2]
    factor_x, factor_y = max(1.0, to_image[0, 0]), max(1.0, to_image[1, 1])
    if max(factor_x, factor_y) > 1:
        smaller = max(1, round(columns / factor_x)), max(1, round(rows / factor_y))
        image = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)
        sx, sy = smaller[0] / columns, smaller[1] / rows
        to_image = np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]]) @ to_image
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    sampled: NDArray[np.float32] = cv2.warpAffine(
        image.astype(np.float32), to_image[:2], (SIDE_PX, SIDE_PX), flags=flags, borderMode=border
    )
    return sampled
