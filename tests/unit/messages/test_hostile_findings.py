"""What plugins and devices may put into a case, and no message may break on."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from fhir.resources.bundle import Bundle as R5Bundle
from fhir.resources.R4B.bundle import Bundle as R4Bundle
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message

from dermanode.config import MllpDestination
from dermanode.domain import Case, Code, Outcome, Patient, codes
from dermanode.messages import hl7
from dermanode.messages.fhir import lesion, observations, referral, report
from dermanode.messages.fhir.encode import encode_transactions
from dermanode.messages.fhir.terms import SYSTEMS
from dermanode.messages.hl7 import encode_oru
from dermanode.testing.chaos import Chaos


@pytest.mark.parametrize("seed", range(12))
def test_no_text_or_number_breaks_a_message(seed: int, case: Case, mllp: MllpDestination, made_at: datetime) -> None:
    chaos = Chaos(seed)
    of, outcome = chaos.case(case), chaos.outcome()
    text = encode_oru(of, outcome, mllp, made_at=made_at, facility=chaos.text()).decode()
    assert parse_message(text, validation_level=VALIDATION_LEVEL.STRICT, find_groups=True).validate()
    for version, bundle in (("R4", R4Bundle), ("R5", R5Bundle)):
        for content in encode_transactions(of, outcome, made_at=made_at, version=version, institution=chaos.text()):
            bundle.model_validate_json(content)


@pytest.mark.parametrize("value", [float("nan"), -0.2, 1.2])
def test_probability_that_is_none_is_told_as_a_failed_classification(
    value: float, case: Case, outcome: Outcome, mllp: MllpDestination, made_at: datetime
) -> None:
    assert outcome.classification
    broken = replace(outcome.classification.groups[0], probability=value)
    faulty = replace(outcome, classification=replace(outcome.classification, groups=(broken,)))
    text = encode_oru(case, faulty, mllp, made_at=made_at, facility="").decode()
    assert "ANALYSIS FAILED: classify: the plugin gave numbers that are not between 0 and 1." in text
    assert "93655004" not in text


def test_long_text_is_told_whole_in_lines(case: Case, failed: Outcome, mllp: MllpDestination, made_at: datetime) -> None:
    words = " ".join(f"word{n}" for n in range(200))
    long = replace(failed, reports=(replace(failed.reports[1], reason=words),))
    text = encode_oru(case, long, mllp, made_at=made_at, facility="").decode()
    (row,) = [line for line in text.split("\r") if "|STAGE-SEGMENT^" in line]
    lines = row.split("|")[5].split("~")
    assert words in " ".join(lines)
    assert max(map(len, lines)) <= 199


def test_long_names_of_places_are_universal_ids(case: Case, outcome: Outcome, mllp: MllpDestination, made_at: datetime) -> None:
    place = "Universitätsklinikum Irgendwo"
    of = replace(case, series=replace(case.series, patient=Patient("7", place)))
    text = encode_oru(of, outcome, mllp, made_at=made_at, facility=place).decode()
    assert f"|DERMANODE|^{place}^L|" in text
    assert f"|7^^^&{place}&L^PI|" in text


def codes_of(*modules: Any) -> list[Code]:
    found = [value for module in modules for value in vars(module).values() if isinstance(value, Code)]
    return [*found, *lesion.SIDES.values()]


SNOMED = sorted({c for c in codes_of(codes, hl7, lesion, observations, referral, report) if c.scheme == "SCT"}, key=lambda c: c.value)


@pytest.mark.parametrize("code", SNOMED, ids=lambda code: code.meaning)
def test_snomed_numbers_have_a_right_check_digit(code: Code) -> None:
    # Verhoeff's scheme: the dihedral group of order 10, and the permutation that is applied once more for each place
    def multiply(a: int, b: int) -> int:
        return (a + b if a < 5 else a - b) % 5 + (0 if (a < 5) == (b < 5) else 5)

    permute, check = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4), 0
    for place, digit in enumerate(map(int, reversed(code.value))):
        for _ in range(place % 8):
            digit = permute[digit]
        check = multiply(check, digit)
    assert check == 0


def test_every_scheme_has_its_system() -> None:
    assert all(system.startswith(("http://", "urn:oid:")) for system in SYSTEMS.values())
