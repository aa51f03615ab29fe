"""A report's measurement groups back to findings: ours by the keys they carry, others' by the standard codes that we use too."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dermanode.dicom import concepts
from dermanode.dicom.content import Item
from dermanode.domain import Algorithm, Classification, ClassProbability, Code, Features, Measurement, Risk, RiskTerm
from dermanode.domain.codes import BENIGN, MALIGNANT, MM, MM2, MM3, NO_UNITS, PER_MM, PERCENT, PRIVATE_SCHEME, SUSPICIOUS

TRACKING_ID = Code("112039", "DCM", "Tracking Identifier")
_DERIVATION = Code("121401", "DCM", "Derivation")
_MEASURED_IN = Code("121112", "DCM", "Source of Measurement")
_ALGORITHM_NAME, _ALGORITHM_VERSION = Code("111001", "DCM", "Algorithm Name"), Code("111003", "DCM", "Algorithm Version")
_ALGORITHM_PARAMETERS = Code("111002", "DCM", "Algorithm Parameters")
_ALGORITHM_FAMILY, _ALGORITHM_MANUFACTURER = Code("111000", "DCM", "Algorithm Family"), Code("122405", "DCM", "Algorithm Manufacturer")
_BUNDLE, _WEIGHTS = "bundle ", "weights SHA-256 "

_MAXIMUM, _MEAN = "56851009", "373098007"
_KEYS: Mapping[tuple[str, str, str, str], str] = {
    ("42798000", "SCT", "", MM2.value): "area_mm2",
    ("G-A166", "SRT", "", MM2.value): "area_mm2",
    ("131191004", "SCT", "", MM.value): "perimeter_mm",
    ("103339001", "SCT", "", MM.value): "long_axis_mm",
    ("G-A185", "SRT", "", MM.value): "long_axis_mm",
    ("103340004", "SCT", "", MM.value): "short_axis_mm",
    ("G-A186", "SRT", "", MM.value): "short_axis_mm",
    ("RNU0", "IBSI", "", MM3.value): "volume_mm3",
    ("118565006", "SCT", "", MM3.value): "volume_mm3",
    ("G-D705", "SRT", "", MM3.value): "volume_mm3",
    ("C0JK", "IBSI", "", MM2.value): "surface_mm2",
    ("121207", "DCM", _MAXIMUM, MM.value): "max_height_mm",
    ("121207", "DCM", _MEAN, MM.value): "mean_height_mm",
    ("KMAX", PRIVATE_SCHEME, "", PER_MM.value): "max_curvature_per_mm",
    ("ASYM", PRIVATE_SCHEME, "", NO_UNITS.value): "asymmetry",
    ("BORDIRR", PRIVATE_SCHEME, "", NO_UNITS.value): "border_irregularity",
    ("ABCPART", PRIVATE_SCHEME, "", NO_UNITS.value): "abc_partial_score",
}
"""(code, scheme, derivation, unit) of what is followed, for numbers that carry no key: of other makers, and of our older reports."""

_ABOUT_THE_METHOD = frozenset({"SEGCONF", "HEATINSIDE", "TILT", "REPROJ", "CONFSURF", "VIEWSUSED"})
_GROUPS = {(code.value, code.scheme): label for code, label in ((BENIGN, "BENIGN"), (SUSPICIOUS, "SUSPICIOUS"), (MALIGNANT, "MALIGNANT"))}
_RISK_TERM, _RISK_WEIGHT, _RISK_VALUE = "risk_", "RISKWEIGHT", "RISKVALUE"
_KEY = re.compile(r"[a-z][a-z0-9_]{0,63}")
_SPREAD = re.compile(r"(\S+) \d+\.\d % \(\+/- (\d+\.\d) over the views\)")
_UNKNOWN = Algorithm("unknown", "unknown")


@dataclass(frozen=True, slots=True)
class Number:
    """One NUM item of a group, read."""

    item: Item
    name: Code
    value: float
    unit: Code
    algorithm: Algorithm | None
    key: str
    """That it carries; empty where it carries none, or the report is another maker's."""

    def is_one_of(self, *names: Code) -> bool:
        return any((self.name.value, self.name.scheme) == (name.value, name.scheme) for name in names)


def numbers_of(groups: Iterable[Item], *, is_own: bool) -> tuple[Number, ...]:
    """The finite numbers of the groups of one lesion, in their order."""
    return tuple(number for group in groups for item in group.children if item.value_type == "NUM" and (number := _number(item, is_own)))


def features_of(numbers: Sequence[Number], *, is_own: bool) -> Features | None:
    """The lesion in numbers; None where there is none that is known. Who measured most of them is named as the algorithm.

    Of other makers only the numbers are taken whose code, derivation and unit say the same as ours.
    """
    comparing = {number.algorithm for number in numbers if _is_change(number)}
    found: dict[str, Measurement] = {}
    algorithms: Counter[Algorithm] = Counter()
    for number in numbers:
        derivation = _derivation(number.item)
        known = (number.name.value, number.name.scheme, derivation.value if derivation else "", number.unit.value)
        key = number.key or _KEYS.get(known, "")
        is_of_visit = number.algorithm not in comparing or number.algorithm is None
        if not key or key in found or _is_judgement(number) or _is_change(number) or not is_of_visit:
            continue
        if number.algorithm is not None:
            algorithms[number.algorithm] += 1
        lower, upper = _interval(number) if is_own else (None, None)
        picture = number.item.child(_MEASURED_IN)
        found[key] = Measurement(
            key=key,
            concept=number.name,
            value=number.value,
            unit=number.unit,
            lower=lower,
            upper=upper,
            derivation=derivation,
            view_uid=picture.instance if picture else None,
        )
    algorithm = next((one for one, _ in algorithms.most_common(1)), _UNKNOWN)
    return Features(algorithm=algorithm, measurements=tuple(found.values())) if found else None


