"""Scenes: what they promise to a reconstruction."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from dermanode.dicom.read import read_series
from dermanode.testing.motion import Motion, Warp
from dermanode.testing.ring import ring_pose
from dermanode.testing.scenes import Look, RenderedView, Ring, Scene, Shape, demo_series, main, make_series, render, write_series

SMALL = (256, 192)
TINY = (128, 96)
STILL = Ring(views=2, rotation_jitter_deg=0, distance_jitter_mm=0, target_jitter_mm=0, noise=0)


def _seen(view: RenderedView, points_mm: np.ndarray) -> np.ndarray:
    """World points as (column, row)."""
    at = points_mm @ view.rotation.T + view.translation
    at = at / at[:, 2:]
    k1, k2 = view.ring.distortion
    far = (at[:, :2] ** 2).sum(axis=1, keepdims=True)
    bent = np.hstack((at[:, :2] * (1 + k1 * far + k2 * far**2), at[:, 2:]))
    return (bent @ view.intrinsics.T)[:, :2]


@pytest.mark.parametrize("shape", list(Shape))
def test_truth_is_what_a_grid_measures(shape: Shape) -> None:
    relief = Scene(shape, seed=3).relief
    axis = np.arange(-6, 6, 0.01) + 0.005
    x, y = np.meshgrid(axis, axis)
    height, inside = relief.height(x, y), relief.rho(x, y) <= 1
    slope_y, slope_x = np.gradient(height, 0.01)

    assert (height * inside).sum() * 1e-4 == pytest.approx(relief.truth.volume_mm3, rel=1e-3)
    assert inside.sum() * 1e-4 == pytest.approx(relief.truth.area_mm2, rel=1e-3)
    assert (np.sqrt(1 + slope_x**2 + slope_y**2) * inside).sum() * 1e-4 == pytest.approx(relief.truth.surface_mm2, rel=2e-3)
    assert height.max() == pytest.approx(relief.truth.height_mm, rel=1e-3)
    assert height[~inside].max() == 0


def test_camera_on_the_ring_looks_at_its_target() -> None:
    rotation, shift = ring_pose(60, 25, 150, np.array([0.5, -0.2, 0.0]))

    assert rotation @ rotation.T == pytest.approx(np.eye(3), abs=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    assert rotation @ [0.5, -0.2, 0.0] + shift == pytest.approx([0, 0, 150])
    assert np.rad2deg(np.arccos(-rotation[2, 2])) == pytest.approx(25)


@pytest.mark.parametrize(
    "ring",
    [
        Ring(views=3),
        Ring(views=2, distortion=(-9.0, 40.0)),
        Ring(views=2, motion=Motion(shift_mm=1.5, turn_deg=20, lean_deg=6, moved_from=1)),
    ],
    ids=["usual", "distorted", "moved patient"],
)
def test_mask_is_bounded_by_the_projected_outline(ring: Ring) -> None:
    scene = Scene(Shape.PLATEAU, seed=1)
    for view in render(scene, ring, SMALL):
        angle = np.linspace(0, 2 * np.pi, 120, endpoint=False)
        for share, is_lesion in ((0.93, True), (1.07, False)):
            far = share * scene.relief.outline_mm(angle)
            x, y = far * np.cos(angle), far * np.sin(angle)
            column, row = np.rint(_seen(view, np.stack((x, y, scene.relief.height(x, y)), axis=1))).astype(int).T
            assert (view.mask[row, column] == is_lesion).mean() > 0.97


def test_a_raised_point_has_the_parallax_of_its_height() -> None:
    """A white-hot test of the geometry: the middle of the picture, where only the plateau's height moves the skin."""
    flat, raised = (
        render(Scene(Shape.PLATEAU, seed=1, height_mm=height, look=Look(hairs=0, furrow_um=0)), STILL, SMALL)[0] for height in (0.0, 1.0)
    )
    # Lifted by 1 mm, a point moves by sin(25 deg) mm in a camera tilted by 25 degrees.
    moved_px = np.sin(np.deg2rad(25)) / STILL.spacing_mm(SMALL[0])
    patch = flat.pixels[80:112, 108:148].astype(float).mean(axis=2)

    def mismatch(rows: int) -> float:
        other = raised.pixels[80 + rows : 112 + rows, 108:148].astype(float).mean(axis=2)
        return -float(np.corrcoef(patch.ravel(), other.ravel())[0, 1])

    assert abs(min(range(-12, 13), key=mismatch)) == pytest.approx(moved_px, abs=0.7)


def test_same_scene_gives_the_same_pictures_and_another_seed_gives_others() -> None:
    first, again, other = (render(Scene(seed=seed), Ring(views=2), SMALL) for seed in (5, 5, 6))

    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0].pixels, other[0].pixels)


