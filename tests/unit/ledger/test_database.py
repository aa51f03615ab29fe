"""The database file: durable, migrated once, and in plain words when something is wrong with it."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from dermanode.errors import LedgerUnavailable
from dermanode.ledger import database
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.migrations import config
from dermanode.ledger.tables import REVISION, metadata

sqlite_only = pytest.mark.skipif("DERMANODE_TEST_LEDGER_URL" in os.environ, reason="about the database file of SQLite")


def test_the_migrations_make_the_tables(ledger: Ledger, url: str) -> None:
    engine = create_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": engine.dialect.name == "sqlite"})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_the_newest_migration_is_the_revision_that_is_looked_for() -> None:
    assert ScriptDirectory.from_config(config()).get_heads() == [REVISION]


def test_a_ledger_survives_being_closed(ledger: Ledger, make: Any, url: str) -> None:
    ledger.objects.record([make.arrival()])
    with Ledger.open(url, create=False) as again:
        assert len(again.objects.find("2.25.1")) == 1


@sqlite_only
def test_every_connection_syncs_fully_and_checks_references(ledger: Ledger) -> None:
    def pragmas(connection: Any) -> list[object]:
        return [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]

    assert ledger._database.read(pragmas) == ["wal", 2, 1, 30_000]


@sqlite_only
def test_a_missing_ledger_is_refused_where_none_may_be_made(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnavailable, match="There is no ledger at"):
        Ledger.open(f"sqlite:///{tmp_path / 'no.db'}", create=False)
    assert not (tmp_path / "no.db").exists()


@sqlite_only
def test_the_folder_is_made_with_the_ledger(tmp_path: Path) -> None:
    Ledger.open(f"sqlite:///{tmp_path / 'a' / 'b' / 'ledger.db'}").close()
    assert (tmp_path / "a" / "b" / "ledger.db").exists()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("not a url", "`ledger.url`"),
        ("oracle+nonsense://host/name", "`ledger.url`"),
        ("sqlite://", "in memory"),
        ("sqlite:////proc/nowhere/ledger.db", "`ledger.url`"),
    ],
)
def test_a_url_that_cannot_be_used_names_the_setting(wrong: str, words: str) -> None:
    with pytest.raises(LedgerUnavailable, match=words):
        Ledger.open(wrong)


@sqlite_only
def test_a_file_that_is_no_database_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"no database at all, but long enough to be read as a header" * 20)
    with pytest.raises(LedgerUnavailable, match="no sound SQLite database"):
        Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")


@sqlite_only
def test_a_ledger_of_a_newer_node_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(LedgerUnavailable, match="newer version of DermaNode"):
        Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")


@sqlite_only
def test_a_locked_ledger_says_so(ledger: Ledger, make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.05)
    holder = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        with (
            Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as impatient,
            pytest.raises(LedgerUnavailable, match="locked by another process"),
        ):
            impatient.objects.record([make.arrival()])
    finally:
        holder.close()


@sqlite_only
def test_a_full_disk_says_so_and_the_batch_is_not_there(ledger: Ledger, make: Any) -> None:
    def limit(connection: Any) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")

    ledger._database.read(limit)
    with pytest.raises(LedgerUnavailable, match="is full"):
        ledger.objects.record([make.arrival(number) for number in range(200)])
    assert sum(ledger.objects.counts().values()) == 0


@sqlite_only
def test_threads_that_open_a_new_ledger_at_once_all_get_it(tmp_path: Path, make: Any) -> None:
    url = f"sqlite:///{tmp_path / 'new' / 'ledger.db'}"
    errors: list[BaseException] = []

    def open_and_record(number: int) -> None:
        try:
            with Ledger.open(url) as opened:
                opened.objects.record([make.arrival(number)])
        except BaseException as error:  # noqa: BLE001 - told below
            errors.append(error)

    threads = [Thread(target=open_and_record, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with Ledger.open(url) as opened:
        assert sum(opened.objects.counts().values()) == 4


@sqlite_only
def test_what_was_acknowledged_is_in_the_files_of_a_process_that_dies(ledger: Ledger, make: Any, tmp_path: Path) -> None:
    ledger.objects.record([make.arrival(number) for number in range(8)])
    # The files as a crash would leave them: the log was not moved into the database.
    (tmp_path / "crashed").mkdir()
    for name in ("ledger.db", "ledger.db-wal"):
        shutil.copy(tmp_path / name, tmp_path / "crashed" / name)
    with Ledger.open(f"sqlite:///{tmp_path / 'crashed' / 'ledger.db'}", create=False) as after:
        assert after.audit(None).accepted == 8
