"""How one language writes: its words, numbers, dates and names."""

from __future__ import annotations

import gettext
import math
import re
import unicodedata
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from importlib.resources import files
from typing import Literal, get_args

from babel import Locale
from babel.dates import format_date, format_datetime
from babel.numbers import format_decimal, format_percent
from markupsafe import Markup

Language = Literal["en", "de", "fr", "es", "hi", "ar"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
DOMAIN = "dermanode"
"""Of the gettext catalogues."""

_UNITS = {"mm2": "mm²", "mm3": "mm³", "1": "", "{pixels}": "px", "deg": "°", "/mm": "1/mm"}
_TURNING = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Characters that turn the direction of what follows: in a name they could make one text look like another."""
_NO_CHARACTER = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


class _Unknown(gettext.NullTranslations):
    """Behind a catalogue: says nothing of what the catalogue does not have."""

    def gettext(self, message: str) -> str:
        return ""


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words, and whether they stayed English because no catalogue has them."""

    text: str
    is_english: bool = False


@dataclass(frozen=True)
class Wording:
    """One language. What it writes is text, not HTML."""

    language: Language

    @property
    def direction(self) -> str:
        """As HTML writes it: `ltr` or `rtl`."""
        return "rtl" if self._locale.character_order == "right-to-left" else "ltr"

    @property
    def _locale(self) -> Locale:
        return Locale.parse(self.language)

    def gettext(self, message: str) -> str:
        """The message of the catalogue; the English one where the language is English."""
        return self._known(message) or message

    def phrase(self, text: str) -> Phrase:
        """A text that is not this program's own, in the language where the catalogues know it, else as it is."""
        if self.language == "en" or not text:
            return Phrase(text)
        known = self._known(text)
        return Phrase(known or text, is_english=not known)

    def number(self, value: float | None) -> str:
        """Three significant digits, all digits of whole numbers up to 999,999; a dash for None and what is no number."""
        if value is None or not math.isfinite(value):
            return "–"
        places = 0 if value == 0 or abs(value) >= 100 else 2 - math.floor(math.log10(abs(value)))
        if places > 5 or abs(value) >= 1e6:
            mantissa, _, power = f"{value:.2e}".partition("e")
            return f"{self._written(float(mantissa), 2)} × 10{_raised(int(power))}"
        return self._written(value, places)

    def count(self, value: float) -> str:
        """A whole number."""
        return self._written(value, 0)

    def short(self, value: float | None) -> str:
        """As `number`, without the zeros at its end: for axes."""
        if value is None or not math.isfinite(value):
            return "–"
        written: str = format_decimal(float(f"{value:.3g}"), format="#,##0.#####", locale=self._locale)
        return _TURNING.sub("", written).replace("-", "−")

    def share(self, value: float, places: int = 0) -> str:
        """`62 %` of 0.62."""
        if not math.isfinite(value):
            return "–"
        if 0 < value < 0.5 * 10 ** -(places + 2):
            return f"< {self.share(10 ** -(places + 2), places)}"
        written: str = format_percent(value, format=_with_places(self._locale, places) if places else None, locale=self._locale)
        return _TURNING.sub("", written).replace("-", "−")

    def span(self, lower: float, upper: float) -> str:
        """`20.1 – 22.9`; in words where a minus sign would stand beside the dash."""
        if lower >= 0:
            return f"{self.number(lower)} – {self.number(upper)}"
        return self.gettext("{lower} to {upper}").format(lower=self.number(lower), upper=self.number(upper))

    def unit(self, code: str) -> str:
        """A UCUM unit as people write it; empty for none."""
        return self.gettext("per 30 days") if code == "/(30.d)" else _UNITS.get(code, code)

    def day(self, day: date | None) -> str:
        """`20 November 2026`; a dash for None."""
        return "–" if day is None else _TURNING.sub("", format_date(day, "long", locale=self._locale))

    def short_day(self, day: date) -> str:
        """For axes and tables."""
        return _TURNING.sub("", format_date(day, "medium", locale=self._locale))

    def moment(self, at: datetime | None) -> str:
        """With hours and minutes, and `UTC` where the zone is known; a dash for None."""
        if at is None:
            return "–"
        time = _TURNING.sub("", format_datetime(at, "HH:mm", locale=self._locale))
        return self.gettext("{day}, {time}").format(day=self.short_day(at.date()), time=f"{time} UTC" if at.tzinfo is not None else time)

    def _known(self, message: str) -> str:
        return "" if self.language == "en" else _catalogue(self.language).gettext(message)

    def _written(self, value: float, places: int) -> str:
        pattern = "#,##0" + (f".{'0' * places}" if places else "")
        written: str = format_decimal(round(value, places) + 0.0, format=pattern, locale=self._locale)
        return _TURNING.sub("", written).replace("-", "−")


def cleaned(text: str) -> str:
    """The text without what no page can hold: control characters, what turns the direction, halves of characters.

    HTML that is already marked as such stays marked.
    """
    kept = _NO_CHARACTER.sub("\ufffd", _TURNING.sub("", text))
    return Markup(kept) if isinstance(text, Markup) else kept


def direction_of(text: object) -> str:
    """Of a text that comes from anywhere, by its first letter that has a direction (Unicode 9, rule P2); `ltr` where none has."""
    kinds = (unicodedata.bidirectional(character) for character in str(text))
    return "rtl" if next((kind for kind in kinds if kind in ("L", "R", "AL")), "L") != "L" else "ltr"


def is_turned(text: object) -> bool:
    """Whether any of it is written from right to left."""
    return any(unicodedata.bidirectional(character) in ("R", "AL", "AN") for character in str(text))


def person_name(name: str) -> str:
    """`Müller, Jörg` of `Müller^Jörg`; ideographic and phonetic forms (PS3.5 6.2.1.2) follow in brackets."""
    groups = []
    for group in name.split("=")[:3]:
        family, given, middle, prefix, suffix = ([part.strip() for part in group.split("^")] + [""] * 5)[:5]
        names = " ".join(part for part in (prefix, given, middle) if part)
        groups.append(", ".join(part for part in (family, names, suffix) if part))
    first, *others = groups
    behind = ", ".join(other for other in others if other)
    return f"{first} ({behind})" if first and behind else first or behind


def _raised(power: int) -> str:
    return str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _with_places(locale: Locale, places: int) -> str:
    """The language's own pattern of percentages, with so many places: `#,##0.0 %`."""
    pattern: str = locale.percent_formats[None].pattern
    return re.sub(r"0(?!.*0)", f"0.{'0' * places}", pattern, count=1)


@cache
def _catalogue(language: Language) -> gettext.GNUTranslations:
    with (files("dermanode.document") / "locale" / language / "LC_MESSAGES" / f"{DOMAIN}.mo").open("rb") as file:
        catalogue = gettext.GNUTranslations(file)
    catalogue.add_fallback(_Unknown())
    return catalogue
