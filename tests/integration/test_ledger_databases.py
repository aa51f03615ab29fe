"""The ledger on a real PostgreSQL and a real MariaDB, each started once, in a folder of its own, on loopback."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from dermanode.errors import LedgerUnavailable
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import ReceiptKind
from dermanode.testing.ports import free_port

pytestmark = [pytest.mark.integration, pytest.mark.slow]

UNIT_TESTS = Path(__file__).parents[1] / "unit" / "ledger"
START_LIMIT_S = 60.0


@dataclass(frozen=True)
class Server:
    """A database server that runs for the tests."""

    name: str
    admin_url: str

    def new_database(self, database: str) -> str:
        """The URL of a new, empty database."""
        engine = create_engine(self.admin_url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {database}"))
        engine.dispose()
        return self.admin_url.rpartition("/")[0] + f"/{database}"


def as_user(user: str) -> list[str]:
    """What runs a command as that user: neither server starts as root."""
    if os.geteuid() != 0:
        return []
    try:
        pwd.getpwnam(user)
    except KeyError:
        pytest.skip(f"the tests run as root, and there is no user {user!r} to run the database as")
    return ["runuser", "-u", user, "--"]


def folder_of(user: str) -> Path:
    """A short path, because a Unix socket's may not be long, and one that the user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="derma-"))
    if os.geteuid() == 0:
        shutil.chown(folder, user, user)
    return folder


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    engine = create_engine(url, poolclass=NullPool)
    limit = time.monotonic() + START_LIMIT_S
    while True:
        try:
            engine.connect().close()
            return
        except SQLAlchemyError:
            if process.poll() is not None or time.monotonic() > limit:
                pytest.fail(f"the database did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)


def postgresql_program(name: str) -> str | None:
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    return str(versions[-1]) if versions else shutil.which(name)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    initdb, postgres = postgresql_program("initdb"), postgresql_program("postgres")
    if initdb is None or postgres is None:
        pytest.skip("PostgreSQL is not installed (Debian package postgresql)")
    prefix = as_user("postgres")
    folder, port = folder_of("postgres"), free_port()
    log = folder / "log"
    command = [initdb, "-D", str(folder / "data"), "-U", "derma", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8"]
    subprocess.run([*prefix, *command], check=True, capture_output=True, timeout=START_LIMIT_S)
    command = [
        postgres,
        "-D",
        str(folder / "data"),
        "-p",
        str(port),
        "-c",
        "listen_addresses=127.0.0.1",
        "-k",
        str(folder),
        "-c",
        "fsync=off",
    ]
    with log.open("wb") as output:
        process = subprocess.Popen([*prefix, *command], stdout=output, stderr=output)
    try:
        url = f"postgresql+psycopg://derma@127.0.0.1:{port}/postgres"
        wait_for(url, process, log)
        yield Server("PostgreSQL", url)
    finally:
        process.terminate()
        process.wait(START_LIMIT_S)
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Server]:
    install, mariadbd = shutil.which("mariadb-install-db"), shutil.which("mariadbd", path=f"{os.environ['PATH']}:/usr/sbin")
    if install is None or mariadbd is None:
        pytest.skip("MariaDB is not installed (Debian package mariadb-server)")
    prefix = as_user("mysql")
    folder, port = folder_of("mysql"), free_port()
    log = folder / "log"
    data = f"--datadir={folder / 'data'}"
    command = [install, "--no-defaults", data, "--auth-root-authentication-method=normal", "--skip-test-db"]
    subprocess.run([*prefix, *command], check=True, capture_output=True, timeout=START_LIMIT_S)
    network = [f"--port={port}", "--bind-address=127.0.0.1", f"--socket={folder / 'socket'}", f"--pid-file={folder / 'pid'}"]
    # A small log file and few syncs: the tests ask what the ledger says to the server, not what the disk can do.
    command = [
        mariadbd,
        "--no-defaults",
        data,
        *network,
        "--innodb-log-file-size=8M",
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-fast-shutdown=2",
    ]
    with log.open("wb") as output:
        process = subprocess.Popen([*prefix, *command], stdout=output, stderr=output)
    try:
        url = f"mariadb+pymysql://root@127.0.0.1:{port}/mysql"
        wait_for(url, process, log)
        yield Server("MariaDB", url)
    finally:
        process.terminate()
        process.wait(START_LIMIT_S)
        shutil.rmtree(folder)


@pytest.fixture(params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> Server:
    server: Server = request.getfixturevalue(request.param)
    return server


def test_every_test_of_the_ledger_passes_on_the_server(server: Server) -> None:
    environment = {**os.environ, "DERMANODE_TEST_LEDGER_URL": server.new_database("unit")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(UNIT_TESTS), f"--ignore={UNIT_TESTS / 'test_spool.py'}"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, cwd=UNIT_TESTS.parents[2])
    assert run.returncode == 0, f"on {server.name}:\n{run.stdout[-8000:]}"
    assert "passed" in run.stdout


RECORD = """
import sys
from datetime import UTC, datetime
from dermanode.domain.identifiers import UID, Digest
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import Arrival

url, content = sys.argv[1:]
digest, uid, now = Digest(content * 64), UID("1.2.840.10008.5.1.4.1.1.77.1.4"), datetime(2026, 11, 21, tzinfo=UTC)
def arrival(number):
    return Arrival(UID(f"2.25.{number}"), uid, uid, digest, 1, f"{number}", "a1", "CAMERA", "NODE", "127.0.0.1", now)
print("ready", flush=True)
input()
with Ledger.open(url) as ledger:
    for _ in range(5):
        for receipt in ledger.objects.record([arrival(number) for number in range(8)]):
            print(receipt.kind.value)
"""
"""Opens the ledger at the same moment as other processes, and records the same UIDs."""


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "mariadb"])
def test_processes_that_open_and_record_at_once_agree(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    if kind != "sqlite":
        server: Server = request.getfixturevalue(kind)
        url = server.new_database("processes")
    command = [sys.executable, "-c", RECORD, url]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(subprocess.Popen([*command, content], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            for content in "abab"
        ]
        for process in processes:
            stack.callback(process.kill)
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        found = [line for process in processes for line in process.communicate(timeout=60)[0].splitlines()]
    assert [process.returncode for process in processes] == [0] * 4
    counted = {kind: found.count(kind.value) for kind in ReceiptKind}
    assert counted == {ReceiptKind.STORED: 8, ReceiptKind.CONFLICT: 8, ReceiptKind.DUPLICATE: 4 * 5 * 8 - 16}
    with Ledger.open(url, create=False) as ledger:
        audit = ledger.audit(None)
    assert (audit.accepted, audit.problems) == (16, ())


RECORD_FOR_EVER = (
    RECORD.partition("with Ledger.open")[0]
    + """
with Ledger.open(url) as ledger:
    for number in range(0, 1_000_000, 8):
        ledger.objects.record([arrival(number + one) for one in range(8)])
        print(number, flush=True)
"""
)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "mariadb"])
def test_what_a_killed_process_acknowledged_is_there(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    if kind != "sqlite":
        server: Server = request.getfixturevalue(kind)
        url = server.new_database("killed")
    command = [sys.executable, "-c", RECORD_FOR_EVER, url, "a"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        acknowledged = []
        for line in process.stdout:
            if line.strip().isdigit():
                acknowledged.append(int(line))
            if len(acknowledged) == 30:
                process.kill()
    assert len(acknowledged) >= 30
    with Ledger.open(url, create=False) as ledger:
        audit = ledger.audit(None)
        missing = [number for number in acknowledged for one in range(8) if not ledger.objects.find(f"2.25.{number + one}")]
    assert missing == []
    assert audit.is_clean
    assert audit.accepted % 8 == 0


def test_an_empty_database_is_refused_where_none_may_be_made(server: Server) -> None:
    with pytest.raises(LedgerUnavailable, match="There is no ledger"):
        Ledger.open(server.new_database("nothing"), create=False)


def test_a_server_that_is_not_there_is_a_sentence_with_the_cure(server: Server) -> None:
    nobody = server.admin_url.replace(f":{server.admin_url.rpartition(':')[2].partition('/')[0]}/", f":{free_port()}/")
    with pytest.raises(LedgerUnavailable, match=r"Check `ledger\.url`"):
        Ledger.open(nobody.replace("@", ":s3cret@"))
    with pytest.raises(LedgerUnavailable) as refusal:
        Ledger.open(nobody.replace("@", ":s3cret@"))
    assert "s3cret" not in str(refusal.value)
