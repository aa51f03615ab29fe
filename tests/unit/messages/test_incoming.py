"""What is read of the messages that hospitals send."""

from __future__ import annotations

import random

import pytest

from dermanode.config.ways_in import Hl7Listener
from dermanode.errors import MessageRefused
from dermanode.ledger.said import Deed, Identity, MergeSaid, OrderSaid, PatientSaid
from dermanode.messages.incoming import Header, Incoming
from dermanode.messages.understood import check_header, deeds

MSH = "MSH|^~\\&|HIS|HOSP|DERMANODE|DERM|20261128120000||{kind}|M1|P|2.5.1||||||{charset}"


def said(*segments: str, kind: str, charset: str = "UNICODE UTF-8", **settings: object) -> tuple[Deed, ...]:
    content = "\r".join([MSH.format(kind=kind, charset=charset), *segments]).encode()
    header = Header.of(content)
    assert header is not None
    check_header(header)
    return deeds(Incoming.read(content, header, "ASCII"), Hl7Listener.model_validate(settings))


def order(*segments: str, kind: str = "ORM^O01", **settings: object) -> OrderSaid:
    (found,) = said("PID|1||P1^^^HOSP", *segments, kind=kind, **settings)
    assert isinstance(found, OrderSaid)
    return found


def refused(*segments: str, kind: str, **settings: object) -> tuple[str, str]:
    with pytest.raises(MessageRefused) as refusal:
        said(*segments, kind=kind, **settings)
    return refusal.value.code, refusal.value.place


def test_patient_is_who_the_pid_says() -> None:
    (found,) = said(
        "EVN||20261128",
        "PID|1||P1^^^HOSP&1.2.3&ISO^PI~N9^^^^SS||M\\T\\Müller^Anna^B^Jr^Dr^MD^L~Mädchen^Anna^^^^^M||19700102030405|f",
        kind="ADT^A08^ADT_A01",
    )
    assert found == PatientSaid(identities=(Identity("P1", "HOSP"),), name="M&Müller^Anna^B^Dr^Jr MD", birth_date="19700102", sex="F")


def test_ideographic_name_becomes_a_group() -> None:
    (found,) = said("PID|||1^^^H||Yamada^Tarou^^^^^L^A~山田^太郎^^^^^L^I~やまだ^たろう^^^^^L^P", kind="ADT^A31")
    assert isinstance(found, PatientSaid)
    assert found.name == "Yamada^Tarou=山田^太郎=やまだ^たろう"


def test_images_without_issuer_are_meant_only_where_the_setting_says_so() -> None:
    (found,) = said("PID|1||P1^^^HOSP~P1^^^LAB", kind="ADT^A08", default_issuer="HOSP")
    assert isinstance(found, PatientSaid)
    assert found.identities == (Identity("P1", "HOSP"), Identity("P1"), Identity("P1", "LAB"))


def test_id_without_authority_is_the_default_issuers_or_nobodys() -> None:
    (found,) = said("PID|1||P1", kind="ADT^A08", default_issuer="HOSP")
    assert isinstance(found, PatientSaid)
    assert found.identities == (Identity("P1", "HOSP"), Identity("P1"))
    assert refused("PID|1||P1", kind="ADT^A08") == ("101", "PID^1^3^1^4")
    assert refused("PID|1||123456789^^^^SS", kind="ADT^A08", default_issuer="HOSP") == ("101", "PID^1^3")


def test_merge_pairs_ids_of_one_authority() -> None:
    merge, patient = said(
        "EVN||20261128", "PID|1||NEW^^^HOSP~L2^^^LAB||Meier^Anna", "MRG|OLD^^^HOSP~L1^^^LAB", kind="ADT^A40", default_issuer="HOSP"
    )
    assert isinstance(merge, MergeSaid)
    assert merge.pairs == (
        (Identity("OLD", "HOSP"), Identity("NEW", "HOSP")),
        (Identity("OLD"), Identity("NEW")),
        (Identity("L1", "LAB"), Identity("L2", "LAB")),
    )
    assert isinstance(patient, PatientSaid)
    assert patient.name == "Meier^Anna"


