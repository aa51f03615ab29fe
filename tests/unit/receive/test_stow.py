from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from dermanode.errors import UnreadableObject
from dermanode.receive.part10 import HEAD_LIMIT_BYTES, read_file_head
from dermanode.testing.dicomweb import Service, as_file, dicomweb_service, multipart_body, photograph

MIB = 1 << 20


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with dicomweb_service(tmp_path) as made:
        yield made


def test_memory_does_not_grow_with_an_object(service: Service) -> None:
    content = as_file(photograph())
    start = content[: content.index(b"\xe0\x7f\x10\x00")]
    body = multipart_body([start + b"\xe0\x7f\x10\x00OW\0\0" + (64 * MIB).to_bytes(4, "little")])
    head, end = body[: -len(b"\r\n--BoundaryOfTests--\r\n")], b"\r\n--BoundaryOfTests--\r\n"
    piece = bytes(MIB)
    upload = service.stow.begin(b"BoundaryOfTests", user="", address="127.0.0.1", study=None)
    tracemalloc.start()
    upload.feed(head)
    for _ in range(64):
        upload.feed(piece)
    upload.feed(end)
    (part,) = upload.finish()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert part.is_stored, part.words
    assert service.ledger.objects.recent(1)[0].arrival.size_bytes > 64 * MIB
    assert most < 4 * MIB


def test_a_request_is_open_until_it_is_finished_or_given_up(service: Service) -> None:
    first, second = (service.stow.begin(b"B", user="", address="127.0.0.1", study=None) for _ in range(2))
    assert service.stow.open_associations() == {first.caller.association, second.caller.association}
    first.abandon()
    first.abandon()
    assert service.stow.open_associations() == {second.caller.association}
    second.feed(b"--B\r\n\r\n" + as_file(photograph()) + b"\r\n--B--")
    assert [part.is_stored for part in second.finish()] == [True]
    assert service.released == [first.caller.association, second.caller.association]


def test_a_head_is_told_from_the_first_bytes_that_hold_it() -> None:
    content = as_file(photograph())
    heads = [read_file_head(content[:length]) for length in range(len(content))]
    first = next(length for length, head in enumerate(heads) if head is not None)
    head = heads[first]
    assert head is not None
    assert (head.sop_instance_uid, head.transfer_syntax_uid) == ("2.25.11", "1.2.840.10008.1.2.1")
    assert content[head.length : head.length + 4] == b"\x08\x00\x16\x00"
    assert all(later == head for later in heads[first:])


def test_what_is_no_head_is_told_early() -> None:
    content = as_file(photograph())
    with pytest.raises(UnreadableObject, match="no prefix"):
        read_file_head(b"GIF89a" * 30)
    endless = content[:132] + b"\2\0\2\1OB\0\0" + (HEAD_LIMIT_BYTES * 2).to_bytes(4, "little")
    with pytest.raises(UnreadableObject, match="damaged"):
        read_file_head(endless)
