"""The schema: brings a database to the current revision, one process at a time."""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import structlog
from sqlalchemy import Connection, inspect, text

from dermanode.errors import LedgerUnavailable
from dermanode.ledger.database import BUSY_TIMEOUT_S, Database
from dermanode.ledger.tables import REVISION

log = structlog.get_logger(__name__)

_LOCK_TIMEOUT_S = 120
# PostgreSQL's advisory locks have numbers, not names: this one spells "derma". Its function returns nothing, so COUNT makes it 1.
_SERVER_LOCKS = {
    "postgresql": ("SELECT count(pg_advisory_lock(431198727521))", "SELECT pg_advisory_unlock(431198727521)"),
    "mariadb": (f"SELECT GET_LOCK('dermanode_migration', {_LOCK_TIMEOUT_S})", "SELECT RELEASE_LOCK('dermanode_migration')"),
}


def bring_up_to_date(database: Database, *, create: bool) -> None:
    """Creates or upgrades the tables.

    `create=False` refuses an empty place instead. Raises `LedgerUnavailable`, also for a ledger that a newer version of the
    node has written.
    """
    file = database.file
    if file is not None:
        if not create and not file.exists():
            raise LedgerUnavailable(f"There is no ledger at {file}. Start the node once with `dermanode serve`, or check `ledger.url`.")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LedgerUnavailable(f"The folder of the ledger {file} cannot be made: {error.strerror}. Check `ledger.url`.") from error
    if database.read(_is_current):
        return
    with _alone(database):
        if file is not None:
            _switch_to_wal(database)
        found = database.read(_revision)
        if found == REVISION:
            return
        if found is None and not create:
            raise LedgerUnavailable(
                f"There is no ledger in {database.name}. Start the node once with `dermanode serve`, or check `ledger.url`."
            )
        if found is not None and found > REVISION:
            raise LedgerUnavailable(
                f"The ledger {database.name} was written by a newer version of DermaNode (revision {found}; this one knows {REVISION}). "
                "Install that version again, or restore the ledger from a backup."
            )
        log.info("ledger_migrating", ledger=database.name, found=found, wanted=REVISION)
        # Alembic is loaded only where there is something to do: it costs time and memory.
        from dermanode.ledger.migrations import upgrade

        database.write(upgrade)


def _is_current(connection: Connection) -> bool:
    is_sqlite = connection.dialect.name == "sqlite"
    return _revision(connection) == REVISION and (not is_sqlite or connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal")


def _revision(connection: Connection) -> str | None:
    """The revision of the database; None where there is no ledger yet."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


@contextmanager
def _alone(database: Database) -> Iterator[None]:
    """Keeps other processes from migrating, and from switching SQLite to WAL, at the same time: both collide."""
    if database.file is not None:
        with _locked(database.file.with_name(f"{database.file.name}.lock")):
            yield
        return
    take, drop = _SERVER_LOCKS["postgresql" if database.url.get_backend_name() == "postgresql" else "mariadb"]
    with database.session() as session:
        if not session.scalar(text(take)):
            raise LedgerUnavailable(f"Another process has been migrating the ledger {database.name} for {_LOCK_TIMEOUT_S} s. Look at it.")
        try:
            yield
        finally:
            session.execute(text(drop))


def _switch_to_wal(database: Database) -> None:
    """Turns on SQLite's write-ahead log, which stays with the file. It can only be done outside any transaction."""
    with database.explaining(), closing(sqlite3.connect(str(database.file), timeout=BUSY_TIMEOUT_S)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    try:
        lock = file.open("w")
    except OSError as error:
        raise LedgerUnavailable(f"{file} cannot be made: {error.strerror}. Give the node's user the right to write its folder.") from error
    # The kernel drops this lock with the process that holds it: a crash leaves nothing that blocks.
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
