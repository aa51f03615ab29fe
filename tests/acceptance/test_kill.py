"""kill -9 of the whole node at ten random moments while 200 objects arrive and cases run."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom.uid import UID

from dermanode.cli.send import write_instances
from dermanode.testing.faults import Trial
from dermanode.testing.scenes import demo_series

pytestmark = pytest.mark.slow

VIEWS = 8
SERIES = 25


@pytest.mark.timeout(900)
def test_nothing_acknowledged_is_lost_and_nothing_is_delivered_under_two_names(tmp_path: Path) -> None:
    # One rendering serves all series, under other UIDs: what is tested is what becomes of the objects, not what they show.
    rendered = demo_series(datetime(2026, 1, 1, tzinfo=UTC), views=VIEWS, size=(160, 120))
    series = []
    for number in range(SERIES):
        for view, instance in enumerate(rendered):
            instance.StudyInstanceUID, instance.SeriesInstanceUID = UID(f"2.25.1{number}"), UID(f"2.25.2{number}")
            instance.SOPInstanceUID = instance.file_meta.MediaStorageSOPInstanceUID = UID(f"2.25.3{number}.{view}")
        series.append(write_instances(rendered, tmp_path / f"sent-{number}"))
    report = Trial(
        kills=10,
        seed=20261121,
        series=series,
        stages={"preprocess": ["dermanode-preprocess"]},
        models_dir=tmp_path / "models",
        folder=tmp_path / "node",
        say=print,
    ).run()
    assert report.problems == ()
    assert report.acknowledged == report.sent == SERIES * VIEWS
    assert report.cases == SERIES
    assert report.delivered == SERIES  # one report each
