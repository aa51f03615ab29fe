"""The fuse stage, each number against a shape or a picture whose value is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from dermanode_fuse import fuse
from dermanode_fuse.abcd import abrupt_sectors, colour_variance, colours, symmetry
from dermanode_fuse.patch import cut_patch
from dermanode_fuse.settings import FuseSettings
from dermanode_fuse.shape import main_region, measure_shape
from numpy.typing import NDArray

from dermanode.domain import UID, Algorithm, CameraGeometry, Features, HeightField, Measurement, Surface
from dermanode.domain.codes import MM2, MM3, PIXEL, private

Mask = NDArray[np.bool_]
Image = NDArray[np.uint8]
SETTINGS = FuseSettings()
ROWS, COLUMNS = 500, 640
Y, X = np.mgrid[:ROWS, :COLUMNS].astype(float)
X -= 320
Y -= 250


def ellipse(a: float, b: float, turned_deg: float = 0.0) -> Mask:
    c, s = math.cos(math.radians(turned_deg)), math.sin(math.radians(turned_deg))
    inside: Mask = ((X * c + Y * s) / a) ** 2 + ((Y * c - X * s) / b) ** 2 < 1
    return inside


def disc(radius: float) -> Mask:
    return ellipse(radius, radius)


def rectangle(width: float, height: float) -> Mask:
    inside: Mask = (abs(X) < width / 2) & (abs(Y) < height / 2)
    return inside


def half_shifted(width: float, height: float, shift: float) -> Mask:
    """A rectangle whose halves have slid along their common side by `shift`."""
    inside: Mask = (abs(X) < width / 2) & (abs(Y - np.where(X < 0, shift / 2, -shift / 2)) < height / 2)
    return inside


def triangle(side: float) -> Mask:
    height = side * math.sqrt(3) / 2
    inside: Mask = (height / 3 > Y) & (abs(X) * 2 * height / side < Y + 2 * height / 3)
    return inside


def painted(mask: Mask, lesion: tuple[int, int, int] = (110, 70, 50), skin: tuple[int, int, int] = (200, 165, 155)) -> Image:
    picture = np.empty((*mask.shape, 3), np.uint8)
    picture[:] = skin
    picture[mask] = lesion
    return picture


def rgb_of(lab: tuple[float, float, float]) -> tuple[int, int, int]:
    r, g, b = (cv2.cvtColor(np.array([[lab]], np.float32), cv2.COLOR_Lab2RGB)[0, 0] * 255).round().astype(int)
    return int(r), int(g), int(b)


@pytest.fixture
def patch_of(make_view: Callable[..., Any]) -> Callable[..., Any]:
    return lambda picture, mask: cut_patch(make_view(picture), main_region(mask))


@pytest.fixture
def features_of(make_view: Callable[..., Any], make_case: Callable[..., Any], context: Any) -> Callable[..., Features]:
    def features_of(mask: Mask, picture: Image | None = None, findings: tuple[Any, ...] = (), **view: Any) -> Features:
        case = make_case(make_view(painted(mask) if picture is None else picture, **view), masks=[mask], findings=findings)
        found = fuse(case, context)
        assert found is not None, context.reasons
        return found

    return features_of


# Size.


@pytest.mark.parametrize("radius", [20.0, 60.5, 200.0])
def test_a_circle_has_its_area_perimeter_and_diameter(radius: float) -> None:
    shape = measure_shape(main_region(disc(radius)))
    assert shape.area == pytest.approx(math.pi * radius**2, rel=0.01)
    assert shape.perimeter == pytest.approx(2 * math.pi * radius, rel=0.02)
    assert shape.long_axis == pytest.approx(2 * radius, abs=1.5)
    assert shape.short_axis == pytest.approx(2 * radius, abs=1.5)


@pytest.mark.parametrize("turned_deg", [0, 30, 77])
def test_an_ellipse_has_its_axes_however_it_is_turned(turned_deg: float) -> None:
    shape = measure_shape(main_region(ellipse(150, 60, turned_deg)))
    assert shape.area == pytest.approx(math.pi * 150 * 60, rel=0.005)
    assert shape.perimeter == pytest.approx(689.6, rel=0.01)  # 4 a E(e)
    assert shape.long_axis == pytest.approx(300, abs=2)
    assert shape.short_axis == pytest.approx(120, abs=2)
    assert shape.major_semi_axis == pytest.approx(150, rel=0.01)
    assert shape.minor_semi_axis == pytest.approx(60, rel=0.01)


def test_a_square_has_its_sides() -> None:
    shape = measure_shape(main_region(rectangle(200, 200)))
    side = 199  # The lines at +-100 are outside.
    assert shape.area == side**2
    assert shape.perimeter == pytest.approx(4 * side, rel=0.01)
    assert shape.long_axis == pytest.approx(side * math.sqrt(2), abs=2)


def test_pixels_that_are_not_square_are_allowed_for() -> None:
    # 0.05 mm between rows, 0.1 mm between columns: a circle of 5 mm.
    mask: Mask = np.hypot(X * 0.1, Y * 0.05) < 5
    shape = measure_shape(main_region(mask), 0.05, 0.1)
    assert shape.area == pytest.approx(math.pi * 25, rel=0.005)
    assert shape.perimeter == pytest.approx(10 * math.pi, rel=0.02)
    assert shape.long_axis == pytest.approx(10, rel=0.02)
    assert shape.short_axis == pytest.approx(10, rel=0.02)


def test_one_pixel_is_measured_without_error() -> None:
    mask = np.zeros((9, 9), bool)
    mask[4, 4] = True
    assert measure_shape(main_region(mask)).area == 1


def test_the_largest_region_is_measured_with_its_holes_filled() -> None:
    mask = disc(80) & ~disc(10)
    mask[:20, :20] = True
    region = main_region(mask)
    rows, columns = region.pixels.shape
    found = np.zeros_like(mask)
    found[region.top : region.top + rows, region.left : region.left + columns] = region.pixels > 0
    np.testing.assert_array_equal(found, disc(80))


# Form.


def test_eccentricity_is_that_of_the_ellipse() -> None:
    assert measure_shape(main_region(ellipse(150, 90, 20))).eccentricity == pytest.approx(0.8, abs=0.01)
    assert measure_shape(main_region(disc(100))).eccentricity == pytest.approx(0, abs=0.05)


def test_compactness_is_one_for_a_circle_and_four_over_pi_for_a_square() -> None:
    assert measure_shape(main_region(disc(150))).compactness == pytest.approx(1, abs=0.02)
    assert measure_shape(main_region(rectangle(300, 300))).compactness == pytest.approx(4 / math.pi, rel=0.02)


@pytest.mark.parametrize("mask", [disc(120), ellipse(180, 70), ellipse(180, 70, 35)])
def test_smooth_ellipses_have_a_regular_border(mask: Mask) -> None:
    assert measure_shape(main_region(mask)).border_irregularity == pytest.approx(0, abs=0.01)


def test_the_border_irregularity_of_a_square_is_that_of_its_formula() -> None:
    # P = 4, and the circle of the same area has P = 2 sqrt(pi).
    assert measure_shape(main_region(rectangle(300, 300))).border_irregularity == pytest.approx(4 / (2 * math.sqrt(math.pi)) - 1, abs=0.01)


def test_a_star_has_an_irregular_border() -> None:
    star: Mask = np.hypot(X, Y) < 120 + 30 * np.cos(9 * np.arctan2(Y, X))
    assert measure_shape(main_region(star)).border_irregularity > 0.5


# Asymmetry.


@pytest.mark.parametrize("mask", [disc(100), ellipse(160, 80, 25), rectangle(250, 120)])
def test_symmetric_shapes_have_no_asymmetry(patch_of: Callable[..., Any], mask: Mask) -> None:
    found = symmetry(patch_of(painted(mask), mask), SETTINGS)
    assert found.asymmetry < 0.02
    assert found.score(SETTINGS) == 0


def test_an_equilateral_triangle_has_one_axis_and_a_sixth(patch_of: Callable[..., Any]) -> None:
    # Across its altitude 0; across the perpendicular through the centroid the overlap is 2/3: (0 + 1/3) / 2.
    mask = triangle(300)
    found = symmetry(patch_of(painted(mask), mask), SETTINGS)
    assert found.asymmetry == pytest.approx(1 / 6, abs=0.015)
    assert found.score(SETTINGS) == 1


def test_a_shape_with_a_shifted_half_is_asymmetric_across_both_axes(patch_of: Callable[..., Any]) -> None:
    # Across its own axes shift / height = 0.4 of it has no mirror image; turned axes can only do better.
    mask = half_shifted(150, 200, 80)
    found = symmetry(patch_of(painted(mask), mask), SETTINGS)
    assert 0.12 < found.asymmetry <= 0.41
    assert found.score(SETTINGS) == 2


def test_asymmetry_grows_with_a_bump_beside_the_axes(patch_of: Callable[..., Any]) -> None:
    bumps = [np.hypot(X - 100, Y - 70) < radius for radius in (0, 30, 50, 70)]
    masks = [ellipse(150, 90) | bump for bump in bumps]
    values = [symmetry(patch_of(painted(mask), mask), SETTINGS).asymmetry for mask in masks]
    assert values == sorted(values)
    assert values[-1] > values[0] + 0.05


def test_two_colours_side_by_side_are_asymmetric_across_one_axis(patch_of: Callable[..., Any]) -> None:
    mask = ellipse(150, 90)
    picture = painted(mask)
    picture[mask & (X > 0)] = (40, 25, 20)
    found = symmetry(patch_of(picture, mask), SETTINGS)
    assert found.asymmetry < 0.02
    assert found.score(SETTINGS) == 1


# Border.


def test_a_sharp_border_is_abrupt_all_around(patch_of: Callable[..., Any]) -> None:
    mask = disc(100)
    assert abrupt_sectors(patch_of(painted(mask), mask), SETTINGS) == 8


def test_a_border_that_fades_is_nowhere_abrupt(patch_of: Callable[..., Any]) -> None:
    share = np.clip((np.hypot(X, Y) - 50) / 100, 0, 1)[..., None]
    picture = (share * (200, 165, 155) + (1 - share) * (110, 70, 50)).astype(np.uint8)
    assert abrupt_sectors(patch_of(picture, disc(100)), SETTINGS) == 0


def test_half_a_sharp_border_is_four_eighths(patch_of: Callable[..., Any]) -> None:
    share = np.where(X < 0, np.clip((np.hypot(X, Y) - 50) / 100, 0, 1), np.hypot(X, Y) > 100)[..., None]
    picture = (share * (200, 165, 155) + (1 - share) * (110, 70, 50)).astype(np.uint8)
    # A little longer along the rows, so that the eighths start at the seam.
    mask: Mask = disc(100) | ((abs(X) < 3) & (abs(Y) < 104))
    assert abrupt_sectors(patch_of(picture, mask), SETTINGS) in (3, 4, 5)


# Colour.


def test_the_variance_of_two_colours_is_a_quarter_of_their_squared_distance(patch_of: Callable[..., Any]) -> None:
    mask = rectangle(300, 200)
    picture = painted(mask)
    first, second = (50.0, 20.0, 20.0), (40.0, 10.0, 20.0)
    picture[mask & (X < 0)] = rgb_of(first)
    picture[mask & (X >= 0)] = rgb_of(second)
    assert colour_variance(patch_of(picture, mask)) == pytest.approx(200 / 4, rel=0.08)


def test_one_colour_has_little_variance(patch_of: Callable[..., Any]) -> None:
    mask = disc(100)
    assert colour_variance(patch_of(painted(mask), mask)) < 30


@pytest.mark.parametrize("light", [1.0, 0.8])
def test_colours_are_counted_by_name_whatever_the_light(patch_of: Callable[..., Any], light: float) -> None:
    mask = rectangle(300, 200)
    picture = painted(mask, skin=rgb_of((71, 11, 6)))
    picture[mask & (X < -50)] = rgb_of((30, 14, 16))
    picture[mask & (X >= -50) & (X < 50)] = rgb_of((54, 14, 22))
    picture[mask & (X >= 50)] = rgb_of((48, 0, -8))
    seen = colours(patch_of((picture * light).astype(np.uint8), mask), SETTINGS)
    assert seen == ("light brown", "dark brown", "blue-grey")


def test_a_speck_of_another_colour_does_not_count(patch_of: Callable[..., Any]) -> None:
    mask = disc(100)
    picture = painted(mask, lesion=rgb_of((32, 14, 17)), skin=rgb_of((71, 11, 6)))
    picture[disc(15)] = rgb_of((48, 0, -8))
    assert colours(patch_of(picture, mask), SETTINGS) == ("dark brown",)


# The stage.


def test_sizes_are_in_millimetres_where_spacing_is_known(features_of: Callable[..., Features]) -> None:
    features = features_of(disc(100), spacing_mm=0.05)
    assert features.value("area_mm2") == pytest.approx(math.pi * 25, rel=0.01)
    assert features.value("perimeter_mm") == pytest.approx(10 * math.pi, rel=0.01)
    assert features.value("long_axis_mm") == pytest.approx(10, rel=0.02)
    assert features.measurements[0].unit == MM2
    assert features.value("area_px") is None


def test_sizes_are_in_pixels_where_it_is_not_and_the_reason_is_given(features_of: Callable[..., Features]) -> None:
    features = features_of(disc(100))
    assert features.value("area_px") == disc(100).sum()
    assert features.measurements[0].unit == PIXEL
    absent = dict(features.absent)
    assert {"area_mm2", "perimeter_mm", "long_axis_mm", "short_axis_mm"} <= absent.keys()
    assert absent["area_mm2"] == "no view states a pixel spacing"


def test_the_first_five_are_area_axes_asymmetry_and_border(features_of: Callable[..., Features]) -> None:
    keys = [m.key for m in features_of(disc(100), spacing_mm=0.05).measurements]
    assert keys[:5] == ["area_mm2", "long_axis_mm", "short_axis_mm", "asymmetry", "border_irregularity"]


def test_every_number_has_a_unit_a_definition_and_a_key_of_its_own(features_of: Callable[..., Features]) -> None:
    measurements = features_of(ellipse(120, 80), spacing_mm=0.05).measurements
    assert len({m.key for m in measurements}) == len(measurements)
    assert all(m.definition and m.unit.scheme == "UCUM" and math.isfinite(m.value) for m in measurements)


def test_several_views_are_combined_by_their_median(make_view: Callable[..., Any], make_case: Callable[..., Any], context: Any) -> None:
    masks = [disc(radius) for radius in (90, 100, 101, 102, 180)]
    views = [make_view(painted(mask), number=n, spacing_mm=0.05) for n, mask in enumerate(masks, 1)]
    features = fuse(make_case(*views, masks=masks), context)
    assert features is not None
    area = features.measurements[0]
    assert area.value == pytest.approx(disc(101).sum() * 0.05**2)
    assert area.derivation is not None
    assert area.lower is not None
    assert area.upper is not None
    assert area.lower < area.value < area.upper


@pytest.mark.parametrize(("azimuth_deg", "is_said"), [(45.0, True), (None, False)])
def test_a_ring_of_tilted_cameras_is_said_to_shorten(
    make_view: Callable[..., Any], make_case: Callable[..., Any], context: Any, azimuth_deg: float | None, is_said: bool
) -> None:
    mask = disc(100)
    geometry = CameraGeometry(pixel_spacing_mm=(0.05, 0.05), elevation_deg=-65.0, azimuth_deg=azimuth_deg)
    view = replace(make_view(painted(mask)), geometry=geometry)
    features = fuse(make_case(view, masks=[mask]), context)
    assert features is not None
    assert any("tilted by 25 degrees" in remark and "9%" in remark for remark in features.remarks) is is_said


def test_a_view_that_cuts_the_lesion_off_does_not_count(make_view: Callable[..., Any], make_case: Callable[..., Any], context: Any) -> None:
    whole, cut = disc(100), np.roll(disc(100), -300, axis=1) & (X < 0)
    views = [make_view(painted(mask), number=n, spacing_mm=0.05) for n, mask in ((1, cut), (2, whole))]
    features = fuse(make_case(*views, masks=[cut, whole]), context)
    assert features is not None
    assert features.value("area_mm2") == pytest.approx(whole.sum() * 0.05**2)
    assert any("cuts the lesion off" in remark for remark in features.remarks)


def test_a_lesion_that_fills_the_picture_has_no_border_or_colour_score(features_of: Callable[..., Features]) -> None:
    mask = np.ones((ROWS, COLUMNS), bool)
    features = features_of(mask)
    assert {"abcd_b", "abcd_c", "abc_partial_score"} <= dict(features.absent).keys()
    assert any("edge of every picture" in remark for remark in features.remarks)


def test_a_big_picture_gives_the_same_features_as_a_small_one(features_of: Callable[..., Features]) -> None:
    mask = half_shifted(150, 200, 40)
    small = features_of(mask, spacing_mm=0.05)
    big_mask = np.kron(mask, np.ones((4, 4), bool))
    big = features_of(big_mask, np.kron(painted(mask), np.ones((4, 4, 1), np.uint8)), spacing_mm=0.0125)
    for key in ("area_mm2", "perimeter_mm", "long_axis_mm", "asymmetry", "colour_variance"):
        assert big.value(key) == pytest.approx(small.value(key), rel=0.03, abs=0.1 if key == "colour_variance" else 0), key


def raised(radius_mm: float = 3.0, height_mm: float = 1.0, **changes: Any) -> Surface:
    """A metric surface of a paraboloid: its heights over the skin, and an open mesh of the same grid."""
    side = np.linspace(-7, 7, 257)
    x, y = np.meshgrid(side, -side)
    share = (x**2 + y**2) / radius_mm**2
    heights = height_mm * np.maximum(0, 1 - share)
    index = np.arange(x.size, dtype=np.int32).reshape(x.shape)
    a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]))
    vertices = np.stack([x, y, heights], -1).reshape(-1, 3).astype(np.float32)
    made = Surface(
        algorithm=Algorithm("Test", "1"),
        vertices=vertices,
        faces=np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)]),
        normals=np.zeros_like(vertices),
        colours=np.zeros((x.size, 3), np.uint8),
        is_lesion=(share < 1).ravel(),
        is_metric=True,
        lateral_unit="mm",
        method="test",
        scale_source="test",
        used_views=(UID("1.2.3.1"),),
        height_field=HeightField(
            heights=heights.astype(np.float32),
            base=np.zeros(x.shape, np.float32),
            colours=np.zeros((*x.shape, 3), np.uint8),
            is_lesion=share < 1,
            left=-7.0,
            top=7.0,
            step=14 / 256,
        ),
    )
    return replace(made, **changes)


def ring_of(make_view: Callable[..., Any], mask: Mask, count: int = 8, *, elevation_deg: float = -65.0) -> list[Any]:
    """Views of a ring whose cameras are tilted by 25 degrees."""
    geometry = CameraGeometry(pixel_spacing_mm=(0.05, 0.05), elevation_deg=elevation_deg, azimuth_deg=0.0)
    return [replace(make_view(painted(mask), number=n + 1), geometry=replace(geometry, azimuth_deg=45.0 * n)) for n in range(count)]


def test_sizes_of_a_metric_surface_are_those_in_the_skin_and_nothing_is_said_of_tilt(
    make_view: Callable[..., Any], make_case: Callable[..., Any], context: Any
) -> None:
    # In the tilted pictures the disc of 6 mm is an oval.
    mask = ellipse(60, 60 * math.cos(math.radians(25)))
    features = fuse(make_case(*ring_of(make_view, mask), masks=[mask] * 8, findings=(raised(),)), context)
    assert features is not None
    assert features.value("area_mm2") == pytest.approx(math.pi * 9, rel=0.005)
    assert features.value("perimeter_mm") == pytest.approx(6 * math.pi, rel=0.01)
    assert features.value("short_axis_mm") == pytest.approx(6, rel=0.015)
    assert features.value("eccentricity") == pytest.approx(0, abs=0.1)
    assert not any("tilted" in remark for remark in features.remarks)
    assert any("plane of the skin" in remark for remark in features.remarks)


def test_footprint_that_the_surface_states_is_the_area_and_its_error_that_of_the_lengths(
    make_view: Callable[..., Any], make_case: Callable[..., Any], context: Any
) -> None:
    mask = disc(60)
    stated = Measurement(key="footprint_mm2", concept=private("A", "A"), value=28.0, unit=MM2, lower=26.6, upper=29.4)
    features = fuse(make_case(*ring_of(make_view, mask), masks=[mask] * 8, findings=(raised(measurements=(stated,)),)), context)
    assert features is not None
    found = {one.key: one for one in features.measurements}
    area, axis = found["area_mm2"], found["long_axis_mm"]
    assert (area.value, area.lower, area.upper) == pytest.approx((28.0, 26.6, 29.4))
    assert (axis.lower, axis.upper) == pytest.approx((0.975 * axis.value, 1.025 * axis.value))
    assert found["footprint_mm2"] is stated


def test_volume_and_height_come_first_where_there_are_any(features_of: Callable[..., Features]) -> None:
    volume, height = (Measurement(key=key, concept=private("X", "X"), value=1.0, unit=MM3) for key in ("volume_mm3", "max_height_mm"))
    features = features_of(disc(60), findings=(raised(measurements=(height, volume)),), spacing_mm=0.05)
    assert {one.key for one in features.measurements[:2]} == {"volume_mm3", "max_height_mm"}
    assert [one.key for one in features.measurements[2:5]] == ["area_mm2", "long_axis_mm", "short_axis_mm"]


def test_all_of_the_papers_twelve_are_there_or_absent_with_the_reason(features_of: Callable[..., Features]) -> None:
    twelve = {
        *("volume_mm3", "surface_mm2", "max_height_mm", "mean_height_mm", "mean_curvature_per_mm", "max_curvature_per_mm"),
        *("box_share", "surface_ratio", "asymmetry", "border_irregularity", "colour_variance", "abcd_change"),
    }
    for findings in ((), (raised(),), (raised(is_metric=False),)):
        features = features_of(disc(60), findings=findings, spacing_mm=0.05)
        told, absent = {one.key for one in features.measurements}, dict(features.absent)
        assert twelve <= told | absent.keys()
        assert not told & absent.keys()
        assert all(absent.values())


def test_intervals_take_five_views_and_their_lack_is_said(
    make_view: Callable[..., Any], make_case: Callable[..., Any], context: Any
) -> None:
    mask = disc(60)
    for count, has_intervals in ((4, False), (5, True)):
        features = fuse(make_case(*ring_of(make_view, mask, count), masks=[mask] * count), context)
        assert features is not None
        assert all((one.lower is not None) is has_intervals for one in features.measurements)
        assert any("has no interval" in remark for remark in features.remarks) is not has_intervals


def test_a_relative_surface_gives_nothing_in_millimetres(features_of: Callable[..., Features]) -> None:
    features = features_of(disc(100), findings=(raised(is_metric=False),), spacing_mm=0.05)
    assert features.value("volume_mm3") is None
    assert "relative" in dict(features.absent)["volume_mm3"]
    assert features.value("area_mm2") == pytest.approx(math.pi * 25, rel=0.01)


def test_without_surface_the_reason_is_said(features_of: Callable[..., Features]) -> None:
    assert dict(features_of(disc(100)).absent)["volume_mm3"] == "no surface was reconstructed"


def test_without_masks_it_declines(make_view: Callable[..., Any], make_case: Callable[..., Any], context: Any) -> None:
    view = make_view(painted(disc(100)))
    assert fuse(make_case(view), context) is None
    assert fuse(make_case(view, masks=[np.zeros((ROWS, COLUMNS), bool)]), context) is None
    assert "not segmented" in context.reasons[0]
    assert "no view has a mask" in context.reasons[1]
