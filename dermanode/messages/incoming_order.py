"""What a message says of orders: ORM^O01, OMG^O19, OMI^O23 and OML^O21."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from dermanode.config.ways_in import AccessionRule, Hl7Listener
from dermanode.domain import UID
from dermanode.errors import IdentifierError, MessageRefused
from dermanode.ledger.said import Identity, OrderSaid
from dermanode.messages.incoming import Incoming, Segment
from dermanode.messages.incoming_patient import identifiers, person_name

_CANCELLED = frozenset({"CA", "OC", "CR", "DC", "OD", "DR"})
_ALIVE = frozenset({"NW", "XO", "XX", "XR", "SC", "SS", "SR", "SN", "NA", "OK", "HD", "HR", "OH", "RL", "OR", "OE"}) | frozenset(
    {"RO", "RP", "RQ", "RU", "PA", "CH", "RE", "AF", "RF"}
)
"""ORC-1 (table 0119) as far as it tells of an order that stands."""


@dataclass
class _Group:
    """An ORC with what follows it."""

    orc: Segment
    others: dict[str, list[Segment]] = field(default_factory=dict)

    def of(self, name: str) -> Sequence[Segment]:
        return self.others.get(name, ())


def orders(message: Incoming, settings: Hl7Listener) -> Iterator[OrderSaid]:
    """Every order of the message. Raises `MessageRefused`."""
    pid = message.the("PID")
    ids = identifiers(pid, 3, settings.default_issuer)
    identities = tuple(dict.fromkeys(identity for one in ids for identity in one.identities(settings.default_issuer)))
    message.the("ORC")
    for group in _groups(message):
        for obr in group.of("OBR") or (None,):
            yield _order(message, group, obr, settings, identities)


def _groups(message: Incoming) -> list[_Group]:
    found: list[_Group] = []
    for segment in message.segments:
        if segment.name == "ORC":
            found.append(_Group(segment))
        elif found:
            found[-1].others.setdefault(segment.name, []).append(segment)
    return found


def _order(message: Incoming, group: _Group, obr: Segment | None, settings: Hl7Listener, identities: tuple[Identity, ...]) -> OrderSaid:
    orc = group.orc
    control, status = orc.text(1).upper(), orc.text(5).upper()
    if not control:
        raise MessageRefused("ORC-1 is empty: what is to become of the order is not said", code="101", place="ORC^1^1")
    if control not in _CANCELLED | _ALIVE:
        raise MessageRefused(f"the order control {control[:8]!r} is not understood here", code="103", place="ORC^1^1")
    accession = next((value for rule in settings.accession_from if (value := _accession(rule, group, obr))), "")
    return OrderSaid(
        number=_number(message, orc, obr, accession),
        identities=identities,
        control=control,
        is_cancelled=control in _CANCELLED or status in ("CA", "DC"),
        placer_number=_either(orc, obr, 2),
        filler_number=_either(orc, obr, 3),
        accession_number=accession,
        study_instance_uid=_study(group),
        procedure_code=obr.text(4, 1) if obr is not None else "",
        procedure_words=(obr.text(4, 2) or obr.text(4, 5)) if obr is not None else "",
        requester=_requester(orc, 12) or (_requester(obr, 16) if obr is not None else ""),
    )


def _accession(rule: AccessionRule, group: _Group, obr: Segment | None) -> str:
    match rule:
        case "IPC-1":
            return next((ipc.text(1) for ipc in group.of("IPC") if ipc.text(1)), "")
        case "filler":
            return _either(group.orc, obr, 3)
        case "placer":
            return _either(group.orc, obr, 2)
        case "OBR-18" | "OBR-19" | "OBR-20":
            return obr.text(int(rule[4:])) if obr is not None else ""


def _either(orc: Segment, obr: Segment | None, number: int) -> str:
    return orc.text(number) or (obr.text(number) if obr is not None else "")


def _number(message: Incoming, orc: Segment, obr: Segment | None, accession: str) -> str:
    """What later messages of the order will name too: its placer's number with who gave it out, else its filler's, else the accession."""
    for kind, place in (("placer", 2), ("filler", 3)):
        for segment in filter(None, (orc, obr)):
            first = next(iter(segment.repetitions(place)), None)
            if first is not None and first.text(1):
                who = first.text(2) or first.text(3) or message.header.sender
                return f"{kind} {first.text(1)} of {who}"
    if accession:
        return f"accession {accession} of {message.header.sender}"
    raise MessageRefused("the order has no number: neither ORC-2 nor ORC-3 is stated", code="101", place="ORC^1^2")


def _study(group: _Group) -> str:
    """IPC-3, or ZDS-1 as IHE's radiology profiles have it; empty for what is no UID."""
    stated = [ipc.text(3) for ipc in group.of("IPC")] + [zds.text(1) for zds in group.of("ZDS")]
    for text in filter(None, stated):
        try:
            return str(UID(text))
        except IdentifierError:
            continue
    return ""


def _requester(segment: Segment, number: int) -> str:
    names = segment.repetitions(number)[:1]
    return person_name(names, first=2) or (names[0].text(1) if names else "")
