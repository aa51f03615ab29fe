from __future__ import annotations

import re
from pathlib import Path

import pytest

from dermanode.dicom import concepts
from dermanode.domain import Code, codes

ROOT = Path(__file__).parents[3]
# Verhoeff's dihedral check (SNOMED CT technical implementation guide, "check-digit").
_MULTIPLY = [[(j + i) % 5 if i < 5 and j < 5 else 0 for j in range(10)] for i in range(10)]
for i in range(10):
    for j in range(10):
        a, b = i % 5, j % 5
        if i < 5 and j < 5:
            _MULTIPLY[i][j] = (a + b) % 5
        elif i < 5:
            _MULTIPLY[i][j] = (a + b) % 5 + 5
        elif j < 5:
            _MULTIPLY[i][j] = (a - b) % 5 + 5
        else:
            _MULTIPLY[i][j] = (a - b) % 5
_PERMUTE = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]


def passes_verhoeff(number: str) -> bool:
    check = 0
    for position, digit in enumerate(reversed(number)):
        value = int(digit)
        for _ in range(position % 8):
            value = _PERMUTE[value]
        check = _MULTIPLY[check][value]
    return check == 0


def every_code() -> list[Code]:
    named = [*vars(concepts).values(), *vars(codes).values()]
    tables = [code for table in named if isinstance(table, dict) for code in table.values()]
    return [code for code in (*named, *tables) if isinstance(code, Code)]


@pytest.mark.parametrize("code", [c for c in every_code() if c.scheme == "SCT"], ids=lambda c: c.value)
def test_every_snomed_code_has_a_right_check_digit(code: Code) -> None:
    assert passes_verhoeff(code.value)


_WRITTEN = (
    re.compile(r"""["'](\d{6,18})["'],\s*["']SCT["']"""),  # Code("39937001", "SCT", ...)
    re.compile(r"""["']SCT["'],\s*["'](\d{6,18})["']"""),
    re.compile(r"""["'](\d{6,18})["'],\s*["']?\w+["']?[:=]\s*["']SCT["']"""),  # of a bundle's metadata
    re.compile(r"\bSCT[ :|](\d{6,18})\b"),  # in words, and in FHIR's and HL7's notation
    re.compile(r"""snomed\.info/sct["'|,\s]+(?:code\W+)?(\d{6,18})"""),
    re.compile(r"(\d{6,18})\^[^^\n]*\^SCT"),
)
_PLACES = ("dermanode", "plugins", "models", "config", "docs", "benchmarks")


def written_codes() -> dict[str, set[str]]:
    """Every SNOMED code that stands anywhere in code, bundles, settings or documents, with the files in which it stands."""
    found: dict[str, set[str]] = {}
    for place in _PLACES:
        for file in (ROOT / place).rglob("*"):
            if file.suffix not in (".py", ".json", ".yaml", ".toml", ".md", ".html", ".js") or not file.is_file():
                continue
            text = file.read_text(encoding="utf-8")
            for pattern in _WRITTEN:
                for code in pattern.findall(text):
                    found.setdefault(code, set()).add(str(file.relative_to(ROOT)))
    return found


def test_every_snomed_code_that_is_written_anywhere_has_a_right_check_digit() -> None:
    codes_and_files = written_codes()
    assert len(codes_and_files) > 25
    assert {code: files for code, files in codes_and_files.items() if not passes_verhoeff(code)} == {}


def test_what_is_written_is_found_wherever_code_builds_one() -> None:
    """The patterns miss nothing that the tables of codes hold."""
    assert {code.value for code in every_code() if code.scheme == "SCT"} <= set(written_codes())


def test_the_check_finds_a_wrong_digit() -> None:
    assert passes_verhoeff("95324001")
    assert not passes_verhoeff("95324002")


@pytest.mark.parametrize("code", every_code(), ids=lambda c: c.value)
def test_every_code_fits_its_attributes(code: Code) -> None:
    assert len(code.value) <= 16
    assert len(code.scheme) <= 16
    assert len(code.meaning) <= 64
