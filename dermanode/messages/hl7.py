"""HL7 v2: a case as ORU^R01^ORU_R01, version 2.5.1, in UTF-8.

Every result is preliminary (P): a physician has yet to look. OBX-4 is the lesion, `1`; a question asked twice of it counts on, `1.2`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.core import Group, Message, Segment
from hl7apy.exceptions import HL7apyException

from dermanode.config import FolderDestination, MllpDestination
from dermanode.dicom import concepts
from dermanode.domain import Algorithm, Case, ClassProbability, Code, Measurement, Outcome, Series
from dermanode.domain.codes import DERMOSCOPIC_PHOTOGRAPHY, NO_UNITS, private
from dermanode.errors import EncodingError
from dermanode.messages import er7, results

SENDING_APPLICATION = "DERMANODE"
STUDY_INSTANCE_UID = Code("110180", "DCM", "Study Instance UID")
TRACKING_IDENTIFIER = Code("112039", "DCM", "Tracking Identifier")
TRACKING_UID = Code("112040", "DCM", "Tracking Unique Identifier")
FINDING_SITE = Code("363698007", "SCT", "Finding Site")
LATERALITY = Code("272741003", "SCT", "Laterality")
RECOMMENDATION = Code("121075", "DCM", "Recommendation")

_PRELIMINARY, _NOT_OBTAINED = "P", "X"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """One OBX segment with the notes below it; everything but `notes` is ER7."""

    question: str
    values: tuple[str, ...]
    """Repetitions of OBX-5: the lines of a text."""
    type: str = "TX"
    units: str = ""
    flag: str = ""
    probability: str = ""
    status: str = _PRELIMINARY
    method: str = ""
    equipment: str = ""
    notes: tuple[str, ...] = ()


def encode_oru(
    case: Case, outcome: Outcome, destination: MllpDestination | FolderDestination, *, made_at: datetime, facility: str
) -> bytes:
    """The message, segments ended by CR, without MLLP framing.

    The control id is the same for every repetition of what a case says to a destination, and another one when a new run of the case
    says something else. A failed case is told as such. Raises `EncodingError`.
    """
    try:
        return _encode(case, results.trustworthy(outcome), destination, made_at, facility)
    except (HL7apyException, ValueError) as error:
        raise EncodingError(f"Case {case.id} cannot be told in HL7: {error}") from error


def _encode(case: Case, outcome: Outcome, destination: MllpDestination | FolderDestination, made_at: datetime, facility: str) -> bytes:
    message = Message("ORU_R01", version="2.5.1", validation_level=VALIDATION_LEVEL.STRICT)
    _fill_header(message.msh, case, outcome, destination, made_at, facility)
    result = message.add_group("ORU_R01_PATIENT_RESULT")
    _fill_patient(result.add_group("ORU_R01_PATIENT").add_segment("PID"), case.series)
    order = result.add_group("ORU_R01_ORDER_OBSERVATION")
    _fill_order(order, case, outcome, made_at)
    asked: Counter[str] = Counter()
    for number, answer in enumerate(_answers(case, outcome), start=1):
        asked[answer.question] += 1
        count = asked[answer.question]
        group = order.add_group("ORU_R01_OBSERVATION")
        _fill_observation(group.add_segment("OBX"), number, answer, "1" if count == 1 else f"1.{count}", case.series.acquired_at, made_at)
        for note_number, note in enumerate(answer.notes, start=1):
            _fill_note(group.add_segment("NTE"), note_number, note)
    er7_text: str = message.to_er7()
    return er7_text.rstrip("\r").encode() + b"\r"


def control_id(case: Case, outcome: Outcome, destination: MllpDestination | FolderDestination) -> str:
    """MSH-10: 20 characters, derived from what is said and to whom."""
    whom = f"{destination.type}|{_receiver(destination)}"
    if isinstance(destination, MllpDestination):
        whom += f"|{destination.host}:{destination.port}"
    digest = hashlib.sha256(f"{results.fingerprint(case, outcome)}|{whom}".encode())
    return "DN" + digest.hexdigest()[:18].upper()


def _receiver(destination: MllpDestination | FolderDestination) -> tuple[str, str, str]:
    if isinstance(destination, MllpDestination):
        return destination.receiving_application, destination.receiving_facility, destination.processing_id
    return "", "", "P"


def _set(segment: Segment, values: dict[int, str]) -> None:
    for number, value in values.items():
        if value:
            setattr(segment, f"{segment.name}_{number}", value)


def _fill_header(
    msh: Segment, case: Case, outcome: Outcome, destination: MllpDestination | FolderDestination, made_at: datetime, facility: str
) -> None:
    application, receiving_facility, processing_id = _receiver(destination)
    is_enhanced = isinstance(destination, MllpDestination) and destination.acknowledgement == "enhanced"
    acknowledge = "AL" if is_enhanced else ""  # both empty: original mode (2.5.1, 2.9.2)
    _set(
        msh,
        {
            3: SENDING_APPLICATION,
            4: er7.authority(facility),
            5: er7.authority(application),
            6: er7.authority(receiving_facility),
            7: er7.stamp(made_at),
            9: "ORU^R01^ORU_R01",
            10: control_id(case, outcome, destination),
            11: processing_id,
            15: acknowledge,
            16: acknowledge,
            18: "UNICODE UTF-8",
        },
    )


def _fill_patient(pid: Segment, series: Series) -> None:
    patient = series.patient
    # PID-3 and PID-5 are required: a device that names nobody gives an identifier and a name of type U, unspecified (tables 0203, 0200)
    identifier = "^".join((er7.text(patient.patient_id), "", "", er7.authority(patient.issuer, "&"), "PI" if patient.patient_id else "U"))
    _set(pid, {1: "1", 3: identifier})
    for name in er7.person_names(patient.name):
        pid.add_field("PID_5").value = name
    _set(pid, {7: er7.day(patient.birth_date), 8: patient.sex if patient.sex in ("M", "F", "O") else ""})


def _fill_order(order: Group, case: Case, outcome: Outcome, made_at: datetime) -> None:
    filler = er7.components(case.id, SENDING_APPLICATION)
    _set(order.add_segment("ORC"), {1: "RE", 3: filler})
    _set(
        order.add_segment("OBR"),
        {
            1: "1",
            3: filler,
            4: er7.coded(DERMOSCOPIC_PHOTOGRAPHY),
            7: er7.stamp(case.series.acquired_at),
            18: er7.text(case.series.accession_number),  # where IHE's radiology profiles put the accession number
            22: er7.stamp(made_at),
            24: "OTH",  # table 0074 of 2.5.1 knows no dermatology
            25: _PRELIMINARY,
        },
    )
    for number, note in enumerate((results.headline(outcome), outcome.research_use), start=1):
        _fill_note(order.add_segment("NTE"), number, note)


def _fill_note(nte: Segment, number: int, note: str) -> None:
    _set(nte, {1: str(number), 2: "L", 3: er7.text(note, er7.LONGEST_FT)})


def _fill_observation(obx: Segment, number: int, answer: _Answer, sub_id: str, observed_at: datetime | None, made_at: datetime) -> None:
    _set(obx, {1: str(number), 2: answer.type, 3: answer.question, 4: sub_id})
    for value in answer.values:  # after OBX-2, which gives its datatype
        obx.add_field("OBX_5").value = value
    _set(
        obx,
        {
            6: answer.units,
            8: answer.flag,
            9: answer.probability,
            11: answer.status,
            14: er7.stamp(observed_at),
            17: answer.method,
            18: answer.equipment,
            19: er7.stamp(made_at),
        },
    )


def _answers(case: Case, outcome: Outcome) -> Iterator[_Answer]:
    series = case.series
    yield _text(results.ANALYSIS, results.headline(outcome), flag="A" if outcome.is_failed else "")
    yield _Answer(question=er7.coded(STUDY_INSTANCE_UID), type="ST", values=(er7.text(series.study_instance_uid),))
    if series.tracking_id:
        yield _Answer(question=er7.coded(TRACKING_IDENTIFIER), type="ST", values=(er7.text(series.tracking_id),))
    if series.tracking_uid:
        yield _Answer(question=er7.coded(TRACKING_UID), type="ST", values=(er7.text(series.tracking_uid),))
    if series.body_site:
        yield _Answer(question=er7.coded(FINDING_SITE), type="CWE", values=(er7.coded(series.body_site),))
    if series.laterality:
        yield _Answer(question=er7.coded(LATERALITY), type="ST", values=(er7.text(series.laterality),))
    yield from _classification(outcome)
    yield from _risk(outcome)
    for measurement in (*results.measurements(outcome), *results.changes(outcome)):
        yield from _measured(measurement, results.algorithm_of(measurement, outcome))
    for alert in outcome.progression.alerts if outcome.progression else ():
        yield _text(concepts.ALERT, alert, flag="A")
    for gap in results.gaps(outcome):
        yield _text(results.stage_concept(gap.stage), gap.words, status=_NOT_OBTAINED)
    for key, reason in results.unmeasured(outcome):
        yield _text(concepts.NOT_MEASURED, f"{key}: {reason}", status=_NOT_OBTAINED)
    for uid, reason in outcome.unreadable:
        yield _text(private("UNREADABLE", "Image that could not be read"), f"{uid}: {reason}", status=_NOT_OBTAINED)
    yield _text(concepts.RESEARCH_USE, outcome.research_use)


def _text(concept: Code, words: str, *, status: str = _PRELIMINARY, flag: str = "") -> _Answer:
    return _Answer(question=er7.coded(concept), values=er7.lines(words), status=status, flag=flag)


def _classification(outcome: Outcome) -> Iterator[_Answer]:
    found = outcome.classification
    if not found:
        return
    equipment = _equipment(found.algorithm)
    doubt = () if found.is_in_domain else ("The images are unlike those the model was trained on: do not rely on these probabilities.",)
    yield _Answer(
        question=er7.coded(concepts.MOST_PROBABLE_CLASS),
        type="CWE",
        values=(er7.coded(found.top.concept),),
        probability=results.digits(found.top.probability),
        equipment=equipment,
        notes=(*doubt, *found.remarks),
    )
    for share in (*found.diagnosis, *found.groups):
        yield _probability(share, equipment)


def _probability(share: ClassProbability, equipment: str) -> _Answer:
    notes = () if share.spread is None else (f"Standard deviation over the views: {results.digits(share.spread)}",)
    return _number(er7.coded(results.probability_concept(share)), share.probability, NO_UNITS, equipment=equipment, notes=notes)


def _risk(outcome: Outcome) -> Iterator[_Answer]:
    risk = outcome.risk
    if not risk:
        return
    equipment = _equipment(risk.algorithm)
    parts = [results.part_in_words(term) for term in results.risk_parts(outcome)]
    left_out = [f"Left out: {name} ({reason})" for name, reason in risk.missing]
    notes = (*parts, *left_out, *risk.remarks)
    yield _number(er7.coded(concepts.RISK_SCORE), risk.score, NO_UNITS, equipment=equipment, notes=notes)
    # Only what is high is flagged: a flag N would say 'normal', which nobody has established
    flag = "A" if risk.level == "high" else ""
    yield _Answer(question=er7.coded(concepts.RISK_LEVEL), type="ST", values=(er7.text(risk.level),), flag=flag, equipment=equipment)
    for term in results.risk_parts(outcome):
        made_of = (f"Value {term.value:.3f} x weight {term.weight:.3f}",)
        yield _number(er7.coded(concepts.risk_part(term.name)), term.contribution, NO_UNITS, equipment=equipment, notes=made_of)
    if risk.recommendation:
        yield _text(RECOMMENDATION, risk.recommendation)


def _measured(measurement: Measurement, algorithm: Algorithm | None) -> Iterator[_Answer]:
    """The number, and below it its interval where it has one."""
    interval = results.interval(measurement)
    origin = f"Measured in image {measurement.view_uid}" if measurement.view_uid else ""
    key = private(measurement.key, measurement.concept.meaning)
    equipment = _equipment(algorithm) if algorithm else ""
    yield _number(
        er7.coded(measurement.concept) if measurement.concept == key else er7.coded(measurement.concept, key),
        measurement.value,
        measurement.unit,
        method=er7.coded(measurement.derivation) if measurement.derivation else "",
        equipment=equipment,
        notes=tuple(filter(None, (interval, origin, measurement.definition))),
    )
    if ends := results.ends(measurement):
        yield _range(er7.coded(results.interval_concept(measurement)), ends, measurement.unit, equipment)


def _range(question: str, ends: tuple[float, float], unit: Code, equipment: str) -> _Answer:
    """A structured number (2.5.1, 2A.71): `^20.1^-^22.9`."""
    lower, upper = map(results.digits, ends)
    has_room = max(len(lower), len(upper)) <= er7.LONGEST_NM
    value = f"^{lower}^-^{upper}" if has_room else f"{lower} to {upper}"
    return _Answer(question=question, type="SN" if has_room else "ST", values=(value,), units=er7.coded(unit), equipment=equipment)


def _number(question: str, value: float, unit: Code, *, method: str = "", equipment: str = "", notes: tuple[str, ...] = ()) -> _Answer:
    digits = results.digits(value)
    return _Answer(
        question=question,
        type="NM" if len(digits) <= er7.LONGEST_NM else "ST",  # what NM has no room for is still told
        values=(digits,),
        units=er7.coded(unit),
        method=method,
        equipment=equipment,
        notes=notes,
    )


def _equipment(algorithm: Algorithm) -> str:
    name = er7.text(f"{algorithm.name} {algorithm.version}".strip())
    return f"{name}^{er7.authority(algorithm.manufacturer)}".rstrip("^")
