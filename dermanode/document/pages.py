"""From HTML to the bytes of a PDF."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weasyprint import CSS
    from weasyprint.text.fonts import FontConfiguration

VARIANT = "pdf/a-3u"
"""For archives: fonts and the colour space are in the file, and every letter can be copied (ISO 19005-3, level U)."""


def set_pages(html: str, css: str, pictures: Mapping[str, bytes], *, identifier: str, is_right_to_left: bool) -> bytes:
    """The same bytes for the same arguments. `pictures` are JPEG files by the name after `picture:` in the HTML's addresses.

    Nothing else is fetched, whatever the HTML asks for. Must follow `fonts.require`: without its libraries WeasyPrint cannot be imported.
    """
    from weasyprint import HTML
    from weasyprint.urls import URLFetcher, URLFetcherResponse

    class OnlyPictures(URLFetcher):  # type: ignore[misc]  # WeasyPrint has no types
        """Serves the pictures that were handed over."""

        def __init__(self) -> None:
            super().__init__(allowed_protocols=())

        def fetch(self, url: str, headers: object = None) -> Any:
            scheme, _, name = url.partition(":")
            if scheme != "picture" or name not in pictures:
                raise ValueError(f"{scheme} addresses are not fetched")
            return URLFetcherResponse(url, pictures[name], {"Content-Type": "image/jpeg"})

    def prefer(_document: object, pdf: Any) -> None:
        """A viewer that shows two pages puts the first on the right."""
        reading = {"DisplayDocTitle": "true", "Direction": "/R2L" if is_right_to_left else "/L2R"}
        pdf.catalog["ViewerPreferences"] = type(pdf.catalog)(reading)

    document = HTML(string=html, url_fetcher=OnlyPictures())
    with warnings.catch_warnings():
        # WeasyPrint 70 leaves the file of the colour space to the garbage collector.
        warnings.filterwarnings("ignore", "unclosed file", ResourceWarning)
        pdf: bytes = document.write_pdf(
            stylesheets=[_sheet(css)],
            font_config=_fonts(),
            pdf_identifier=identifier.encode(),
            pdf_variant=VARIANT,
            cache={},
            finisher=prefer,
        )
    return pdf


@lru_cache(maxsize=12)
def _sheet(css: str) -> CSS:
    """There are two for each language, and a worker sees few."""
    from weasyprint import CSS

    return CSS(string=css, font_config=_fonts())


@cache
def _fonts() -> FontConfiguration:
    """fontconfig's list of fonts, read once a process: it takes a tenth of a second."""
    from weasyprint.text.fonts import FontConfiguration

    return FontConfiguration()
