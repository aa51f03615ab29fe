"""Our answers, judged by hl7apy and by the library hl7."""

from __future__ import annotations

from datetime import UTC, datetime

import hl7
import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message

from dermanode.ledger.said import Verdict
from dermanode.messages.acknowledgement import acknowledgement, nobodys
from dermanode.messages.incoming import Header

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
GOOD = Verdict(answer="AA", words="The order was noted.")
BAD = Verdict(answer="AE", words="PID-3 has no patient id: 50 % | 100 ^ more.", error="101", place="PID^1^3")


def answer(version: str, verdict: Verdict, extra: str = "", kind: str = "ADT^A08^ADT_A01") -> str:
    header = Header.of(f"MSH|^~\\&|HIS|HOSP|DERMANODE|DERM|20261128||{kind}|M\\T\\1|P|{version}{extra}\r".encode())
    assert header is not None
    return acknowledgement(header, verdict.answer, verdict, control_id="DN1", now=NOW).decode()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("verdict", [GOOD, BAD])
@pytest.mark.parametrize("version", ["2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.8", "2.8.2"])
@pytest.mark.parametrize("extra", ["||||||UNICODE UTF-8", "|||AL|AL||8859/1"])
def test_acknowledgement_is_valid_in_the_senders_version(version: str, verdict: Verdict, extra: str) -> None:
    message = parse_message(answer(version, verdict, extra), validation_level=VALIDATION_LEVEL.STRICT)
    assert message.validate()
    assert message.version == version
    assert message.msa.msa_1.to_er7() == verdict.answer
    assert message.msa.msa_2.to_er7() == "M\\T\\1"


@pytest.mark.parametrize("version", ["2.1", "2.2", "2.3"])
def test_older_senders_get_the_older_acknowledgement(version: str) -> None:
    message = hl7.parse(answer(version, BAD))
    assert str(message.segment("MSH")[9]) == "ACK"
    assert str(message.segment("ERR")[1]) == "PID^1^3^101&Required field missing&HL70357"


def test_error_says_what_and_where() -> None:
    message = hl7.parse(answer("2.5.1", BAD))
    assert [str(message.segment("ERR")[number]) for number in (2, 3, 4, 8)] == [
        "PID^1^3",
        "101^Required field missing^HL70357",
        "E",
        "PID-3 has no patient id: 50 % \\F\\ 100 \\S\\ more.",
    ]
    assert str(message.segment("MSH")[9]) == "ACK^A08^ACK"
    assert [str(message.segment("MSH")[number]) for number in (3, 4, 5, 6)] == ["DERMANODE", "DERM", "HIS", "HOSP"]


def test_what_is_repeated_is_repeated_byte_for_byte_in_the_senders_delimiters() -> None:
    header = Header.of(b"MSH$*%@!$H\xe4S$HOSP$$$$$ADT*A08$\xff1$P$2.4\r")
    assert header is not None
    said = acknowledgement(header, "AA", GOOD, control_id="DN1", now=NOW)
    assert said.startswith(b"MSH$*%@!$DERMANODE$$H\xe4S$HOSP$")
    assert b"\rMSA$AA$\xff1$" in said


def test_enhanced_answer_asks_for_no_answer() -> None:
    message = hl7.parse(answer("2.5.1", GOOD, "|||AL|AL"))
    assert (str(message.segment("MSH")[15]), str(message.segment("MSH")[16])) == ("NE", "NE")


def test_what_cannot_be_named_is_rejected() -> None:
    message = hl7.parse(nobodys("The frame does not begin with an MSH segment.", control_id="DN1", now=NOW).decode())
    assert str(message.segment("MSA")[1]) == "AR"
