"""HL7 v2: a case as ORU^R01^ORU_R01, version 2.5.1, in UTF-8.

A first result is preliminary (P) unless the destination says otherwise: a physician has yet to look. A later revision is a correction
(C) of it, under the same filler number. OBX-4 is the lesion, `1`; a question asked twice of it counts on, `1.2`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from datetime import datetime

from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.core import Group, Message, Segment
from hl7apy.exceptions import HL7apyException

from dermanode.config import FolderDestination, MllpDestination
from dermanode.config.hl7_mapping import Hl7Mapping
from dermanode.config.load import load_mapping
from dermanode.domain import Case, Order, Outcome, Series
from dermanode.domain.codes import DERMOSCOPIC_PHOTOGRAPHY
from dermanode.errors import EncodingError
from dermanode.messages import er7, results
from dermanode.messages.hl7_mapping import local_code, mapped
from dermanode.messages.observations import ATTACHMENT, Observation, observations

SENDING_APPLICATION = "DERMANODE"
Destination = MllpDestination | FolderDestination

_PRELIMINARY, _FINAL, _CORRECTED, _NOT_OBTAINED = "P", "F", "C", "X"


def encode_oru(
    case: Case, outcome: Outcome, destination: Destination, *, made_at: datetime, facility: str, pdf: bytes | None = None
) -> bytes:
    """The message, segments ended by CR, without MLLP framing.

    The control id is the same for every repetition of what a case says to a destination, and another one when a new run of the case
    says something else. A failed case is told as such. `pdf` is the report for people, carried where the destination wants it. Raises
    `EncodingError`, and `ConfigurationError` for a mapping file that has become unreadable.
    """
    is_wanted = isinstance(destination, MllpDestination) and destination.is_pdf_embedded
    try:
        return _encode(case, results.trustworthy(outcome), destination, made_at, facility, pdf if is_wanted else None)
    except (HL7apyException, ValueError) as error:
        raise EncodingError(f"Case {case.id} cannot be told in HL7: {error}") from error


def _encode(case: Case, outcome: Outcome, destination: Destination, made_at: datetime, facility: str, pdf: bytes | None) -> bytes:
    mapping = _mapping(destination)
    status = _status(case, destination)
    message = Message("ORU_R01", version="2.5.1", validation_level=VALIDATION_LEVEL.STRICT)
    _fill_header(message.msh, case, outcome, destination, made_at, facility)
    result = message.add_group("ORU_R01_PATIENT_RESULT")
    _fill_patient(result.add_group("ORU_R01_PATIENT").add_segment("PID"), case.series)
    order = result.add_group("ORU_R01_ORDER_OBSERVATION")
    _fill_order(order, case, outcome, mapping, status, made_at)
    asked: Counter[str] = Counter()
    told = mapped(list(observations(case, outcome, pdf)), mapping)
    for number, answer in enumerate(told, start=1):
        asked[answer.question] += 1
        count = asked[answer.question]
        group = order.add_group("ORU_R01_OBSERVATION")
        sub_id = "1" if count == 1 else f"1.{count}"
        _fill_observation(group.add_segment("OBX"), number, answer, sub_id, status, case.series.acquired_at, made_at)
        for note_number, note in enumerate(answer.notes, start=1):
            _fill_note(group.add_segment("NTE"), note_number, note)
    er7_text: str = message.to_er7()
    for attachment in (answer.attachment for answer in told if answer.attachment):
        er7_text = er7_text.replace(ATTACHMENT, attachment)
    return er7_text.rstrip("\r").encode() + b"\r"


def control_id(case: Case, outcome: Outcome, destination: Destination) -> str:
    """MSH-10: 20 characters, derived from what is said and to whom."""
    whom = f"{destination.type}|{_receiver(destination)}"
    if isinstance(destination, MllpDestination):
        whom += f"|{destination.host}:{destination.port}"
    said = f"{results.fingerprint(case, outcome)}|{_status(case, destination)}|{case.order}"
    digest = hashlib.sha256(f"{said}|{whom}".encode("utf-8", "replace"))
    return "DN" + digest.hexdigest()[:18].upper()


def _status(case: Case, destination: Destination) -> str:
    """OBR-25 and OBX-11 (tables 0123 and 0085)."""
    if case.is_correction:
        return _CORRECTED
    return _FINAL if isinstance(destination, MllpDestination) and destination.result_status == "final" else _PRELIMINARY


def _mapping(destination: Destination) -> Hl7Mapping:
    if isinstance(destination, MllpDestination) and destination.mapping is not None:
        return load_mapping(destination.mapping)
    return Hl7Mapping()


def _receiver(destination: Destination) -> tuple[str, str, str]:
    if isinstance(destination, MllpDestination):
        return destination.receiving_application, destination.receiving_facility, destination.processing_id
    return "", "", "P"


def _set(segment: Segment, values: dict[int, str]) -> None:
    for number, value in values.items():
        if value:
            setattr(segment, f"{segment.name}_{number}", value)


def _fill_header(msh: Segment, case: Case, outcome: Outcome, destination: Destination, made_at: datetime, facility: str) -> None:
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


def filler_number(series: Series) -> str:
    """ORC-3 and OBR-3: the same for every revision of a series, so that a correction finds what it corrects."""
    return "DN" + hashlib.sha256(f"{series.study_instance_uid}|{series.series_instance_uid}".encode()).hexdigest()[:14].upper()


def _fill_order(group: Group, case: Case, outcome: Outcome, mapping: Hl7Mapping, status: str, made_at: datetime) -> None:
    order = case.order or Order()
    # What the hospital numbered keeps its numbers; the result of what nobody ordered goes by ours.
    numbers = {
        2: er7.text(order.placer_number),
        3: er7.text(order.filler_number) or er7.components(filler_number(case.series), SENDING_APPLICATION),
    }
    requester = er7.ordering_provider(order.requester)
    _set(group.add_segment("ORC"), {1: "RE", **numbers, 12: requester})
    _set(
        group.add_segment("OBR"),
        {
            1: "1",
            **numbers,
            4: _procedure(order, mapping),
            7: er7.stamp(case.series.acquired_at),
            16: requester,
            # where IHE's radiology profiles put the accession number
            18: er7.text(case.series.accession_number or order.accession_number),
            22: er7.stamp(made_at),
            24: er7.text(mapping.diagnostic_service),  # `OTH`: table 0074 of 2.5.1 knows no dermatology
            25: status,
        },
    )
    correction = (f"This is revision {case.revision}. It corrects and replaces what was told before.",) if case.is_correction else ()
    for number, note in enumerate((results.headline(outcome), *correction, outcome.research_use), start=1):
        _fill_note(group.add_segment("NTE"), number, note)


def _procedure(order: Order, mapping: Hl7Mapping) -> str:
    if mapping.procedure is not None:
        return local_code(mapping.procedure)
    if order.procedure_code:
        return er7.components(order.procedure_code, order.procedure_words)
    return er7.coded(DERMOSCOPIC_PHOTOGRAPHY)


def _fill_note(nte: Segment, number: int, note: str) -> None:
    _set(nte, {1: str(number), 2: "L", 3: er7.text(note, er7.LONGEST_FT)})


def _fill_observation(
    obx: Segment, number: int, answer: Observation, sub_id: str, status: str, observed_at: datetime | None, made_at: datetime
) -> None:
    _set(obx, {1: str(number), 2: answer.type, 3: answer.question, 4: sub_id})
    for value in answer.values:  # after OBX-2, which gives its datatype
        obx.add_field("OBX_5").value = value
    _set(
        obx,
        {
            6: answer.units,
            8: answer.flag,
            9: answer.probability,
            11: status if answer.is_obtained else _NOT_OBTAINED,
            14: er7.stamp(observed_at),
            17: answer.method,
            18: answer.equipment,
            19: er7.stamp(made_at),
        },
    )
