"""The gettext catalogues: what the templates and the code say, and how it is compiled.  python -m dermanode.document.catalogues

Run after a change of any words: new ones are added to every catalogue, empty; what is said no more is taken out. Then translate, and run
again to compile.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from jinja2.ext import babel_extract

from dermanode.document.wording import DOMAIN, LANGUAGES, Language

ROOM = Path(__file__).parent


def said() -> dict[str, str]:
    """Every message, with the file that says it."""
    found: dict[str, str] = {}
    for template in sorted((ROOM / "templates").iterdir()):
        with template.open("rb") as file:
            for _, _, message, _ in babel_extract(file, ["_"], [], {"trimmed": "true"}):
                text = message[0] if isinstance(message, tuple) else message
                found.setdefault(text or "", f"templates/{template.name}")
    for module in sorted(ROOM.glob("*.py")):
        for message in _marked(ast.parse(module.read_text(encoding="utf-8"))):
            found.setdefault(message, module.name)
    return found


def _marked(tree: ast.AST) -> Iterator[str]:
    """The texts in calls of `marked` and of `gettext`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in ("marked", "gettext"):
                yield from (given.value for given in node.args if isinstance(given, ast.Constant) and isinstance(given.value, str))


def po_file(language: Language) -> Path:
    return ROOM / "locale" / language / "LC_MESSAGES" / f"{DOMAIN}.po"


def read(language: Language) -> Catalog:
    """The catalogue as it is written for people; an empty one where there is none."""
    file = po_file(language)
    if not file.exists():
        return Catalog(locale=language, domain=DOMAIN)
    with file.open("rb") as stream:
        return read_po(stream, locale=language, domain=DOMAIN)


def compiled(catalogue: Catalog) -> bytes:
    """What gettext reads."""
    stream = BytesIO()
    write_mo(stream, catalogue)
    return stream.getvalue()


class _Undated(Catalog):
    """Says of itself what gettext must know, and neither dates nor names: the same words, the same file."""

    @property
    def mime_headers(self) -> list[tuple[str, str]]:
        return [
            ("Language", str(self.locale_identifier)),
            ("MIME-Version", "1.0"),
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Transfer-Encoding", "8bit"),
        ]

    @mime_headers.setter
    def mime_headers(self, headers: object) -> None:
        """A header that was read is written anew."""


def updated(old: Catalog, messages: dict[str, str]) -> Catalog:
    """A catalogue of these messages, with the translations that the old one has."""
    new = _Undated(locale=old.locale, domain=DOMAIN, fuzzy=False)
    new.header_comment = f"# The words of the report for people: {old.locale}."
    for message, file in messages.items():
        known = old.get(message)
        new.add(message, known.string if known else "", auto_comments=[file])
        new[message].flags.clear()  # Babel takes '90 % interval' for a format
    return new


def main() -> None:
    """Brings every catalogue up to date, and says what is not translated."""
    messages = said()
    for language in LANGUAGES:
        if language == "en":
            continue
        catalogue = updated(read(language), messages)
        file = po_file(language)
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as stream:
            write_po(stream, catalogue, width=140, omit_header=False)
        file.with_suffix(".mo").write_bytes(compiled(catalogue))
        missing = [message.id for message in catalogue if message.id and not message.string]
        print(f"{language}: {len(catalogue)} messages, {len(missing)} not translated")
        for message in missing[:20]:
            print(f"    {message}")


if __name__ == "__main__":
    main()
