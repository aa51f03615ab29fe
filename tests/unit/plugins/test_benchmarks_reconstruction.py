"""The program that measures the reconstruction: its arithmetic on surfaces made of the truth, its tables, and what it refuses."""

from __future__ import annotations

import importlib
import json
import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from dermanode.domain import UID, Algorithm, CameraPose, HeightField, Measurement, Surface
from dermanode.domain.codes import MM3, Code
from dermanode.testing.scenes import RenderedView, Ring, Scene, Shape
from dermanode.testing.scenes import main as make_scene

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
SCENE = Scene(Shape.DOME, seed=3)
VOLUME = Code("118565006", "SCT", "Volume")


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """The benchmark's modules by what follows `reconstruction_` in their names."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return lambda name: importlib.import_module(f"reconstruction_{name}")


@pytest.fixture
def main(bench: object) -> Callable[[list[str]], int]:
    found: Callable[[list[str]], int] = runpy.run_path(str(BENCHMARKS / "reconstruction.py"))["main"]
    return found


def rendered_views() -> dict[str, RenderedView]:
    """The poses of a ring, without the pictures."""
    nothing = np.zeros((1, 1, 3), np.uint8)
    poses = Ring().poses(np.random.default_rng(1))
    return {
        f"2.25.{number}": RenderedView(nothing, nothing[..., 0] > 0, *pose, np.eye(3), 0.0, Ring())
        for number, pose in enumerate(poses, start=1)
    }


def true_surface(
    *, turned_deg: float = 0.0, shift_mm: tuple[float, float] = (0.0, 0.0), error_mm: Any = 0.0, scale: float = 1.0
) -> Surface:
    """The scene's own heights in a frame of their own: turned, shifted, and wrong by as much as asked for."""
    turn = np.deg2rad(turned_deg)
    to_world = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    shift = np.array([*shift_mm, 0.0])
    step, count = 14 / 256, 257
    left, top = -7.0, 7.0
    x, y = np.meshgrid(left + step * np.arange(count), top - step * np.arange(count))
    world = np.stack((x, y, np.zeros_like(x)), axis=-1) @ to_world.T + shift
    true = SCENE.relief.height(world[..., 0], world[..., 1])
    is_lesion = SCENE.relief.rho(world[..., 0], world[..., 1]) <= 1
    truth = importlib.import_module("reconstruction_truth")
    curvature = truth.mean_curvature(true, step, 0.27) * scale
    vertices = np.stack((x, y, true), axis=-1)[is_lesion].astype(np.float32)
    return Surface(
        algorithm=Algorithm("Hand-made", "1"),
        vertices=vertices,
        faces=np.array([[0, 1, 2]], np.int32),
        normals=np.tile(np.array([0, 0, 1], np.float32), (len(vertices), 1)),
        colours=np.zeros((len(vertices), 3), np.uint8),
        mean_curvature=curvature[is_lesion].astype(np.float32),
        curvature_scale_mm=0.27,
        is_lesion=np.ones(len(vertices), np.bool_),
        is_metric=True,
        lateral_unit="mm",
        method="by hand",
        scale_source="the scene",
        used_views=tuple(UID(uid) for uid in rendered_views()),
        height_field=HeightField(
            heights=(true + error_mm).astype(np.float32),
            base=np.zeros(true.shape, np.float32),
            colours=np.zeros((*true.shape, 3), np.uint8),
            is_lesion=is_lesion,
            left=left,
            top=top,
            step=step,
        ),
        cameras=tuple(
            CameraPose(
                sop_instance_uid=UID(uid),
                rotation=view.rotation @ to_world,
                centre=to_world.T @ (-view.rotation.T @ view.translation - shift),
                focal_px=7680.0,
            )
            for uid, view in rendered_views().items()
        ),
        measurements=(Measurement(key="volume_mm3", concept=VOLUME, value=1.1 * SCENE.truth.volume_mm3, unit=MM3, lower=20.0, upper=40.0),),
    )


