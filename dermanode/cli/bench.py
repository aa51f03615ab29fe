"""`bench`: measures this machine."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from dermanode.app import Node, models_dir
from dermanode.cli.opened import Configuration, configuration
from dermanode.cli.send import send_files, write_instances
from dermanode.cli.serve import set_up_logging
from dermanode.config import DimseDestination, Settings
from dermanode.ledger.records import CaseState


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    bench = commands.add_parser(
        "bench", help="measure this machine: a case, or the node under kill -9", description="Measures on this machine."
    )
    actions = bench.add_subparsers(title="actions", metavar="ACTION", required=True)
    case = actions.add_parser("case", help="from the last byte received to the results in a PACS, one photograph of 1024x768")
    case.add_argument("--runs", type=int, default=9, metavar="N", help="counted runs after one warm-up (default 9)")
    case.add_argument("--views", type=int, default=1, metavar="N", help="views in the series (default 1)")
    case.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    case.set_defaults(run=_case)
    faults = actions.add_parser("faults", help="kill -9 the node while objects arrive and cases run; nothing acknowledged may be missing")
    faults.add_argument("--kills", type=int, default=10, metavar="N", help="how often (default 10)")
    faults.add_argument("--seed", type=int, default=1, metavar="S", help="fixes the moments (default 1)")
    faults.add_argument("--objects", type=int, default=200, metavar="N", help="how many objects arrive (default 200)")
    faults.add_argument("--views", type=int, default=8, metavar="N", help="objects in a series (default 8)")
    faults.set_defaults(run=_faults)


def _case(arguments: argparse.Namespace) -> int:
    from dermanode.testing.pacs import LoopbackPacs
    from dermanode.testing.scenes import demo_series

    chosen = configuration(arguments)
    taken: list[float] = []
    stages: dict[str, list[float]] = {}
    with TemporaryDirectory(prefix="dermanode-bench-") as scratch, LoopbackPacs(ae_title="BENCH-PACS") as pacs:
        settings = _bench_settings(chosen, Path(scratch), pacs.port)
        set_up_logging(settings)
        pipelines = tuple(p.model_copy(update={"deliver": ("pacs",), "expected_views": arguments.views}) for p in chosen.pipelines)
        node = Node(settings, pipelines, chosen.folder)
        node.start()
        try:
            receiver = DimseDestination(type="dimse", ae_title=settings.node.ae_title, host="127.0.0.1", port=node.dicom_port)
            for run in range(arguments.runs + 1):
                files = write_instances(demo_series(datetime.now(UTC), views=arguments.views), Path(scratch) / f"sent-{run}")
                send_files(files, receiver)
                began = time.monotonic()
                while not _is_over(node, run + 1):
                    time.sleep(0.005)
                if run == 0:
                    continue  # the first one waits for the worker to warm up
                taken.append(time.monotonic() - began)
                outcome = node.ledger.cases.list(1, 0)[0].outcome
                for report in outcome.reports if outcome else ():
                    stages.setdefault(report.stage, []).append(report.took_s)
                stages.setdefault("worker, all in all", []).append(outcome.took_s if outcome else 0.0)
        finally:
            node.stop()
    table = Table("step", "median ms", "fastest", "slowest", box=None)
    for name, times in {**stages, "last byte to results in the PACS": taken}.items():
        table.add_row(name, *(f"{1000 * value:.0f}" for value in (statistics.median(times), min(times), max(times))))
    Console().print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps({"total_s": taken, "stages_s": stages}, indent=1), encoding="utf-8")
    return 0


def _is_over(node: Node, cases: int) -> bool:
    counts = node.ledger.cases.counts()
    over = counts.get(CaseState.FINISHED, 0) + counts.get(CaseState.FAILED, 0)
    sent = node.ledger.deliveries.counts()
    return over >= cases and sum(count for state, count in sent.items() if state.is_acknowledged) >= cases


def _bench_settings(chosen: Configuration, data: Path, pacs_port: int) -> Settings:
    content = chosen.settings.model_dump(mode="json")
    content["node"].update(data_dir=str(data / "var"), models_dir=str(models_dir(chosen.settings, chosen.folder)))
    content["receive"].update(host="127.0.0.1", port=0)
    content["web"].update(is_enabled=False)
    content["ledger"]["url"] = None
    content["log"]["level"] = "error"
    content["destinations"] = {"pacs": {"type": "dimse", "ae_title": "BENCH-PACS", "host": "127.0.0.1", "port": pacs_port}}
    return Settings.model_validate(content)


def _faults(arguments: argparse.Namespace) -> int:
    from dermanode.testing.faults import Trial
    from dermanode.testing.scenes import demo_series

    chosen = configuration(arguments)
    console = Console()
    with TemporaryDirectory(prefix="dermanode-faults-") as scratch:
        moment = datetime(2026, 1, 1, tzinfo=UTC)
        count = arguments.objects // arguments.views
        console.print(f"Rendering {count} series of {arguments.views} views ...")
        series = [
            write_instances(
                demo_series(moment.replace(microsecond=number), views=arguments.views, size=(320, 240)), Path(scratch) / f"{number}"
            )
            for number in range(count)
        ]
        report = Trial(
            kills=arguments.kills,
            seed=arguments.seed,
            series=series,
            stages={stage: list(plugins) for stage, plugins in chosen.pipelines[0].stages.items()},
            models_dir=models_dir(chosen.settings, chosen.folder),
            folder=Path(scratch) / "node",
            pause_s=(2.0, 15.0),  # the networks take seconds to warm up: some kills are to hit running cases
            say=console.print,
        ).run()
    for problem in report.problems:
        console.print(f"[red]PROBLEM[/] {problem}")
    console.print(
        f"{report.kills} kills: {report.acknowledged} of {report.sent} objects acknowledged, {report.cases} cases, "
        f"{report.delivered} results in the PACS, {len(report.problems)} problems, {report.took_s:.0f} s."
    )
    return 1 if report.problems else 0
