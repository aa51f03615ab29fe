"""A whole node with a watched folder, a worklist and a sender that asks for a promise: all parts wired, nothing lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from dermanode.config import Settings
from dermanode.ledger.records import ObjectState
from dermanode.testing.committing import AskingDevice
from dermanode.testing.node import started
from dermanode.testing.worklist import DimseWorklist, StepStore

pytestmark = pytest.mark.integration


def eventually(condition: Callable[[], bool], limit_s: float = 60.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)


def photograph(file: Path, seed: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (24, 32, 3), dtype=np.uint8)).save(file)


def test_photographs_steps_and_promises_meet_in_one_node(tmp_path: Path) -> None:
    store = StepStore()
    with DimseWorklist(store) as manager:
        settings = Settings.model_validate(
            {
                "node": {"data_dir": str(tmp_path / "var")},
                "receive": {"port": 0, "minimum_free_mib": 0},
                "web": {"port": 0},
                "engine": {"kind": "inline"},
                "complete": {"quiet_s": 0.5},
                "folders": {
                    "camera": {
                        "path": str(tmp_path / "photographs"),
                        "name_template": "{patient_id}/{lesion}_{view}",
                        "poll_s": 0.2,
                        "settle_s": 0.2,
                    }
                },
                "worklists": {"ai": {"ae_title": "MANAGER", "host": "127.0.0.1", "port": manager.port, "poll_s": 0.2}},
            }
        )
        (tmp_path / "photographs").mkdir()
        with started(settings, [], tmp_path) as node:
            photograph(tmp_path / "photographs" / "4711" / "L1_1.png", 1)
            photograph(tmp_path / "photographs" / "nobody.png", 2)
            eventually(lambda: sum(node.ledger.objects.counts().values()) == 2)
            (quarantined,) = node.ledger.objects.recent(5, ObjectState.QUARANTINED)
            assert quarantined.reason.startswith("nobody.png does not say whose it is")

            # No pipeline is configured, so the photograph is ignored, and a step about it is given back with that reason.
            eventually(lambda: node.ledger.objects.counts()[ObjectState.IGNORED] == 1)
            (ignored,) = node.ledger.objects.recent(5, ObjectState.IGNORED)
            assert ignored.header is not None
            uid = str(ignored.arrival.sop_instance_uid)
            store.add("2.25.1", [(str(ignored.header.study_instance_uid), str(ignored.header.series_instance_uid), [uid])])
            eventually(lambda: store.steps["2.25.1"].state == "CANCELED")

            device = AskingDevice(node.dicom_port)
            association = device.associate()
            asked = [(str(one.arrival.sop_class_uid), str(one.arrival.sop_instance_uid)) for one in (ignored, quarantined)]
            assert device.ask(association, "2.25.9", asked) == 0
            assert device.wait()[0][0] == 1
            association.release()

            page = httpx.get(f"{node.page}node").text
            assert "photograph quarantined" in page
            assert "step canceled" in page
            assert "<h2>Procedure steps</h2>" in page
            assert "<h2>Watched folders</h2>" in page
            assert 'dermanode_steps{state="canceled"} 1.0' in httpx.get(f"{node.page}metrics").text
            # It is noted once the device's answer to the report is here.
            eventually(lambda: 'dermanode_commitments{state="committed"} 1.0' in httpx.get(f"{node.page}metrics").text)
            assert node.ledger.audit(node.spool, deep=True).is_clean
    assert sorted(path.name for path in (tmp_path / "photographs" / ".taken").rglob("*.png")) == ["L1_1.png", "nobody.png"]
