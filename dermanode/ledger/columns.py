"""Column types that mean the same on SQLite, PostgreSQL and MariaDB."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, String, Text
from sqlalchemy.dialects.mysql import DATETIME, LONGTEXT
from sqlalchemy.types import TypeDecorator, TypeEngine

RowId = BigInteger().with_variant(Integer, "sqlite")
"""A counted primary key; SQLite counts only in INTEGER."""

LongText = Text().with_variant(LONGTEXT, "mysql", "mariadb")
"""Text without a limit that matters; MariaDB's TEXT ends at 64 KiB."""


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC, to the microsecond; naive times are refused, because nobody knows what they mean."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        # MariaDB's plain DATETIME drops the fraction of the second.
        return dialect.type_descriptor(DATETIME(fsp=6) if dialect.name in ("mysql", "mariadb") else DateTime())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value.isoformat()} has no time zone; the ledger keeps moments in UTC.")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


class DeviceTime(TypeDecorator[datetime]):
    """A time as a device wrote it, with its offset where it gave one, kept as ISO 8601 text so that nothing is guessed."""

    impl = String(40)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        return None if value is None else value.isoformat()

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:
        return None if value is None else datetime.fromisoformat(value)


def _storable(text: str) -> str:
    """The text without what PostgreSQL or UTF-8 cannot hold: NUL and lone surrogates."""
    if text.isascii() and "\0" not in text:
        return str(text)
    return text.replace("\0", "�").encode("utf-8", "replace").decode("utf-8")


class Words(TypeDecorator[str]):
    """Free text from anywhere, made storable."""

    impl = LongText
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else _storable(value)


class Name(TypeDecorator[str]):
    """A short text by which rows are found.

    One that is too long is cut and ends in `~` and a digest of the whole, so that two different names never become
    one: a patient id that a device wrote too long must not meet another's.
    """

    impl = String
    cache_ok = True

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self.length = length

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        storable = _storable(value)
        # A replaced character could make two names one, so such a name carries the digest too.
        if len(storable) <= self.length and storable == value:
            return storable
        digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        return f"{storable[: self.length - 17]}~{digest}"
