from __future__ import annotations

import pytest

from dermanode.config import Receive
from dermanode.domain.identifiers import AETitle
from dermanode.receive.access import refusal

OWN = AETitle("DERMANODE")
WARD = {"allow": [{"ae_title": "CAMERA1", "network": "10.1.2.0/24"}, {"network": "10.9.0.0/16"}, {"network": "fd00::/8"}]}


def refused(called: str = "DERMANODE", calling: str = "CAMERA1", address: str = "10.1.2.3", **settings: object) -> int | None:
    """The diagnostic of the refusal."""
    found = refusal(called_ae=called, calling_ae=calling, address=address, own_title=OWN, settings=Receive.model_validate(WARD | settings))
    return found.diagnostic if found else None


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_loopback_may_always_send(address: str) -> None:
    assert refused(calling="ANYBODY", address=address, allow=[]) is None


def test_another_machine_is_refused_by_default() -> None:
    assert refused(allow=[]) == 3


@pytest.mark.parametrize(
    ("calling", "address"), [("CAMERA1", "10.1.2.3"), (" CAMERA1 ", "10.1.2.3"), ("WHOEVER", "10.9.1.1"), ("X", "fd00::1%eth0")]
)
def test_an_entry_lets_its_network_and_title_in(calling: str, address: str) -> None:
    assert refused(calling=calling, address=address) is None


@pytest.mark.parametrize(("calling", "address"), [("CAMERA2", "10.1.2.3"), ("CAMERA1", "10.1.3.3")])
def test_title_and_network_must_both_match(calling: str, address: str) -> None:
    assert refused(calling=calling, address=address) == 3


def test_another_called_title_is_not_recognised() -> None:
    assert refused(called="ELSEWHERE") == 7


def test_the_called_title_may_go_unchecked() -> None:
    assert refused(called="ELSEWHERE", is_called_ae_title_checked=False) is None


def test_a_refusal_says_what_to_set() -> None:
    found = refusal(called_ae="DERMANODE", calling_ae="CAM", address="10.0.0.1", own_title=OWN, settings=Receive())
    assert found is not None
    assert "receive.allow" in found.words
    assert "CAM at 10.0.0.1" in found.words
