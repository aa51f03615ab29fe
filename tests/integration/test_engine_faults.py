"""Worker processes and plugins that misbehave: each loses its worker at most, and the case ends with the reason in its report."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from pydicom import Dataset
from pynetdicom import AE

from dermanode.config import Pipeline, Settings
from dermanode.domain import StageStatus
from dermanode.ledger.records import CaseState, ObjectState
from dermanode.testing.node import started, wait_for_case
from dermanode.testing.plugin_package import write_plugin
from dermanode.testing.worked_cases import photograph
from dermanode.testing.workshop import Workshop, wait_for

GOOD = """
@hookimpl
def risk(case, context):
    return Risk(algorithm=ALGORITHM, score=0.5, level="low", terms=())
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of plugins, on the path of this process and of the workers it starts."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]))
    write_plugin(folder, "test-good", GOOD, stages={"risk": {"timeout_s": 20}})
    return folder


@pytest.fixture
def node(tmp_path: Path, site: Path) -> Iterator[Workshop]:
    node = Workshop(tmp_path)
    yield node
    node.close()


def image(study: str = "study", *, pixels: bytes | None = None) -> Dataset:
    dataset = photograph(1, rows=24, columns=32, study=study)
    if pixels is not None:
        dataset.PixelData = pixels
    return dataset


def faulty(site: Path, body: str, *, timeout_s: float = 20.0, before: str = "") -> None:
    source = f"{textwrap.dedent(before)}\n@hookimpl\ndef segment(case, context):\n{textwrap.indent(textwrap.dedent(body), '    ')}\n"
    write_plugin(site, "test-faulty", source, stages={"segment": {"timeout_s": timeout_s}})


STAGES = {"segment": ["test-faulty"], "risk": ["test-good"]}


@pytest.mark.parametrize(
    ("body", "timeout_s", "reason"),
    [
        ("import time\nwhile True: time.sleep(1)", 1.0, "test-faulty missed its deadline of 1 s; its worker was stopped"),
        ("import os\nos.abort()", 20.0, "test-faulty ended its worker (killed by SIGABRT)"),
        ("import os\nos._exit(7)", 20.0, "test-faulty ended its worker (exit status 7)"),
        ("raise ValueError('a bad day')", 20.0, "test-faulty raised ValueError: a bad day"),
        ("return 'a mask'", 20.0, "test-faulty returned a str where the stage promises a Segmentation"),
        (
            "hoard = []\nimport time\nwhile True:\n    hoard.append(bytearray(b'x' * (32 << 20)))\n    time.sleep(0.005)",
            20.0,
            "MiB, more than the worker's 700 MiB; its worker was stopped",
        ),
    ],
    ids=["sleeps for ever", "aborts", "exits", "raises", "returns the wrong type", "eats the memory"],
)
def test_case_of_a_faulty_plugin_ends_failed_with_its_reason_in_the_report(
    node: Workshop, site: Path, body: str, timeout_s: float, reason: str
) -> None:
    faulty(site, body, timeout_s=timeout_s)
    node.start(STAGES, worker_memory_mib=700)
    record = node.end_of(node.receive(image()))
    assert record.state is CaseState.FAILED
    assert record.outcome is not None
    segment, risk = record.outcome.report("segment"), record.outcome.report("risk")
    assert segment is not None
    assert risk is not None
    assert segment.status is StageStatus.FAILED
    assert reason in segment.reason
    assert risk.status is StageStatus.PERFORMED, "the other stages have done their work"
    assert reason.split(";")[0] in node.report_of(record.outcome)
    health = {health.plugin: health for health in node.ledger.plugins.all()}
    assert health["test-faulty"].failures_in_a_row == 1
    assert reason.removeprefix("test-faulty ") in health["test-faulty"].last_failure


