"""Two visits laid over each other: the fit, what is measured on it, and when it is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import cv2
import numpy as np
import pytest
from dermanode_progression import progression, warm_up
from dermanode_progression.drawing import draw
from dermanode_progression.registration import is_plausible
from numpy.typing import NDArray

from dermanode.domain import (
    Algorithm,
    Case,
    Features,
    Measurement,
    Outcome,
    PicturedProgression,
    Prior,
    View,
)
from dermanode.domain.codes import MM2, private
from dermanode.domain.outcome import ViewSummary
from dermanode.errors import UnreadableObject

NOW = datetime(2026, 6, 1, 9, tzinfo=UTC)
ROWS, COLUMNS = 480, 640
CENTRE = (320.0, 240.0)


@cache
def skin(seed: int = 1) -> NDArray[np.float32]:
    """Grain and spots of several sizes, far beyond the picture's edge."""
    random = np.random.default_rng(seed)
    grain = sum(
        cv2.GaussianBlur(random.standard_normal((ROWS + 200, COLUMNS + 200)).astype(np.float32), (0, 0), size) * size * 12
        for size in (1.5, 3.0, 8.0)
    )
    return np.array([205, 160, 145], np.float32) + np.asarray(grain)[..., None]


@dataclass(frozen=True, eq=False)
class Shot:
    """One photograph, the lesion's outline in it, and how the skin lies in it."""

    pixels: NDArray[np.uint8]
    outline: NDArray[np.float64]
    from_skin: NDArray[np.float64]

    @property
    def mask(self) -> NDArray[np.bool_]:
        mask = np.zeros(self.pixels.shape[:2], np.uint8)
        cv2.fillPoly(mask, [np.round(self.outline).astype(np.int32)], 1)
        return mask > 0


def shot(
    *,
    radius: float = 80.0,
    turn_deg: float = 0.0,
    shift: tuple[float, float] = (0, 0),
    tint: float = 0.0,
    light: float = 1.0,
    seed: int = 1,
) -> Shot:
    """The lesion, of that radius in pixels of the skin, from a camera that is turned and shifted."""
    ground = skin(seed).copy()
    y, x = np.indices(ground.shape[:2])
    inside = np.hypot(x - 100 - CENTRE[0], y - 100 - CENTRE[1]) < radius
    ground[inside] = ground[inside] * 0.45 + np.array([tint, 0, 0], np.float32)
    turn = np.vstack([cv2.getRotationMatrix2D(CENTRE, turn_deg, 1.0), [0, 0, 1]])
    turn[:2, 2] += shift
    from_skin = turn @ np.array([[1, 0, -100], [0, 1, -100], [0, 0, 1.0]])
    seen = cv2.warpPerspective(ground * light, from_skin, (COLUMNS, ROWS), flags=cv2.INTER_LINEAR)
    noise = np.random.default_rng([seed, round(100 * abs(turn_deg)), 7]).normal(0, 2, seen.shape)
    around = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    circle = np.stack([CENTRE[0] + radius * np.cos(around), CENTRE[1] + radius * np.sin(around), np.ones(180)])
    return Shot(np.clip(seen + noise, 0, 255).astype(np.uint8), (turn @ circle)[:2].T, from_skin)


def measured() -> Features:
    area = Measurement(key="area_mm2", concept=private("X", "x"), value=10.0, unit=MM2)
    return Features(algorithm=Algorithm("Measurer", "1"), measurements=(area,))


@pytest.fixture
def laid(
    make_view: Callable[..., View], make_case: Callable[..., Case], make_context: Callable[..., Any]
) -> Callable[..., PicturedProgression]:
    """The progression of these shots since those; views are paired by their azimuth, where one is given."""

    def laid(
        now: Sequence[Shot],
        then: Sequence[Shot],
        *,
        spacing_mm: float | None = None,
        azimuths: tuple[Sequence[float | None], Sequence[float | None]] | None = None,
        **settings: Any,
    ) -> PicturedProgression:
        def views(shots: Sequence[Shot], first: int, turned: Sequence[float | None] | None) -> list[View]:
            made = [make_view(one.pixels, number=first + k, spacing_mm=spacing_mm) for k, one in enumerate(shots)]
            made = [replace(view, number=None if turned else k) for k, view in enumerate(made)]
            if turned:
                made = [
                    replace(view, geometry=replace(view.geometry, azimuth_deg=azimuth)) for view, azimuth in zip(made, turned, strict=True)
                ]
            return made

        earlier = views(then, 100, azimuths[1] if azimuths else None)
        summaries = tuple(
            ViewSummary(
                sop_instance_uid=view.sop_instance_uid,
                rows=view.rows,
                columns=view.columns,
                outlines=(tuple(map(tuple, one.outline.tolist())),),
            )
            for view, one in zip(earlier, then, strict=True)
        )
        outcome = Outcome(case_id="then", revision=1, is_failed=False, reports=(), features=measured(), views=summaries)
        prior = Prior("then", NOW - timedelta(days=90), outcome, tuple(earlier))
        masks = [one.mask for one in now]
        case = make_case(
            *views(now, 1, azimuths[0] if azimuths else None), masks=masks, findings=[measured()], priors=[prior], acquired_at=NOW
        )
        context = make_context(**settings)
        found = progression(case, context)
        assert isinstance(found, PicturedProgression), context.reasons
        return found

    return laid


