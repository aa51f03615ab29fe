"""How values read on the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from dermanode.document.chart import Lettering


def moment(at: datetime | None) -> str:
    """`2026-11-21 09:30:05`, UTC; a dash for None."""
    return at.strftime("%Y-%m-%d %H:%M:%S") if at else "–"


def percent(share: float | None) -> str:
    """`12.3 %` of 0.123; a dash for None."""
    return "–" if share is None else f"{100 * share:.1f} %"


def number(value: float | None) -> str:
    """Three significant digits, never in exponents for everyday sizes; a dash for None."""
    if value is None:
        return "–"
    if value == 0 or 1e-3 <= abs(value) < 1e9:
        return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:.2e}"


def size(count: int) -> str:
    """`1.2 MB` of 1,234,567 bytes."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} B"


def duration(seconds: float | None) -> str:
    """`350 ms`, `2.1 s`, `3 min`."""
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def unit(code: str) -> str:
    """A UCUM unit as people write it."""
    return {"mm2": "mm²", "mm3": "mm³", "1": "", "{pixels}": "px", "deg": "°", "/mm": "1/mm", "/(30.d)": "in 30 days"}.get(code, code)


def polygon(points: tuple[tuple[float, float], ...]) -> str:
    """The `points` of an SVG polygon, in pixels whose first centre is at (0.5, 0.5) as SVG draws images."""
    return " ".join(f"{column + 0.5:.1f},{row + 0.5:.1f}" for column, row in points)


LETTERING = Lettering(number, unit)
"""How the page's charts write."""
FILTERS: Mapping[str, Callable[..., Any]] = {
    "moment": moment,
    "percent": percent,
    "number": number,
    "size": size,
    "duration": duration,
    "unit": unit,
    "polygon": polygon,
}
