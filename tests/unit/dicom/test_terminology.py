from __future__ import annotations

import pytest

from dermanode.dicom import concepts
from dermanode.domain import Code, codes

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


def test_the_check_finds_a_wrong_digit() -> None:
    assert passes_verhoeff("95324001")
    assert not passes_verhoeff("95324002")


@pytest.mark.parametrize("code", every_code(), ids=lambda c: c.value)
def test_every_code_fits_its_attributes(code: Code) -> None:
    assert len(code.value) <= 16
    assert len(code.scheme) <= 16
    assert len(code.meaning) <= 64
