"""What a node that was killed left lying: half-made results and the stages' own files."""

from __future__ import annotations

import shutil
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)


def making(results_dir: Path, case_id: str) -> Path:
    """Where a case's results are made, out of sight."""
    return results_dir / f".{case_id}.making"


def retired(results_dir: Path, case_id: str) -> Path:
    """Where an earlier run's results are for the moment in which the new ones take their place."""
    return results_dir / f".{case_id}.retired"


def clear(results_dir: Path, work_dir: Path) -> None:
    """Removes them; for the start, before any worker runs. Results that were just being replaced are put back."""
    shutil.rmtree(work_dir, ignore_errors=True)
    for folder in results_dir.glob(".*.making"):
        log.info("half_made_results_removed", folder=folder.name)
        shutil.rmtree(folder, ignore_errors=True)
    for folder in results_dir.glob(".*.retired"):
        place = results_dir / folder.name.removeprefix(".").removesuffix(".retired")
        if place.exists():
            shutil.rmtree(folder, ignore_errors=True)
        else:
            folder.rename(place)
