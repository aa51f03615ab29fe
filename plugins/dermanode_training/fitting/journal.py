"""What is written about a run while it goes on: a table of its steps, its figures, and TensorBoard's events where asked for."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dermanode.errors import DermaNodeError
from dermanode_training.fitting.checkpoint import write_text_whole

COLUMNS = ("step", "elapsed_s", "loss", "rate", "figures")


class TensorBoardMissing(DermaNodeError):
    """Events for TensorBoard were asked for where its package is not installed."""


class Journal:
    """Beside the weights `out`: `.csv`, a line for every fifty steps and every validation; `.json`, the plan and its figures."""

    def __init__(self, out: Path, *, has_events: bool = False) -> None:
        """`has_events` writes a folder `.tensorboard` too. Raises `TensorBoardMissing`."""
        self._table, self._told = out.with_suffix(".csv"), out.with_suffix(".json")
        self._events = _events(out.with_suffix(".tensorboard")) if has_events else None

    def go_on(self, step: int) -> None:
        """Drops the lines after that step: they are of work that an interruption lost, or of an earlier run."""
        kept: list[list[str]] = []
        if self._table.is_file():
            with self._table.open(newline="", encoding="utf-8") as stream:
                kept = [row for row in csv.reader(stream) if row and row[0].isdecimal() and 0 < int(row[0]) <= step]
        text = io.StringIO(newline="")
        csv.writer(text).writerows([COLUMNS, *kept])
        write_text_whole(text.getvalue(), self._table)

    def line(self, row: Mapping[str, float]) -> None:
        """What is no column of the table stands in its last one, as JSON."""
        figures = {name: value for name, value in row.items() if name not in COLUMNS}
        with self._table.open("a", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerow([row.get(name, "") for name in COLUMNS[:-1]] + [json.dumps(figures) if figures else ""])
        if self._events is not None:
            for name in row.keys() - {"step"}:
                self._events.add_scalar(name, row[name], int(row["step"]))

    def tell(self, told: Mapping[str, Any]) -> None:
        """The plan, the machine and all validations so far, in place of what was told before."""
        write_text_whole(json.dumps(told, indent=1), self._told)
        if self._events is not None:
            self._events.flush()


def _events(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise TensorBoardMissing("--tensorboard needs a package that is not installed: pip install tensorboard.") from error
    return SummaryWriter(str(folder))
