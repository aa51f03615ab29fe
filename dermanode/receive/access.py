"""Who may send: a pure decision over called title, calling title and address."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from dermanode.config import Receive
from dermanode.domain.identifiers import AETitle


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an association is refused: for A-ASSOCIATE-RJ (PS3.8 9.3.4), and in words."""

    result: int
    source: int
    diagnostic: int
    words: str


def refusal(*, called_ae: str, calling_ae: str, address: str, own_title: AETitle, settings: Receive) -> Refusal | None:
    """None when the association is welcome.

    Loopback may always send; any other address needs an entry of `receive.allow` whose network and AE title both match.
    """
    called, calling = called_ae.strip(), calling_ae.strip()
    if settings.is_called_ae_title_checked and called != own_title:
        return Refusal(1, 1, 7, f"{calling} at {address} called {called!r}, but this node is {own_title!r}.")
    peer = _address(address)
    if peer.is_loopback:
        return None
    for entry in settings.allow:
        if peer in entry.network and entry.ae_title in ("*", calling):
            return None
    return Refusal(1, 1, 3, f"{calling} at {address} may not send: no entry of `receive.allow` has its AE title and its network.")


def is_welcome(address: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    """Whether a peer may call where only its address counts: from loopback always, else from those networks."""
    peer = _address(address)
    return peer.is_loopback or any(peer in network for network in networks)


def _address(text: str) -> IPv4Address | IPv6Address:
    address = ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