def test_merge_across_authorities_names_both_and_only_where_there_is_no_doubt() -> None:
    merge, _ = said("PID|1||NEW^^^CITY", "MRG|OLD^^^HOSP", kind="ADT^A40", default_issuer="HOSP")
    assert isinstance(merge, MergeSaid)
    assert merge.pairs == ((Identity("OLD", "HOSP"), Identity("NEW", "CITY")), (Identity("OLD"), Identity("NEW", "CITY")))
    assert refused("PID|1||NEW^^^CITY~N2^^^TOWN", "MRG|OLD^^^HOSP", kind="ADT^A40") == ("204", "MRG^1^1")


def test_each_pid_of_a_merge_goes_with_its_mrg() -> None:
    found = said("PID|||B^^^H", "MRG|A^^^H", "PID|||D^^^H", "MRG|C^^^H", kind="ADT^A40")
    pairs = [pair for deed in found if isinstance(deed, MergeSaid) for pair in deed.pairs]
    assert pairs == [(Identity("A", "H"), Identity("B", "H")), (Identity("C", "H"), Identity("D", "H"))]


def test_merge_without_mrg_or_with_an_id_without_authority_is_refused() -> None:
    assert refused("PID|||B^^^H", kind="ADT^A40") == ("100", "MRG")
    assert refused("PID|||B^^^H", "MRG|A", kind="ADT^A40") == ("101", "MRG^1^1^1^4")
    assert refused("PID|||B^^^H", "MRG|", kind="ADT^A40") == ("101", "MRG^1^1")


def test_orm_has_its_numbers_study_and_requester() -> None:
    found = order(
        "ORC|NW|77^HIS|F9^RIS|||||||||4711^House^Gregory^^^Dr",
        "OBR|1|77^HIS|F9^RIS|DERM^Dermoscopy^L||||||||||||||A1",
        "ZDS|1.2.3^HIS^Application^DICOM",
    )
    assert found == OrderSaid(
        number="placer 77 of HIS",
        identities=(Identity("P1", "HOSP"),),
        control="NW",
        is_cancelled=False,
        placer_number="77",
        filler_number="F9",
        accession_number="A1",
        study_instance_uid="1.2.3",
        procedure_code="DERM",
        procedure_words="Dermoscopy",
        requester="House^Gregory^^Dr",
    )


def test_omi_has_accession_number_and_study_in_ipc() -> None:
    found = order("TQ1|1", "ORC|NW|77^HIS", "OBR|1||F9|DERM", "IPC|A7^RIS|R1|1.2.4^RIS|S1|DMS", kind="OMI^O23^OMI_O23")
    assert (found.accession_number, found.study_instance_uid, found.filler_number) == ("A7", "1.2.4", "F9")


def test_accession_number_is_looked_for_as_configured() -> None:
    segments = ("ORC|NW|77^HIS|F9", "OBR|1||F9|DERM||||||||||||||A18|A19")
    assert order(*segments).accession_number == "A18"
    assert order(*segments, accession_from=["OBR-19", "OBR-18"]).accession_number == "A19"
    assert order("ORC|NW|77^HIS|F9", kind="OML^O21").accession_number == "F9"
    assert order(*segments, accession_from=["placer"]).accession_number == "77"


def test_every_group_is_an_order_and_numbers_without_namespace_are_the_senders() -> None:
    found = said("PID|||P1^^^H", "ORC|NW|1", "OBR|1|1||A", "ORC|CA|2", "OBR|2|2||B", "ORC|SC||F3||CA", kind="OML^O21")
    orders = [(deed.number, deed.is_cancelled) for deed in found if isinstance(deed, OrderSaid)]
    assert orders == [("placer 1 of HIS|HOSP", False), ("placer 2 of HIS|HOSP", True), ("filler F3 of HIS|HOSP", True)]


