"""What the documents say is what the code does."""

from __future__ import annotations

import argparse
import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from dermanode import hookspecs
from dermanode.cli import make_parser

ROOT = Path(__file__).parents[2]


def commands() -> dict[str, argparse.ArgumentParser]:
    actions = make_parser()._subparsers
    assert actions is not None
    choices = actions._group_actions[0].choices
    assert isinstance(choices, dict)
    return choices


def test_the_configuration_reference_is_made_from_the_settings() -> None:
    reference = runpy.run_path(str(ROOT / "docs" / "make_configuration.py"))["reference"]
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == reference(), "run `make docs`"


def test_every_command_stands_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in commands() if f"dermanode {name}" not in readme] == []


def test_every_command_has_a_help_that_is_a_sentence() -> None:
    for name, parser in commands().items():
        assert parser.description, name
        assert len(parser.format_help()) > 100, name


def test_every_hook_stands_in_the_vendors_page() -> None:
    page = (ROOT / "docs" / "vendor.md").read_text(encoding="utf-8")
    hooks = [name for name, value in vars(hookspecs).items() if hasattr(value, f"{hookspecs.PROJECT}_spec")]
    assert len(hooks) >= 10
    assert [hook for hook in hooks if f"`{hook}" not in page] == []


@pytest.mark.parametrize("page", [*sorted(path.name for path in (ROOT / "docs").glob("*.md")), "../README.md"])
def test_links_between_documents_lead_somewhere(page: str) -> None:
    file = ROOT / "docs" / page
    for target in re.findall(r"\]\(([^)#]+)\)", file.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (file.parent / target).exists(), f"{page} links to {target}"


def test_the_containers_run_commands_that_exist() -> None:
    services = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text(encoding="utf-8"))["services"]
    program, command = services["node"]["command"]
    assert program == "dermanode"
    assert command in commands()
    for service in services.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert not source.startswith(".") or (ROOT / "docker" / source).exists(), source
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
    assert 'CMD ["dermanode", "serve"]' in dockerfile


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed")
def test_the_dockerfile_is_clean() -> None:
    assert subprocess.run(["hadolint", ROOT / "docker" / "Dockerfile"], check=False).returncode == 0


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="Debian's package shellcheck is not installed")
def test_the_shell_scripts_are_clean() -> None:
    scripts = [ROOT / ".ci" / "run", ROOT / ".ci" / "set-up"]
    assert subprocess.run(["shellcheck", *scripts], check=False).returncode == 0


def test_importing_the_node_is_quick_and_loads_no_torch() -> None:
    import sys

    script = "import sys, dermanode, dermanode.app; print(*sorted(sys.modules))"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy = {"torch", "monai", "cv2", "highdicom", "open3d", "pycolmap", "hl7apy", "fhir"}
    assert heavy & set(said.stdout.split()) == set()


def test_every_private_code_is_defined_in_the_conformance_statement() -> None:
    page = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8")
    defined = set(re.findall(r"[A-Z]+-?", "\n".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| "))))
    sources = [file for room in ("dermanode", "plugins") for file in (ROOT / room).rglob("*.py") if file.parts[-2] != "testing"]
    used = {code for file in sources for code in re.findall(r'private\(f?"([A-Z]+-?)', file.read_text(encoding="utf-8"))}
    assert len(used) > 20
    assert used - defined == set()
