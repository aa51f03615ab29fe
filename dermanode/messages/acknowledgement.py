"""The acknowledgement of a message: ACK with MSA and, where something is wrong, ERR, in the sender's version, delimiters and bytes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from dermanode.ledger.said import Verdict
from dermanode.messages import er7
from dermanode.messages.incoming import Header

APPLICATION = "DERMANODE"
_CONDITIONS = {
    "100": "Segment sequence error",
    "101": "Required field missing",
    "102": "Data type error",
    "103": "Table value not found",
    "200": "Unsupported message type",
    "201": "Unsupported event code",
    "202": "Unsupported processing id",
    "203": "Unsupported version id",
    "204": "Unknown key identifier",
    "205": "Duplicate key identifier",
    "206": "Application record locked",
    "207": "Application internal error",
}
"""HL7 table 0357."""
_OUR_VERSION = "2.5.1"
_LONGEST_MSA_3, _LONGEST_ERR_8 = 80, 250


def acknowledgement(header: Header, code: str, verdict: Verdict, *, control_id: str, now: datetime) -> bytes:
    """The answer to a message, its segments ended by CR, without framing.

    What is repeated of the message is repeated byte for byte. The ERR segment is that of 2.5 and later, or the older one for older senders.
    """
    asked = header.segment
    version = header.version if _numbers(header.version) in _KNOWN else _OUR_VERSION
    numbers = _numbers(version)
    c = header.delimiters.component
    # The third component is of 2.3.1; before, the general acknowledgement had no event either
    kind = ["ACK", header.event, "ACK"] if header.event and numbers >= (2, 3, 1) else ["ACK"]
    mode = "NE" if header.is_enhanced else ""
    msh = {
        3: asked.raw(5) or APPLICATION,
        4: asked.raw(6),
        5: asked.raw(3),
        6: asked.raw(4),
        7: er7.stamp(now),
        9: c.join(kind),
        10: control_id,
        11: asked.raw(11) or "P",
        12: version,
        15: mode if numbers >= (2, 2) else "",
        16: mode if numbers >= (2, 2) else "",
        18: asked.raw(18) if numbers >= (2, 3) else "",
    }
    words = verdict.words if numbers < (2, 7) else ""  # MSA-3 is gone from 2.7
    lines = [_line(header, "MSH", msh), _line(header, "MSA", {1: code, 2: asked.raw(10), 3: _said(header, words, _LONGEST_MSA_3)})]
    if code not in ("AA", "CA") and verdict.error in _CONDITIONS:
        lines.append(_error(header, verdict, numbers))
    return "".join(f"{line}\r" for line in lines).encode("iso8859-1", "replace")


def nobodys(words: str, *, control_id: str, now: datetime) -> bytes:
    """The answer to a frame that holds no message which could be named."""
    msh = f"MSH|^~\\&|{APPLICATION}||||{er7.stamp(now)}||ACK|{control_id}|P|{_OUR_VERSION}"
    return f"{msh}\rMSA|AR||{er7.text(words, _LONGEST_MSA_3)}\r".encode()


def _error(header: Header, verdict: Verdict, numbers: Sequence[int]) -> str:
    c, s = header.delimiters.component, header.delimiters.subcomponent
    condition = (verdict.error, _CONDITIONS[verdict.error], "HL70357")
    place = verdict.place.split("^") if verdict.place else []
    if tuple(numbers) >= (2, 5):
        return _line(header, "ERR", {2: c.join(place), 3: c.join(condition), 4: "E", 8: _said(header, verdict.words, _LONGEST_ERR_8)})
    place = [*place[:3], "", "", ""][:3]
    return _line(header, "ERR", {1: c.join([*place, s.join(condition)])})


def _line(header: Header, name: str, values: dict[int, str]) -> str:
    d = header.delimiters
    if name == "MSH":
        values = {2: d.component + d.repetition + d.escape + d.subcomponent, **values}
    start = 2 if name == "MSH" else 1
    fields = [values.get(number, "") for number in range(start, max(values) + 1)]
    return d.field.join([name, *fields]).rstrip(d.field)


def _said(header: Header, words: str, longest: int) -> str:
    return header.delimiters.escaped(words[:longest])


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


_KNOWN = frozenset({(2, 1), (2, 2), (2, 3), (2, 3, 1), (2, 4), (2, 5), (2, 5, 1), (2, 6), (2, 7), (2, 7, 1), (2, 8), (2, 8, 1), (2, 8, 2)})
