"""Messages among the bytes of a connection."""

from __future__ import annotations

import pytest

from dermanode.receive.hl7.framing import Frames, MessageTooLong, framed


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_messages_are_found_in_pieces_of_any_size(size: int) -> None:
    stream = framed(b"MSH|one") + b"\r\n" + framed(b"MSH|two\r\x1c not the end") + b"garbage" + framed(b"") + framed(b"MSH|three")
    frames = Frames(1000)
    found = [message for start in range(0, len(stream), size) for message in frames.feed(stream[start : start + size])]
    assert found == [b"MSH|one", b"MSH|two\r\x1c not the end", b"", b"MSH|three"]
    assert frames.dropped_bytes == len(b"garbage")
    assert not frames.is_inside


def test_half_a_message_before_a_new_start_is_dropped() -> None:
    frames = Frames(1000)
    assert list(frames.feed(b"\x0bMSH|hal" + framed(b"MSH|whole"))) == [b"MSH|whole"]
    assert frames.dropped_bytes > 0


def test_frame_that_has_begun_is_known_to_be_open() -> None:
    frames = Frames(1000)
    assert list(frames.feed(b"xx\x0bMSH|")) == []
    assert frames.is_inside


@pytest.mark.parametrize("stream", [b"\x0b" + b"x" * 200, framed(b"x" * 200)])
def test_message_that_is_too_long_is_not_gathered(stream: bytes) -> None:
    with pytest.raises(MessageTooLong) as long:
        list(Frames(100).feed(stream))
    assert long.value.beginning.startswith(b"x" * 100)
