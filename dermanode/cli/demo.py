"""`demo`: the main job, on this machine, with nothing configured.

Starts a node on embedded defaults and a PACS beside it, sends a series by C-STORE, and shows what comes back.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydicom import dcmread
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from dermanode.app import Node
from dermanode.cli.opened import configuration
from dermanode.cli.send import Identity, send_files, sendable, write_instances
from dermanode.cli.serve import set_up_logging
from dermanode.config import DimseDestination, Pipeline, Settings
from dermanode.domain import AETitle, Outcome, StageStatus
from dermanode.errors import ConfigurationError
from dermanode.ledger.records import CaseRecord, CaseState, Delivery, DeliveryState

_DELIVERED = ("SEG", "SURFACE_SEG", "STL", "SC", "SR", "PDF")
_LONGEST_S = 600.0
_APART = timedelta(days=182)
_GROWN_PERCENT = 40.0
"""In volume, between the demo's two visits."""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    demo = commands.add_parser(
        "demo",
        help="run the main job once on this machine: a series in, results out",
        description="Starts a node and a small PACS on loopback, sends eight rendered views of one lesion by C-STORE, as an earlier visit "
        "and as today's, and prints what came out. "
        "Data lie under var/demo.",
    )
    demo.add_argument(
        "--series", type=Path, metavar="DIR", help="send the DICOM files, or the JPEG and PNG photographs, of this folder instead"
    )
    demo.add_argument("--patient-id", default="DEMO-PATIENT", metavar="ID", help="whose photographs they are (default DEMO-PATIENT)")
    demo.add_argument("--no-stay", dest="stay", action="store_false", help="end when the results are there, instead of at Ctrl-C")
    demo.set_defaults(run=_demo)


def _demo(arguments: argparse.Namespace) -> int:
    from dermanode.testing.pacs import LoopbackPacs

    chosen = configuration(arguments)
    console = Console()
    data = Path("var/demo")
    with LoopbackPacs(data / "pacs", ae_title="DEMO-PACS") as pacs:
        settings = _settings(chosen.settings, data, pacs.port)
        set_up_logging(settings)
        pipelines = tuple(p.model_copy(update={"deliver": ("pacs", "archive")}) for p in chosen.pipelines)
        with _running(settings, pipelines, chosen.folder) as node:
            console.print(f"The node listens for DICOM as [b]{settings.node.ae_title}[/] on 127.0.0.1:{node.dicom_port}.")
            everything_came = True
            for words, files in _visits(arguments, data / "sent"):
                everything_came &= _visit(words, files, node, console)
            if not everything_came:
                console.print("[red]Not every expected object came out and passed.[/] `dermanode explain CASE` tells why.")
            if arguments.stay:
                console.print(f"The page: [b]{node.page}[/]  (Ctrl-C ends the demo)")
                _until_interrupted()
            else:
                console.print(f"The page would be at {node.page}; `make demo` without STAY=0 keeps it open.")
    return 0 if everything_came else 1


