"""A plugin to begin with: the package that `dermanode plugins new` writes."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from string import Template

from dermanode.errors import ConfigurationError
from dermanode.hookspecs import API_VERSION, STAGES

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_WITH_EXAMPLE = frozenset({"segment"})


def write_plugin(name: str, *, stage: str = "segment", into: Path = Path()) -> Path:
    """Writes a package for one stage into a new folder `into/name` and returns that folder.

    For `segment` it holds an algorithm that works without a network; for another stage it declines, and says that it does so
    because nothing is written yet. Raises `ConfigurationError` for a name or stage that cannot be, or a folder that is there already.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"{name!r} is no name for a plugin.", cure="Use lower case letters, digits and '-', such as acme-segment.")
    if stage not in STAGES:
        raise ConfigurationError(f"There is no stage {stage!r}.", cure=f"The stages are: {', '.join(STAGES)}.")
    folder = into / name
    if folder.exists():
        raise ConfigurationError(f"{folder} is there already.", cure="Choose another name, or remove it.")
    package = name.replace("-", "_")
    words = {"name": name, "package": package, "stage": stage, "finding": STAGES[stage].__name__, "api": str(API_VERSION)}
    example = stage if stage in _WITH_EXAMPLE else "declining"
    for source, target in {
        "README.md.txt": "README.md",
        "pyproject.toml.txt": "pyproject.toml",
        "dermanode.toml.txt": f"{package}/dermanode.toml",
        f"{example}.py.txt": f"{package}/__init__.py",
        "test_conformance.py.txt": "tests/test_conformance.py",
    }.items():
        path = folder / target
        path.parent.mkdir(parents=True, exist_ok=True)
        text = files(__name__).joinpath("files", source).read_text(encoding="utf-8")
        path.write_text(Template(text).substitute(words), encoding="utf-8")
    (folder / package / "py.typed").touch()
    return folder
