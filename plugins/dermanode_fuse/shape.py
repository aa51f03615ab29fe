"""The size and the outline of a mask."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

Mask = NDArray[np.bool_]

_OUTLINE_SMOOTHING_PX = 2.0


@dataclass(frozen=True)
class Shape:
    """Measures of one region. Lengths are in the unit of the spacing that it was measured with."""

    area: float
    """Number of pixels times the area of one."""
    perimeter: float
    """Length of the outline through the edges of its border pixels, smoothed over two pixels along the way so that the
    staircase of the pixels does not count."""
    long_axis: float
    """Largest distance between two points (maximum Feret diameter)."""
    short_axis: float
    """Extent across the long axis."""
    major_semi_axis: float
    """Of the ellipse with the same second moments."""
    minor_semi_axis: float

    @property
    def compactness(self) -> float:
        """P^2 / (4 pi A): 1 for a circle (Cox 1927)."""
        return self.perimeter**2 / (4 * np.pi * self.area)

    @property
    def eccentricity(self) -> float:
        """Of the ellipse with the same second moments: 0 for a circle."""
        return float(np.sqrt(max(0.0, 1 - (self.minor_semi_axis / self.major_semi_axis) ** 2)))

    @property
    def border_irregularity(self) -> float:
        """P / P_ellipse - 1, with the ellipse of the same second moments scaled to the same area: 0 for any smooth ellipse."""
        a, b = self.major_semi_axis, self.minor_semi_axis
        scale = (self.area / (np.pi * a * b)) ** 0.5
        # Ramanujan 1914: within 0.05 % for all that is not a line.
        around = np.pi * (3 * (a + b) - ((3 * a + b) * (a + 3 * b)) ** 0.5)
        return float(self.perimeter / (scale * around) - 1)


@dataclass(frozen=True, eq=False)
class Region:
    """A connected set of pixels without holes, cut out of its image."""

    pixels: NDArray[np.uint8]
    """1 inside, 0 outside; as large as the region's bounding box."""
    left: int
    """Column of the source at which the box begins."""
    top: int
    outline: NDArray[np.float64]
    """N x 2: (column, row) of the border pixels' centres in the source, in order."""

    @property
    def area_px(self) -> int:
        return cv2.countNonZero(self.pixels)

    def second_moments(self, spacing: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The centroid (column, row) in the source, and the 2 x 2 covariance of the area in the unit of `spacing` (of columns, of rows)."""
        moments = cv2.moments(self.pixels, binaryImage=True)
        area = moments["m00"]
        centroid = np.array([moments["m10"] / area + self.left, moments["m01"] / area + self.top])
        covariance = np.array([[moments["mu20"], moments["mu11"]], [moments["mu11"], moments["mu02"]]]) / area
        # A pixel is a square, not a point.
        return centroid, (covariance + np.eye(2) / 12) * np.outer(spacing, spacing)


def main_region(mask: Mask) -> Region:
    """The largest connected region of a mask that is not empty, holes filled."""
    contours, _ = cv2.findContours(np.ascontiguousarray(mask).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(contours, key=lambda contour: (cv2.contourArea(contour), len(contour)))
    left, top, width, height = cv2.boundingRect(outline)
    pixels = np.zeros((height, width), np.uint8)
    cv2.drawContours(pixels, [outline - (left, top)], -1, 1, cv2.FILLED)
    return Region(pixels, left, top, outline.reshape(-1, 2).astype(np.float64))


def measure_shape(region: Region, row_spacing: float = 1.0, column_spacing: float = 1.0) -> Shape:
    """Measures a region; spacings are the distances between rows and between columns."""
    spacing = np.array([column_spacing, row_spacing])
    # A pixel has an extent of its own, which its centre does not tell.
    pixel = float(spacing.mean())
    _, covariance = region.second_moments(spacing)
    minor, major = 2 * np.sqrt(np.linalg.eigvalsh(covariance))
    outline = region.outline * spacing
    sigma = min(_OUTLINE_SMOOTHING_PX, len(outline) / 12)
    smooth = gaussian_filter1d(outline, sigma, axis=0, mode="wrap")
    length = float(np.linalg.norm(np.roll(smooth, -1, axis=0) - smooth, axis=1).sum())

    hull = cv2.convexHull(outline.astype(np.float32)).reshape(-1, 2).astype(np.float64)
    apart = hull[:, None] - hull[None]
    i, j = np.unravel_index(int((apart**2).sum(axis=-1).argmax()), (len(hull), len(hull)))
    along = hull[j] - hull[i]
    longest = float(np.linalg.norm(along))
    across = hull @ (np.array([-along[1], along[0]]) / longest) if longest else np.zeros(1)
    return Shape(
        area=float(region.area_px * row_spacing * column_spacing),
        # A curve moved outward by d is longer by 2 pi d (Steiner); the centres lie half a pixel inside.
        perimeter=length + np.pi * pixel,
        long_axis=longest + pixel,
        short_axis=float(np.ptp(across)) + pixel,
        major_semi_axis=float(major),
        minor_semi_axis=float(minor),
    )
