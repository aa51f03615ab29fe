"""The connection to the database: short transactions, one writer at a time where the database allows no more."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import structlog
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
    StatementError,
)
from sqlalchemy.pool import ConnectionPoolEntry

from dermanode.errors import LedgerError, LedgerUnavailable

T = TypeVar("T")
log = structlog.get_logger(__name__)

BUSY_TIMEOUT_S = 30.0
"""How long a writer waits for another process before it gives up."""
CONNECT_TIMEOUT_S = 10
WAL_PAGES = 8000
"""Pages of 4 KiB in SQLite's log before they are moved into the database: the move costs two more syncs."""
ATTEMPTS = 6
"""How often a transaction that lost a race is tried."""
_POSTGRESQL_RACES = frozenset({"40001", "40P01"})
"""SQLSTATE of serialization_failure and deadlock_detected."""
_MARIADB_RACES = frozenset({1020, 1205, 1213})
"""ER_CHECKREAD, ER_LOCK_WAIT_TIMEOUT, ER_LOCK_DEADLOCK."""


class Database:
    """Runs work in transactions. Any thread may use it; several processes may open the same database."""

    def __init__(self, url: URL, engine: Engine) -> None:
        self.url, self.engine = url, engine
        self._for_writing = engine.execution_options(is_writing=True)
        # SQLite has one writer: queueing here costs less than its busy loop, which sleeps and is unfair.
        self._turn = threading.Lock() if self.is_sqlite else nullcontext()

    @classmethod
    def connect(cls, url_text: str) -> Database:
        """The database of that SQLAlchemy URL; nothing is opened yet. Raises `LedgerUnavailable` for a URL that cannot be one."""
        try:
            url = make_url(url_text)
            return cls(url, _sqlite_engine(url) if url.get_backend_name() == "sqlite" else _server_engine(url))
        except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
            raise LedgerUnavailable(
                f"The ledger cannot be opened: {error}. Set `ledger.url` to a SQLAlchemy URL such as "
                "`postgresql+psycopg://user:password@host/database` or `mariadb+pymysql://user:password@host/database`, and install "
                "the extra `dermanode[postgresql]` or `dermanode[mariadb]`."
            ) from error

    @property
    def is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    @property
    def file(self) -> Path | None:
        """The database file; None for a server."""
        return Path(self.url.database) if self.is_sqlite and self.url.database else None

    @property
    def name(self) -> str:
        """The URL without its password."""
        return self.url.render_as_string(hide_password=True)

    def close(self) -> None:
        self.engine.dispose()

    def read(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, from one consistent view of the database. Raises `LedgerUnavailable`."""
        with self.explaining(), self.engine.begin() as transaction:
            return work(transaction)

    def write(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, after its writes are on disk.

        `work` may be called again when another process won a race, so it must touch nothing but the database. Raises
        `LedgerUnavailable`; raises `LedgerError` when the database refuses what is written.
        """
        with self.explaining():
            for attempt in range(1, ATTEMPTS):
                try:
                    return self._write_once(work)
                except DBAPIError as error:
                    if not _is_lost_race(error):
                        raise
                    log.debug("ledger_race_lost", attempt=attempt)
            return self._write_once(work)

    @contextmanager
    def session(self) -> Iterator[Connection]:
        """A connection outside any transaction, for locks and settings. Raises `LedgerUnavailable`."""
        with self.explaining(), self.engine.connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")

    def _write_once(self, work: Callable[[Connection], T]) -> T:
        with self._turn, self._for_writing.begin() as transaction:
            return work(transaction)

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Turns what the database raises inside into `LedgerUnavailable` or `LedgerError`, with the cure."""
        try:
            yield
        except (IntegrityError, DataError) as error:
            raise LedgerError(f"The ledger {self.name} refused a record: {error.orig}.") from error
        except StatementError as error:
            # A value that no column takes never reaches the driver: its error is not the driver's.
            if not isinstance(error, DBAPIError):
                raise LedgerError(f"The ledger {self.name} cannot hold a value: {error.orig}") from error
            raise LedgerUnavailable(self._sentence(error)) from error
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise LedgerUnavailable(self._sentence(error)) from error

    def _sentence(self, error: Exception) -> str:
        # Only the driver's own words: SQLAlchemy's would repeat the statement.
        words = str(error.orig if isinstance(error, DBAPIError) else error).strip().rstrip(".")
        lower = words.lower()
        if "disk is full" in lower or "no space left" in lower or "disk full" in lower:
            return f"The disk under the ledger {self.name} is full ({words}). Free space there; nothing that was acknowledged is lost."
        if "locked" in lower or "lock wait" in lower:
            return (
                f"The ledger {self.name} is locked by another process for more than {BUSY_TIMEOUT_S:g} s ({words}). "
                "End the program that holds it, such as a database shell."
            )
        if "readonly" in lower or "read-only" in lower:
            return f"The ledger {self.name} cannot be written ({words}). Give the node's user the right to write it and its folder."
        if "malformed" in lower or "not a database" in lower:
            return f"The file {self.name} is no sound SQLite database ({words}). Restore it from a backup, or set `ledger.url`."
        if self.is_sqlite:
            return f"The ledger {self.name} does not answer ({words}). Check `ledger.url`, that its folder exists and may be written."
        return (
            f"The ledger {self.name} does not answer ({words}). Check `ledger.url`: host, port, user, password and database name, "
            "and that the database server runs."
        )


def _is_lost_race(error: DBAPIError) -> bool:
    """True where trying again can succeed: another process wrote the same key first, or the database broke a deadlock."""
    if isinstance(error, IntegrityError):
        return True
    if isinstance(error, OperationalError):
        if getattr(error.orig, "sqlstate", None) in _POSTGRESQL_RACES:
            return True
        arguments: tuple[Any, ...] = getattr(error.orig, "args", ())
        return bool(arguments) and arguments[0] in _MARIADB_RACES
    return False


def _server_engine(url: URL) -> Engine:
    # PostgreSQL's default level, given to MariaDB too: a claim must see what others committed.
    return create_engine(
        url,
        isolation_level="READ COMMITTED",
        pool_pre_ping=True,
        pool_size=8,
        max_overflow=24,
        hide_parameters=True,
        connect_args={"connect_timeout": CONNECT_TIMEOUT_S},
    )


def _sqlite_engine(url: URL) -> Engine:
    if not url.database or url.database == ":memory:" or "mode=memory" in url.database:
        raise LedgerUnavailable(
            "A ledger in memory would be lost at the end of the process. Name a file: `ledger.url: sqlite:///var/ledger.db`."
        )
    engine = create_engine(
        url,
        pool_size=8,
        max_overflow=24,
        hide_parameters=True,
        connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False},
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    assert isinstance(connection, sqlite3.Connection)
    # The driver would begin transactions on its own, and late: a reader that turns writer in mid-transaction fails at once.
    connection.isolation_level = None
    for pragma in ("synchronous=FULL", "foreign_keys=ON", f"wal_autocheckpoint={WAL_PAGES}"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    is_writing = connection.get_execution_options().get("is_writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing else "BEGIN")
