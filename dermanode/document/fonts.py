"""What this machine has for setting pages: the libraries that lay out text, and fonts that hold a language's letters."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from ctypes.util import find_library
from functools import cache

from dermanode.document.wording import LANGUAGES, Language
from dermanode.errors import CannotSetPages

LIBRARIES = {
    "libfontconfig.so.1": "libfontconfig1",
    "libpango-1.0.so.0": "libpango-1.0-0",
    "libpangoft2-1.0.so.0": "libpangoft2-1.0-0",
    "libharfbuzz.so.0": "libharfbuzz0b",
    "libharfbuzz-subset.so.0": "libharfbuzz-subset0",
}
"""What WeasyPrint loads, with the package of Debian or Ubuntu that brings it."""

_LATIN = "AZaz09ÄÖÜßáéíóúñçèêœ²³°±×−–·¹⁻"
_LETTERS: dict[Language, tuple[str, str]] = {
    **dict.fromkeys(LANGUAGES, (_LATIN, "fonts-dejavu-core")),
    "hi": ("अआइईउएकखगघचजटडतदनपबमयरलवशषसह़ा्ि।", "fonts-lohit-deva"),
    "ar": ("ءابتثجحخدذرزسشصضطظعغفقكلمنهويىةئؤًّ،؟", "fonts-dejavu-core"),
}
"""Letters that one font must hold together, and the package that brings such a font."""


def require(language: Language) -> None:
    """Raises `CannotSetPages` where a library or a font for the language is missing, naming the packages that bring them."""
    if absent := lacking_libraries():
        raise CannotSetPages(f"{', '.join(absent)} cannot be loaded", tuple(absent.values()))
    if package := lacking_font(language):
        raise CannotSetPages(f"no font here has the letters of the language {language!r}", (package,))


def lacking_libraries() -> dict[str, str]:
    """Libraries that cannot be loaded, each with its package."""
    return {library: package for library, package in LIBRARIES.items() if not _loads(library)}


def lacking_font(language: Language) -> str | None:
    """The package to install where no font has the language's letters."""
    for letters, package in (_LETTERS["en"], _LETTERS[language]):
        if not has_font_with(letters):
            return package
    return None


def without_font(text: Iterable[str]) -> frozenset[str]:
    """The characters of a text that no font here can show."""
    return frozenset(character for character in set(text) if ord(character) > 0xFF and not _is_shown(character))


@cache
def _is_shown(character: str) -> bool:
    return has_font_with(character)


class _FontSet(ctypes.Structure):
    _fields_ = (("count", ctypes.c_int), ("room", ctypes.c_int), ("fonts", ctypes.c_void_p))


def has_font_with(characters: str) -> bool:
    """Whether one installed font holds all of these characters, as fontconfig lists them; False without fontconfig."""
    name = "libfontconfig.so.1" if _loads("libfontconfig.so.1") else find_library("fontconfig")
    if name is None:
        return False
    library = ctypes.CDLL(name)
    for function in ("FcNameParse", "FcObjectSetCreate"):
        getattr(library, function).restype = ctypes.c_void_p
    library.FcFontList.restype = ctypes.POINTER(_FontSet)
    for function in ("FcPatternDestroy", "FcObjectSetDestroy", "FcFontSetDestroy"):
        getattr(library, function).argtypes = [ctypes.c_void_p]
    library.FcObjectSetAdd.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    library.FcFontList.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    wanted = library.FcNameParse(f":charset={' '.join(f'{ord(character):x}' for character in characters)}".encode())
    asked = library.FcObjectSetCreate()
    library.FcObjectSetAdd(asked, b"file")
    found = library.FcFontList(None, wanted, asked)
    count = found.contents.count if found else 0
    if found:
        library.FcFontSetDestroy(ctypes.cast(found, ctypes.c_void_p))
    library.FcObjectSetDestroy(asked)
    library.FcPatternDestroy(wanted)
    return count > 0


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
