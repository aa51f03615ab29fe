"""A checkpoint: all that a run needs to go on, written whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dermanode.errors import DermaNodeError

State = dict[str, Any]
"""Tensors and numbers by name, as torch writes them."""

Plan = Mapping[str, Mapping[str, Any]]
"""What a run was told, by part (`budget`, `task`) and entry."""

OF_THE_MACHINE = frozenset({"threads", "device"})
"""Entries of older plans that say where a run was, not what it computes: it may go on elsewhere."""


class RunDiffers(DermaNodeError):
    """A checkpoint of a run that was told something else."""

    def __init__(self, path: Path, difference: str) -> None:
        self.path, self.difference = path, difference
        super().__init__(
            f"{path} is of another run: {difference}. Say the same as then to go on, give another --out, or remove the file to begin anew."
        )


def write_whole(state: Mapping[str, Any], path: Path) -> None:
    """All of it or nothing: an interruption never leaves half a file under the name."""
    partial = path.with_name(path.name + ".partial")
    torch.save(dict(state), partial)
    partial.replace(path)


def write_text_whole(text: str, path: Path) -> None:
    """As `write_whole`, for text."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8", newline="")
    partial.replace(path)


def check_same_run(path: Path, before: Plan, now: Plan) -> None:
    """Raises `RunDiffers` with every entry that the checkpoint at `path` was told otherwise."""
    differing = [
        f"{entry} was {before.get(part, {}).get(entry, 'not said')}, is {now.get(part, {}).get(entry, 'not said')}"
        for part in sorted({*before, *now})
        for entry in sorted({*before.get(part, {}), *now.get(part, {})} - OF_THE_MACHINE)
        if before.get(part, {}).get(entry) != now.get(part, {}).get(entry)
    ]
    if differing:
        raise RunDiffers(path, "; ".join(differing))