def test_true_heights_in_a_turned_and_shifted_frame_have_no_error(bench: Callable[[str], ModuleType]) -> None:
    found = bench("truth").deviation(true_surface(turned_deg=130, shift_mm=(0.4, -0.7)), SCENE.relief, rendered_views())

    assert found.height_rms_um < 1
    assert found.cameras_rms_mm < 1e-6
    assert found.curvature_rms_per_mm < 0.02 * found.curvature_true_per_mm
    assert abs(found.curvature_bias_percent) < 1


def test_errors_of_height_and_curvature_are_told(bench: Callable[[str], ModuleType]) -> None:
    noise = np.random.default_rng(2).normal(0, 0.02, (257, 257)) + 0.01
    found = bench("truth").deviation(true_surface(error_mm=noise, scale=1.1), SCENE.relief, rendered_views())

    assert found.height_rms_um == pytest.approx(np.hypot(20, 10), rel=0.05)
    assert found.height_bias_um == pytest.approx(10, abs=1)
    assert found.curvature_bias_percent == pytest.approx(10, abs=1)


def test_cameras_that_are_a_little_off_do_not_pass_for_an_error_of_height(bench: Callable[[str], ModuleType]) -> None:
    surface = true_surface()
    moved = tuple(replace(camera, centre=camera.centre + np.array([0.15, -0.1, 0.0])) for camera in surface.cameras)
    found = bench("truth").deviation(replace(surface, cameras=moved), SCENE.relief, rendered_views())

    assert found.height_rms_um < 1


def test_surface_without_a_scale_or_cameras_is_not_held_against_heights(bench: Callable[[str], ModuleType]) -> None:
    deviation = bench("truth").deviation

    assert "no heights in mm" in deviation(replace(true_surface(), is_metric=False), SCENE.relief, rendered_views())
    assert "three cameras" in deviation(replace(true_surface(), cameras=()), SCENE.relief, rendered_views())


def test_curvature_of_a_ball_is_one_over_its_radius(bench: Callable[[str], ModuleType]) -> None:
    x, y = np.meshgrid(np.linspace(-1, 1, 81), np.linspace(-1, 1, 81))
    ball = np.sqrt(25 - x**2 - y**2)

    assert bench("truth").mean_curvature(ball, 0.025, 0.05)[40, 40] == pytest.approx(0.2, rel=2e-3)


def test_every_series_is_taken_once_and_counted_for_every_part_that_needs_it(bench: Callable[[str], ModuleType]) -> None:
    scenes = bench("scenes")
    wanted = scenes.trials(["shapes", "light", "jpeg"], [1000, 1001], (64, 48))

    assert len({trial.key for trial in wanted}) == len(wanted) == 2 * (7 + 2 + 2 * 4)
    usual = next(trial for trial in wanted if trial.lesion == "dome" and ("shapes", "dome") in trial.tags)
    assert {part for part, _ in usual.tags} == {"shapes", "light", "jpeg"}


def test_pairs_grow_by_what_they_say_and_use_no_seed_of_the_scenes(bench: Callable[[str], ModuleType]) -> None:
    made = bench("scenes").pairs(40, [1000], (64, 48))

    assert len({pair.key for pair in made}) == 40
    assert min(pair.first.scene.seed for pair in made) == 2000
    assert {pair.growth_percent for pair in made} == {0, 3, 5, 10, 20, 30}
    assert all(pair.later.scene.visit == 1 for pair in made)
    for pair in made[::5]:
        grown = pair.later.scene.truth.volume_mm3 / pair.first.scene.truth.volume_mm3
        assert grown == pytest.approx(1 + pair.growth_percent / 100)


def test_wilson_interval(bench: Callable[[str], ModuleType]) -> None:
    # Newcombe, Statist. Med. 17, 857 (1998), table I, method 3.
    assert bench("tables").wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert bench("tables").wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


