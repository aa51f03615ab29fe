"""Where the lesion lies on the surface: the masks of all views, brought together on the height field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dermanode_reconstruct.grid import Grid, Matrix
from dermanode_reconstruct.photograph import Photograph
from dermanode_reconstruct.poses import Poses, plane_homographies

Field = NDArray[np.float64]

_OTHER_SHARE = 0.05
"""A second region of so large a share of the first one's area is another lesion."""
_SMOOTH_CELLS = 1.0


@dataclass(frozen=True, eq=False)
class Extent:
    """Roughly where the lesion is on the skin plane."""

    middle_mm: tuple[float, float]
    radius_mm: float
    """Of the circle around the middle that holds it."""


@dataclass(frozen=True, eq=False)
class Lesion:
    """The lesion on the grid of the height field."""

    level: Field
    """n x n, 0 to 1: the share of the views that call it lesion; the outline is at 0.5."""
    is_lesion: NDArray[np.bool_]
    """n x n: the one region that is measured."""
    consistency: float
    """Mean overlap (intersection over union) of each view's mask with the lesion, 0 to 1."""
    outline_error_mm: float
    """How far the views' outlines lie apart: mean over the outline of the standard deviation across it."""
    others: int
    """Further regions of a size that cannot be chance."""
    outlined: int
    """Views that have a mask."""

    def near(self, reach_cells: float) -> NDArray[np.bool_]:
        """The lesion and so many cells around it."""
        reach = max(1, round(reach_cells))
        element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
        return np.asarray(cv2.dilate(self.is_lesion.astype(np.uint8), element) > 0)


def find_extent(photographs: Sequence[Photograph], poses: Poses, half_mm: float, step_mm: float) -> Extent | None:
    """From the masks on the skin plane; None where no view's mask shows anything there."""
    grid = Grid.around((0.0, 0.0), half_mm, step_mm)
    masked = [index for index, one in enumerate(photographs) if one.mask is not None]
    if not masked:
        return None
    homographies = plane_homographies(poses, np.array([one.intrinsics for one in photographs]), grid)
    seen = [_warped(photographs[index], homographies[index], grid.count) for index in masked]
    regions, count = ndimage.label(np.mean(seen, axis=0) > 127)
    if count == 0:
        return None
    sizes = ndimage.sum_labels(np.ones_like(regions), regions, range(1, count + 1))
    rows, columns = np.nonzero(regions == 1 + int(np.argmax(sizes)))
    x, y = grid.x[columns], grid.y[rows]
    middle = float((x.min() + x.max()) / 2), float((y.min() + y.max()) / 2)
    return Extent(middle, float(np.hypot(x - middle[0], y - middle[1]).max()))


def _warped(photograph: Photograph, homography: Matrix, count: int) -> NDArray[np.uint8]:
    assert photograph.mask is not None
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped: NDArray[np.uint8] = cv2.warpPerspective(photograph.mask, homography, (count, count), flags=flags)
    return warped


def lie(photographs: Sequence[Photograph], poses: Poses, grid: Grid, height: Field) -> Lesion | None:
    """The lesion on a height field (n x n, mm); None where the masks agree on nothing."""
    x, y = np.meshgrid(grid.x, grid.y)
    points = np.stack([x, y, height], -1).reshape(-1, 3)
    intrinsics = np.array([one.intrinsics for one in photographs])
    pixels, _ = poses.project(points, intrinsics)
    votes, weights = [], []
    for view, one in enumerate(photographs):
        if one.mask is None:
            continue
        at = pixels[:, view].reshape(grid.count, grid.count, 2).astype(np.float32)
        rows, columns = one.mask.shape
        votes.append(cv2.remap(one.mask, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT).astype(np.float64) / 255)
        weights.append((at[..., 0] >= 0) & (at[..., 0] <= columns - 1) & (at[..., 1] >= 0) & (at[..., 1] <= rows - 1))
    if not votes:
        return None
    seen, says = np.array(weights), np.array(votes)
    level = cv2.GaussianBlur((says * seen).sum(0) / np.maximum(seen.sum(0), 1), (0, 0), _SMOOTH_CELLS)
    regions, count = ndimage.label(level > 0.5)
    if count == 0:
        return None
    sizes = ndimage.sum_labels(np.ones_like(regions), regions, range(1, count + 1))
    largest = int(np.argmax(sizes))
    is_lesion = ndimage.binary_fill_holes(regions == 1 + largest)
    others = int((np.delete(sizes, largest) > _OTHER_SHARE * sizes[largest]).sum())
    # Other regions and holes are none of the outline.
    level = np.where(is_lesion, np.maximum(level, 0.501), np.where(level > 0.5, 0.0, level))
    area = float(is_lesion.sum())
    perimeter = 4 * np.sqrt(area)
    votes_in = [(says[k] > 0.5) & seen[k] for k in range(len(says))]
    near = ndimage.binary_dilation(is_lesion, iterations=max(3, int(np.sqrt(area) / 3)))
    overlaps = [float((one & is_lesion).sum() / max(1, ((one & near) | is_lesion).sum())) for one in votes_in]
    spread_cells = float(np.std([float((one & near).sum()) for one in votes_in]) / perimeter) if len(votes_in) > 1 else 1.0
    return Lesion(level, is_lesion, float(np.mean(overlaps)), spread_cells * grid.step_mm, others, len(votes))


def cell_shares(lesion: Lesion) -> Field:
    """n x n, 0 to 1: how much of each cell is lesion. The level falls about linearly across the outline, over one cell."""
    slope = np.hypot(*np.gradient(lesion.level))
    near = np.maximum(cv2.GaussianBlur(slope, (0, 0), 1.0), 0.05)
    shares: Field = np.clip((lesion.level - 0.5) / near + 0.5, 0.0, 1.0)
    # Only the outline's own cells are shared: the inside is whole, the outside is none.
    rim = ndimage.binary_dilation(lesion.is_lesion) & ~ndimage.binary_erosion(lesion.is_lesion)
    return np.where(rim, shares, lesion.is_lesion.astype(np.float64))
