"""What commands open: the settings, the pipelines, the ledger, the spool."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dermanode.app import ledger_url
from dermanode.config import Pipeline, Settings, load_pipelines, load_settings
from dermanode.errors import ConfigurationError
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.spool import Spool

DEFAULT_FILE = Path("config/dermanode.yaml")


@dataclass(frozen=True)
class Configuration:
    """The settings with the file they came from, and the pipelines."""

    settings: Settings
    file: Path | None
    pipelines: tuple[Pipeline, ...]

    @property
    def folder(self) -> Path:
        return self.file.parent if self.file else Path("config")


def configuration(arguments: argparse.Namespace) -> Configuration:
    """The configuration that the command line asks for. Raises `ConfigurationError`."""
    file: Path | None = arguments.config
    if file is None and os.environ.get("DERMANODE_CONFIG"):
        file = Path(os.environ["DERMANODE_CONFIG"])
    if file is None and DEFAULT_FILE.exists():
        file = DEFAULT_FILE
    if file is None:
        raise ConfigurationError(
            "No settings were found: there is no config/dermanode.yaml here.",
            cure="Run from the node's folder, or name a file with --config or $DERMANODE_CONFIG.",
        )
    settings = load_settings(file)
    return Configuration(settings, file, load_pipelines(settings, file.parent))


@contextmanager
def ledger_of(settings: Settings) -> Iterator[Ledger]:
    """The ledger, open for one command."""
    ledger = Ledger.open(ledger_url(settings))
    try:
        yield ledger
    finally:
        ledger.close()


def spool_of(settings: Settings) -> Spool:
    return Spool(settings.node.spool_dir)
