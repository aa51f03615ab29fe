"""What a surface adds to the numbers, each against a body whose formula is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from dermanode_fuse.error import Error
from dermanode_fuse.outline import reaches_edge, skin_outline
from dermanode_fuse.solid import measure_solid
from numpy.typing import NDArray
from scipy.special import ellipe

from dermanode.domain import UID, Algorithm, HeightField, Measurement, Surface
from dermanode.domain.codes import MM, NO_UNITS, private

Field = NDArray[np.float64]
Height = Callable[[Field, Field], Field]
RINGS, AROUND = 80, 360


def surface_of(height: Height, edge: Callable[[Field], Field], *, curvature: Height | None = None) -> Surface:
    """The closed mesh of a body that stands on the plane: rings of its top within the outline r = edge(angle), a wall, and a floor."""
    angle = np.arange(AROUND) * 2 * math.pi / AROUND
    share = np.linspace(0, 1, RINGS + 1)[1:, None]
    x, y = share * edge(angle) * np.cos(angle), share * edge(angle) * np.sin(angle)
    top = np.stack([x, y, height(x, y)], -1).reshape(-1, 3)
    middle, floor = np.array([[0, 0, float(height(np.zeros(1), np.zeros(1))[0])]]), np.zeros((1, 3))
    vertices = np.concatenate([middle, top, top[-AROUND:] * (1, 1, 0), floor])
    around = np.arange(AROUND)
    after = (around + 1) % AROUND
    faces = [np.stack([np.zeros(AROUND, int), 1 + around, 1 + after], 1)]
    # The last step leads from the rim of the top down to that of the floor.
    for ring in range(RINGS):
        a, b = 1 + ring * AROUND, 1 + (ring + 1) * AROUND
        faces += [np.stack([a + around, b + around, b + after], 1), np.stack([a + around, b + after, a + after], 1)]
    rim = 1 + RINGS * AROUND
    faces.append(np.stack([np.full(AROUND, len(vertices) - 1), rim + after, rim + around], 1))
    is_lesion = np.arange(len(vertices)) < rim
    bends = curvature(vertices[:, 0], vertices[:, 1]).astype(np.float32) if curvature else None
    return Surface(
        algorithm=Algorithm("Test", "1"),
        vertices=vertices.astype(np.float32),
        faces=np.concatenate(faces).astype(np.int32),
        normals=np.zeros_like(vertices, np.float32),
        colours=np.zeros((len(vertices), 3), np.uint8),
        mean_curvature=bends,
        curvature_scale_mm=0.27 if curvature else None,
        is_lesion=is_lesion,
        is_metric=True,
        lateral_unit="mm",
        method="test",
        scale_source="test",
        used_views=(UID("1.2.3.1"),),
        is_closed=True,
        height_field=field_of(height, edge),
    )


def field_of(height: Height, edge: Callable[[Field], Field], *, side_mm: float = 14.0, count: int = 257) -> HeightField:
    side = np.linspace(-side_mm / 2, side_mm / 2, count)
    x, y = np.meshgrid(side, -side)
    is_lesion = np.hypot(x, y) < edge(np.arctan2(y, x))
    with np.errstate(invalid="ignore"):
        heights = np.where(is_lesion, height(x, y), 0)
    return HeightField(
        heights=heights.astype(np.float32),
        base=np.zeros(x.shape, np.float32),
        colours=np.zeros((*x.shape, 3), np.uint8),
        is_lesion=is_lesion,
        left=-side_mm / 2,
        top=side_mm / 2,
        step=side_mm / (count - 1),
    )


def circle(radius: float) -> Callable[[Field], Field]:
    return lambda angle: np.full_like(angle, radius)


def rectangle(width: float, depth: float) -> Callable[[Field], Field]:
    return lambda angle: np.minimum(width / 2 / np.maximum(abs(np.cos(angle)), 1e-9), depth / 2 / np.maximum(abs(np.sin(angle)), 1e-9))


def oval(a: float, b: float) -> Callable[[Field], Field]:
    return lambda angle: a * b / np.hypot(b * np.cos(angle), a * np.sin(angle))


@dataclass(frozen=True, eq=False)
class Body:
    """A body and what its formulas say."""

    surface: Surface
    volume: float
    area: float
    footprint: float
    most: float
    box: float
    """Area of the rectangle around it."""


def cap(radius: float = 3.0, height: float = 1.2) -> Body:
    """Of a sphere."""
    ball = (radius**2 + height**2) / (2 * height)

    def rise(x: Field, y: Field) -> Field:
        return np.asarray(np.sqrt(np.maximum(ball**2 - x**2 - y**2, 0)) - (ball - height))

    surface = surface_of(rise, circle(radius), curvature=lambda x, y: np.full_like(x, 1 / ball))
    volume = math.pi * height**2 * (3 * ball - height) / 3
    return Body(surface, volume, 2 * math.pi * ball * height, math.pi * radius**2, height, 4 * radius**2)


def cone(radius: float = 2.5, height: float = 1.5) -> Body:
    surface = surface_of(lambda x, y: height * (1 - np.hypot(x, y) / radius), circle(radius))
    area = math.pi * radius * math.hypot(radius, height)
    return Body(surface, math.pi * radius**2 * height / 3, area, math.pi * radius**2, height, 4 * radius**2)


def ellipsoid(a: float = 3.0, b: float = 2.0, c: float = 1.0) -> Body:
    """Its upper half. The area is Thomsen's, within 1.1 %."""

    def rise(x: Field, y: Field) -> Field:
        return np.asarray(c * np.sqrt(np.maximum(1 - (x / a) ** 2 - (y / b) ** 2, 0)))

    power = 1.6075
    area = 2 * math.pi * (((a * b) ** power + (a * c) ** power + (b * c) ** power) / 3) ** (1 / power)
    return Body(surface_of(rise, oval(a, b)), 2 / 3 * math.pi * a * b * c, area, math.pi * a * b, c, 4 * a * b)


