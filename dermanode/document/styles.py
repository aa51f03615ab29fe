"""The computed styles of a document, kept for the next: elements in the same place of the tree look the same in every case.

WeasyPrint matches every selector with every element and computes a hundred properties of each, case for case: that alone took a quarter of
the time of a report.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element

from weasyprint.css import StyleFor
from weasyprint.css.properties import INITIAL_VALUES, Dimension

if TYPE_CHECKING:
    from weasyprint import CSS, HTML
    from weasyprint.text.fonts import FontConfiguration


@dataclass(eq=False, slots=True)
class Place:
    """Everything that the report's selectors ask of an element, and where it hangs: so it decides what the element looks like."""

    styles: dict[str | None, Any] | None = None
    """By pseudo-element, None for the element's own; None before an element was seen here."""
    within: dict[tuple[object, ...], Place] = field(default_factory=dict)

    def of(self, element: Element, *, is_first: bool, is_last: bool) -> Place:
        """The place of an element that hangs here, as its parent's first or last."""
        given = element.get
        key = (element.tag, given("class"), given("id"), given("lang"), given("dir"), is_first, is_last, *_shares(element))
        found = self.within.get(key)
        if found is None:
            found = self.within[key] = Place()
        return found


@dataclass(eq=False, slots=True)
class Kept:
    """What one stylesheet has made of elements and pages so far."""

    root: Place = field(default_factory=Place)
    pages: dict[tuple[object, str | None], Any] = field(default_factory=dict)
    """By the type of the page and the margin box."""
    page_sizes: dict[str, Any] = field(default_factory=lambda: {"box": None, "area": None})
    """Which units of a style may refer to."""


class KeptStyles(StyleFor):  # type: ignore[misc]  # WeasyPrint has no types
    """The styles of one document's elements, computed only where an element stands in a place that was not seen before."""

    def __init__(
        self, html: HTML, sheets: list[tuple[CSS, str, None]], font_config: FontConfiguration, target_collector: Any, kept: Kept
    ) -> None:
        root = html.etree_element
        placed = list(_placed(root, kept.root.of(root, is_first=True, is_last=True)))
        self._kept = kept
        if all(place.styles is not None for _, place in placed):
            self._cascaded_styles: dict[Any, Any] = {}
            self._computed_styles: dict[Any, Any] = {}
            self._sheets = sheets
            self.font_config = font_config
        else:
            super().__init__(html, sheets, False, font_config, target_collector)
            _learn(placed, self._computed_styles)
        self.initial_page_sizes = kept.page_sizes
        for element, place in placed:
            shares = _shares(element)
            for pseudo, style in (place.styles or {}).items():
                self._computed_styles[element, pseudo] = _with(style, shares) if shares and pseudo is None else style

    def set_computed_styles(self, element: Any, parent: Any, root: Any = None, pseudo_type: str | None = None, **others: Any) -> None:
        """Of pages, which WeasyPrint asks for one by one, the styles are kept as well."""
        key = element, pseudo_type
        known = None if isinstance(element, Element) else self._kept.pages.get(key)
        if known is not None:
            self._computed_styles[key] = known
            return
        super().set_computed_styles(element, parent, root, pseudo_type, **others)
        if not isinstance(element, Element):
            self._kept.pages[key] = self._computed_styles[key]


def _placed(element: Element, place: Place) -> Iterator[tuple[Element, Place]]:
    yield element, place
    last = len(element) - 1
    for number, inner in enumerate(element):
        yield from _placed(inner, place.of(inner, is_first=number == 0, is_last=number == last))


def _learn(placed: list[tuple[Element, Place]], computed: dict[tuple[Any, str | None], Any]) -> None:
    styles: dict[Any, dict[str | None, Any]] = {}
    for (element, pseudo), style in computed.items():
        styles.setdefault(element, {})[pseudo] = style
    for element, place in placed:
        if place.styles is None:
            place.styles = styles[element]
            if element.tag == "table" or element.get("style"):
                _complete(place.styles[None])
                _complete(place.styles[None].anonymous_style)


def _complete(style: Any) -> None:
    """Computes what WeasyPrint would compute when first asked: of tables it makes copies, which would be asked case for case."""
    for name in INITIAL_VALUES:
        if "_block_" not in name and "_inline_" not in name:  # those only lend their values to `top`, `left`, ...
            style[name]


def _shares(element: Element) -> dict[str, float]:
    """What the `style` attribute says. It holds nothing but percentages, which are all that differs between elements of one place."""
    own = element.get("style")
    parts = (part.partition(":") for part in own.split(";")) if own else ()
    return {name.strip().replace("-", "_"): float(value.strip().removesuffix("%")) for name, _, value in parts}


def _with(style: Any, shares: dict[str, float]) -> Any:
    own = style.copy()
    own.update({name: Dimension(share, "%") for name, share in shares.items()})
    return own
