"""`plugins list|new|check|resume`."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dermanode.app import models_dir
from dermanode.cli.opened import configuration, ledger_of
from dermanode.hookspecs import STAGES
from dermanode.pipeline.plugins import discover


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    plugins = commands.add_parser("plugins", help="list, make and check plugins", description="The packages that serve the stages.")
    actions = plugins.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="every plugin on this machine, broken ones with their error")
    listing.set_defaults(run=_list)
    new = actions.add_parser("new", help="make a package that works, to begin with")
    new.add_argument("name", metavar="NAME", help="such as acme-segment")
    new.add_argument("--stage", choices=list(STAGES), default="segment", help="the stage it serves (default segment)")
    new.add_argument("--into", type=Path, default=Path(), metavar="DIR", help="the folder in which to make it (default: here)")
    new.set_defaults(run=_new)
    check = actions.add_parser("check", help="run the conformance kit on an installed plugin")
    check.add_argument("name", metavar="NAME")
    check.set_defaults(run=_check)
    resume = actions.add_parser("resume", help="ask a suspended plugin again")
    resume.add_argument("name", metavar="NAME")
    resume.set_defaults(run=_resume)


def _list(_arguments: argparse.Namespace) -> int:
    table = Table("plugin", "version", "stages", "what", box=None)
    for found in discover():
        if found.manifest is None:
            table.add_row(found.name, "", "", f"[red]broken[/]: {found.error}")
        else:
            table.add_row(found.name, found.manifest.version, ", ".join(found.manifest.stages), found.manifest.summary)
    Console().print(table)
    return 0


def _new(arguments: argparse.Namespace) -> int:
    from dermanode.pipeline.template import write_plugin

    folder = write_plugin(arguments.name, stage=arguments.stage, into=arguments.into)
    print(f"{folder} is a plugin that works. Next:\n  pip install -e {folder}\n  dermanode plugins check {arguments.name}")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from dermanode.testing.conformance import check

    chosen = configuration(arguments)
    checks = check(arguments.name, models_dir=models_dir(chosen.settings, chosen.folder))
    for one in checks:
        print(f"{'passed' if one.passed else 'FAILED'}  {one.name}: {one.words}")
    return 0 if all(one.passed for one in checks) else 1


def _resume(arguments: argparse.Namespace) -> int:
    with ledger_of(configuration(arguments).settings) as ledger:
        ledger.plugins.resume(arguments.name, datetime.now(UTC))
    print(f"{arguments.name} will be asked again.")
    return 0
