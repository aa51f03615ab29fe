"""What the fuse stage can measure: keys, codes, units and definitions."""

from __future__ import annotations

from dermanode.domain import UID, Measurement
from dermanode.domain.codes import MM, MM2, MM3, NO_UNITS, PER_MM, PIXEL, Code, Quantity, private

_AREA = Code("42798000", "SCT", "Area")
_PERIMETER = Code("131191004", "SCT", "Perimeter")
_LONG_AXIS = Code("103339001", "SCT", "Long axis")
_SHORT_AXIS = Code("103340004", "SCT", "Short axis")

_HEIGHT = Code("121207", "DCM", "Height")

_AREA_IS = "Number of the lesion's pixels times the area of one pixel."
_PERIMETER_IS = "Length of the lesion's outline, smoothed over two pixels along the way."
_LONG_IS = "Largest distance between two points of the outline (maximum Feret diameter)."
_SHORT_IS = "Extent of the outline across the long axis."

AREA = Quantity("area_mm2", _AREA, MM2, _AREA_IS)
LONG_AXIS = Quantity("long_axis_mm", _LONG_AXIS, MM, _LONG_IS)
SHORT_AXIS = Quantity("short_axis_mm", _SHORT_AXIS, MM, _SHORT_IS)
PERIMETER = Quantity("perimeter_mm", _PERIMETER, MM, _PERIMETER_IS)

_IN_SKIN = "In the plane of the skin, on the reconstructed height field."

AREA_SKIN = Quantity("area_mm2", _AREA, MM2, f"Area inside the lesion's outline. {_IN_SKIN}")
LONG_AXIS_SKIN = Quantity("long_axis_mm", _LONG_AXIS, MM, f"{_LONG_IS} {_IN_SKIN}")
SHORT_AXIS_SKIN = Quantity("short_axis_mm", _SHORT_AXIS, MM, f"{_SHORT_IS} {_IN_SKIN}")
PERIMETER_SKIN = Quantity("perimeter_mm", _PERIMETER, MM, f"Length of the lesion's outline, smoothed over one and a half cells. {_IN_SKIN}")

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
ABCD_D = Quantity(
    "abcd_d",
    private("ABCDD", "ABCD rule: differential structures score"),
    NO_UNITS,
    "Number of structures present (1 to 5) of pigment network, dots, globules, branched streaks, structureless areas, from second "
    "derivatives of lightness at shares of the lesion's diameter (Stolz 1994; thresholds in the settings); a lesion without any counts 1.",
)
ABC_PARTIAL = Quantity(
    "abc_partial_score",
    private("ABCPART", "ABCD rule: weighted sum of A, B and C"),
    NO_UNITS,
    "1.3 A + 0.1 B + 0.5 C: the total dermoscopy score without its D term, so not to be held against its limits of 4.75 and 5.45.",
)
DERMOSCOPY_SCORE = Quantity(
    "total_dermoscopy_score",
    private("TDS", "ABCD rule: total dermoscopy score"),
    NO_UNITS,
    "1.3 A + 0.1 B + 0.5 C + 0.5 D (Stolz 1994). The rule's limits of 4.75 and 5.45 are those of trained eyes and do not hold for parts "
    "that a program measured.",
)
ABCD_CHANGE = Quantity(
    "abcd_change",
    private("DABCD", "Change of the total dermoscopy score"),
    NO_UNITS,
    "Total dermoscopy score of this visit less that of the first visit that has one (the paper's delta ABCD); the interval is the root of "
    "the squared half widths of both visits.",
)

