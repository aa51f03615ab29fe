"""An image that comes after its series was processed."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom import dcmread

from dermanode.cli.send import send_files, write_instances
from dermanode.ledger.records import CaseState
from dermanode.testing.node import receiver_of, running_node, wait_for_case
from dermanode.testing.scenes import demo_series

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def test_a_late_image_opens_a_revision_with_all_images_whose_report_names_the_earlier_one(tmp_path: Path) -> None:
    views = write_instances(demo_series(datetime(2026, 4, 1, tzinfo=UTC), views=3, size=(320, 240)), tmp_path / "sent")
    series = str(dcmread(views[0], stop_before_pixels=True).SeriesInstanceUID)
    with running_node(ROOT / "config" / "dermanode.yaml", tmp_path / "var", expected_views=2, complete={"quiet_s": 60}) as node:
        send_files(views[:2], receiver_of(node))
        first = wait_for_case(node, series)
        assert (first.revision, first.state) == (1, CaseState.FINISHED)
        send_files(views[2:], receiver_of(node))
        second = wait_for_case(node, f"{first.id.removesuffix('1')}2")
        assert (second.revision, second.supersedes) == (2, first.id)
        assert len(node.ledger.objects.of_case(second.id)) == 3
        assert second.outcome is not None
        assert [made.kind for made in second.outcome.objects].count("SEG") == 3
        results = node.settings.node.results_dir
        earlier, later = (dcmread(results / case.id / "sr.dcm") for case in (first, second))
        predecessor = later.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
        assert predecessor.ReferencedSOPInstanceUID == earlier.SOPInstanceUID
        assert later.SOPInstanceUID != earlier.SOPInstanceUID
        assert node.ledger.audit(node.spool, deep=True).is_clean
