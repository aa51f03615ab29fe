"""Tells a case's observations in one hospital's way, as its mapping file says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal

from dermanode.config.hl7_mapping import Hl7Mapping, LocalCode, MappedObservation
from dermanode.messages import er7
from dermanode.messages.observations import Observation

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def mapped(observations: Sequence[Observation], mapping: Hl7Mapping) -> list[Observation]:
    """The observations that the mapping names, in its order, then those that it keeps or that no mapping leaves out."""
    told = [(one, rule) for rule in mapping.observations for one in observations if rule.take in one.keys]
    named = {id(one) for one, _ in told}
    others = [one for one in observations if id(one) not in named and (mapping.others == "keep" or one.is_always_told)]
    made = [*(_mapped(one, rule) for one, rule in told), *others]
    return made if mapping.are_notes_told else [replace(one, notes=()) for one in made]


def local_code(code: LocalCode) -> str:
    """A CWE."""
    return er7.components(code.value, code.meaning, code.scheme)


def _mapped(observation: Observation, rule: MappedObservation) -> Observation:
    made = replace(
        observation,
        question=observation.question if rule.code is None else local_code(rule.code),
        units=observation.units if rule.unit is None else local_code(rule.unit),
    )
    if observation.type in ("NM", "SN"):
        made = replace(made, values=tuple(_counted(value, rule) for value in made.values))
    if observation.type == "CWE" and rule.values:
        made = replace(made, values=tuple(_coded(value, rule) for value in made.values))
    if rule.type is not None and rule.type != made.type:
        made = replace(made, type=rule.type, values=tuple(_in_words(made.type, made.values)))
    return made


def _counted(value: str, rule: MappedObservation) -> str:
    """The numbers of an NM or an SN, converted; a separator between two of them stays."""

    def convert(part: str) -> str:
        number = Decimal(part) * Decimal(str(rule.factor or 1))
        return format(number if rule.decimals is None else round(number, rule.decimals), "f")

    return "^".join(convert(part) if _NUMBER.fullmatch(part) else part for part in value.split("^"))


def _coded(value: str, rule: MappedObservation) -> str:
    code = rule.values.get(value.split("^")[0])
    return value if code is None else local_code(code)


def _in_words(kind: str, values: Sequence[str]) -> Iterator[str]:
    """What other types are as text: a code by its meaning, where it has one; an interval with blanks."""
    for value in values:
        parts = value.split("^")
        if kind == "CWE":
            yield parts[1] if len(parts) > 1 and parts[1] else parts[0]
        else:
            yield " ".join(filter(None, parts))