def plateau(radius: float = 3.0, top: float = 2.0, height: float = 0.8) -> Body:
    """A cone cut off."""
    surface = surface_of(lambda x, y: height * np.clip((radius - np.hypot(x, y)) / (radius - top), 0, 1), circle(radius))
    volume = math.pi * height / 3 * (radius**2 + radius * top + top**2)
    area = math.pi * (top**2 + (radius + top) * math.hypot(radius - top, height))
    return Body(surface, volume, area, math.pi * radius**2, height, 4 * radius**2)


def box(width: float = 4.0, depth: float = 2.0, height: float = 1.0) -> Body:
    """Its walls are no skin that a camera above sees as lesion."""
    surface = surface_of(lambda x, y: np.full_like(x, height), rectangle(width, depth))
    return Body(surface, width * depth * height, width * depth, width * depth, height, width * depth)


def two_lobes(radius: float = 2.0, height: float = 1.5, wave: float = 0.4) -> Body:
    """A paraboloid over r = R (1 + wave cos 2a); its area is summed on a grid ten times as fine, its box is that of the outline."""

    def edge(angle: Field) -> Field:
        return np.asarray(radius * (1 + wave * np.cos(2 * angle)))

    def rise(x: Field, y: Field) -> Field:
        return np.asarray(height * (1 - (np.hypot(x, y) / edge(np.arctan2(y, x))) ** 2))

    footprint = math.pi * radius**2 * (1 + wave**2 / 2)
    side = np.linspace(-3, 3, 3001)
    x, y = np.meshgrid(side, side)
    z = rise(x, y)
    slopes = np.gradient(z, side[1] - side[0])
    inside = z > 0
    inside[1500, 1500] = False
    area = float(np.sqrt(1 + slopes[0] ** 2 + slopes[1] ** 2)[inside].sum()) * (side[1] - side[0]) ** 2
    angle = np.linspace(0, 2 * math.pi, 100_000)
    across = np.ptp(edge(angle) * np.sin(angle))
    return Body(surface_of(rise, edge), height * footprint / 2, area, footprint, height, 2 * radius * (1 + wave) * across)


BODIES = {"cap": cap, "cone": cone, "ellipsoid": ellipsoid, "plateau": plateau, "box": box, "two lobes": two_lobes}


@pytest.mark.parametrize("name", BODIES)
def test_body_has_the_numbers_of_its_formulas(name: str) -> None:
    body = BODIES[name]()
    assert body.surface.height_field is not None
    solid = measure_solid(body.surface, skin_outline(body.surface.height_field))
    found = {one.key: one for one in solid.measurements}
    assert found["volume_mm3"].value == pytest.approx(body.volume, rel=0.003)
    assert found["surface_mm2"].value == pytest.approx(body.area, rel=0.012 if name == "ellipsoid" else 0.005)
    # Sides along the cells are known to half a cell.
    assert found["footprint_mm2"].value == pytest.approx(body.footprint, rel=0.012 if name == "box" else 0.005)
    assert value(body.surface, "footprint_mm2") == pytest.approx(body.footprint, rel=0.002)  # Of the mesh alone.
    assert found["max_height_mm"].value == pytest.approx(body.most, rel=0.01)
    assert found["mean_height_mm"].value == pytest.approx(body.volume / body.footprint, rel=0.01)
    assert found["surface_ratio"].value == pytest.approx(body.area / body.footprint, rel=0.012 if name == "ellipsoid" else 0.005)
    assert found["box_share"].value == pytest.approx(body.volume / (body.box * body.most), rel=0.01)
    assert all(one.definition and one.unit.scheme == "UCUM" for one in found.values())


