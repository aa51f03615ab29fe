"""Prints the list of storage SOP classes that the node accepts.  python docs/make_storage_classes.py > docs/storage-classes.md"""

from __future__ import annotations

from pydicom.uid import UID_dictionary

from dermanode.receive.contexts import storage_classes

_HEAD = """# Storage SOP classes that are accepted

Made from the code by `make docs`; do not edit. Annex of the [conformance statement](conformance.md). Private SOP classes are accepted too,
as they are proposed.
"""


def listing() -> str:
    """The whole page, in Markdown."""
    rows = [f"| {_name(uid)} | {uid} |" for uid in storage_classes()]
    return "\n".join([_HEAD, "| SOP class | UID |", "| --- | --- |", *rows]) + "\n"


def _name(uid: str) -> str:
    name, *_, retired, _ = UID_dictionary.get(uid, ("not in PS3.6", "", "", "", ""))
    return f"{name} (retired)" if retired else name


if __name__ == "__main__":
    print(listing(), end="")
