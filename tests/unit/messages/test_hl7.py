from __future__ import annotations

import base64
from dataclasses import replace
from datetime import datetime

import hl7
import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message

from dermanode.config import FolderDestination, MllpDestination
from dermanode.domain import Case, Order, Outcome, Risk
from dermanode.messages.hl7 import encode_oru


def encoded(case: Case, outcome: Outcome, to: MllpDestination, made_at: datetime) -> hl7.Message:
    return hl7.parse(encode_oru(case, outcome, to, made_at=made_at, facility="Städtisches Klinikum").decode())


def rows(message: hl7.Message, code: str) -> list[hl7.Segment]:
    return [obx for obx in message.segments("OBX") if str(obx[3][0][0]) == code]


@pytest.mark.parametrize("which", ["outcome", "failed"])
@pytest.mark.parametrize("whose", ["case", "of_nobody"])
def test_every_message_is_strictly_valid(
    which: str, whose: str, request: pytest.FixtureRequest, mllp: MllpDestination, made_at: datetime
) -> None:
    case, outcome = request.getfixturevalue(whose), request.getfixturevalue(which)
    text = encode_oru(case, outcome, mllp, made_at=made_at, facility="F").decode()
    parsed = parse_message(text, validation_level=VALIDATION_LEVEL.STRICT, find_groups=True)
    assert parsed.validate()
    assert parsed.to_er7().rstrip("\r") == text.rstrip("\r")


def test_header_names_type_version_characters_and_receiver(case: Case, outcome: Outcome, mllp: MllpDestination, made_at: datetime) -> None:
    msh = encoded(case, outcome, mllp, made_at).segment("MSH")
    assert [str(msh[n]) for n in (3, 4, 5, 7, 9, 11, 12, 18)] == [
        "DERMANODE",
        "Städtisches Klinikum",
        "HIS",
        "20261121093000+0000",
        "ORU^R01^ORU_R01",
        "P",
        "2.5.1",
        "UNICODE UTF-8",
    ]
    assert str(msh[6]) == "Ward\\F\\7"


def test_enhanced_mode_is_asked_for_only_where_configured(case: Case, outcome: Outcome, mllp: MllpDestination, made_at: datetime) -> None:
    enhanced = mllp.model_copy(update={"acknowledgement": "enhanced"})
    assert str(encoded(case, outcome, mllp, made_at).segment("MSH")[15]) == ""
    assert [str(encoded(case, outcome, enhanced, made_at).segment("MSH")[n]) for n in (15, 16)] == ["AL", "AL"]


def test_control_id_is_the_same_for_a_repetition(case: Case, outcome: Outcome, mllp: MllpDestination, made_at: datetime) -> None:
    first = encoded(case, outcome, mllp, made_at).segment("MSH")
    again = encoded(case, replace(outcome, took_s=9.0), mllp, made_at.replace(hour=11)).segment("MSH")
    assert str(first[10]) == str(again[10])
    assert len(str(first[10])) == 20


def test_control_id_is_another_for_a_new_result_and_for_another_receiver(
    case: Case, outcome: Outcome, failed: Outcome, mllp: MllpDestination, made_at: datetime
) -> None:
    other = mllp.model_copy(update={"port": 2576})
    ids = {
        str(encoded(c, o, d, made_at).segment("MSH")[10])
        for c, o, d in ((case, outcome, mllp), (case, failed, mllp), (case, outcome, other), (replace(case, revision=2), outcome, mllp))
    }
    assert len(ids) == 4


def test_control_id_is_another_when_the_numbers_are_the_same_and_not_to_be_relied_on(
    case: Case, outcome: Outcome, mllp: MllpDestination, made_at: datetime
) -> None:
    assert outcome.classification is not None
    told = {True: outcome.classification, False: replace(outcome.classification, is_in_domain=False)}
    ids = {str(encoded(case, replace(outcome, classification=one), mllp, made_at).segment("MSH")[10]) for one in told.values()}
    assert len(ids) == 2