def test_turned_body_has_the_same_box() -> None:
    surface = box().surface
    c, s = math.cos(0.5), math.sin(0.5)
    turned = replace(surface, vertices=(surface.vertices @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])).astype(np.float32))
    assert value(turned, "box_share") == pytest.approx(1, rel=0.001)


def test_curvature_of_a_sphere_is_one_over_its_radius_and_its_scale_is_said() -> None:
    radius, height = 3.0, 1.2
    found = {one.key: one for one in measure_solid(cap(radius, height).surface).measurements}
    for key in ("mean_curvature_per_mm", "max_curvature_per_mm"):
        assert found[key].value == pytest.approx(2 * height / (radius**2 + height**2), rel=1e-5)
        assert "At a scale of 0.27 mm." in found[key].definition


def test_curvature_counts_by_area_whatever_the_mesh_and_whatever_its_sign() -> None:
    # |H| = r over a disc: its mean by area is 2 R / 3, and 99 % of the area lie within sqrt(0.99) R. By vertices the mean would be R / 2.
    surface = surface_of(lambda x, y: np.ones_like(x), circle(2.0), curvature=lambda x, y: np.hypot(x, y) * np.sign(x + 1e-9))
    assert value(surface, "mean_curvature_per_mm") == pytest.approx(4 / 3, rel=0.01)
    assert value(surface, "max_curvature_per_mm") == pytest.approx(2 * math.sqrt(0.99), rel=0.01)


def value(surface: Surface, key: str) -> float:
    found = measure_solid(surface).measurement(key)
    assert found is not None
    return found.value


def stated(key: str, value: float, half: float) -> Measurement:
    return Measurement(key=key, concept=private("X", "X"), value=value, unit=MM, lower=value - half, upper=value + half)


# Intervals.


def test_what_the_surface_states_wins_with_its_interval() -> None:
    own = (stated("volume_mm3", 17.8, 0.5), stated("max_height_mm", 1.3, 0.1))
    solid = measure_solid(replace(cap().surface, measurements=own))
    assert [one for one in solid.measurements if one.key in ("volume_mm3", "max_height_mm")] == list(own)
    assert not solid.remarks


def test_volume_that_the_mesh_does_not_hold_is_said() -> None:
    body = cap()
    near, far = (replace(body.surface, measurements=(stated("volume_mm3", share * body.volume, 0.1),)) for share in (1.04, 1.2))
    assert not measure_solid(near).remarks
    (said,) = measure_solid(far).remarks
    assert "differ by more than 5%" in said


def test_errors_of_height_and_footprint_go_on_into_area_ratio_and_curvature() -> None:
    body = cap()
    mean = body.volume / body.footprint
    own = (stated("mean_height_mm", mean, 0.1 * mean), stated("footprint_mm2", body.footprint, 0.02 * body.footprint))
    found = {one.key: one for one in measure_solid(replace(body.surface, measurements=own)).measurements}
    excess = body.area - body.footprint
    half = math.hypot(0.02 * body.footprint, 0.2 * excess)
    assert found["surface_mm2"].upper == pytest.approx(body.area + half, rel=0.005)
    assert found["surface_mm2"].lower == pytest.approx(body.area - half, rel=0.005)
    ratio = body.area / body.footprint
    assert found["surface_ratio"].upper == pytest.approx(ratio + (ratio - 1) * math.hypot(0.2, 0.02), rel=0.005)
    curved = found["max_curvature_per_mm"]
    assert curved.upper == pytest.approx(curved.value * (1 + math.hypot(0.1, 0.02)))


def test_heights_that_are_a_tenth_larger_lie_within_the_interval() -> None:
    flat, high = cap(height=1.0), cap(height=1.1)
    mean = flat.volume / flat.footprint
    own = (stated("mean_height_mm", mean, 0.11 * mean), stated("footprint_mm2", flat.footprint, 0.0))
    found = {one.key: one for one in measure_solid(replace(flat.surface, measurements=own)).measurements}
    area, ratio = found["surface_mm2"], found["surface_ratio"]
    assert area.upper is not None
    assert area.value < high.area < area.upper
    assert ratio.upper is not None
    assert high.area / high.footprint < ratio.upper


