from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import pytest
from blake3 import blake3

from dermanode.errors import SpoolError
from dermanode.ledger.spool import IncomingFile, Recovered, Spool, SpooledFile

DAY = date(2026, 11, 21)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def settled(spool: Spool, data: bytes, day: date = DAY) -> tuple[IncomingFile, SpooledFile]:
    incoming = spool.create(day)
    incoming.write([data[:3], data[3:]])
    return incoming, incoming.settle()


def names(spool: Spool) -> set[str]:
    return {path.relative_to(spool.root).as_posix() for path in spool.root.rglob("*") if path.is_file()}


def test_a_file_is_named_by_day_and_digest(spool: Spool) -> None:
    incoming, file = settled(spool, b"some bytes")
    incoming.sync()
    incoming.finish()
    assert file.digest == blake3(b"some bytes").hexdigest()
    assert file.path == f"2026-11-21/{file.digest}.dcm"
    assert file.size_bytes == 10
    assert spool.path(file.path).read_bytes() == b"some bytes"
    assert names(spool) == {file.path}


def test_buffers_of_any_kind_and_number_are_written_in_order(spool: Spool) -> None:
    incoming = spool.create(DAY)
    buffers: list[bytes | bytearray | memoryview] = [memoryview(b"ab"), b"", bytearray(b"cd")] * 700
    incoming.write(buffers)
    assert spool.path(incoming.seal().path).read_bytes() == b"abcd" * 700


def test_the_same_bytes_are_the_same_file(spool: Spool) -> None:
    first, file = settled(spool, b"some bytes")
    second, again = settled(spool, b"some bytes")
    for incoming in (first, second):
        incoming.sync()
        incoming.finish()
    assert again == file
    assert names(spool) == {file.path}


def test_a_file_torn_by_a_crash_is_replaced_when_its_bytes_come_again(spool: Spool) -> None:
    torn = spool.path(f"2026-11-21/{blake3(b'some bytes').hexdigest()}.dcm")
    torn.parent.mkdir()
    torn.write_bytes(b"some")
    _, file = settled(spool, b"some bytes")
    assert spool.path(file.path).read_bytes() == b"some bytes"


def test_a_discarded_file_leaves_nothing(spool: Spool) -> None:
    incoming = spool.create(DAY)
    incoming.write([b"some"])
    incoming.discard()
    assert names(spool) == set()


def test_a_start_removes_unfinished_files(spool: Spool) -> None:
    spool.create(DAY).write([b"some"])
    assert Spool(spool.root).recover(lambda _path: False) == Recovered(unfinished=1, unrecorded=0)
    assert names(spool) == set()


def test_a_start_removes_a_file_that_was_never_recorded(spool: Spool) -> None:
    settled(spool, b"some bytes")
    assert spool.recover(lambda _path: False) == Recovered(unfinished=0, unrecorded=1)
    assert names(spool) == set()


def test_a_start_keeps_a_file_that_has_a_row(spool: Spool) -> None:
    _, file = settled(spool, b"some bytes")
    assert spool.recover(lambda path: path == file.path) == Recovered(unfinished=0, unrecorded=0)
    assert names(spool) == {file.path}


def test_a_start_never_asks_about_files_that_were_finished(spool: Spool) -> None:
    spool_file = spool.create(DAY)
    spool_file.write([b"some"])
    spool_file.seal()

    def never(path: str) -> bool:
        raise AssertionError(f"asked about {path}")

    assert spool.recover(never) == Recovered(0, 0)


def test_without_a_ledger_settled_files_are_left(spool: Spool) -> None:
    settled(spool, b"some bytes")
    spool.create(DAY)
    assert spool.recover() == Recovered(unfinished=1, unrecorded=0)
    assert spool.recover(lambda _path: True) == Recovered(0, 0)


@pytest.mark.parametrize("name", ["../ledger.db", "/etc/passwd", "2026-11-21/../../x"])
def test_a_name_that_leads_out_is_refused(spool: Spool, name: str) -> None:
    with pytest.raises(SpoolError, match="does not lie in the spool"):
        spool.path(name)


@pytest.mark.skipif(os.geteuid() != 0 and not Path("/proc").exists(), reason="needs a folder in which nobody can write")
def test_a_place_that_cannot_be_used_is_said_with_its_cure() -> None:
    with pytest.raises(SpoolError, match="Check the path"):
        Spool(Path("/proc/nowhere/spool"))


def test_free_space_is_told_in_mib(spool: Spool) -> None:
    assert 0 <= spool.free_mib() < 1 << 40


@pytest.mark.parametrize("damage", ["", "short", "gone"])
def test_a_copy_takes_the_place_of_a_file_that_is_gone_or_short(spool: Spool, damage: str) -> None:
    paths = []
    for day in (date(2026, 11, 20), date(2026, 11, 21)):
        file = spool.create(day)
        file.write([b"the same"])
        paths.append(file.seal().path)
    first, second = paths
    if damage == "short":
        (spool.root / first).write_bytes(b"the")
    elif damage == "gone":
        (spool.root / first).unlink()
    spool.fold(second, first)
    assert (spool.root / first).read_bytes() == b"the same"
    assert not (spool.root / second).exists()