def test_name_identifier_and_birth_are_the_patients(case: Case, outcome: Outcome, mllp: MllpDestination, made_at: datetime) -> None:
    pid = encoded(case, outcome, mllp, made_at).segment("PID")
    assert str(pid[3]) == "P\\F\\1\\S\\2^^^St. Mary \\T\\ Co^PI"
    assert [str(name) for name in pid[5]] == ["Müller^Änne^Zoë^Jr.^Dr.^^L^A", "山田^太郎^^^^^L^I"]
    assert [str(pid[n]) for n in (7, 8)] == ["19700203", "F"]


def test_patient_without_id_and_name_is_unspecified(of_nobody: Case, outcome: Outcome, mllp: MllpDestination, made_at: datetime) -> None:
    pid = encoded(of_nobody, outcome, mllp, made_at).segment("PID")
    assert [str(pid[n]) for n in (3, 5)] == ["^^^^U", "^^^^^^U"]


def test_order_is_preliminary_and_carries_the_accession_number(
    case: Case, outcome: Outcome, mllp: MllpDestination, made_at: datetime
) -> None:
    obr = encoded(case, outcome, mllp, made_at).segment("OBR")
    assert str(obr[4]) == "446078004^Dermoscopic photography^SCT"
    assert [str(obr[n]) for n in (18, 25)] == ["A\\E\\100", "P"]


def test_measurement_has_its_ucum_unit_and_no_exponent(case: Case, outcome: Outcome, mllp: MllpDestination, made_at: datetime) -> None:
    (area,) = rows(encoded(case, outcome, mllp, made_at), "42798000")
    assert [str(area[n]) for n in (2, 5, 6)] == ["NM", "0.0000123456", "mm2^square millimeter^UCUM"]
    assert str(area[3]) == "42798000^Area^SCT^area_mm2^Area^99DERMANODE"


def test_interval_is_a_structured_number_below_its_value(case: Case, outcome: Outcome, mllp: MllpDestination, made_at: datetime) -> None:
    message = encoded(case, outcome, mllp, made_at)
    (interval,) = rows(message, "area_mm2.interval90")
    assert [str(interval[n]) for n in (2, 5, 6)] == ["SN", "^11^-^13.5", "mm2^square millimeter^UCUM"]
    (area,) = rows(message, "42798000")
    assert int(str(interval[1])) == int(str(area[1])) + 1


def test_interval_too_long_for_a_structured_number_is_told_in_words(
    case: Case, outcome: Outcome, mllp: MllpDestination, made_at: datetime
) -> None:
    assert outcome.features
    tiny = replace(outcome.features.measurements[0], lower=1.23456e-13)
    message = encoded(case, replace(outcome, features=replace(outcome.features, measurements=(tiny,))), mllp, made_at)
    (interval,) = rows(message, "area_mm2.interval90")
    assert [str(interval[n]) for n in (2, 5)] == ["ST", "0.000000000000123456 to 13.5"]


def test_trend_has_its_unit_and_its_interval(case: Case, outcome: Outcome, mllp: MllpDestination, made_at: datetime) -> None:
    message = encoded(case, outcome, mllp, made_at)
    (trend,) = rows(message, "AREA-TREND")
    assert [str(trend[n]) for n in (2, 5, 6)] == ["NM", "-0.4", "%/(30.d)^percent per 30 days^UCUM"]
    assert str(rows(message, "area_trend.interval90")[0][5]) == "^-0.9^-^0.1"


def test_each_part_of_the_risk_is_a_number(case: Case, outcome: Outcome, mllp: MllpDestination, made_at: datetime) -> None:
    message = encoded(case, outcome, mllp, made_at)
    (part,) = rows(message, "RISK-MALIGNANCY")
    assert [str(part[n]) for n in (2, 5)] == ["NM", "0.61"]
    notes = [str(nte[3]) for nte in message.segments("NTE")]
    assert "Value 0.610 x weight 1.000" in notes
    assert "Left out: growth (no second prior)" in notes


def test_only_the_most_probable_class_is_given_as_a_coded_value(
    case: Case, outcome: Outcome, mllp: MllpDestination, made_at: datetime
) -> None:
    message = encoded(case, outcome, mllp, made_at)
    coded = [obx for obx in message.segments("OBX") if str(obx[2]) == "CWE" and str(obx[3][0][0]) == "TOPCLASS"]
    assert [(str(obx[5]), str(obx[9])) for obx in coded] == [("93655004^Malignant melanoma of skin^SCT", "0.7")]
    assert str(rows(message, "PROB-NV")[0][5]) == "0.3"
    assert str(rows(message, "PROB-MALIGNANT")[0][5]) == "0.7"


