"""Pictures of surfaces: what is nearer hides what is farther, and heights keep their scale."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from dermanode.document.heights import height_map
from dermanode.document.relief import Angle, Solid, around_lesion, nearest, shaded
from dermanode.domain import UID
from dermanode.testing.raised import raised
from dermanode.testing.worked_cases import case_of, photograph, surface

ABOVE = Angle(0, 90)
SURFACE = raised([UID("1.2.3"), UID("1.2.4")])


def two_squares(upper: float, lower: float) -> Solid:
    """A red square at height `upper` over a larger green one at `lower`."""
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32)
    top, ground = np.c_[square, np.full(4, upper)], np.c_[2 * square, np.full(4, lower)]
    faces = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], np.int32)
    colours = np.array([[200, 0, 0]] * 4 + [[0, 200, 0]] * 4, np.uint8)
    return Solid(np.concatenate([top, ground]).astype(np.float32), faces, colours)


def test_what_is_nearer_hides_what_is_farther() -> None:
    seen, hidden = shaded(two_squares(1, 0), ABOVE, (80, 80)), shaded(two_squares(-1, 0), ABOVE, (80, 80))
    assert seen[40, 40, 0] > 100
    assert seen[40, 40, 1] == 0
    assert hidden[40, 40, 0] == 0
    assert hidden[40, 40, 1] > 100
    assert (seen[0] == 255).all()


def test_a_surface_seen_from_below_shows_nothing() -> None:
    solid = two_squares(1, 0)
    assert (shaded(Solid(solid.vertices, solid.faces[:, ::-1], None), ABOVE, (40, 60)) == 255).all()
    assert shaded(Solid(solid.vertices[:0], solid.faces[:0], None), ABOVE, (40, 60)).shape == (40, 60, 3)


def test_there_are_no_holes_between_triangles() -> None:
    picture = shaded(Solid.of(SURFACE), ABOVE, (200, 300))
    shown = (picture < 255).any(-1)
    rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
    assert shown[rows[1] : rows[-1], columns[1] : columns[-1]].all()


def test_a_triangle_covers_the_pixels_whose_centres_it_holds() -> None:
    """Any triangle, however it is turned, also one that leaves the picture, against the three half planes."""
    random = np.random.default_rng(7)
    row, column = np.mgrid[:30, :40] + 0.5
    for corners in random.uniform(-10, 50, (200, 3, 2)):
        triangle = np.c_[corners, np.zeros(3)].astype(np.float32)[None]
        sides = [
            (end[0] - start[0]) * (row - start[1]) - (end[1] - start[1]) * (column - start[0])
            for start, end in zip(corners, np.roll(corners, -1, 0), strict=True)
        ]
        inside = np.all([side > 1 for side in sides], 0) | np.all([side < -1 for side in sides], 0)
        outside = np.any([side < -1 for side in sides], 0) & np.any([side > 1 for side in sides], 0)
        covered = nearest(triangle, (30, 40)).reshape(30, 40) == 0
        assert covered[inside].all()
        assert not covered[outside].any()


def test_a_height_field_is_shown_with_some_skin_around_the_lesion() -> None:
    field = SURFACE.height_field
    assert field is not None
    rows, columns = around_lesion(field)
    inside = field.is_lesion[rows, columns]
    assert inside.sum() == field.is_lesion.sum()
    assert 0.1 < inside.mean() < field.is_lesion.mean() * 4
    unmarked = replace(field, is_lesion=np.zeros_like(field.is_lesion))
    assert around_lesion(unmarked) == (slice(0, 257), slice(0, 257))


def test_heights_of_a_field_are_those_above_the_skin_and_the_bar_is_true() -> None:
    found = height_map(SURFACE, (300, 440))
    assert found is not None
    assert abs(found.high - 1.2) < 0.03
    assert found.low <= 0
    assert SURFACE.height_field is not None
    shown_mm = SURFACE.height_field.step * SURFACE.height_field.heights[around_lesion(SURFACE.height_field)].shape[1]
    assert abs(found.bar_length / shown_mm - found.bar_share) < 0.01
    assert found.bar_length in (1, 2, 5)


def test_heights_of_a_mesh_begin_at_its_lowest_point(tmp_path: Path) -> None:
    found = height_map(surface(case_of([photograph(1)], tmp_path)), (200, 200))
    assert found is not None
    assert found.low == 0
    assert 1.5 < found.high <= 2


def test_a_mesh_without_triangles_has_no_heights() -> None:
    bare = replace(SURFACE, height_field=None, faces=SURFACE.faces[:0])
    assert height_map(bare, (100, 100)) is None


def test_corners_that_are_no_numbers_cost_their_triangles_only() -> None:
    solid = two_squares(1, 0)
    vertices = solid.vertices.copy()
    vertices[1] = np.nan
    vertices[7] = np.inf
    picture = shaded(Solid(vertices, solid.faces, solid.colours), ABOVE, (80, 80))
    assert (picture < 255).any()
