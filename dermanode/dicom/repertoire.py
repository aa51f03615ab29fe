"""The characters that an object may use, as its Specific Character Set (0008,0005) declares them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.charset import python_encoding

_ASCII_TERMS = ("", "ISO_IR 6", "ISO 2022 IR 6")
"""pydicom reads these leniently, as Latin-1; to be written they are ASCII."""

_SPELT_OUT = str.maketrans(
    {
        "°": " deg",
        "µ": "u",
        "μ": "u",
        "±": "+/-",
        "×": "x",
        "–": "-",
        "—": "-",
        "‘": "'",
        "’": "'",
        "“": '"',
        "”": '"',
        "…": "...",
        "ß": "ss",
        "²": "2",
        "³": "3",
        "Δ": "Delta ",
        "≤": "<=",
        "≥": ">=",
    }
)


@dataclass(frozen=True, slots=True)
class Repertoire:
    """What can be written in an object that keeps the character set of its source.

    The patient's name stays in the bytes in which it came, so the character set stays too; what we add has to fit it.
    """

    encodings: tuple[str, ...]
    """As Python calls them."""

    @classmethod
    def of(cls, character_sets: str | Sequence[str] | None) -> Repertoire:
        """The repertoire of a Specific Character Set; a term that nobody defined adds nothing to ASCII."""
        terms = [character_sets] if isinstance(character_sets, str) else list(character_sets or ())
        return cls(("ascii", *(python_encoding[term] for term in terms if term in python_encoding and term not in _ASCII_TERMS)))

    def has(self, text: str) -> bool:
        """Whether every character of the text can be written."""
        return any(_can_encode(text, encoding) for encoding in self.encodings) or all(
            any(_can_encode(character, encoding) for encoding in self.encodings) for character in text
        )

    def fit(self, text: str, longest: int | None = None) -> str:
        """The text in one line, in characters that can be written, at most `longest` of them.

        A backslash would part the value in two (PS3.5 6.2): it becomes a slash.
        """
        line = " ".join(text.replace("\\", "/").split())
        if not self.has(line):
            line = " ".join("".join(c if self.has(c) else _ascii(c) for c in line).split())
        if longest is not None and len(line) > longest:
            line = line[: longest - 3].rstrip() + "..."
        return line


def _ascii(character: str) -> str:
    spelt = character.translate(_SPELT_OUT)
    plain = unicodedata.normalize("NFKD", spelt).encode("ascii", "ignore").decode("ascii")
    return plain or "?"


def _can_encode(text: str, encoding: str) -> bool:
    try:
        written = text.encode(encoding)
    except UnicodeEncodeError:
        return False
    # ISO_IR 13 is half-width katakana only; Python's codec of that name would also write two-byte kanji.
    return encoding != "shift_jis" or len(written) == len(text)