@pytest.mark.parametrize(("level", "flag"), [("high", "A"), ("moderate", ""), ("low", "")])
def test_risk_is_flagged_when_high_and_never_called_normal(
    level: str, flag: str, case: Case, outcome: Outcome, mllp: MllpDestination, made_at: datetime
) -> None:
    assert isinstance(outcome.risk, Risk)
    (row,) = rows(encoded(case, replace(outcome, risk=replace(outcome.risk, level=level)), mllp, made_at), "RISKLEVEL")
    assert (str(row[5]), str(row[8])) == (level, flag)


def test_failed_case_says_so_and_gives_no_result(case: Case, failed: Outcome, mllp: MllpDestination, made_at: datetime) -> None:
    message = encoded(case, failed, mllp, made_at)
    first = message.segments("OBX")[0]
    assert str(first[5]).startswith("ANALYSIS FAILED: segment: raised ValueError: no lesion.")
    assert "must not be read as negative" in str(message.segments("NTE")[0][3])
    assert not rows(message, "TOPCLASS")
    assert not rows(message, "RISKSCORE")
    (segmentation,) = rows(message, "STAGE-SEGMENT")
    assert "not performed (failed)" in str(segmentation[5])
    assert str(segmentation[11]) == "X"


def test_case_without_a_readable_image_says_so(case: Case, failed: Outcome, mllp: MllpDestination, made_at: datetime) -> None:
    unread = replace(failed, reports=(), unreadable=((case.series.views[0].sop_instance_uid, "truncated"),))
    message = encoded(case, unread, mllp, made_at)
    assert str(message.segments("OBX")[0][5]).startswith("ANALYSIS FAILED: no image could be read.")
    assert str(rows(message, "UNREADABLE")[0][5]) == "1.2.3.4: truncated"


def test_what_could_not_be_measured_is_named(case: Case, outcome: Outcome, mllp: MllpDestination, made_at: datetime) -> None:
    (row,) = rows(encoded(case, outcome, mllp, made_at), "NOTMEASURED")
    assert (str(row[5]), str(row[11])) == ("volume_mm3: heights are relative", "X")


def test_number_that_is_none_becomes_not_measured(case: Case, outcome: Outcome, mllp: MllpDestination, made_at: datetime) -> None:
    assert outcome.features
    broken = replace(outcome.features.measurements[0], value=float("nan"))
    message = encoded(case, replace(outcome, surface=None, features=replace(outcome.features, measurements=(broken,))), mllp, made_at)
    assert not rows(message, "42798000")
    assert "area_mm2: the computation gave no finite number" in [str(r[5]) for r in rows(message, "NOTMEASURED")]


def test_images_unlike_the_training_warn_the_reader(case: Case, outcome: Outcome, mllp: MllpDestination, made_at: datetime) -> None:
    assert outcome.classification
    strange = replace(outcome, classification=replace(outcome.classification, is_in_domain=False))
    assert any("do not rely" in str(nte[3]) for nte in encoded(case, strange, mllp, made_at).segments("NTE"))


def test_rows_with_one_question_have_different_sub_ids(case: Case, failed: Outcome, mllp: MllpDestination, made_at: datetime) -> None:
    twice = replace(failed, unreadable=tuple((case.series.views[0].sop_instance_uid, why) for why in ("a", "b")))
    named = [(str(obx[3]), str(obx[4])) for obx in encoded(case, twice, mllp, made_at).segments("OBX")]
    assert len(named) == len(set(named))


def test_hostile_text_keeps_the_message_whole(case: Case, failed: Outcome, mllp: MllpDestination, made_at: datetime) -> None:
    reason = "a|b^c~d&e\\F\\ \r\nOBX|99|TX\x0b\x1c\x00ü"
    hostile = replace(failed, reports=(replace(failed.reports[1], reason=reason),))
    text = encode_oru(case, hostile, mllp, made_at=made_at, facility="").decode()
    assert parse_message(text, validation_level=VALIDATION_LEVEL.STRICT, find_groups=True).validate()
    assert not set(text) & set("\x0b\x1c\x00\n")
    assert "a\\F\\b\\S\\c\\R\\d\\T\\e\\E\\F\\E\\   OBX\\F\\99" in text