def test_interval_of_the_box_share_is_that_of_volume_and_height() -> None:
    body = cone()
    own = (stated("volume_mm3", body.volume, 0.05 * body.volume), stated("max_height_mm", body.most, 0.02 * body.most))
    found = measure_solid(replace(body.surface, measurements=own)).measurement("box_share")
    assert found is not None
    assert found.upper == pytest.approx(found.value * (1 + math.hypot(0.05, 0.02)))


def test_surface_without_an_error_gives_values_without_intervals_and_says_so() -> None:
    solid = measure_solid(cap().surface)
    assert all(one.lower is None for one in solid.measurements)
    assert any("states no error" in remark for remark in solid.remarks)


def test_error_of_a_product_is_the_root_of_the_squares() -> None:
    assert Error(0.03, 0.06).beside(Error(0.04, 0.08)) == Error(0.05, 0.1)
    assert Error(0.1, 0.2).power(2) == Error(0.2, 0.4)
    assert Error(0.1, 0.2).ends(10) == pytest.approx((9, 12))
    assert Error(2.0, 0.2).ends(10, least=1.0, most=11.0) == pytest.approx((1, 11))
    assert Error.of(replace(stated("x", 4.0, 1.0), upper=6.0)) == Error(0.25, 0.5)
    assert Error.of(stated("x", 0.0, 1.0)) is None
    assert Error.of(None) is None


# What is absent.


def test_relative_surface_keeps_its_own_relief_and_nothing_in_millimetres() -> None:
    relief = Measurement(key="relative_relief", concept=private("R", "R"), value=0.1, unit=NO_UNITS)
    solid = measure_solid(replace(cap().surface, is_metric=False, measurements=(relief,)))
    assert solid.measurements == (relief,)
    assert dict(solid.absent).keys() == {
        "volume_mm3",
        "surface_mm2",
        "max_height_mm",
        "mean_height_mm",
        "footprint_mm2",
        "mean_curvature_per_mm",
        "max_curvature_per_mm",
        "box_share",
        "surface_ratio",
    }
    assert all("heights are relative (test)" in why for _, why in solid.absent)


def test_every_gap_of_a_metric_surface_has_its_own_reason() -> None:
    surface = cap().surface
    assert "open" in dict(measure_solid(replace(surface, is_closed=False)).absent)["volume_mm3"]
    assert "no volume" in dict(measure_solid(replace(surface, is_closed=False)).absent)["box_share"]
    assert "no heights" in dict(measure_solid(replace(surface, height_field=None)).absent)["max_height_mm"]
    assert "no curvature" in dict(measure_solid(replace(surface, mean_curvature=None)).absent)["mean_curvature_per_mm"]
    without = dict(measure_solid(replace(surface, is_lesion=None)).absent)
    assert "which part of it is lesion" in without["surface_mm2"]
    assert "which part of it is lesion" in without["box_share"]


# The outline.


@pytest.mark.parametrize("radius", [1.0, 2.0, 4.37])
def test_disc_on_the_skin_has_its_sizes(radius: float) -> None:
    shape = skin_outline(field_of(lambda x, y: np.ones_like(x), circle(radius)))
    assert shape is not None
    assert shape.area == pytest.approx(math.pi * radius**2, rel=0.005)
    assert shape.perimeter == pytest.approx(2 * math.pi * radius, rel=0.01)
    # Within a cell of 0.055 mm.
    assert (shape.long_axis, shape.short_axis) == pytest.approx((2 * radius, 2 * radius), abs=0.055)
    assert shape.compactness == pytest.approx(1, abs=0.02)


def test_oval_on_the_skin_has_its_axes_and_perimeter() -> None:
    a, b = 3.0, 1.6
    shape = skin_outline(field_of(lambda x, y: np.ones_like(x), lambda angle: oval(a, b)(angle - 0.6)))
    assert shape is not None
    assert shape.area == pytest.approx(math.pi * a * b, rel=0.005)
    assert shape.perimeter == pytest.approx(4 * a * ellipe(1 - (b / a) ** 2), rel=0.01)
    assert (shape.long_axis, shape.short_axis) == pytest.approx((2 * a, 2 * b), abs=0.055)
    assert shape.eccentricity == pytest.approx(math.sqrt(1 - (b / a) ** 2), abs=0.01)


def test_field_without_lesion_has_no_outline() -> None:
    field = field_of(lambda x, y: np.ones_like(x), circle(0.0))
    assert skin_outline(field) is None


def test_lesion_at_the_edge_of_the_field_is_known() -> None:
    inside, beyond = (field_of(lambda x, y: np.ones_like(x), circle(radius)) for radius in (3.0, 7.5))
    assert not reaches_edge(inside)
    assert reaches_edge(beyond)
