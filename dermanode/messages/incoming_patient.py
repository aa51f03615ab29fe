"""What a message says of a patient: the identifiers of PID-3 and MRG-1, the name, the birth date, the sex."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from dermanode.errors import MessageRefused
from dermanode.ledger.said import Identity, MergeSaid, PatientSaid
from dermanode.messages.incoming import Field, Incoming, Segment

_PLAIN_TYPES = frozenset({"", "PI", "MR", "PT"})
"""CX.5 (table 0203) of ids that a hospital gives out itself: only such may leave out who did. A social security number is none."""
_SEX = {"M": "M", "F": "F", "O": "O", "A": "O", "N": "O"}
"""Table 0001 as DICOM has it (PS3.3 C.7.1.1): ambiguous and not applicable are other; unknown is not stated."""
_LONGEST = 255


@dataclass(frozen=True, slots=True)
class Identifier:
    """A CX: an id, who gave it out, and of which type it is."""

    value: str
    authority: str
    type: str

    def identities(self, default_issuer: str) -> tuple[Identity, ...]:
        """As whom the ledger may know that patient: images without an issuer are the default issuer's."""
        named = Identity(self.value, self.authority)
        return (named, Identity(self.value)) if self.authority and self.authority == default_issuer else (named,)


def identifiers(segment: Segment, number: int, default_issuer: str) -> tuple[Identifier, ...]:
    """The ids of a CX field, each with its assigning authority; the default issuer is that of plain ids without one.

    Raises `MessageRefused` where there is none, or one is too long to be kept.
    """
    found = [_identifier(field, default_issuer) for field in segment.repetitions(number)]
    kept = tuple(dict.fromkeys(one for one in found if one is not None))
    place = f"{segment.name}^1^{number}"
    if not kept:
        raise MessageRefused(f"{segment.name}-{number} has no patient id", code="101", place=place)
    if any(max(len(one.value), len(one.authority)) > _LONGEST for one in kept):
        raise MessageRefused(f"an id in {segment.name}-{number} is longer than {_LONGEST} characters", code="102", place=place)
    return kept


def patient_said(pid: Segment, default_issuer: str) -> PatientSaid:
    """Who the patient is. Raises `MessageRefused` where the ids name no assigning authority."""
    known = _authorized(identifiers(pid, 3, default_issuer), pid, 3)
    return PatientSaid(
        identities=tuple(dict.fromkeys(identity for one in known for identity in one.identities(default_issuer))),
        name=person_name(pid.repetitions(5)),
        birth_date=_day(pid.text(7)),
        sex=_SEX.get(pid.text(8).upper(), ""),
    )


def merges(message: Incoming, default_issuer: str) -> Iterator[MergeSaid | PatientSaid]:
    """What each PID with its MRG says, and who the patient is that is left. Raises `MessageRefused`."""
    pid: Segment | None = None
    message.the("PID")
    message.the("MRG")
    for segment in message.segments:
        if segment.name == "PID":
            pid = segment
        elif segment.name == "MRG":
            if pid is None:
                raise MessageRefused("a segment MRG has no PID before it", code="100", place="MRG")
            yield MergeSaid(pairs=tuple(_pairs(pid, segment, default_issuer)), kind=message.header.kind)
            yield patient_said(pid, default_issuer)


def _pairs(pid: Segment, mrg: Segment, default_issuer: str) -> Iterator[tuple[Identity, Identity]]:
    left = _authorized(identifiers(pid, 3, default_issuer), pid, 3)
    former = _authorized(identifiers(mrg, 1, default_issuer), mrg, 1)
    for one in former:
        into = _counterpart(one, left, is_only_one=len(former) == 1)
        for identity in one.identities(default_issuer):
            # Images of the patient that is left have no issuer either: the same device sends them.
            is_bare = not identity.issuer and into.authority == default_issuer
            yield identity, Identity(into.value, "" if is_bare else into.authority)


def _counterpart(former: Identifier, left: tuple[Identifier, ...], *, is_only_one: bool) -> Identifier:
    """The id of PID-3 that an id of MRG-1 became: of the same authority and type, else of the same authority, else the only one."""
    same = [one for one in left if one.authority == former.authority]
    for candidates in ([one for one in same if one.type == former.type], same, left if is_only_one else ()):
        if len(candidates) == 1:
            return candidates[0]
    words = "which id of PID-3 an id of MRG-1 became cannot be told: they need the same assigning authority, and only one each of a type"
    raise MessageRefused(words, code="204", place="MRG^1^1")


def _authorized(found: tuple[Identifier, ...], segment: Segment, number: int) -> tuple[Identifier, ...]:
    known = tuple(one for one in found if one.authority)
    if not known:
        raise MessageRefused(
            f"{segment.name}-{number} names no assigning authority, so whose number it is is not known; set hl7.default_issuer",
            code="101",
            place=f"{segment.name}^1^{number}^1^4",
        )
    return known


def _identifier(field: Field, default_issuer: str) -> Identifier | None:
    value, kind = field.text(1), field.text(5)
    authority = field.text(4, 1) or field.text(4, 2)  # HD: the namespace or, without one, the universal id
    if not authority and kind in _PLAIN_TYPES:
        authority = default_issuer
    is_plain = bool(authority) or kind in _PLAIN_TYPES
    return Identifier(value, authority, kind) if value and is_plain else None


def person_name(names: tuple[Field, ...], first: int = 1) -> str:
    """A DICOM person name of XPN repetitions (or of an XCN, whose name begins at its second component); empty where none is stated.

    The legal name where there is one; its alphabetic, ideographic and phonetic forms become DICOM's groups (table 0465, PS3.5 6.2.1).
    """
    legal = [name for name in names if name.text(7) == "L"] if first == 1 else []
    groups = {"A": "", "I": "", "P": ""}
    for name in legal or names[:1]:
        form = name.text(8) if first == 1 else ""
        # XPN: family, given, middle, suffix, prefix, degree; PN: family, given, middle, prefix, suffix
        family, given, middle, suffix, prefix, degree = (_plain(name.text(first + offset)) for offset in range(6))
        parts = (family, given, middle, prefix, " ".join(filter(None, (suffix, degree if first == 1 else ""))))
        key = form if form in groups else "A"
        groups[key] = groups[key] or "^".join(parts).rstrip("^")
    return "=".join(groups.values()).rstrip("=")


def _plain(text: str) -> str:
    """What DICOM takes for delimiters becomes a blank."""
    return " ".join(text.translate({ord("^"): " ", ord("="): " ", ord("\\"): " "}).split())


def _day(text: str) -> str:
    """YYYYMMDD; empty for what is no whole date."""
    try:
        return datetime.strptime(text[:8], "%Y%m%d").strftime("%Y%m%d") if text[:8].isdigit() and len(text) >= 8 else ""
    except ValueError:
        return ""
