"""MLLP: where a message begins and ends among the bytes of a connection (HL7 2.5.1, appendix C)."""

from __future__ import annotations

from collections.abc import Iterator

START, END = b"\x0b", b"\x1c\r"


def framed(message: bytes) -> bytes:
    return START + message + END


class MessageTooLong(Exception):
    """A frame that is longer than it may be; `beginning` is what had come of it."""

    def __init__(self, beginning: bytes) -> None:
        self.beginning = beginning
        super().__init__(f"a frame of more than {len(beginning)} bytes")


class Frames:
    """Takes bytes as they come, in any pieces, and gives out whole messages. What lies between frames is dropped and counted."""

    def __init__(self, longest_bytes: int) -> None:
        self._longest = longest_bytes
        self._buffer = bytearray()
        self._looked_at = 0
        self.dropped_bytes = 0

    @property
    def is_inside(self) -> bool:
        """A frame has begun and not ended."""
        return bool(self._buffer)

    def feed(self, received: bytes) -> Iterator[bytes]:
        """The messages that are whole now, without framing. Raises `MessageTooLong`; the connection is of no use afterwards."""
        self._buffer += received
        while self._begin():
            end = self._buffer.find(END, self._looked_at)
            if end < 0:
                if len(self._buffer) > self._longest:
                    raise MessageTooLong(bytes(self._buffer[1:]))
                self._looked_at = max(len(self._buffer) - 1, 0)
                return
            content = bytes(self._buffer[1:end])
            del self._buffer[: end + len(END)]
            self._looked_at = 0
            # A sender that was interrupted begins anew: what stands before the last start is half a message.
            half = content.rfind(START) + 1
            self.dropped_bytes += half
            if len(content) > self._longest:
                raise MessageTooLong(content)
            yield content[half:]

    def _begin(self) -> bool:
        """Drops what stands before the next frame; whether there is one."""
        start = self._buffer.find(START)
        garbage = len(self._buffer) if start < 0 else start
        self.dropped_bytes += sum(byte not in b"\r\n" for byte in self._buffer[:garbage])
        if garbage:
            del self._buffer[:garbage]
            self._looked_at = 0
        return start >= 0
