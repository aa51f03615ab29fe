r"""An HL7 v2 message as it came: read tolerantly, its values unescaped where they are asked for.

A reader of our own, because hl7apy makes up what a message lacks and takes a group for wrong that hospitals send every day, and because its
bytes must be read before its character set is known.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from dermanode.errors import MessageRefused
from dermanode.messages.character_sets import codec_of

_NULL = '""'
"""`""` deletes a value (2.5.1, 2.6); it reads as empty."""
_LATIN = "iso8859-1"
"""Gives every byte one character and back: for what must be echoed before the character set is known."""


@dataclass(frozen=True, slots=True)
class Delimiters:
    """MSH-1 and MSH-2."""

    field: str
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"

    def escaped(self, text: str) -> str:
        """A text of our own between these delimiters, in ASCII."""
        names = {self.escape: "E", self.field: "F", self.component: "S", self.repetition: "R", self.subcomponent: "T"}
        plain = text.encode("ascii", "replace").decode().replace("\r", " ").replace("\n", " ")
        return "".join(f"{self.escape}{names[one]}{self.escape}" if one in names else one for one in plain)


@dataclass(frozen=True, slots=True)
class Field:
    """One repetition of a field."""

    raw: str
    delimiters: Delimiters
    codec: str

    def text(self, component: int = 1, subcomponent: int = 1) -> str:
        """A component's value, unescaped and without outer blanks; empty where there is none."""
        components = self.raw.split(self.delimiters.component)
        if component > len(components):
            return ""
        parts = components[component - 1].split(self.delimiters.subcomponent)
        value = parts[subcomponent - 1].strip() if subcomponent <= len(parts) else ""
        return "" if value == _NULL else _unescaped(value, self.delimiters, self.codec).strip()


@dataclass(frozen=True, slots=True)
class Segment:
    """A line of a message; fields count from 1, as the standard counts them."""

    name: str
    fields: tuple[str, ...]
    """As they came; `fields[0]` is field 1."""
    delimiters: Delimiters
    codec: str

    def raw(self, number: int) -> str:
        return self.fields[number - 1] if number <= len(self.fields) else ""

    def repetitions(self, number: int) -> tuple[Field, ...]:
        """The field's repetitions that are not empty."""
        found = self.raw(number).split(self.delimiters.repetition)
        return tuple(Field(one, self.delimiters, self.codec) for one in found if one.strip())

    def text(self, number: int, component: int = 1, subcomponent: int = 1) -> str:
        """A value of the field's first repetition; empty where there is none."""
        first = next(iter(self.repetitions(number)), None)
        return first.text(component, subcomponent) if first is not None else ""


@dataclass(frozen=True)
class Header:
    """The MSH segment, read byte by byte so that it can be answered whatever the rest is."""

    segment: Segment
    """Its values have one character a byte."""

    @classmethod
    def of(cls, content: bytes) -> Header | None:
        """The header of a message; None for what begins with none."""
        first = re.split(rb"[\r\n]", content.lstrip(b"\r\n "), maxsplit=1)[0].decode(_LATIN)
        if not first.startswith("MSH") or len(first) < 5 or first[3].isalnum():
            return None
        return cls(_segment(first, _delimiters(first), _LATIN))

    @property
    def delimiters(self) -> Delimiters:
        return self.segment.delimiters

    @property
    def sender(self) -> str:
        """MSH-3 and MSH-4, as they came."""
        return f"{self.segment.raw(3)}|{self.segment.raw(4)}"

    @property
    def control_id(self) -> str:
        return self.segment.raw(10).strip()

    @property
    def type(self) -> str:
        """MSH-9.1, such as ADT."""
        return self.segment.text(9, 1).upper()

    @property
    def event(self) -> str:
        """MSH-9.2, such as A08; empty where the message names none."""
        return self.segment.text(9, 2).upper()

    @property
    def kind(self) -> str:
        return f"{self.type}^{self.event}".rstrip("^")

    @property
    def processing_id(self) -> str:
        """MSH-11.1; P where it is left out."""
        return self.segment.text(11).upper() or "P"

    @property
    def version(self) -> str:
        """MSH-12.1, such as 2.5.1; empty where it is left out."""
        return self.segment.text(12)

    @property
    def accept_mode(self) -> str:
        """MSH-15: when an accept acknowledgement is wanted; empty where that is not said."""
        return self.segment.text(15).upper()

    @property
    def application_mode(self) -> str:
        """MSH-16: when an application acknowledgement is wanted; empty where that is not said."""
        return self.segment.text(16).upper()

    @property
    def is_enhanced(self) -> bool:
        """The enhanced mode of acknowledgement: MSH-15 or MSH-16 is stated (2.5.1, 2.9.2)."""
        return bool(self.accept_mode or self.application_mode)


