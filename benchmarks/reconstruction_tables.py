"""The rows of a measurement as markdown tables. A scene without a volume in mm3 is counted in every table, never left out."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

import numpy as np
from reconstruction_rows import OF_TRUTH, PairRow, Row
from reconstruction_scenes import LESIONS, PARTS, VARIED

from dermanode.testing.mishaps import Mishap

LEGEND = (
    "Errors: median (largest), signed, in percent of the truth, over the scenes with that number. Height RMS: over the lesion, after the "
    "surface was laid on the scene by its cameras. Curvature RMS: of its error, as a share of the true curvature's own RMS. Dice: of the "
    "outlines. Held: 90 % intervals that hold the true volume."
)
Z95 = 1.959964
ABOVE_PERCENT = 20
"""Growth above this should raise an alert."""


def tables(rows: Sequence[Row], pairs: Sequence[PairRow]) -> str:
    """Everything that these rows say."""
    parts = [part for part in PARTS if any(part == tagged for row in rows for tagged, _ in row.tags)]
    own = {"mishaps": mishaps, "repeatability": repeatability}
    said = [own[part](rows) if part in own else shifts(part, rows) for part in parts]
    if said:
        said.insert(0, LEGEND)
    if any(row.status == "metric" for row in rows):
        said.append(coverage(rows))
    if pairs:
        said.append(progression(pairs))
    return "\n\n".join(said)


def shifts(part: str, rows: Sequence[Row]) -> str:
    """One line a condition and lesion: errors as median and, in brackets, the largest."""
    header = ("lesion", "scenes", "metric", "volume %", "area %", "surface %", "height %", "height RMS um", "curvature RMS", "Dice", "held")
    lines = []
    for condition, lesion, group in _groups(part, rows):
        name = condition if condition == lesion else f"{condition}, {lesion}"
        lines.append(
            (
                name,
                str(len(group)),
                _metric(group),
                *(_errors([_error(row, key) for row in group]) for key in OF_TRUTH),
                _plain([row.deviation["height_rms_um"] for row in group if row.deviation], "{:.0f}"),
                _plain([share for row in group if (share := _curvature(row)) is not None], "{:.0%}"),
                _plain([row.dice for row in group if row.dice is not None], "{:.2f}"),
                _held(group, "volume_mm3"),
            )
        )
    return f"### {part}\n\n{_table(header, lines)}{_left_out([row for row in rows if _is_of(row, part)])}"


def coverage(rows: Sequence[Row]) -> str:
    """How many 90 % intervals hold the truth, over all scenes that came out metric.

    Those that were spoilt on purpose do not count, nor do the many renders of the few lesions of the repeatability.
    """
    fair = [row for row in rows if row.status == "metric" and any(part not in ("mishaps", "repeatability") for part, _ in row.tags)]
    lines = []
    for name, key in (("volume", "volume_mm3"), ("height", "height_mm"), ("area", "area_mm2"), ("surface", "surface_mm2")):
        told = [held for row in fair if (held := _holds(row, key)) is not None]
        ratios = [one.upper / one.lower for row in fair if (one := row.found.get(OF_TRUTH[key])) and one.lower and one.upper]
        width = f"{100 * (np.median(ratios) - 1) / 2:.1f}" if ratios else "-"
        lines.append((name, str(len(fair)), str(len(told)), _share(sum(told), len(told)), width))
    return "### Coverage of the 90 % intervals\n\n" + _table(
        ("measurement", "scenes", "with interval", "hold the truth [95 %]", "half-width, median %"), lines
    )


def repeatability(rows: Sequence[Row]) -> str:
    """Coefficients of variation over renders of one lesion with new noise and jitter."""
    lines = []
    for condition, _, group in _groups("repeatability", rows):
        cells = []
        for key in ("volume_mm3", "height_mm", "area_mm2", "surface_mm2"):
            values = [row.found[OF_TRUTH[key]].value for row in group if OF_TRUTH[key] in row.found]
            cells.append(f"{100 * np.std(values, ddof=1) / np.mean(values):.2f}" if len(values) > 1 else "-")
        lines.append((condition, str(len(group)), _metric(group), *cells))
    header = ("lesion", "renders", "metric", "volume CV %", "height CV %", "area CV %", "surface CV %")
    return "### Repeatability\n\n" + _table(header, lines) + _left_out([row for row in rows if _is_of(row, "repeatability")])


def mishaps(rows: Sequence[Row]) -> str:
    """What became of series that were spoilt, and what was said of them."""
    lines = []
    for condition, _, group in _groups("mishaps", rows):
        said = dict.fromkeys(_said(row) for row in group)
        lines.append(
            (condition, str(len(group)), _statuses(group), _errors([_error(row, "volume_mm3") for row in group]), " / ".join(said))
        )
    return "### Bad input\n\n" + _table(("series", "scenes", "result", "volume %", "what was said"), lines)


def progression(pairs: Sequence[PairRow]) -> str:
    """Alerts by true growth, and how well growth itself is measured."""
    lines: list[Sequence[str]] = []
    found_at: list[float] = []  # with every larger one
    for growth in sorted({pair.growth_percent for pair in pairs}):
        group = [pair for pair in pairs if pair.growth_percent == growth]
        errors = [pair.change_percent - growth for pair in group if pair.change_percent is not None]
        spread = f"{np.mean(errors):+.1f} +- {np.std(errors, ddof=1):.1f}" if len(errors) > 1 else "-"
        about_volume, anything, risen = (sum(map(test, group)) for test in (_alerts_volume, _alerts, _has_risen))
        lines.append(
            (
                f"{growth:g}",
                str(len(group)),
                str(sum(pair.change_percent is not None for pair in group)),
                spread,
                _share(about_volume, len(group)),
                _share(anything, len(group)),
                _share(risen, len(group)),
            )
        )
        found_at = [*found_at, growth] if growth > 0 and risen / len(group) >= 0.9 else []
    header = ("true growth %", "pairs", "compared", "error of the change, points", "volume alert", "any alert", "rise beyond its error")
    grown = [pair for pair in pairs if pair.growth_percent > ABOVE_PERCENT]
    stable = [pair for pair in pairs if pair.growth_percent == 0]
    said = [
        f"Sensitivity for growth above {ABOVE_PERCENT} %: {_share(sum(map(_alerts_volume, grown)), len(grown))} by the alert on volume.",
        f"False alerts on stable lesions: {_share(sum(map(_alerts, stable)), len(stable))} any, "
        f"{_share(sum(map(_alerts_volume, stable)), len(stable))} on volume.",
        "Smallest growth of those tried that is found in 90 % of the pairs, as a rise beyond the change's own 90 % interval: "
        + (f"{min(found_at):g} %." if found_at else "none."),
    ]
    silent = [pair for pair in pairs if pair.change_percent is None]
    if silent:
        reasons = dict.fromkeys(_short(pair.reason) or "no volume at one of the visits" for pair in silent)
        said.append(f"{len(silent)} pairs had no volume to compare (they count as not alerted): {'; '.join(reasons)}.")
    by_lesion = [
        (lesion, str(len(group)), _share(sum(map(_alerts_volume, group)), len(group)))
        for lesion in dict.fromkeys(pair.lesion for pair in grown)
        if (group := [pair for pair in grown if pair.lesion == lesion])
    ]
    return "\n\n".join(
        ("### Progression", _table(header, lines), *said, _table(("lesion", f"pairs above {ABOVE_PERCENT} %", "volume alert"), by_lesion))
    )


def wilson(hits: int, of: int) -> tuple[float, float]:
    """The 95 % score interval of a share (E. B. Wilson 1927)."""
    if not of:
        return 0.0, 1.0
    share, z2 = hits / of, Z95**2
    middle, half = share + z2 / (2 * of), Z95 * math.sqrt(share * (1 - share) / of + z2 / (4 * of**2))
    return max(0.0, (middle - half) / (1 + z2 / of)), min(1.0, (middle + half) / (1 + z2 / of))


def _alerts(pair: PairRow) -> bool:
    return bool(pair.alerts)


def _alerts_volume(pair: PairRow) -> bool:
    return any(re.match(r"\W*(the )?volume\b", alert, re.IGNORECASE) for alert in pair.alerts)


def _has_risen(pair: PairRow) -> bool:
    return pair.lower_percent is not None and pair.lower_percent > 0


def _groups(part: str, rows: Sequence[Row]) -> Iterator[tuple[str, str, list[Row]]]:
    """(condition, lesion, rows), conditions in the order in which they are varied."""
    names = {(condition, row.lesion) for row in rows for tagged, condition in row.tags if tagged == part}
    conditions, lesions = [*VARIED.get(part, LESIONS), *Mishap], list(LESIONS)
    for condition, lesion in sorted(names, key=lambda name: (conditions.index(name[0]), lesions.index(name[1]))):
        yield condition, lesion, [row for row in rows if row.lesion == lesion and (part, condition) in row.tags]


def _is_of(row: Row, part: str) -> bool:
    return any(part == tagged for tagged, _ in row.tags)


def _error(row: Row, key: str) -> float | None:
    """Percent of the truth, or None where it was not measured."""
    found = row.found.get(OF_TRUTH[key])
    return None if found is None else 100 * (found.value / row.truth[key] - 1)


def _curvature(row: Row) -> float | None:
    if not row.deviation or not row.deviation.get("curvature_rms_per_mm"):
        return None
    off, true = row.deviation["curvature_rms_per_mm"], row.deviation["curvature_true_per_mm"]
    return None if off is None or not true else off / true


def _holds(row: Row, key: str) -> bool | None:
    found = row.found.get(OF_TRUTH[key])
    return None if found is None else found.covers(row.truth[key])


def _held(group: Sequence[Row], key: str) -> str:
    told = [held for row in group if (held := _holds(row, key)) is not None]
    return f"{sum(told)}/{len(told)}"


def _errors(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{np.median(known):+.1f} ({max(known, key=abs):+.1f})" if known else "-"


def _plain(values: Sequence[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    return form.format(float(np.median(known))) if known else "-"


def _metric(group: Sequence[Row]) -> str:
    return str(sum(row.status == "metric" for row in group))


def _statuses(group: Sequence[Row]) -> str:
    told = [row.status for row in group]
    return ", ".join(f"{told.count(status)} {status}" for status in dict.fromkeys(told))


def _said(row: Row) -> str:
    """The words of one case, views by number, numbers that differ from scene to scene left out of the sum."""
    dropped: dict[str, list[int]] = {}
    for number, why in row.dropped_views:
        dropped.setdefault(why, []).append(number)
    words = [f"view{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}: {why}" for why, numbers in dropped.items()]
    # The reason of relative heights is what is said of the views and the surface.
    words += [row.reason] if row.status in ("declined", "failed") else row.remarks
    return _short("; ".join(words) or "nothing", 600)


def _left_out(rows: Sequence[Row]) -> str:
    """Which scenes have no volume in mm3, and why."""
    others = [row for row in rows if row.status != "metric"]
    reasons: dict[str, int] = {}
    for row in others:
        # Which view it was differs from scene to scene; the reason does not.
        said = f"{row.status}: {_short(re.sub('view [0-9]+', 'another view', row.reason))}"
        reasons[said] = reasons.get(said, 0) + 1
    return "".join(f"\n\n{count} of {len(rows)} scenes {said}" for said, count in reasons.items())


def _share(hits: int, of: int) -> str:
    if not of:
        return "-"
    lower, upper = wilson(hits, of)
    return f"{hits}/{of} = {hits / of:.1%} [{lower:.1%}, {upper:.1%}]"


def _short(text: str, most: int = 300) -> str:
    text = " ".join(text.split()).replace("|", "/")
    return text if len(text) <= most else text[: most - 3] + "..."


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
