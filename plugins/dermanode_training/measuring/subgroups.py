"""Which part of a set a photograph belongs to: by set, sex, age, site and size of the lesion."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from dermanode_training.measuring.measure import Measured

FEW = 20
"""A part with fewer photographs is told, and that it is too small to be relied on."""
UNKNOWN = "unknown"

SMALL, LARGE = 0.18, 0.40
"""Shares of the frame between which a lesion is of middle size: the terciles of the annotated masks of the 9,938 training photographs."""
AGES = ((0, "under 30"), (30, "30 to 44"), (45, "45 to 59"), (60, "60 to 74"), (75, "75 and over"))

SITES: Mapping[str, str] = {
    site: region
    for region, sites in {
        "head and neck": ("face", "neck", "ear", "scalp", "head/neck", "head", "nose", "lip", "head and neck"),
        "trunk": ("back", "trunk", "abdomen", "chest", "posterior torso", "anterior torso", "lateral torso", "torso", "breast", "buttock"),
        "upper extremity": ("upper extremity", "arm", "forearm", "shoulder"),
        "lower extremity": ("lower extremity", "leg", "thigh"),
        "hands and feet": ("hand", "foot", "palms/soles", "palm", "sole", "acral", "nail"),
        "genital or oral": ("genital", "oral/genital", "oral", "genitalia", "mucosa"),
    }.items()
    for site in sites
}
"""HAM10000, ISIC and others name sites differently: to be compared, they are brought to regions. A site that is not here keeps its name."""


def sex(row: Measured) -> str:
    return {"m": "male", "f": "female"}.get(row.lesion.sex.lower(), row.lesion.sex.lower()) or UNKNOWN


def age_band(row: Measured) -> str:
    try:
        years = float(row.lesion.age)
    except ValueError:
        return UNKNOWN
    bands = [name for least, name in AGES if years >= least]
    return bands[-1] if bands else UNKNOWN  # NaN and negative numbers are no ages


def site(row: Measured) -> str:
    told = row.lesion.site.lower()
    return SITES.get(told, told) or UNKNOWN


def size(row: Measured) -> str:
    """Of the annotated lesion, or where it is not annotated of the one that was found."""
    if math.isnan(row.share):
        return UNKNOWN
    return "small" if row.share < SMALL else "large" if row.share >= LARGE else "middle"


WAYS: Mapping[str, Callable[[Measured], str]] = {
    "set": lambda row: row.lesion.set,
    "sex": sex,
    "age": age_band,
    "site": site,
    "lesion size": size,
}
"""The ways of parting photographs; the sixth, by diagnosis, is what the figures of each label are."""


def parted(rows: Sequence[Measured], way: str) -> dict[str, list[Measured]]:
    """The parts in a fixed order: ages and sizes from less to more, others by name, what is unknown last."""
    part_of = WAYS[way]
    parts: dict[str, list[Measured]] = {}
    for row in rows:
        parts.setdefault(part_of(row), []).append(row)
    order = [name for _, name in AGES] + ["small", "middle", "large"]

    def place(name: str) -> tuple[bool, int, str]:
        return name == UNKNOWN, order.index(name) if name in order else 0, name

    return {name: parts[name] for name in sorted(parts, key=place)}
