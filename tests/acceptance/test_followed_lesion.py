"""A lesion that grows between two visits."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image
from pydicom import dcmread

from dermanode.cli.send import send_files
from dermanode.domain import StageStatus
from dermanode.testing.node import receiver_of, running_node, wait_for_case
from dermanode.testing.scenes import Ring, Scene, Shape, make_series, write_series

ROOT = Path(__file__).parents[2]
FIRST = datetime(2026, 1, 12, 9, 30, tzinfo=UTC)
SIZE = (640, 480)
pytestmark = pytest.mark.slow


def test_growth_between_two_visits_raises_an_alert_and_is_shown_view_over_view(tmp_path: Path) -> None:
    ring, then = Ring(views=3), Scene(Shape.DOME, seed=21, diameter_mm=5.0, height_mm=1.0)
    now = replace(then, diameter_mm=6.5)
    stranger = make_series(then, ring, patient_id="ANOTHER", acquired_at=FIRST, size=SIZE)
    visits = [make_series(scene, ring, acquired_at=FIRST + timedelta(days=days), size=SIZE) for scene, days in ((then, 0), (now, 90))]
    sent = [write_series(tmp_path / f"sent-{number}", series) for number, series in enumerate([stranger, *visits])]
    with running_node(ROOT / "config" / "dermanode.yaml", tmp_path / "var", expected_views=3) as node:
        cases = []
        for files in sent:
            send_files(files, receiver_of(node))
            cases.append(wait_for_case(node, str(dcmread(files[0], stop_before_pixels=True).SeriesInstanceUID)))
        _, first, second = cases
        assert first.outcome is not None
        assert second.outcome is not None
        told = first.outcome.report("progression")
        # The other patient's lesion has the same name.
        assert told is not None
        assert told.status is StageStatus.DECLINED
        assert "no earlier visit of this lesion is known" in told.reason

        found = second.outcome.progression
        assert found is not None, second.outcome.report("progression")
        assert found.priors == (first.id,)
        changes = {m.key: m.value for m in found.changes}
        assert changes["area_mm2_change_since_first_percent"] == pytest.approx(69, abs=12)
        assert any("rose by" in alert and "the last visit (2026-01-12, 90 days before)" in alert for alert in found.alerts)
        slopes = {m.key: m.value for m in found.trends}
        assert slopes["area_mm2_trend"] == pytest.approx(0.23, abs=0.05)
        assert [visit.case_id for visit in found.history] == [first.id]

        (shown,) = second.outcome.comparisons
        registered = {m.key: m.value for m in shown.measurements}
        assert registered["registered_area_change_percent"] == pytest.approx(69, abs=12)
        folder = node.settings.node.results_dir / second.id
        for name in (shown.now, shown.then, shown.difference):
            with Image.open(folder / name) as picture:
                assert picture.size == SIZE

        assert found.alerts[0].encode() in (folder / "sr.dcm").read_bytes()
