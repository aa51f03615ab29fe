"""What plugins and devices may put into a case, and no message may break on."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import pytest
from fhir.resources.R4B.bundle import Bundle
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message

from dermanode.config import MllpDestination
from dermanode.domain import (
    Algorithm,
    Case,
    Classification,
    ClassProbability,
    Code,
    Features,
    Measurement,
    Outcome,
    Patient,
    Progression,
    Risk,
    RiskTerm,
    StageReport,
)
from dermanode.domain.outcome import StageStatus
from dermanode.messages import fhir, hl7
from dermanode.messages.fhir import encode_bundle
from dermanode.messages.fhir_terms import SYSTEMS
from dermanode.messages.hl7 import encode_oru

PIECES = ["", "a", " ", "é", "山", "|^~\\&", "\r\n", "\x0b\x1c\x00", "\udcff", "\\E\\", "\\F", "\x85", "😀", "=", '"', "<b>", "x" * 300]


class Chaos:
    """Draws nonsense, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def text(self) -> str:
        return "".join(self.random.choice(PIECES) for _ in range(self.random.choice([0, 1, 3, 8])))

    def code(self) -> Code:
        return Code(self.text(), self.random.choice(["SCT", "99DERMANODE", self.text()]), self.text())

    def number(self) -> float:
        return self.random.choice([0.0, 1.0, -1.5, 1e-12, 1e22, 123456789.123, float("nan"), float("inf")])

    def measurement(self) -> Measurement:
        lower, upper = self.number(), self.number()
        return Measurement(key=self.text(), concept=self.code(), value=self.number(), unit=self.code(), lower=lower, upper=upper)

    def share(self) -> ClassProbability:
        return ClassProbability(label=self.text(), concept=self.code(), probability=self.random.choice([0.5, self.number()]))

    def outcome(self) -> Outcome:
        algorithm = Algorithm(self.text(), self.text(), self.text())
        status = self.random.choice(list(StageStatus))
        report = StageReport(stage=self.text(), status=status, plugin=self.text(), reason=self.text(), algorithm=algorithm)
        return Outcome(
            case_id="case-1",
            revision=1,
            is_failed=False,
            reports=(report,),
            features=Features(
                algorithm=algorithm, measurements=(self.measurement(), self.measurement()), absent=((self.text(), self.text()),)
            ),
            classification=Classification(algorithm=algorithm, diagnosis=(self.share(),), groups=(self.share(),), remarks=(self.text(),)),
            progression=Progression(
                algorithm=algorithm,
                priors=(self.text(),),
                changes=(self.measurement(),),
                trends=(self.measurement(), self.measurement()),
                alerts=(self.text(),),
            ),
            risk=Risk(
                algorithm=algorithm,
                score=0.5,
                level=self.text(),
                terms=(RiskTerm(name=self.text(), weight=self.number(), value=self.number()), RiskTerm(name="x", weight=0.5, value=1.0)),
                missing=((self.text(), self.text()),),
                recommendation=self.text(),
            ),
        )

    def case(self, of: Case) -> Case:
        patient = Patient(self.text(), self.text(), self.text(), date(1, 1, 1), self.text())
        return replace(of, series=replace(of.series, patient=patient, accession_number=self.text(), tracking_id=self.text()))


@pytest.mark.parametrize("seed", range(12))
def test_no_text_or_number_breaks_a_message(seed: int, case: Case, mllp: MllpDestination, made_at: datetime) -> None:
    chaos = Chaos(seed)
    of, outcome = chaos.case(case), chaos.outcome()
    text = encode_oru(of, outcome, mllp, made_at=made_at, facility=chaos.text()).decode()
    assert parse_message(text, validation_level=VALIDATION_LEVEL.STRICT, find_groups=True).validate()
    Bundle.model_validate_json(encode_bundle(of, outcome, made_at=made_at))


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
    return [*found, *fhir._SIDES.values()]


@pytest.mark.parametrize("code", [c for c in codes_of(hl7, fhir) if c.scheme == "SCT"], ids=lambda code: code.meaning)
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
