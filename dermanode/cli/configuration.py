"""`config check`, `config password`."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Iterator

from dermanode.cli.opened import configuration
from dermanode.config import Settings
from dermanode.errors import ConfigurationError
from dermanode.pipeline.plugins import discover
from dermanode.receive.folder.template import NameTemplate
from dermanode.web.login import hash_password


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    config = commands.add_parser("config", help="check the settings; make a password", description="The settings file and the pipelines.")
    actions = config.add_subparsers(title="actions", metavar="ACTION", required=True)
    check = actions.add_parser("check", help="read the settings and pipelines and say what is wrong, with line and cure")
    check.set_defaults(run=_check)
    password = actions.add_parser("password", help="ask for a password and print the line for web.login.password_hash")
    password.set_defaults(run=_password)


def _check(arguments: argparse.Namespace) -> int:
    chosen = configuration(arguments)
    known = {found.name: found for found in discover()}
    problems = []
    for pipeline in chosen.pipelines:
        for stage, asked in pipeline.stages.items():
            for name in asked:
                found = known.get(name)
                if found is None:
                    problems.append(
                        f"Pipeline {pipeline.name} asks {name} for {stage}, which is not installed. Install it, or take it out."
                    )
                elif found.manifest is None:
                    problems.append(f"Pipeline {pipeline.name} asks {name} for {stage}, which is broken: {found.error}")
                elif stage not in found.manifest.stages:
                    problems.append(f"Pipeline {pipeline.name} asks {name} for {stage}, which it does not serve.")
    problems += _templates(chosen.settings)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        return 1
    for name in sorted(set(chosen.settings.destinations).difference(*(pipeline.deliver for pipeline in chosen.pipelines))):
        print(f"Nothing goes to the destination {name}: no pipeline names it under `deliver`.")
    print(f"{chosen.file}: good. Pipelines: {', '.join(p.name for p in chosen.pipelines)}.")
    return 0


def _templates(settings: Settings) -> Iterator[str]:
    """What is wrong with the templates of the names of photographs."""
    for name, folder in settings.folders.items():
        try:
            if folder.name_template:
                NameTemplate(folder.name_template, f"`folders.{name}.name_template`")
        except ConfigurationError as error:
            yield str(error)


def _password(_arguments: argparse.Namespace) -> int:
    password = getpass.getpass("Password: ")
    if len(password) < 8:
        raise ConfigurationError("The password is too short.", cure="Use eight characters or more.")
    if getpass.getpass("Again: ") != password:
        raise ConfigurationError("The two passwords differ.", cure="Try again.")
    print(f'password_hash: "{hash_password(password)}"')
    return 0
