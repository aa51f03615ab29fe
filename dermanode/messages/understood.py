"""What is understood of what a hospital sends: a message becomes deeds, or is refused with the reason."""

from __future__ import annotations

import re

from dermanode.config.ways_in import Hl7Listener
from dermanode.errors import MessageRefused
from dermanode.ledger.said import Deed
from dermanode.messages.incoming import Header, Incoming
from dermanode.messages.incoming_order import orders
from dermanode.messages.incoming_patient import merges, patient_said

ORDERS = {"ORM": ("O01",), "OMG": ("O19",), "OMI": ("O23",), "OML": ("O21",)}
UPDATES = ("A01", "A02", "A03", "A04", "A05", "A06", "A07", "A08", "A28", "A31")
"""ADT events whose PID says who the patient is at present."""
MERGES = ("A18", "A34", "A36", "A40", "A47")
"""ADT events whose MRG-1 is a former id of the patient in PID-3; A47 says that the id itself was changed."""
_VERSIONS = re.compile(r"2\.[1-8](\.[0-9])?")


def check_header(header: Header) -> None:
    """Raises `MessageRefused`, as not supported, for a message that is not understood whatever it says."""
    if header.version and not _VERSIONS.fullmatch(header.version):
        raise _unsupported(f"version {header.version[:20]!r} is not understood here: 2.1 to 2.8 are", "203", 12)
    if header.processing_id not in ("P", "T", "D"):
        raise _unsupported(f"the processing id {header.processing_id[:8]!r} is not known", "202", 11)
    if header.type in ORDERS:
        events: tuple[str, ...] = (*ORDERS[header.type], "")
    elif header.type == "ADT":
        events = (*UPDATES, *MERGES)
    else:
        raise _unsupported(f"messages of type {header.type[:20]!r} are not understood here", "200", 9)
    if header.event not in events:
        raise _unsupported(f"the event {header.kind[:20]!r} is not understood here", "201", 9)


def deeds(message: Incoming, settings: Hl7Listener) -> tuple[Deed, ...]:
    """What a message of a known kind asks for, in its order. Raises `MessageRefused`."""
    if message.header.type in ORDERS:
        return tuple(orders(message, settings))
    if message.header.event in MERGES:
        return tuple(merges(message, settings.default_issuer))
    return (patient_said(message.the("PID"), settings.default_issuer),)


def _unsupported(words: str, code: str, field: int) -> MessageRefused:
    return MessageRefused(words, code=code, place=f"MSH^1^{field}", is_unsupported=True)
