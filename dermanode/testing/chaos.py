"""What plugins and devices may put into a case, drawn at random: no message may break on it."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import date

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
    StageStatus,
)

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