def test_lesion_is_darker_than_skin_of_every_type() -> None:
    brightness = []
    for skin_type in range(1, 7):
        view = render(Scene(Shape.FLAT, look=Look(skin_type=skin_type)), STILL, SMALL)[0]
        lesion, skin = view.pixels[view.mask].mean(), view.pixels[~view.mask].mean()
        assert lesion < skin - 12
        brightness.append(skin)
    assert brightness == sorted(brightness, reverse=True)


def test_pigment_changes_chroma_and_shading_does_not() -> None:
    """log B - log R of the lesion differs from skin's; that of a level patch is the same under a camera's and under a fixed lamp."""
    scene = Scene(Shape.FLAT, look=Look(hairs=0))
    views = [
        render(scene, Ring(views=1, has_fixed_light=fixed, rotation_jitter_deg=0, distance_jitter_mm=0, noise=0), SMALL)[0]
        for fixed in (False, True)
    ]
    chroma = [np.log((view.pixels[..., 2] + 1.0) / (view.pixels[..., 0] + 1.0)) for view in views]

    assert chroma[0][views[0].mask].mean() < chroma[0][~views[0].mask].mean() - 0.2
    assert abs(chroma[0] - chroma[1])[views[0].mask].mean() < 0.06


def test_defocus_blurs() -> None:
    sharp, soft = (render(Scene(), Ring(views=1, defocus_px=blur, noise=0), SMALL)[0].pixels for blur in (0.0, 2.0))

    assert np.abs(np.diff(soft.astype(int), axis=1)).mean() < 0.6 * np.abs(np.diff(sharp.astype(int), axis=1)).mean()


def test_barrel_distortion_shows_more_of_the_skin() -> None:
    straight, bent = (
        render(Scene(Shape.FLAT), Ring(views=1, tilt_deg=0, rotation_jitter_deg=0, distortion=k), SMALL)[0].mask.sum()
        for k in ((0.0, 0.0), (-9.0, 0.0))
    )

    assert 0.97 < bent / straight < 0.999


def test_breathing_skin_moves_no_further_than_it_is_said_to() -> None:
    still, breathing = (render(Scene(), Ring(views=3, noise=0, motion=motion), SMALL) for motion in (Motion(), Motion(breath_mm=0.2)))
    spacing_mm = Ring().spacing_mm(SMALL[0])
    moved_mm = []
    for before, after in zip(still, breathing, strict=True):
        middles = [np.argwhere(view.mask).mean(axis=0) for view in (before, after)]
        moved_mm.append(float(np.hypot(*(middles[1] - middles[0]))) * spacing_mm)
    assert 0.02 < max(moved_mm) < 0.2 * 2**0.5
    assert np.ptp(moved_mm) > 0.005


def test_warp_is_smooth_and_within_its_sizes() -> None:
    warp = Warp.drawn(0.1, 0.02, np.random.default_rng(1))
    x, y = np.meshgrid(np.linspace(-10, 10, 101, dtype=np.float32), np.linspace(-10, 10, 101, dtype=np.float32))
    across, down, up = warp.at(x, y)

    assert np.abs(across).max() <= 0.1
    assert np.abs(down).max() <= 0.1
    assert 0.004 < np.abs(up).max() <= 0.02
    assert np.abs(np.diff(across)).max() < 0.1 * 2 * np.pi / 15 * 0.2


def test_grown_lesion_has_exactly_that_volume_on_the_same_skin() -> None:
    scene = Scene(Shape.CRATER, seed=4)
    grown, taller = scene.grown(30), scene.grown(30, only_height=True)

    for larger in (grown, taller):
        assert larger.truth.volume_mm3 == pytest.approx(1.3 * scene.truth.volume_mm3)
    assert grown.truth.height_mm == pytest.approx(1.3 ** (1 / 3) * scene.truth.height_mm)
    assert taller.truth.area_mm2 == scene.truth.area_mm2
    corner = [render(one, STILL, TINY)[0].pixels[:20, :20] for one in (scene, grown)]
    assert np.array_equal(*corner)


def test_later_visit_has_new_noise_and_jitter_over_the_same_skin() -> None:
    (first,), (later,) = (render(replace(Scene(seed=3), visit=visit), Ring(views=1), SMALL) for visit in (0, 1))
    steady = [render(replace(Scene(seed=3), visit=visit), STILL, SMALL)[0].pixels for visit in (0, 1)]

    assert not np.array_equal(first.rotation, later.rotation)
    assert not np.array_equal(first.pixels, later.pixels)
    assert np.array_equal(*steady)


def test_pressed_lesion_is_lower_and_stated_to_be_touched() -> None:
    scene = replace(Scene(), pressed=0.4)

    assert scene.truth.height_mm == pytest.approx(0.4 * Scene().truth.height_mm)
    assert scene.truth.volume_mm3 == pytest.approx(0.4 * Scene().truth.volume_mm3)
    assert make_series(scene, Ring(views=1), size=TINY)[0].ContactMethod == "CONTACT"


