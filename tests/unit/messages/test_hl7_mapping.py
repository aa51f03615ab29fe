"""One hospital's habits, as its mapping file says."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import hl7
import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message

from dermanode.config import MllpDestination
from dermanode.domain import Case, Measurement, Outcome
from dermanode.domain.codes import MM2, Code
from dermanode.messages.hl7 import encode_oru

MAPPING = """
others: drop
are_notes_told: false
procedure: {value: DERM-AI, meaning: Dermoscopy with AI}
diagnostic_service: IMG
observations:
  - take: TOPCLASS
    code: {value: DX, meaning: AI class}
    values:
      "93655004": {value: MM, meaning: Melanoma (AI)}
  - take: area_mm2
    code: {value: AREA}
    unit: {value: cm2, scheme: UCUM}
    factor: 0.01
    decimals: 2
  - take: area_mm2.interval90
    code: {value: AREACI}
    unit: {value: cm2, scheme: UCUM}
    factor: 0.01
    decimals: 2
  - take: RISKLEVEL
    code: {value: RISK}
"""


@pytest.fixture
def mapped(mllp: MllpDestination, tmp_path: Path) -> MllpDestination:
    file = tmp_path / "his.yaml"
    file.write_text(MAPPING)
    return mllp.model_copy(update={"mapping": file})


@pytest.fixture
def measured(outcome: Outcome) -> Outcome:
    assert outcome.features is not None
    area = Measurement(key="area_mm2", concept=Code("42798000", "SCT", "Area"), value=1250.0, unit=MM2, lower=1200.0, upper=1300.0)
    return replace(outcome, surface=None, features=replace(outcome.features, measurements=(area, *outcome.features.measurements[1:])))


def observations(case: Case, outcome: Outcome, to: MllpDestination, made_at: datetime) -> list[hl7.Segment]:
    text = encode_oru(case, outcome, to, made_at=made_at, facility="F").decode()
    parse_message(text, validation_level=VALIDATION_LEVEL.STRICT, find_groups=True).validate()
    message = hl7.parse(text)
    last = [str(segment[0]) for segment in message].index("OBX")
    assert "NTE" not in [str(segment[0]) for segment in message][last:]
    return list(message.segments("OBX"))


def test_the_named_observations_come_first_in_the_hospitals_words(
    case: Case, measured: Outcome, mapped: MllpDestination, made_at: datetime
) -> None:
    first = observations(case, measured, mapped, made_at)[:4]
    assert [(str(obx[3]), str(obx[5])) for obx in first] == [
        ("DX^AI class^L", "MM^Melanoma (AI)^L"),
        ("AREA^^L", "12.50"),
        ("AREACI^^L", "^12.00^-^13.00"),
        ("RISK^^L", "high"),
    ]
    assert str(first[1][6]) == "cm2^^UCUM"


def test_what_is_missing_is_told_whatever_the_mapping_drops(
    case: Case, failed: Outcome, mapped: MllpDestination, made_at: datetime
) -> None:
    told = observations(case, failed, mapped, made_at)
    assert str(told[0][5]).startswith("ANALYSIS FAILED")
    assert {str(obx[11]) for obx in told if "STAGE-" in str(obx[3])} == {"X"}
    assert "RESEARCHUSE" in str(told[-1][3])


def test_other_observations_are_dropped_only_where_the_mapping_says_so(
    case: Case, measured: Outcome, mapped: MllpDestination, made_at: datetime
) -> None:
    dropped = len(observations(case, measured, mapped, made_at))
    assert mapped.mapping is not None
    mapped.mapping.write_text(MAPPING.replace("others: drop", "others: keep"))
    assert len(observations(case, measured, mapped, made_at)) > dropped + 5


def test_the_procedure_is_the_mappings(case: Case, outcome: Outcome, mapped: MllpDestination, made_at: datetime) -> None:
    obr = hl7.parse(encode_oru(case, outcome, mapped, made_at=made_at, facility="").decode()).segment("OBR")
    assert (str(obr[4]), str(obr[24])) == ("DERM-AI^Dermoscopy with AI^L", "IMG")


def test_the_report_for_people_is_carried_where_the_mapping_drops_what_it_does_not_name(
    case: Case, outcome: Outcome, mapped: MllpDestination, made_at: datetime
) -> None:
    wanted = mapped.model_copy(update={"is_pdf_embedded": True})
    text = encode_oru(case, outcome, wanted, made_at=made_at, facility="F", pdf=b"%PDF-1.7").decode()
    assert str(hl7.parse(text).segments("OBX")[-1][2]) == "ED"