VOLUME = Quantity(
    "volume_mm3",
    Code("RNU0", "IBSI", "Volume of Mesh"),
    MM3,
    "V: divergence sum over the closed mesh, |sum of v0 . (v1 x v2)| / 6 (the paper's equation 10, a triple integral times 3, is a "
    "misprint for it).",
)
SURFACE_AREA = Quantity(
    "surface_mm2",
    Code("C0JK", "IBSI", "Surface Area of Mesh"),
    MM2,
    "SA: sum of |(v1 - v0) x (v2 - v0)| / 2 over the lesion's triangles, its walls and floor not counted. Interval to first order: the "
    "error of the footprint, and twice that of the height for what exceeds the footprint.",
)
FOOTPRINT = Quantity(
    "footprint_mm2", _AREA, MM2, "Area of the lesion in the plane of the skin: inside its outline, or what its triangles cover."
)
MAX_HEIGHT = Quantity(
    "max_height_mm", _HEIGHT, MM, "Dmax: largest height of the lesion above its base, the skin as it would be without it."
)
MEAN_HEIGHT = Quantity("mean_height_mm", _HEIGHT, MM, "Dmean: mean height of the lesion above its base, over its area in the skin plane.")
MEAN_CURVATURE = Quantity(
    "mean_curvature_per_mm",
    private("KMEAN", "Mean absolute curvature"),
    PER_MM,
    "Mean of |H| over the lesion's skin by area; H is the mean curvature (k1 + k2) / 2. {scale} Interval to first order: the errors of "
    "height and footprint (H goes with height / length squared); noise finer than the scale is not in it.",
)
MAX_CURVATURE = Quantity(
    "max_curvature_per_mm",
    private("KMAX", "Maximum mean curvature"),
    PER_MM,
    "99th percentile of |H| over the lesion's skin by area; H is the mean curvature (k1 + k2) / 2. {scale} Interval to first order: the "
    "errors of height and footprint (H goes with height / length squared); noise finer than the scale is not in it.",
)
BOX_SHARE = Quantity(
    "box_share",
    private("BOXSHARE", "Share of the bounding box"),
    NO_UNITS,
    "V / Vbbox: volume over that of the smallest box around the lesion that stands on its base, turned about the skin's normal. Interval "
    "to first order, with the errors of volume and height taken as independent: wide, because an error of the base moves both alike.",
)
SURFACE_RATIO = Quantity(
    "surface_ratio",
    private("SARATIO", "Surface over footprint"),
    NO_UNITS,
    "SA ratio: area of the lesion's triangles over the area that they cover in the skin plane; 1 is flat. Interval to first order: the "
    "excess over 1 goes with the squared height over the footprint.",
)

SIZES = (
    (AREA, AREA_PX, "area"),
    (LONG_AXIS, LONG_AXIS_PX, "long_axis"),
    (SHORT_AXIS, SHORT_AXIS_PX, "short_axis"),
    (PERIMETER, PERIMETER_PX, "perimeter"),
)
"""Each size in millimetres, the one that stands in for it without pixel spacing, and what `Shape` calls it."""
IN_SKIN = {"area": AREA_SKIN, "long_axis": LONG_AXIS_SKIN, "short_axis": SHORT_AXIS_SKIN, "perimeter": PERIMETER_SKIN}
"""The sizes in the plane of the skin, by what `Shape` calls them."""
SOLID = (VOLUME, SURFACE_AREA, MAX_HEIGHT, MEAN_HEIGHT, FOOTPRINT, MEAN_CURVATURE, MAX_CURVATURE, BOX_SHARE, SURFACE_RATIO)
"""What needs a metric surface."""
DERIVATIONS = {MAX_HEIGHT: Code("56851009", "SCT", "Maximum"), MEAN_HEIGHT: Code("373098007", "SCT", "Mean")}


def reported(
    quantity: Quantity,
    value: float,
    ends: tuple[float, float] | None = None,
    *,
    derivation: Code | None = None,
    view_uid: UID | None = None,
) -> Measurement:
    """A quantity with its value and the ends of its 90 % interval, where one is known."""
    lower, upper = ends or (None, None)
    return Measurement(
        key=quantity.key,
        concept=quantity.concept,
        value=float(value),
        unit=quantity.unit,
        lower=lower,
        upper=upper,
        derivation=derivation or DERIVATIONS.get(quantity),
        definition=quantity.definition,
        view_uid=view_uid,
    )