@pytest.mark.parametrize(
    ("segments", "where"),
    [
        (("ORC|NW|1",), ("100", "PID")),
        (("PID|||P1^^^H",), ("100", "ORC")),
        (("PID|||", "ORC|NW|1"), ("101", "PID^1^3")),
        (("PID|||P1", "ORC||1"), ("101", "ORC^1^1")),
        (("PID|||P1", "ORC|ZZ|1"), ("103", "ORC^1^1")),
        (("PID|||P1", "ORC|NW"), ("101", "ORC^1^2")),
    ],
)
def test_order_that_lacks_something_is_refused_where_it_lacks_it(segments: tuple[str, ...], where: tuple[str, str]) -> None:
    assert refused(*segments, kind="ORM^O01") == where


@pytest.mark.parametrize(("kind", "code"), [("MDM^T02", "200"), ("ADT^A60", "201"), ("ORM^O02", "201"), ("", "200"), ("ACK^A08", "200")])
def test_what_is_not_understood_is_said_to_be_unsupported(kind: str, code: str) -> None:
    with pytest.raises(MessageRefused) as refusal:
        said(kind=kind)
    assert (refusal.value.code, refusal.value.is_unsupported) == (code, True)


@pytest.mark.parametrize("version", ["2.1", "2.3.1", "2.8", "2.8.2", ""])
def test_versions_are_tolerated(version: str) -> None:
    header = Header.of(f"MSH|^~\\&|A|B|||||ADT^A08|1|P|{version}".encode())
    assert header is not None
    check_header(header)


@pytest.mark.parametrize(("change", "code"), [("P|3.0", "203"), ("X|2.5", "202")])
def test_other_versions_and_processing_ids_are_not(change: str, code: str) -> None:
    header = Header.of(f"MSH|^~\\&|A|B|||||ADT^A08|1|{change}".encode())
    assert header is not None
    with pytest.raises(MessageRefused) as refusal:
        check_header(header)
    assert refusal.value.code == code


@pytest.mark.parametrize(
    ("stated", "codec"),
    [
        ("UNICODE UTF-8", "utf-8"),
        ("8859/1", "iso8859-1"),
        ("WINDOWS-1252", "cp1252"),
        ("utf8", "utf-8"),
        ("8859/15", "iso8859-15"),
    ],
)
def test_text_is_read_by_its_character_set(stated: str, codec: str) -> None:
    content = MSH.format(kind="ADT^A08", charset=stated).encode() + "\rPID|1||P1^^^HOSP||Müller^Zoë\r".encode(codec)
    header = Header.of(content)
    assert header is not None
    assert Incoming.read(content, header, "ASCII").the("PID").text(5) == "Müller"


def test_japanese_text_may_hold_what_looks_like_delimiters() -> None:
    encoded = "万^五".encode("iso2022_jp_2")
    assert (encoded.count(b"|"), encoded.count(b"^")) == (1, 2)
    content = MSH.format(kind="ADT^A08", charset="ASCII~ISO IR87").encode() + b"\rPID|1||P1^^^HOSP||" + encoded + b"\r"
    header = Header.of(content)
    assert header is not None
    found = Incoming.read(content, header, "ASCII").the("PID")
    assert (found.text(5), found.text(5, 2)) == ("万", "五")


@pytest.mark.parametrize(
    ("charset", "default", "code"),
    [("", "ASCII", "102"), ("ASCII", "ASCII", "102"), ("KLINGON", "ASCII", "103"), ("UNICODE UTF-16", "ASCII", "103"), ("hex", "", "103")],
)
def test_bytes_that_do_not_fit_are_refused(charset: str, default: str, code: str) -> None:
    content = MSH.format(kind="ADT^A08", charset=charset).encode() + "\rPID|1||P1^^^HOSP||Müller\r".encode()
    header = Header.of(content)
    assert header is not None
    with pytest.raises(MessageRefused) as refusal:
        Incoming.read(content, header, default)
    assert (refusal.value.code, refusal.value.place) == (code, "MSH^1^18")