def test_new_worker_serves_the_next_case(node: Workshop, site: Path) -> None:
    faulty(site, "import os\nos.abort()")
    node.start({"segment": ["test-faulty"], "risk": ["test-good"]}, suspend_after=1)
    first = node.end_of(node.receive(image()))
    dead = node.workers()
    second = node.end_of(node.receive(image("other study")))
    assert first.state is CaseState.FAILED
    assert second.state is CaseState.FINISHED, "the plugin was suspended, which the report says"
    assert second.outcome is not None
    segment = second.outcome.report("segment")
    assert segment is not None
    assert "test-faulty was not asked: it is suspended: segment: ended its worker (killed by SIGABRT)" in segment.reason
    assert node.workers() == dead, "nothing was lost in the second case"


def test_case_is_tried_as_often_as_configured(node: Workshop, site: Path, tmp_path: Path) -> None:
    tries = tmp_path / "tries"
    faulty(site, f"import os\nwith open({str(tries)!r}, 'a') as file: file.write('x')\nos.abort()")
    node.start(STAGES, attempts=3)
    record = node.end_of(node.receive(image()))
    assert tries.read_text() == "xxx"
    assert record.attempts == 3
    assert record.state is CaseState.FAILED
    kinds = [event.words for event in node.ledger.history.of(f"case:{record.id}")]
    assert any("test-faulty at segment ended its worker (killed by SIGABRT)" in words for words in kinds)


def test_plugin_that_fails_once_costs_the_case_nothing_but_a_second_try(node: Workshop, site: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    faulty(
        site,
        f"import os, pathlib\nif not pathlib.Path({str(marker)!r}).exists():\n    pathlib.Path({str(marker)!r}).touch()\n    os.abort()\n",
    )
    node.start(STAGES, attempts=2)
    record = node.end_of(node.receive(image()))
    assert record.state is CaseState.FINISHED
    assert record.attempts == 2


def test_two_faulty_plugins_in_one_case_are_both_reported(node: Workshop, site: Path) -> None:
    faulty(site, "import os\nos.abort()")
    write_plugin(site, "test-other", "@hookimpl\ndef classify(case, context):\n    import os\n    os._exit(3)\n", stages={"classify": {}})
    node.start({**STAGES, "classify": ["test-other"]})
    record = node.end_of(node.receive(image()))
    assert record.outcome is not None
    assert [report.status.value for report in record.outcome.reports] == ["failed", "performed", "failed"]


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        ("raise ImportError('no module named torch')", "could not be imported: it raised ImportError: no module named torch"),
        ("import os\nos.abort()", "ended its worker (killed by SIGABRT), at import"),
        ("@hookimpl\ndef warm_up(context): raise OSError('weights altered')", "could not warm up: it raised OSError: weights altered"),
        ("@hookimpl\ndef warm_up(context):\n    import os\n    os._exit(4)", "ended its worker (exit status 4), at warm_up"),
    ],
    ids=["import raises", "import aborts", "warm-up raises", "warm-up exits"],
)
def test_plugin_that_cannot_start_fails_its_stage_while_others_serve(node: Workshop, site: Path, before: str, reason: str) -> None:
    faulty(site, "raise AssertionError('not reached')", before=before)
    node.start(STAGES)
    record = node.end_of(node.receive(image()))
    assert record.outcome is not None
    segment, risk = record.outcome.reports
    assert segment.status is StageStatus.FAILED
    assert reason in segment.reason
    assert risk.status is StageStatus.PERFORMED


def test_notification_that_hangs_or_dies_does_not_touch_the_case(node: Workshop, site: Path) -> None:
    write_plugin(
        site,
        "test-faulty",
        GOOD + "\n@hookimpl\ndef case_finished(case, outcome):\n    import os\n    os.abort()\n",
        stages={"risk": {}},
    )
    node.start({"risk": ["test-faulty"]})
    assert node.end_of(node.receive(image())).state is CaseState.FINISHED
    assert node.end_of(node.receive(image("other study"))).state is CaseState.FINISHED


def test_view_that_cannot_be_decoded_is_quarantined_and_its_case_says_so(node: Workshop, site: Path) -> None:
    node.start({"risk": ["test-good"]})
    record = node.end_of(node.receive(image(pixels=b"\0" * 10)))
    assert record.state is CaseState.FAILED
    assert "no view could be read" in record.reason
    assert node.ledger.objects.of_case(record.id)[0].state is ObjectState.QUARANTINED


