"""A bundle's `configs/metadata.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dermanode_training.fitting.checkpoint import write_text_whole


def update_metadata(bundle: Path, changes: Mapping[str, Any]) -> None:
    """Sets some of the top-level entries of `configs/metadata.json`."""
    metadata = metadata_of(bundle) | dict(changes)
    write_text_whole(json.dumps(metadata, indent=2, ensure_ascii=False) + "\n", bundle / "configs" / "metadata.json")


def metadata_of(bundle: Path) -> dict[str, Any]:
    """What `configs/metadata.json` says."""
    told: dict[str, Any] = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    return told