def _visit(words: str, files: Sequence[Path], node: Node, console: Console) -> bool:
    """Sends one visit's files and shows what came out; True where all that was promised did."""
    began = time.monotonic()
    receiver = DimseDestination(type="dimse", ae_title=node.settings.node.ae_title, host="127.0.0.1", port=node.dicom_port)
    receipt = send_files(files, receiver, AETitle("DEMO-CAMERA"))
    console.print(f"\n{words}: sent {len(files)} objects by C-STORE: {receipt}.")
    series_uids = {
        str(dcmread(file, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"]).get("SeriesInstanceUID", "")) for file in files
    }
    cases = _wait(node, series_uids, console)
    everything_came = bool(cases)
    for case in cases:
        everything_came &= _show(case, node.ledger.deliveries.of_case(case.id), console)
    console.print(f"\nFrom the first byte sent to the last result delivered: {time.monotonic() - began:.1f} s.")
    return everything_came


def _settings(settings: Settings, data: Path, pacs_port: int) -> Settings:
    """The given settings on ports that are free, with the demo's PACS as the destination."""
    content = settings.model_dump(mode="json")
    content["node"]["data_dir"] = str(data)
    content["receive"].update(host="127.0.0.1", port=0)
    content["web"].update(host="127.0.0.1", is_enabled=True, port=settings.web.port)
    content["ledger"]["url"] = None
    content["log"]["level"] = "error"
    content["complete"]["quiet_s"] = 3.0  # everything is sent at once here
    content["destinations"] = {
        "pacs": {"type": "dimse", "ae_title": "DEMO-PACS", "host": "127.0.0.1", "port": pacs_port},
        "archive": {"type": "folder", "path": str(data / "archive")},
    }
    return Settings.model_validate(content)


@contextmanager
def _running(settings: Settings, pipelines: tuple[Pipeline, ...], folder: Path) -> Iterator[Node]:
    try:
        node = Node(settings, pipelines, folder)
    except ConfigurationError:  # the page's usual port is taken: another node runs here
        node = Node(settings.model_copy(update={"web": settings.web.model_copy(update={"port": 0})}), pipelines, folder)
    node.start()
    try:
        yield node
    finally:
        node.stop()


def _visits(arguments: argparse.Namespace, folder: Path) -> Iterator[tuple[str, list[Path]]]:
    """(words, DICOM files) of what is to be sent: the files asked for, or two visits of a rendered lesion that has grown in between."""
    if arguments.series is not None:
        yield "Your files", sendable([arguments.series], Identity(arguments.patient_id), folder)
        return
    from dermanode.testing.scenes import demo_series

    today = datetime.now(UTC)
    yield f"A visit {_APART.days} days ago", write_instances(demo_series(today - _APART), folder / "earlier")
    yield f"Today, {_GROWN_PERCENT:.0f} % larger", write_instances(demo_series(today, grown_percent=_GROWN_PERCENT), folder / "today")


def _wait(node: Node, series_uids: set[str], console: Console) -> list[CaseRecord]:
    """Shows how far the cases of these series are, until all have ended and been delivered."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    deadline = time.monotonic() + _LONGEST_S
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("waiting for the series to be complete; the worker is warming up", total=None)
        while time.monotonic() < deadline:
            cases = [found for uid in series_uids for found in node.ledger.cases.list(10, 0, search=uid)[:1]]
            if cases:
                events = node.ledger.history.of(f"case:{cases[0].id}")
                progress.update(task, description=events[-1].words if events else "in work")
            over = [case for case in cases if case.state not in (CaseState.READY, CaseState.RUNNING)]
            if over and len(over) == len(cases) and not _is_waiting(node, series_uids) and all(_is_delivered(node, case) for case in over):
                return over
            if not cases and not _is_waiting(node, series_uids) and _are_all_set_aside(node):
                break
            time.sleep(0.1)
    for stored in node.ledger.objects.recent(10):
        if stored.reason:
            console.print(f"{stored.arrival.sop_instance_uid}: {stored.state}, {stored.reason}")
    return []


def _is_waiting(node: Node, series_uids: set[str]) -> bool:
    return bool(node.ledger.objects.unread(1)) or any(s.key.series_instance_uid in series_uids for s in node.ledger.cases.waiting_series())


def _are_all_set_aside(node: Node) -> bool:
    """Nothing waits, yet no case came of it: what was sent is ignored or in quarantine."""
    newest = node.ledger.objects.recent(1)
    return bool(newest) and newest[0].state in ("ignored", "quarantined")


def _is_delivered(node: Node, case: CaseRecord) -> bool:
    return all(d.state.is_acknowledged or d.state is DeliveryState.DEAD for d in node.ledger.deliveries.of_case(case.id))


def _show(case: CaseRecord, deliveries: list[Delivery], console: Console) -> bool:
    """Prints a case; True where every object that its stages promise came out, passed, and was delivered."""
    outcome = case.outcome
    console.print(f"\n[b]Case {case.id}[/] ({case.state}): {case.evidence.words}")
    if outcome is None:
        return False
    objects = Table(box=None, header_style="bold")
    for column in ("object", "SOP Instance UID", "went to", "gate"):
        objects.add_column(column, no_wrap=column in ("object", "SOP Instance UID"), overflow="fold")
    for made in outcome.objects:
        if made.kind in _DELIVERED:
            went = " ".join(
                f"{d.destination}{'' if d.state.is_acknowledged else f' ({d.state})'}" for d in deliveries if made.path in d.paths
            )
            objects.add_row(made.kind, made.sop_instance_uid, went or "–", "passed" if made.passed_gate else "; ".join(made.reasons))
    console.print(objects)
    for report in outcome.reports:
        if report.status is not StageStatus.PERFORMED:
            console.print(f"[yellow]{report.stage} not performed[/] ({report.status}): {report.reason}")
    if outcome.surface is not None and outcome.surface.lateral_unit != "mm":
        console.print("No Surface Segmentation: the photographs carry no scale (`dermanode import --pixel-spacing-mm` gives them one).")
    if outcome.classification:
        classes = ", ".join(f"{c.concept.meaning} {c.probability:.1%}" for c in outcome.classification.diagnosis)
        console.print(f"[b]Class[/]  {classes}")
        if not outcome.classification.is_in_domain:
            console.print("       [yellow]The images are unlike those the model was trained on: do not rely on these probabilities.[/]")
    for measurement in outcome.surface.measurements if outcome.surface else ():
        if measurement.lower is not None and measurement.upper is not None:
            name = f"{measurement.concept.meaning}{f', {measurement.derivation.meaning.lower()}' if measurement.derivation else ''}"
            interval = f"{measurement.lower:.2f} to {measurement.upper:.2f}"
            console.print(f"[b]{name}[/]  {measurement.value:.2f} {measurement.unit.value} (90 %: {interval})")
    for alert in outcome.progression.alerts if outcome.progression else ():
        console.print(f"[b red]Alert[/]  {alert}")
    if outcome.risk:
        console.print(f"[b]Risk[/]   {outcome.risk.level}, {outcome.risk.score:.2f} of 1")
    return _is_whole(outcome, deliveries)


def _is_whole(outcome: Outcome, deliveries: list[Delivery]) -> bool:
    made = [o for o in outcome.objects if o.kind in _DELIVERED]
    expected = {"SR"}
    if _is_performed(outcome, "segment"):
        expected.add("SEG")
    if outcome.surface is not None and outcome.surface.lateral_unit == "mm":
        expected.add("SURFACE_SEG")
    if outcome.heat_maps:
        expected.add("SC")
    return (
        not outcome.is_failed
        and expected <= {o.kind for o in made}
        and all(o.passed_gate for o in made)
        and all(d.state.is_acknowledged for d in deliveries)
    )


def _is_performed(outcome: Outcome, stage: str) -> bool:
    report = outcome.report(stage)
    return report is not None and report.status is StageStatus.PERFORMED


def _until_interrupted() -> None:
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print()