def test_research_use_is_written_into_every_message(case: Case, failed: Outcome, mllp: MllpDestination, made_at: datetime) -> None:
    message = encoded(case, failed, mllp, made_at)
    assert str(message.segments("OBX")[-1][5]) == failed.research_use
    assert failed.research_use in str(message)


def test_folder_gets_a_message_without_receiver(case: Case, outcome: Outcome, made_at: datetime, tmp_path: object) -> None:
    folder = FolderDestination(type="folder", path=str(tmp_path), send=("HL7",))
    msh = hl7.parse(encode_oru(case, outcome, folder, made_at=made_at, facility="").decode()).segment("MSH")
    assert [str(msh[n]) for n in (5, 11)] == ["", "P"]


def test_an_order_gets_its_numbers_back(case: Case, outcome: Outcome, mllp: MllpDestination, made_at: datetime) -> None:
    order = Order(
        placer_number="P|77", filler_number="F12", procedure_code="DERM", procedure_words="Dermoscopy", requester="House^Gregory^^Dr."
    )
    message = encoded(replace(case, order=order), outcome, mllp, made_at)
    assert [str(message.segment("ORC")[n]) for n in (2, 3, 12)] == ["P\\F\\77", "F12", "^House^Gregory^^^Dr."]
    assert [str(message.segment("OBR")[n]) for n in (2, 3, 4, 16, 18)] == [
        "P\\F\\77",
        "F12",
        "DERM^Dermoscopy",
        "^House^Gregory^^^Dr.",
        "A\\E\\100",
    ]


def test_the_orders_accession_number_serves_where_the_images_have_none(
    case: Case, outcome: Outcome, mllp: MllpDestination, made_at: datetime
) -> None:
    bare = replace(case, series=replace(case.series, accession_number=""), order=Order(accession_number="A7"))
    assert str(encoded(bare, outcome, mllp, made_at).segment("OBR")[18]) == "A7"


def test_a_revision_corrects_the_first_result_under_the_same_number(
    case: Case, outcome: Outcome, mllp: MllpDestination, made_at: datetime
) -> None:
    first, second = (encoded(c, outcome, mllp, made_at) for c in (case, replace(case, id="case-2", revision=2, is_correction=True)))
    assert [str(message.segment("OBR")[25]) for message in (first, second)] == ["P", "C"]
    assert {str(obx[11]) for obx in second.segments("OBX")} == {"C", "X"}
    assert str(first.segment("OBR")[3]) == str(second.segment("OBR")[3])
    assert "revision 2. It corrects" in str(second)


def test_a_result_is_final_where_the_destination_says_so(case: Case, outcome: Outcome, mllp: MllpDestination, made_at: datetime) -> None:
    final = mllp.model_copy(update={"result_status": "final"})
    assert str(encoded(case, outcome, final, made_at).segment("OBR")[25]) == "F"
    assert str(encoded(replace(case, is_correction=True), outcome, final, made_at).segment("OBR")[25]) == "C"


def test_the_report_for_people_is_carried_where_it_is_wanted(
    case: Case, outcome: Outcome, mllp: MllpDestination, made_at: datetime
) -> None:
    pdf = b"%PDF-1.7 " + bytes(range(256)) * 2000
    wanted = mllp.model_copy(update={"is_pdf_embedded": True})
    text = encode_oru(case, outcome, wanted, made_at=made_at, facility="", pdf=pdf).decode()
    # hl7apy allows no component more than 199 characters, whatever its datatype.
    short = text.replace(base64.b64encode(pdf).decode(), "JVBERi0=")
    assert parse_message(short, validation_level=VALIDATION_LEVEL.STRICT, find_groups=True).validate()
    obx = hl7.parse(text).segments("OBX")[-1]
    assert str(obx[2]) == "ED"
    kind, data = str(obx[5]).rsplit("^", 1)
    assert kind == "DERMANODE^application^pdf^Base64"
    assert base64.b64decode(data) == pdf
    assert b"Base64" not in encode_oru(case, outcome, mllp, made_at=made_at, facility="", pdf=pdf)