def test_setting_says_what_a_message_without_msh_18_is_written_in() -> None:
    content = MSH.format(kind="ADT^A08", charset="").encode() + "\rPID|1||P1^^^HOSP||Müller\r".encode()
    header = Header.of(content)
    assert header is not None
    assert Incoming.read(content, header, "UNICODE UTF-8").the("PID").text(5) == "Müller"


def test_line_ends_delimiters_and_escapes_are_what_the_sender_uses() -> None:
    content = b"MSH$*%@!$A$B$$$$$ADT*A08$1$P$2.4\r\nPID$1$$P1***H!9$$Me@F@ier@X41@@T@*An@S@na\n\n"
    header = Header.of(content)
    assert header is not None
    assert (header.kind, header.sender) == ("ADT^A08", "A|B")
    pid = Incoming.read(content, header, "ASCII").the("PID")
    assert (pid.text(5), pid.text(5, 2), pid.text(3, 4, 2)) == ("Me$ierA!", "An*na", "9")


def test_null_reads_as_empty() -> None:
    (found,) = said('PID|1||P1^^^HOSP||""||""|""', kind="ADT^A08")
    assert found == PatientSaid(identities=(Identity("P1", "HOSP"),))


def test_digest_leaves_out_the_time_of_sending_and_nothing_else() -> None:
    def digest(content: str) -> str:
        header = Header.of(content.encode())
        assert header is not None
        return Incoming.read(content.encode(), header, "ASCII").digest

    first = "MSH|^~\\&|A|B|||1||ADT^A08|1|P|2.4\rPID|1||P1^^^H"
    assert digest(first) == digest(first.replace("|1||ADT", "|2||ADT").replace("\r", "\r\n"))
    assert digest(first) != digest(first.replace("P1", "P2"))


@pytest.mark.parametrize("content", [b"", b"PID|1", b"MSH", b"MSHA^~\\&|", b"\xff\xfe"])
def test_what_has_no_header_is_no_message(content: bytes) -> None:
    assert Header.of(content) is None


def test_no_bytes_raise_anything_but_a_refusal() -> None:
    """Messages that are mutilated at random, with a fixed seed."""
    chance = random.Random(20261128)
    wholes = (
        MSH.format(kind="ORM^O01", charset="UNICODE UTF-8") + "\rPID|1||P1^^^H&1&ISO~9^^^^SS||M\\X41\\ü^A||19700102|F"
        "\rORC|NW|77^HIS|F9||CA|||||||1^H\rOBR|1|77|F9|D^Derm||||||||||||||A1\rIPC|A1|R|1.2\rZDS|1.2^A\r",
        MSH.format(kind="ADT^A40", charset="") + "\rPID|1||P1^^^H||Meier\rMRG|P0^^^H\rPID|1||P3^^^H\rMRG|P2^^^H\r",
    )
    outcomes = set()
    for _ in range(600):
        content = bytearray(chance.choice(wholes).encode())
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(len(content))
            match chance.randrange(3):
                case 0:
                    content[at] = chance.choice(b"|^~\\&\r\n\x00\xff\x1bAX0 ")
                case 1:
                    content[at : at + chance.randint(1, 20)] = b""
                case _:
                    content[at:at] = content[chance.randrange(len(content)) :][:30]
        header = Header.of(bytes(content))
        if header is None:
            continue
        try:
            check_header(header)
            deeds(Incoming.read(bytes(content), header, "ASCII"), Hl7Listener(default_issuer="H"))
            outcomes.add("understood")
        except MessageRefused as refusal:
            outcomes.add(refusal.code)
    assert {"understood", "101", "102"} <= outcomes