def numbers(found: PicturedProgression, number: int = 0) -> dict[str, float]:
    return {m.key: m.value for m in found.comparisons[number].measurements}


def test_a_turned_and_shifted_camera_is_found_to_a_fraction_of_a_pixel(laid: Callable[..., PicturedProgression]) -> None:
    now, then = shot(turn_deg=7, shift=(14, -9)), shot(turn_deg=-5, light=0.85)
    found = laid([now], [then])
    truth = then.from_skin @ np.linalg.inv(now.from_skin)
    points = np.array([[60, 60, 1], [580, 60, 1], [320, 240, 1], [60, 420, 1], [580, 420, 1.0]]).T
    apart = found.comparisons[0].to_prior @ points
    there = truth @ points
    assert np.abs(apart[:2] / apart[2] - there[:2] / there[2]).max() < 0.5


def test_a_stable_lesion_has_no_change_of_area_border_or_colour(laid: Callable[..., PicturedProgression]) -> None:
    found = numbers(laid([shot(turn_deg=4)], [shot(light=0.9)], spacing_mm=0.02))
    assert found["registered_area_change_percent"] == pytest.approx(0, abs=1.5)
    assert found["outline_overlap"] > 0.98
    assert found["border_shift_mean_mm"] < 0.02
    assert found["colour_change"] < 3


def test_growth_is_measured_on_the_registered_outlines(laid: Callable[..., PicturedProgression]) -> None:
    found = numbers(laid([shot(radius=92, turn_deg=4)], [shot(radius=80)], spacing_mm=0.02))
    assert found["registered_area_change_percent"] == pytest.approx(100 * ((92 / 80) ** 2 - 1), abs=2)
    assert found["outline_overlap"] == pytest.approx((80 / 92) ** 2, abs=0.02)
    assert found["border_shift_mean_mm"] == pytest.approx(12 * 0.02, abs=0.02)
    assert found["border_shift_max_mm"] == pytest.approx(12 * 0.02, abs=0.06)


def test_without_a_pixel_spacing_the_border_moves_in_percent_of_the_diameter(laid: Callable[..., PicturedProgression]) -> None:
    found = numbers(laid([shot(radius=92)], [shot(radius=80)]))
    assert "border_shift_mean_mm" not in found
    assert found["border_shift_mean_percent"] == pytest.approx(100 * 12 / 160, abs=1)


def test_a_change_of_colour_is_told_from_a_change_of_light(laid: Callable[..., PicturedProgression]) -> None:
    brighter, redder = numbers(laid([shot(light=1.1)], [shot()])), numbers(laid([shot(tint=40)], [shot()]))
    assert redder["colour_change"] > 10 > 3 * redder["skin_colour_change"]
    assert brighter["colour_change"] < 4


def test_the_pictures_show_both_visits_at_one_size_and_black_where_the_earlier_shows_nothing(
    laid: Callable[..., PicturedProgression],
) -> None:
    found = laid([shot(radius=92)], [shot(radius=80, shift=(60, 0))]).comparisons[0]
    assert found.now.shape == found.then.shape == found.difference.shape == (ROWS, COLUMNS, 3)
    assert not found.then[:, -50:].any()
    assert np.abs(found.then[100:380, 100:500].astype(int) - found.now[100:380, 100:500]).mean() < 12
    gained = (found.difference == (213, 94, 0)).all(axis=-1)
    assert gained[240, 405:410].any() or gained[236:246, 402:410].any()
    assert not (found.difference[100:380] == (86, 180, 233)).all(axis=-1).any()


