"""Which code made something: the commit of the checkout and the versions of the libraries."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = ("torch", "torchvision", "monai", "numpy", "opencv-python-headless")


COMMIT = "DERMANODE_COMMIT"
"""The environment variable that names the commit on a machine to which only the files were copied."""


def commit(folder: Path | None = None) -> str:
    """The hash of the checkout that this file, or `folder`, lies in, `-dirty` where files differ from it.

    Outside of a checkout it is what `COMMIT` says, else `unknown`.
    """
    place = folder or Path(__file__).resolve().parent
    try:
        found = _git(place, "rev-parse", "HEAD")
        return found + ("-dirty" if _git(place, "status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get(COMMIT, "unknown")


def versions() -> dict[str, str]:
    """Python's, and those of the libraries that decide what comes out of a training."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name).split("+")[0]
        except PackageNotFoundError:
            continue
    return found


def _git(place: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(place), *arguments], capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.strip()
