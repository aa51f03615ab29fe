"""The sites of the body that are known by name or code: Dermatology Anatomic Sites (PS3.16 CID 4029)."""

from __future__ import annotations

from functools import cache

from dermanode.domain import Code


def known_site(text: str) -> Code | None:
    """The site of a SNOMED CT code (`22943007`) or a name (`Skin of back`, `back`), in any case; None for others."""
    return _sites().get(" ".join(text.split()).casefold())


@cache
def _sites() -> dict[str, Code]:
    from pydicom.sr.codedict import codes  # takes a tenth of a second, and is asked for rarely

    sites: dict[str, Code] = {}
    for concept in codes.cid4029.concepts.values():
        code = Code(concept.value, "SCT", concept.meaning)
        name = concept.meaning.casefold()
        sites |= {concept.value: code, name: code}
        sites.setdefault(name.removeprefix("skin of "), code)
    return sites