def row(bench: Callable[[str], ModuleType], *, seed: int = 1000, status: str = "metric", error: float = 0.0) -> Any:
    rows, scenes = bench("rows"), bench("scenes")
    trial = scenes.trials(["shapes"], [seed], (64, 48))[1]
    true = trial.scene.truth.volume_mm3
    value = rows.Value(true * (1 + error), true * (0.95 + error), true * (1.05 + error))
    return rows.Row(
        key=trial.key,
        lesion=trial.lesion,
        seed=seed,
        tags=trial.tags,
        status=status,
        reason="" if status == "metric" else "reconstruct: no parallax",
        truth=vars_of(trial.scene.truth),
        found={"volume_mm3": value} if status == "metric" else {},
        deviation=None,
        why_no_deviation="",
        dice=0.9,
        used_views=8,
        dropped_views=((3, "it is black"),),
        remarks=(),
        tilt_deg=None,
        reprojection_error_px=None,
        confidence=None,
        took_s={},
    )


def vars_of(truth: Any) -> dict[str, float]:
    return {name: getattr(truth, name) for name in truth.__slots__}


def test_table_counts_what_is_not_metric_and_says_why(bench: Callable[[str], ModuleType]) -> None:
    rows = [row(bench), row(bench, seed=1001, error=0.2), row(bench, seed=1002, status="relative")]
    said = bench("tables").tables(rows, [])

    assert "| dome | 3 | 2 | +10.0 (+20.0) |" in said
    assert "| 1/2 |" in said
    assert "1 of 3 scenes relative: reconstruct: no parallax" in said


def pair_row(bench: Callable[[str], ModuleType], number: int, growth: float, change: float | None, alerts: tuple[str, ...]) -> Any:
    return bench("rows").PairRow(
        key=str(number),
        lesion="dome",
        seed=2000 + number,
        growth_percent=growth,
        status="metric" if change is not None else "relative",
        reason="" if change is not None else "no parallax",
        change_percent=change,
        lower_percent=None if change is None else change - 4,
        upper_percent=None if change is None else change + 4,
        alerts=alerts,
        truth={},
        first={},
        later={},
    )


def test_progression_counts_pairs_that_were_not_compared_as_not_alerted(bench: Callable[[str], ModuleType]) -> None:
    grown = "Volume rose by 31 % since the last visit, more than 20 %."
    pairs = [pair_row(bench, number, 30, 31.0, (grown,)) for number in range(3)] + [pair_row(bench, 3, 30, None, ())]
    pairs += [pair_row(bench, 4, 0, 1.0, ("Asymmetry of shape rose by 0.2 since the last visit, more than 0.1.",))]
    pairs += [pair_row(bench, number, 10, 9.5, ()) for number in (5, 6)]
    said = bench("tables").progression(pairs)

    assert "Sensitivity for growth above 20 %: 3/4 = 75.0 %" in said.replace("75.0%", "75.0 %")
    assert "False alerts on stable lesions: 1/1" in said
    assert "0/1 = 0.0% [0.0%, 79.3%] on volume" in said
    # 10 % was always found, 30 % in three of four pairs: then 10 % was luck.
    assert "as a rise beyond the change's own 90 % interval: none." in said
    assert "1 pairs had no volume to compare (they count as not alerted): no parallax." in said


def test_rows_come_back_from_the_file_as_they_went(bench: Callable[[str], ModuleType], main: Any, tmp_path: Path, capsys: Any) -> None:
    from dataclasses import asdict

    told = {"settings": {}, "rows": [asdict(row(bench))], "pairs": [asdict(pair_row(bench, 1, 0, 1.0, ()))]}
    (tmp_path / "rows.json").write_text(json.dumps(told), encoding="utf-8")
    assert main(["--from", str(tmp_path / "rows.json")]) == 0
    said = capsys.readouterr().out.strip()

    assert said == bench("tables").tables([row(bench)], [pair_row(bench, 1, 0, 1.0, ())])


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (["--seeds", "3-1004"], "seeds begin at 1000"),
        (["--seeds", "1004-1000"], "holds no seed"),
        (["--seeds", "many"], "no range of seeds"),
        (["--parts", "shapes,colours"], "colours: there is no such part"),
        (["--truth", "t.json"], "--series and --truth go together"),
    ],
)
def test_wrong_question_is_refused_in_words(main: Any, told: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(told)
    assert said in capsys.readouterr().err


def test_scenes_go_through_the_hooks_and_end_as_rows(main: Any, tiny_models: Any, tmp_path: Path, capsys: Any) -> None:
    told = ["--models", str(tiny_models.root), "--seeds", "1000", "--size", "160", "120", "--jobs", "1", "--mask", "truth"]
    assert main([*told, "--parts", "light,progression", "--pairs", "1", "--json", str(tmp_path / "rows.json")]) == 0
    measured = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))

    assert [entry["lesion"] for entry in measured["rows"]] == ["dome", "flat", "dome", "flat"]
    assert all(entry["status"] in ("metric", "relative") for entry in measured["rows"])
    assert all(entry["dice"] == 1.0 for entry in measured["rows"])
    assert len(measured["pairs"]) == 1
    said = capsys.readouterr()
    assert "### light" in said.out
    assert "4 of 4" in said.err
    assert main([*told, "--parts", "light", "--go-on", "--json", str(tmp_path / "rows.json")]) == 0
    assert "1 of" not in capsys.readouterr().err