@dataclass(frozen=True)
class Incoming:
    """A whole message, decoded."""

    header: Header
    segments: tuple[Segment, ...]

    @classmethod
    def read(cls, content: bytes, header: Header, charset: str) -> Incoming:
        """Decodes a message by MSH-18 or, where that is empty, by `charset`, named as MSH-18 would.

        Raises `MessageRefused` for a character set that is not known here, and for bytes that are none of it.
        """
        codec = codec_of([field.raw.strip() for field in header.segment.repetitions(18)] or [charset])
        try:
            text = content.decode(codec)
        except UnicodeDecodeError as error:
            stated = header.segment.raw(18) or f"{charset or 'ASCII'}, which counts where MSH-18 is empty"
            reason = f"byte {error.start + 1} of the message is no character of {stated}; state in MSH-18 what it is written in"
            raise MessageRefused(reason, code="102", place="MSH^1^18") from error
        lines = [line for line in re.split(r"[\r\n]+", text) if line.strip()]
        delimiters = header.delimiters
        return cls(header, tuple(_segment(line.strip(" \t\0"), delimiters, codec) for line in lines))

    def all(self, name: str) -> Iterator[Segment]:
        return (segment for segment in self.segments if segment.name == name)

    def the(self, name: str) -> Segment:
        """The first segment of that name. Raises `MessageRefused`."""
        found = next(self.all(name), None)
        if found is None:
            raise MessageRefused(f"the segment {name} is missing", code="100", place=name)
        return found

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that is said, but for MSH-7: some senders write the time anew when they repeat a message."""
        hashed = hashlib.sha256()
        for segment in self.segments:
            fields = [value for number, value in enumerate(segment.fields, 1) if (segment.name, number) != ("MSH", 7)]
            hashed.update("\r".join([segment.name, *fields, ""]).encode("utf-8", "surrogatepass"))
        return hashed.hexdigest()


def _delimiters(line: str) -> Delimiters:
    encoding = line[4:].split(line[3], 1)[0]
    return Delimiters(line[3], *encoding[:4])


def _segment(line: str, delimiters: Delimiters, codec: str) -> Segment:
    name, *fields = line.split(delimiters.field)
    if name in ("MSH", "BHS", "FHS"):  # their first field is the separator itself
        fields = [delimiters.field, *fields]
    return Segment(name.strip().upper(), tuple(fields), delimiters, codec)


def _unescaped(value: str, delimiters: Delimiters, codec: str) -> str:
    escape = delimiters.escape
    if escape not in value:
        return value
    named = {"F": delimiters.field, "S": delimiters.component, "R": delimiters.repetition, "T": delimiters.subcomponent, "E": escape}

    def one(match: re.Match[str]) -> str:
        sequence = match.group(1)
        if sequence in named:
            return named[sequence]
        if sequence.startswith("X"):
            try:
                return bytes.fromhex(sequence[1:]).decode(codec)
            except ValueError:  # no hexadecimal digits, or no character
                return "\N{REPLACEMENT CHARACTER}"
        return " " if sequence.startswith((".br", ".sp")) else ""  # highlighting and the like (2.5.1, 2.7.2)

    return re.sub(f"{re.escape(escape)}([^{re.escape(escape)}]*){re.escape(escape)}", one, value)
