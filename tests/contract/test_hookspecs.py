"""Every hook of the contract is explained to vendors, and tried."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from dermanode import hookspecs
from dermanode.domain import Finding
from dermanode.hookspecs import STAGES

ROOT = Path(__file__).parents[2]
HOOKS = {name: value for name, value in vars(hookspecs).items() if hasattr(value, f"{hookspecs.PROJECT}_spec")}


def test_there_are_hooks() -> None:
    assert set(STAGES) < set(HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_hook_says_what_it_is_for(hook: str) -> None:
    assert inspect.getdoc(HOOKS[hook])


@pytest.mark.parametrize("hook", HOOKS)
def test_hook_is_in_the_documentation(hook: str) -> None:
    pages = [path for path in (ROOT / "docs").rglob("*.md") if f"`{hook}" in path.read_text(encoding="utf-8")]
    assert pages, f"no page under docs/ mentions `{hook}`"


@pytest.mark.parametrize("hook", HOOKS)
def test_hook_is_tried_by_a_test(hook: str) -> None:
    tests = [path for path in (ROOT / "tests").rglob("test_*.py") if f"def {hook}(" in path.read_text(encoding="utf-8")]
    plugins = [path for path in (ROOT / "plugins").rglob("*.py") if f"def {hook}(" in path.read_text(encoding="utf-8")]
    assert tests or (plugins and hook in STAGES), f"no test implements `{hook}`"


@pytest.mark.parametrize("stage", STAGES)
def test_stage_is_a_hook_that_takes_a_case_and_a_context(stage: str) -> None:
    assert list(inspect.signature(HOOKS[stage]).parameters) == ["case", "context"]
    assert HOOKS[stage].dermanode_spec["firstresult"]


@pytest.mark.parametrize(("stage", "finding"), STAGES.items())
def test_finding_knows_its_stage(stage: str, finding: type[Finding]) -> None:
    assert finding.stage == stage
