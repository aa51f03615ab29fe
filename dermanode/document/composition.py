"""A document as WeasyPrint lays it out, without the work that every case has in common.

It stands on WeasyPrint's inner parts: a test holds that the pages are those which WeasyPrint's own door gives.
"""

from __future__ import annotations

from functools import partial
from typing import Any
from xml.etree.ElementTree import Element

from cssselect2 import ElementWrapper
from weasyprint import CSS, DEFAULT_OPTIONS, HTML
from weasyprint.css.counters import CounterStyle
from weasyprint.css.targets import TargetCollector
from weasyprint.document import Document
from weasyprint.images import get_image_from_uri
from weasyprint.layout import LayoutContext
from weasyprint.text.fonts import FontConfiguration

from dermanode.document.styles import Kept, KeptStyles


class Tree(HTML):  # type: ignore[misc]  # WeasyPrint has no types
    """HTML that is parsed already, and asks for no stylesheet of its own."""

    def __init__(self, root: Element, url_fetcher: Any) -> None:
        self.base_url = None
        self.url_fetcher = url_fetcher
        self.media_type = "print"
        self.wrapper_element = ElementWrapper.from_html_root(root)
        self.etree_element = root


class Composition(Document):  # type: ignore[misc]  # as above
    """Laid-out pages."""

    @classmethod
    def of(cls, tree: Tree, sheet: CSS, fonts: FontConfiguration, kept: Kept, *, variant: str) -> Composition:
        """The pages of the tree under that stylesheet, which always comes with the same `kept`."""
        options = {**DEFAULT_OPTIONS, "stylesheets": [sheet], "pdf_variant": variant, "cache": {}, "kept": kept}
        composition: Composition = cls._render(tree, fonts, None, None, options)
        return composition

    @classmethod
    def _build_layout_context(
        cls, html: Tree, font_config: FontConfiguration, counter_style: CounterStyle, _color_profiles: object, options: dict[str, Any]
    ) -> LayoutContext:
        for known in html._ua_counter_style():
            counter_style.update(known)
        sheets = [(sheet, "user agent", None) for sheet in html._ua_stylesheets()]
        sheets += [(sheet, "user", None) for sheet in options["stylesheets"]]
        targets = TargetCollector()
        styles = KeptStyles(html, sheets, font_config, targets, options["kept"])
        images = partial(get_image_from_uri, cache=options["cache"], url_fetcher=html.url_fetcher, options=options)
        return LayoutContext(styles, images, font_config, counter_style, targets)