def test_another_lesion_is_not_laid_over_this_one(laid: Callable[..., PicturedProgression]) -> None:
    found = laid([shot()], [shot(seed=5)])
    assert found.comparisons == ()
    assert any(remark.startswith("View 0 could not be laid over a view of the last visit") for remark in found.remarks)
    assert found.changes  # the numbers are compared all the same


def test_a_picture_that_shows_nothing_is_declined(laid: Callable[..., PicturedProgression]) -> None:
    blank = replace(shot(), pixels=np.full((ROWS, COLUMNS, 3), 128, np.uint8))
    assert any("too few points" in remark for remark in laid([shot()], [blank]).remarks)


def test_views_are_paired_by_their_azimuth(laid: Callable[..., PicturedProgression]) -> None:
    found = laid([shot(), shot(seed=2)], [shot(seed=2), shot()], azimuths=((0.0, 45.0), (45.4, 359.8)), pictures=2)
    assert [(one.sop_instance_uid, one.prior_view_uid) for one in found.comparisons] == [("1.2.3.1", "1.2.3.101"), ("1.2.3.2", "1.2.3.100")]


def test_where_the_like_does_not_fit_the_view_with_most_matches_is_taken(laid: Callable[..., PicturedProgression]) -> None:
    found = laid([shot(turn_deg=170)], [shot(seed=3), shot(seed=4), shot()], azimuths=((0.0,), (0.0, 90.0, 180.0)))
    assert [one.prior_view_uid for one in found.comparisons] == ["1.2.3.102"]


def test_how_many_are_shown_is_a_setting(laid: Callable[..., PicturedProgression]) -> None:
    three = [shot(), shot(seed=2), shot(seed=3)]
    assert [len(laid(three, three, pictures=count).comparisons) for count in (0, 1, 2)] == [0, 1, 2]


def test_a_lesion_that_one_picture_cuts_off_has_no_change_of_area(laid: Callable[..., PicturedProgression]) -> None:
    found = laid([shot(shift=(270, 0))], [shot()])
    assert "registered_area_change_percent" not in (numbers(found) if found.comparisons else {})


def test_a_picture_that_cannot_be_read_costs_only_itself(laid: Callable[..., PicturedProgression], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(view: View, longest_side_px: int | None = None) -> None:
        raise UnreadableObject(view.sop_instance_uid, "the JPEG ends early")

    monkeypatch.setattr(View, "pixels", fail)
    found = laid([shot()], [shot()])
    assert found.comparisons == ()
    assert any("the JPEG ends early" in remark for remark in found.remarks)


def test_photographs_that_are_gone_are_said_and_the_numbers_compared(
    make_view: Callable[..., View], make_case: Callable[..., Case], context: Any
) -> None:
    outcome = Outcome(case_id="then", revision=1, is_failed=False, reports=(), features=measured())
    now = shot()
    view = make_view(now.pixels)
    case = make_case(view, masks=[now.mask], findings=[measured()], priors=[Prior("then", NOW - timedelta(90), outcome)], acquired_at=NOW)
    found = progression(case, context)
    assert isinstance(found, PicturedProgression)
    assert found.changes
    assert any("no outlined photographs" in remark for remark in found.remarks)


def test_the_same_pictures_always_make_the_same_difference(laid: Callable[..., PicturedProgression]) -> None:
    first, second = (laid([shot(radius=92, turn_deg=3)], [shot()]).comparisons[0] for _ in range(2))
    assert np.array_equal(first.difference, second.difference)
    assert [m.value for m in first.measurements] == [m.value for m in second.measurements]


@pytest.mark.parametrize(
    ("homography", "is_kept"),
    [
        (np.eye(3), True),
        (np.diag([-1.0, 1.0, 1.0]), False),
        (np.diag([3.0, 3.0, 1.0]), False),
        (np.array([[1, 0, 0], [0, 1, 0], [-0.01, 0, 1.0]]), False),
    ],
)
def test_a_fit_that_no_camera_makes_is_not_plausible(homography: NDArray[np.float64], is_kept: bool) -> None:
    assert is_plausible(homography, (512, 384)) is is_kept


def test_warming_up_goes_the_whole_way(context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[object] = []
    monkeypatch.setattr("dermanode_progression.rehearsal.draw", lambda *given: drawn.append(draw(*given)))
    warm_up(context)
    assert drawn