def test_stopping_gives_the_running_case_back_within_seconds(node: Workshop, site: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    faulty(site, f"import pathlib, time\npathlib.Path({str(marker)!r}).touch()\ntime.sleep(600)", timeout_s=600)
    engine = node.start(STAGES)
    case_id = node.receive(image())
    wait_for(marker.exists)
    worker = psutil.Process(node.workers()[0])
    began = time.monotonic()
    engine.stop()
    assert time.monotonic() - began < 5
    assert not worker.is_running()
    record = node.ledger.cases.get(case_id)
    assert (record.state, record.reason) == (CaseState.READY, "the node was stopped")


@pytest.mark.skipif(sys.platform != "linux", reason="oom_score_adj and the parent's death signal are Linux")
def test_worker_dies_with_a_server_that_is_killed_and_is_the_first_to_go(node: Workshop, site: Path, tmp_path: Path) -> None:
    """The plugin holds the interpreter in C code, where no thread of Python's could end the process."""
    pid_file = tmp_path / "pid"
    faulty(
        site,
        f"import os, pathlib, ctypes\npathlib.Path({str(pid_file)!r}).write_text(str(os.getpid()))\nctypes.PyDLL(None).sleep(600)",
        timeout_s=600,
    )
    case_id = node.receive(image())
    script = f"""
import threading
from pathlib import Path
from dermanode.testing.workshop import Workshop
Workshop(Path({str(tmp_path)!r})).start({STAGES!r})
threading.Event().wait()
"""
    server = subprocess.Popen([sys.executable, "-c", script])
    try:
        worker = psutil.Process(int(wait_for(lambda: pid_file.read_text() if pid_file.exists() else "")))
        assert Path(f"/proc/{worker.pid}/oom_score_adj").read_text().strip() == "800"
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()
    wait_for(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE, limit_s=5)
    assert node.ledger.cases.get(case_id).state is CaseState.RUNNING, "the next start gives it back"


def test_engine_imports_no_plugin_and_no_heavy_library() -> None:
    script = (
        "import sys, dermanode.pipeline.local, dermanode.pipeline.plugins as p; p.discover();"
        "print([m for m in sys.modules if m.split('.')[0] in "
        "('torch', 'monai', 'cv2', 'highdicom', 'open3d', 'pycolmap', 'hl7apy', 'fhir') or m.startswith('dermanode_')])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_receiver_answers_while_a_plugin_hangs_and_afterwards(tmp_path: Path, site: Path) -> None:
    faulty(site, "import time\ntime.sleep(600)", timeout_s=4.0)
    pipeline = Pipeline.model_validate(
        {"name": "test", "match": {"modalities": ["DMS"]}, "expected_views": 1, "stages": STAGES, "outputs": {"kinds": ["SR"]}}
    )
    settings = Settings.model_validate(
        {
            "node": {"data_dir": str(tmp_path / "var")},
            "receive": {"port": 0, "minimum_free_mib": 0},
            "engine": {"attempts": 1, "threads": 1, "devices": ["cpu"]},
            "web": {"is_enabled": False},
        }
    )
    with started(settings, [pipeline], tmp_path) as running:
        assert send(running.dicom_port, image("first")) == 0x0000
        wait_for(lambda: running.ledger.cases.counts().get(CaseState.RUNNING))
        began = time.monotonic()
        assert [send(running.dicom_port, image(f"later {number}")) for number in range(5)] == [0x0000] * 5
        assert time.monotonic() - began < 4.0, "nobody waited for the plugin"
        first = wait_for_case(running, str(image("first").StudyInstanceUID))
        assert "test-faulty missed its deadline of 4 s" in first.reason
        assert send(running.dicom_port, image("after")) == 0x0000


def send(port: int, dataset: Dataset) -> int:
    """One association with one C-STORE; its status."""
    entity = AE(ae_title="CAMERA")
    entity.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", port, ae_title="DERMANODE")
    assert association.is_established
    status = association.send_c_store(dataset)
    association.release()
    return int(status.Status)
