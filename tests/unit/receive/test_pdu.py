from __future__ import annotations

import random
import struct

import pytest

from dermanode.receive.pdu import Command, Fragment, Inbound, MalformedPdu, OtherPdu, p_data, store_response
from dermanode.testing.raw_peer import RELEASE_REQUEST, command_set, pdu_of, pdv, store_request

Message = tuple[int, bool, bytes]


def messages_of(stream: bytes, cuts: list[int], size_bytes: int = 4096) -> tuple[list[Message], list[bytes]]:
    """Command sets and data sets joined again, and the other PDUs, of a stream that arrives in pieces of these sizes."""
    inbound, messages, others = Inbound(size_bytes), list[Message](), list[bytes]()
    joined = bytearray()
    position = 0
    for cut in [*cuts, len(stream)]:
        while position < min(cut, len(stream)):
            space = inbound.space()
            piece = stream[position : min(cut, len(stream), position + len(space))]
            space[: len(piece)] = piece
            inbound.received(len(piece))
            position += len(piece)
            for item in inbound.items():
                if isinstance(item, OtherPdu):
                    others.append(item.data)
                    continue
                joined += item.data
                if item.is_last:
                    messages.append((item.context_id, item.is_command, bytes(joined)))
                    joined.clear()
    assert inbound.is_between_pdus
    return messages, others


STREAM = b"".join(
    (
        pdu_of(pdv(1, b"com", is_command=True, is_last=False), pdv(1, b"mand", is_command=True, is_last=True)),
        pdu_of(pdv(1, b"d" * 5000, is_command=False, is_last=False)),
        pdu_of(pdv(1, b"", is_command=False, is_last=True), pdv(3, b"next", is_command=True, is_last=True)),
        RELEASE_REQUEST,
    )
)
EXPECTED = [(1, True, b"command"), (1, False, b"d" * 5000), (3, True, b"next")]


def test_a_stream_in_one_piece_gives_its_messages() -> None:
    assert messages_of(STREAM, []) == (EXPECTED, [RELEASE_REQUEST])


def test_a_stream_cut_at_every_byte_gives_the_same_messages() -> None:
    assert messages_of(STREAM, list(range(1, len(STREAM)))) == (EXPECTED, [RELEASE_REQUEST])


@pytest.mark.parametrize("seed", range(20))
def test_a_stream_cut_anywhere_gives_the_same_messages(seed: int) -> None:
    draw = random.Random(seed)
    cuts = sorted(draw.sample(range(1, len(STREAM)), 12))
    assert messages_of(STREAM, cuts, size_bytes=draw.choice([32, 100, 8192])) == (EXPECTED, [RELEASE_REQUEST])


def items_of(stream: bytes) -> list[Fragment | OtherPdu]:
    inbound = Inbound(4096)
    inbound.space()[: len(stream)] = stream
    inbound.received(len(stream))
    return list(inbound.items())


@pytest.mark.parametrize(
    "stream",
    [
        struct.pack(">BxIIBB", 4, 10, 50, 1, 3) + bytes(4),
        struct.pack(">BxIIBB", 4, 6, 1, 1, 3),
        struct.pack(">BxIIBBBB", 4, 8, 2, 1, 2, 0, 0) + bytes(8),
        struct.pack(">BxI", 5, 1 << 30),
    ],
    ids=["a PDV longer than its PDU", "a PDV without its two header bytes", "a PDU with a rest", "a release as long as a disk"],
)
def test_nonsense_is_no_pdu(stream: bytes) -> None:
    with pytest.raises(MalformedPdu):
        items_of(stream)


def test_a_pdu_longer_than_the_buffer_is_taken_piece_by_piece() -> None:
    stream = p_data(1, bytes(range(256)) * 100, is_command=False, is_last=True)
    messages, _ = messages_of(stream, [], size_bytes=512)
    assert messages == [(1, False, bytes(range(256)) * 100)]


def test_a_command_set_tells_what_it_asks_for() -> None:
    command = Command.parse(store_request("1.2.3", message_id=9))
    assert (command.field, command.message_id, command.has_data_set) == (1, 9, True)
    assert command.affected_sop_instance_uid == "1.2.3"


@pytest.mark.parametrize("raw", [b"1.2.3\0", b"1.2.3 ", b"1.2.3\0\0\0", b"1.2.3"])
def test_odd_padding_of_a_uid_is_taken_off(raw: bytes) -> None:
    assert Command.parse(store_request(raw)).affected_sop_instance_uid == "1.2.3"


@pytest.mark.parametrize(
    "data", [b"\0\0\0\1", struct.pack("<HHI", 0, 2, 100), struct.pack("<HHI", 8, 2, 0)], ids=["cut", "too long", "another group"]
)
def test_a_broken_command_set_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedPdu):
        Command.parse(data)


def test_a_response_names_the_request_and_its_comment_fits() -> None:
    request = Command.parse(store_request("1.2.3", message_id=7))
    response = Command.parse(store_response(1, request, 0xA700, "no room " * 20)[12:])
    assert (response.field, response.number(0x0120), response.number(0x0900)) == (0x8001, 7, 0xA700)
    assert response.affected_sop_instance_uid == "1.2.3"
    assert len(response.elements[0x0902]) == 64
    assert not response.has_data_set


def test_a_number_of_another_length_is_none() -> None:
    assert Command.parse(command_set((0x0110, b"\1\0\0\0"))).message_id is None


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (pdu_of(pdv(1, b"d" * 100, is_command=False, is_last=False)), 100 + 12),
        (pdu_of(pdv(1, b"d" * 100, is_command=False, is_last=True)), 100),
        (pdu_of(pdv(1, b"d" * 100, is_command=False, is_last=False), pdv(1, b"e", is_command=False, is_last=True)), 100 + 6),
        (pdu_of(pdv(1, b"d" * 9000, is_command=False, is_last=True)), 4096),
    ],
)
def test_within_a_fragment_there_is_space_for_what_must_come(stream: bytes, expected: int) -> None:
    inbound = Inbound(4096)
    assert not inbound.is_in_fragment
    inbound.space()[:12] = stream[:12]
    inbound.received(12)
    assert not [item for item in inbound.items() if isinstance(item, OtherPdu)]
    assert inbound.is_in_fragment
    assert len(inbound.space()) == expected
