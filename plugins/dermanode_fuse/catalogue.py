"""What the fuse stage can measure: keys, codes, units and definitions."""

from __future__ import annotations

from dermanode.domain.codes import MM, MM2, MM3, NO_UNITS, PER_MM, PIXEL, Code, Quantity, private

_AREA = Code("42798000", "SCT", "Area")
_PERIMETER = Code("131191004", "SCT", "Perimeter")
_LONG_AXIS = Code("103339001", "SCT", "Long axis")
_SHORT_AXIS = Code("103340004", "SCT", "Short axis")

_AREA_IS = "Number of the lesion's pixels times the area of one pixel."
_PERIMETER_IS = "Length of the lesion's outline, smoothed over two pixels along the way."
_LONG_IS = "Largest distance between two points of the outline (maximum Feret diameter)."
_SHORT_IS = "Extent of the outline across the long axis."

AREA = Quantity("area_mm2", _AREA, MM2, _AREA_IS)
LONG_AXIS = Quantity("long_axis_mm", _LONG_AXIS, MM, _LONG_IS)
SHORT_AXIS = Quantity("short_axis_mm", _SHORT_AXIS, MM, _SHORT_IS)
PERIMETER = Quantity("perimeter_mm", _PERIMETER, MM, _PERIMETER_IS)

AREA_PX = Quantity("area_px", _AREA, PIXEL, "Number of the lesion's pixels; the view states no pixel spacing.")
LONG_AXIS_PX = Quantity("long_axis_px", _LONG_AXIS, PIXEL, f"{_LONG_IS} In source pixels.")
SHORT_AXIS_PX = Quantity("short_axis_px", _SHORT_AXIS, PIXEL, f"{_SHORT_IS} In source pixels.")
PERIMETER_PX = Quantity("perimeter_px", _PERIMETER, PIXEL, f"{_PERIMETER_IS} In source pixels.")

ASYMMETRY = Quantity(
    "asymmetry",
    private("ASYM", "Asymmetry of shape"),
    NO_UNITS,
    "Share of the lesion without mirror image, |M xor mirror(M)| / 2|M|, mean over the two perpendicular axes through the centroid that "
    "suit best; 0 is symmetric.",
)
BORDER_IRREGULARITY = Quantity(
    "border_irregularity",
    private("BORDIRR", "Border irregularity"),
    NO_UNITS,
    "P / P_ellipse - 1: perimeter against that of the ellipse with the same second moments and area; 0 for a smooth ellipse.",
)
COLOUR_VARIANCE = Quantity(
    "colour_variance",
    private("COLVAR", "Colour variance"),
    NO_UNITS,
    "Mean squared CIE76 distance of the lesion's pixels from their mean colour: trace of the covariance of (L, a, b), source pixels.",
)
ECCENTRICITY = Quantity(
    "eccentricity",
    private("ECC", "Eccentricity"),
    NO_UNITS,
    "sqrt(1 - b^2/a^2) of the ellipse with the same second moments; 0 for a circle.",
)
COMPACTNESS = Quantity("compactness", private("COMPACT", "Compactness"), NO_UNITS, "P^2 / (4 pi A); 1 for a circle (Cox 1927).")
ABCD_A = Quantity(
    "abcd_a",
    private("ABCDA", "ABCD rule: asymmetry score"),
    NO_UNITS,
    "Number of asymmetric axes (0 to 2) of the best perpendicular pair, by shape or colour (Stolz 1994; thresholds in the settings).",
)
ABCD_B = Quantity(
    "abcd_b",
    private("ABCDB", "ABCD rule: border score"),
    NO_UNITS,
    "Number of eighths of the border where pigment ends abruptly (0 to 8) (Stolz 1994; thresholds in the settings).",
)
ABCD_C = Quantity(
    "abcd_c",
    private("ABCDC", "ABCD rule: colour score"),
    NO_UNITS,
    "Number of colours present (1 to 6) of white, red, light brown, dark brown, blue-grey, black (Stolz 1994; thresholds in the settings).",
)
ABC_PARTIAL = Quantity(
    "abc_partial_score",
    private("ABCPART", "ABCD rule: weighted sum of A, B and C"),
    NO_UNITS,
    "1.3 A + 0.1 B + 0.5 C: the total dermoscopy score without its D term, so not to be held against its limits of 4.75 and 5.45.",
)
SURFACE_AREA = Quantity(
    "surface_mm2",
    Code("C0JK", "IBSI", "Surface Area of Mesh"),
    MM2,
    "Sum of the areas of the lesion's triangles on the reconstructed surface.",
)
VOLUME = Quantity(
    "volume_mm3",
    Code("RNU0", "IBSI", "Volume of Mesh"),
    MM3,
    "Divergence sum over the closed mesh, |sum of v0 . (v1 x v2)| / 6 (the paper's equation 10, a triple integral times 3, is a misprint).",
)
MAX_CURVATURE = Quantity(
    "max_curvature_per_mm",
    private("KMAX", "Maximum mean curvature"),
    PER_MM,
    "99th percentile of |mean curvature| over the lesion's vertices, at the scale that the surface states.",
)

SIZES = (
    (AREA, AREA_PX, "area"),
    (LONG_AXIS, LONG_AXIS_PX, "long_axis"),
    (SHORT_AXIS, SHORT_AXIS_PX, "short_axis"),
    (PERIMETER, PERIMETER_PX, "perimeter"),
)
"""Each size in millimetres, the one that stands in for it without pixel spacing, and what `Shape` calls it."""
SOLID = (VOLUME, SURFACE_AREA, MAX_CURVATURE)
"""What needs a metric surface."""