def classification_of(numbers: Sequence[Number], words: str, *, is_in_domain: bool) -> Classification | None:
    """The probabilities of one of our reports; `words` are its sentence about them, which alone has their spread.

    None without probabilities of all three groups, and where one is no probability.
    """
    spreads = {label: float(percent) / 100 for label, percent in _SPREAD.findall(words)}
    diagnosis: list[ClassProbability] = []
    groups: list[ClassProbability] = []
    algorithm: Algorithm | None = None
    for number in numbers:
        of = number.item.child(concepts.FINDING)
        concept = of.code if of else None
        if not number.is_one_of(concepts.PROBABILITY) or concept is None:
            continue
        if not 0 <= number.value <= 100 or number.unit.value != PERCENT.value:
            return None
        group = _GROUPS.get((concept.value, concept.scheme))
        label = group or _label(number.item) or concept.value
        share = ClassProbability(label=label, concept=concept, probability=number.value / 100, spread=spreads.get(label))
        (groups if group else diagnosis).append(share)
        algorithm = algorithm or number.algorithm
    if not diagnosis or sorted(one.label for one in groups) != sorted(_GROUPS.values()):
        return None
    return Classification(
        algorithm=algorithm or _UNKNOWN, diagnosis=tuple(diagnosis), groups=tuple(groups), is_in_domain=is_in_domain, views=()
    )


def risk_of(numbers: Sequence[Number], groups: Iterable[Item]) -> Risk | None:
    """The risk score of one of our reports, its level, and its parts where the report gives their weights and values."""
    score = next((number for number in numbers if number.is_one_of(concepts.RISK_SCORE)), None)
    levels = {code.value: level for level, code in concepts.RISK_LEVELS.items()}
    said = (item.code for group in groups for item in group.named(concepts.RISK_LEVEL))
    level = next((levels[code.value] for code in said if code is not None and code.value in levels), None)
    if score is None or level is None or not 0 <= score.value <= 1:
        return None
    return Risk(algorithm=score.algorithm or _UNKNOWN, score=score.value, level=level, terms=tuple(_terms(numbers)))


def _terms(numbers: Iterable[Number]) -> Iterator[RiskTerm]:
    for number in numbers:
        name = _label(number.item)
        parts = {child.name.value: child.number for child in number.item.children if child.name is not None and child.number is not None}
        weight, value = parts.get(_RISK_WEIGHT), parts.get(_RISK_VALUE)
        if name.startswith(_RISK_TERM) and weight is not None and value is not None:
            yield RiskTerm(name=name.removeprefix(_RISK_TERM), weight=weight[0], value=value[0])


def _number(item: Item, is_own: bool) -> Number | None:
    name, measured = item.name, item.number
    if name is None or measured is None:
        return None
    key = _label(item) if is_own else ""
    return Number(item, name, *measured, _algorithm(item), key if _KEY.fullmatch(key) else "")


def _is_judgement(number: Number) -> bool:
    """It says something about the lesion, or about the method, and is no measurement of the lesion."""
    if number.name.scheme == PRIVATE_SCHEME:
        return number.name.value.startswith("RISK") or number.name.value in _ABOUT_THE_METHOD
    return number.is_one_of(concepts.PROBABILITY)


def _is_change(number: Number) -> bool:
    """It compares the visit with an earlier one, and what else its algorithm gives (a border's shift) does too."""
    return number.name.scheme == PRIVATE_SCHEME and number.name.value.startswith(("CHG", "TREND"))


def _label(item: Item) -> str:
    known_by = item.child(TRACKING_ID)
    return known_by.text if known_by else ""


def _derivation(item: Item) -> Code | None:
    how = item.child(_DERIVATION)
    return how.code if how else None


def _interval(number: Number) -> tuple[float, float] | tuple[None, None]:
    """The ends that stand below the value, where they are in its unit and in their order."""
    container = number.item.child(concepts.INTERVAL)
    ends = [container.child(name) for name in (concepts.LOWER_END, concepts.UPPER_END)] if container else []
    values = [end.number for end in ends if end]
    read = [value for value in values if value is not None and value[1].value == number.unit.value]
    if len(read) != 2 or read[0][0] > read[1][0]:
        return None, None
    return read[0][0], read[1][0]


def _algorithm(item: Item) -> Algorithm | None:
    """Who computed it (TID 4019), with the bundle and the weights where they are said as we say them."""
    name, version = item.child(_ALGORITHM_NAME), item.child(_ALGORITHM_VERSION)
    if name is None or not name.text:
        return None
    manufacturer, family = item.child(_ALGORITHM_MANUFACTURER), item.child(_ALGORITHM_FAMILY)
    code = family.code if family else None
    said = tuple(_parameters(item))
    return Algorithm(
        name=name.text,
        version=version.text if version else "",
        manufacturer=manufacturer.text if manufacturer else "",
        family=code or _UNKNOWN.family,
        bundle=next((text.removeprefix(_BUNDLE) for text in said if text.startswith(_BUNDLE)), None),
        weights_digest=next((text.removeprefix(_WEIGHTS) for text in said if text.startswith(_WEIGHTS)), None),
    )


def _parameters(item: Item) -> Iterator[str]:
    return (parameter.text for parameter in item.named(_ALGORITHM_PARAMETERS))