def test_any_series_is_scored_against_its_truth(main: Any, tiny_models: Any, tmp_path: Path, capsys: Any) -> None:
    make_scene(["--out", str(tmp_path / "series"), "--views", "3", "--size", "160", "120", "--truth", str(tmp_path / "truth.json")])
    capsys.readouterr()
    told = ["--models", str(tiny_models.root), "--series", str(tmp_path / "series"), "--truth", str(tmp_path / "truth.json")]
    assert main([*told, "--json", str(tmp_path / "score.json")]) == 0
    score = json.loads((tmp_path / "score.json").read_text(encoding="utf-8"))
    table = capsys.readouterr().out

    assert [line["key"] for line in score["measurements"]] == ["volume_mm3", "area_mm2", "surface_mm2", "height_mm"]
    for line in score["measurements"]:
        assert line["measured"] is not None or line["why_absent"]
        assert f"| {line['key']} |" in table


def test_measurement_is_scored_with_its_interval(bench: Callable[[str], ModuleType], main: Any) -> None:
    chain = bench("chain")
    case = chain.Case(id="c", revision=1, series=None).with_finding(true_surface())
    (volume, height) = runpy.run_path(str(BENCHMARKS / "reconstruction.py"))["scored"](
        chain.Taken(case), {"volume_mm3": SCENE.truth.volume_mm3, "height_mm": 2.0}
    )

    assert volume["error_percent"] == pytest.approx(10)
    assert volume["covers"] is (20 <= SCENE.truth.volume_mm3 <= 40)
    assert (height["measured"], height["covers"], height["why_absent"]) == (None, None, "not measured")


@pytest.mark.parametrize(
    ("truth", "said"),
    [("{}", "holds no truth"), ('{"volume": 3}', "volume is not known"), ('{"volume_mm3": 0}', "volume_mm3 must be above 0")],
)
def test_truth_that_is_none_is_refused(main: Any, tmp_path: Path, truth: str, said: str, capsys: Any) -> None:
    (tmp_path / "truth.json").write_text(truth, encoding="utf-8")

    assert main(["--series", str(tmp_path), "--truth", str(tmp_path / "truth.json")]) == 2
    assert said in capsys.readouterr().err


def test_chain_is_timed_by_stage_and_step(main: Any, tiny_models: Any, tmp_path: Path, capsys: Any) -> None:
    make_scene(["--out", str(tmp_path / "series"), "--views", "3", "--size", "160", "120"])
    told = ["--models", str(tiny_models.root), "--time", "--series", str(tmp_path / "series"), "--rounds", "1", "--threads", "1"]
    assert main([*told, "--json", str(tmp_path / "time.json")]) == 0
    told_time = json.loads((tmp_path / "time.json").read_text(encoding="utf-8"))

    assert list(told_time["stages_s"])[:4] == ["preprocess", "segment", "reconstruct", "fuse"]
    assert "| all of them |" in capsys.readouterr().out
    assert (told_time["views"], told_time["columns"]) == (3, 160)


def test_machine_without_the_gpu_is_told_so(main: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)

    assert main(["--time", "--device", "cuda:63"]) == 0
    assert "cuda:63 is not here" in capsys.readouterr().out