def test_cap_on_the_lens_leaves_the_other_views_as_they_were() -> None:
    plain, capped = (render(Scene(), Ring(views=3, capped=capped), TINY) for capped in ((), (1,)))

    assert capped[1].pixels.mean() < 5
    assert not capped[1].mask.any()
    assert all(np.array_equal(plain[k].pixels, capped[k].pixels) for k in (0, 2))


@pytest.mark.parametrize(
    "scene",
    [
        Scene(look=Look(has_long_hair=True)),
        Scene(look=Look(has_ruler=True)),
        replace(Scene(), has_neighbour=True),
    ],
    ids=["hair", "ruler", "neighbour"],
)
def test_what_else_is_in_the_picture_leaves_the_lesions_outline_alone(scene: Scene) -> None:
    """The raised ruler and the neighbour shift a few rays at most."""
    ring = Ring(views=1, noise=0)
    (plain,), (cluttered,) = render(Scene(), ring, SMALL), render(scene, ring, SMALL)
    change = np.abs(plain.pixels.astype(int) - cluttered.pixels).max(axis=2)

    assert (plain.mask != cluttered.mask).sum() <= 4
    assert 0.002 < (change > 25).mean() < 0.2


def test_uids_tell_scenes_apart_by_every_field() -> None:
    scenes = [Scene(), replace(Scene(), visit=1), replace(Scene(), pressed=0.5), Scene(look=Look(has_ruler=True))]
    made = {make_series(scene, Ring(views=1), size=TINY)[0].SOPInstanceUID for scene in scenes}
    rings = [Ring(views=1, distortion=(1.0, 0.0)), Ring(views=1, motion=Motion(sway_um=5))]
    made |= {make_series(Scene(), ring, size=TINY)[0].SOPInstanceUID for ring in rings}

    assert len(made) == len(scenes) + len(rings)


@pytest.mark.parametrize("views", [1, 16])
def test_ring_may_have_one_view_or_sixteen(views: int) -> None:
    assert len(make_series(Scene(), Ring(views=views), size=(64, 48))) == views


def test_series_states_its_geometry(tmp_path: Path) -> None:
    ring = Ring(views=4)
    series = read_series(write_series(tmp_path, make_series(Scene(), ring, size=SMALL, patient_id="P7")))

    assert [view.geometry.azimuth_deg for view in series.views] == [0, 90, 180, 270]
    assert {view.geometry.elevation_deg for view in series.views} == {-65.0}
    assert {view.geometry.subject_distance_mm for view in series.views} == {150.0}
    assert series.views[0].geometry.pixel_spacing_mm == pytest.approx((20 / 256, 20 / 256))
    assert [view.acquisition_number for view in series.views] == [1, 2, 3, 4]
    assert series.patient.patient_id == "P7"
    assert series.body_site is not None
    assert series.body_site.meaning == "Skin of back"
    assert series.views[0].geometry.is_contact is False


def test_later_visit_is_another_study_of_the_same_lesion() -> None:
    visits = (datetime(2026, month, 1, tzinfo=UTC) for month in (1, 6))
    first, later = (make_series(Scene(), Ring(views=1), size=SMALL, acquired_at=visit)[0] for visit in visits)

    assert first.TrackingUID == later.TrackingUID
    assert first.StudyInstanceUID != later.StudyInstanceUID
    assert first.SOPInstanceUID != later.SOPInstanceUID


def test_same_series_is_made_of_the_same_bytes(tmp_path: Path) -> None:
    made = [write_series(tmp_path / name, make_series(Scene(), Ring(views=2), size=SMALL)) for name in ("one", "two")]

    assert [a.read_bytes() for a in made[0]] == [b.read_bytes() for b in made[1]]


def test_demo_series_has_eight_views() -> None:
    assert len({instance.SOPInstanceUID for instance in demo_series(datetime(2026, 1, 1, tzinfo=UTC), SMALL)}) == 8


def test_command_writes_a_series_and_says_the_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--out", str(tmp_path), "--shape", "crater", "--views", "2", "--size", "128", "96"])

    assert len(list(tmp_path.glob("*.dcm"))) == 2
    assert "mm3" in capsys.readouterr().out


def test_command_writes_the_truth_of_what_was_photographed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = ["--out", str(tmp_path), "--views", "4", "--size", "64", "48", "--truth", str(tmp_path / "truth.json")]
    main([*told, "--mishap", "lesion pressed by the dermatoscope", "--grown-percent", "50"])
    truth = json.loads((tmp_path / "truth.json").read_text(encoding="utf-8"))

    assert set(truth) == {"volume_mm3", "area_mm2", "surface_mm2", "height_mm"}
    assert truth["volume_mm3"] == pytest.approx(0.4 * 1.5 * Scene().truth.volume_mm3)
    assert f"volume {truth['volume_mm3']:.3f} mm3" in capsys.readouterr().out
