"""Names that must not be mistaken for one another: UIDs, AE titles, digests."""

from __future__ import annotations

import re
from typing import Any, Self

from pydantic_core import CoreSchema, core_schema

from dermanode.errors import IdentifierError

# PS3.5 9.1 forbids leading zeros, but devices send them: such a UID still names its object.
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class _Name(str):
    """A text that checks itself, also where pydantic reads it from JSON or YAML."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema())


class UID(_Name):
    """A DICOM unique identifier, at most 64 characters (PS3.5 9.1)."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        stripped = text.rstrip("\0 ")
        if not _UID.fullmatch(stripped) or len(stripped) > 64:
            raise IdentifierError(f"{text!r} is no DICOM UID: digits and dots, at most 64 characters.")
        return super().__new__(cls, stripped)


class AETitle(_Name):
    """An application entity title: 1 to 16 printable ASCII characters, outer blanks ignored (PS3.5 6.2)."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        stripped = text.strip()
        if not stripped or len(stripped) > 16 or "\\" in stripped or not (stripped.isascii() and stripped.isprintable()):
            raise IdentifierError(f"{text!r} is no AE title: 1 to 16 printable ASCII characters without backslash.")
        return super().__new__(cls, stripped)


class Digest(_Name):
    """A BLAKE3 digest of a file's bytes: 64 lower-case hexadecimal digits."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if not _DIGEST.fullmatch(text):
            raise IdentifierError(f"{text!r} is no digest: 64 lower-case hexadecimal digits.")
        return super().__new__(cls, text)
