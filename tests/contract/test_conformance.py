"""The conformance statement says what the code does."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path
from typing import get_args

import pydicom.uid
import pynetdicom.sop_class
import pytest

from dermanode.config import ObjectKind
from dermanode.receive.contexts import TRANSFER_SYNTAXES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8")
ROOMS = ("deliver", "receive", "web", "app.py")
UID = re.compile(r"1\.2\.840\.10008\.[0-9.]*[0-9]")


def imported(module: str, *rooms: str) -> set[str]:
    """The names that files of these rooms import from a module."""
    names: set[str] = set()
    for room in rooms:
        place = ROOT / "dermanode" / room
        for file in place.rglob("*.py") if place.is_dir() else [place]:
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and node.module == module:
                    names |= {alias.name for alias in node.names}
    return names


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    lines = PAGE[PAGE.index(heading) :].splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("| ---"))
    body = lines[first + 1 :]
    last = next((number for number, line in enumerate(body) if not line.startswith("|")), len(body))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in body[:last]]


def services() -> set[str]:
    """The UIDs of the SOP classes, storage aside, that the node's network code names."""
    names = imported("pynetdicom.sop_class", *ROOMS) - {"register_uid", "uid_to_service_class"}
    uids = {str(getattr(pynetdicom.sop_class, name)) for name in names}
    # PS3.4 CC.2: a procedure step's own class is UPS Push, over whatever context; it is never negotiated here.
    return {uid for uid in uids if not uid.startswith("1.2.840.10008.5.1.4.1.1.")} - {"1.2.840.10008.5.1.4.34.6.1"}


def test_the_list_of_storage_classes_is_made_from_the_code() -> None:
    listing = runpy.run_path(str(ROOT / "docs" / "make_storage_classes.py"))["listing"]
    assert (ROOT / "docs" / "storage-classes.md").read_text(encoding="utf-8") == listing(), "run `make docs`"


def test_the_transfer_syntaxes_are_those_of_the_listener_in_its_order() -> None:
    assert [row[1] for row in rows("**As SCP**: all storage SOP classes")] == list(TRANSFER_SYNTAXES)


def test_every_service_of_the_code_stands_in_the_overview_and_no_other() -> None:
    told = {uid for row in rows("## 1 Overview") for uid in UID.findall(row[0])}
    assert told == services()


def test_every_kind_of_object_stands_in_annex_a() -> None:
    told = {row[0] for row in rows("## Annex A")}
    assert told == set(get_args(ObjectKind)) - {"OTHER"}


def test_the_classes_of_annex_a_are_those_that_the_encoders_name() -> None:
    told = {row[2] for row in rows("## Annex A")}
    named = {str(getattr(pydicom.uid, name)) for name in imported("pydicom.uid", "dicom") if name.endswith("Storage")}
    # pydicom's dictionary has no name for label maps.
    assert told - named <= {"1.2.840.10008.5.1.4.1.1.66.7"}


@pytest.mark.parametrize(
    "heading", ["## 1 ", "## 2 ", "## 3 ", "## 4 ", "## 5 ", "## 6 ", "## 7 ", "## 8 HL7", "## 9 HL7", "## Annex A", "## Annex C"]
)
def test_the_statement_has_the_usual_order(heading: str) -> None:
    order = re.findall(r"^## .*$", PAGE, re.MULTILINE)
    assert any(line.startswith(heading.strip()) for line in order)
    assert order == sorted(order, key=lambda line: (line.startswith("## Annex"), line))


def test_the_resources_of_the_fhir_section_are_those_that_are_made() -> None:
    told = {name for row in rows("## 9 HL7 FHIR") for name in re.findall(r"[A-Z][A-Za-z]+", row[0]) if name != "R"}
    written = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "dermanode" / "messages" / "fhir").glob("*.py"))
    assert {name for name in told if f'"{name}"' not in written} == set()
    assert {"DiagnosticReport", "Observation", "Provenance", "ServiceRequest", "ImagingSelection"} <= told
