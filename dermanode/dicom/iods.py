"""What the standard requires of an object, from the module tables that highdicom ships (its own API to them is private)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from highdicom import _standard_utils as tables
from pydicom import Dataset
from pydicom.datadict import keyword_dict
from pydicom.tag import BaseTag, Tag

_MANDATORY_IDENTITY = ("patient", "general-study")
_ALTERNATIVES = frozenset({"SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"})
_CONTENT_TREE = "sr-document-content"
_OPTIONAL_IDENTITY = ("clinical-trial-subject", "patient-study", "clinical-trial-study")


@lru_cache(maxsize=1)
def identity_keywords() -> dict[str, bool]:
    """The attributes of the Patient and Study entities, each with: must it be there, if only empty?"""
    modules = tables.get_module_attribute_map()
    return {
        item["keyword"]: item["type"] == "2" and module in _MANDATORY_IDENTITY
        for module in (*_OPTIONAL_IDENTITY, *_MANDATORY_IDENTITY)
        for item in modules[module]
        if not item["path"]
    }


def is_known(sop_class_uid: str) -> bool:
    """Whether the tables have the IOD of that SOP class."""
    return sop_class_uid in tables.get_sop_class_iod_map()


def missing(dataset: Dataset, sop_class_uid: str) -> Iterator[str]:
    """The path of every attribute of type 1 that is absent or empty, and of type 2 that is absent, in the mandatory modules.

    Conditional attributes (1C, 2C) are not judged: their conditions are prose. Nor are alternatives that the tables list side by
    side: the value types of report content, and the functional groups, each of which may be shared or per frame. Nor is the inside
    of what was copied from the source: a procedure code without a meaning is the device's fault, no reason to withhold a result.
    """
    seen: set[str] = set()
    for module in _mandatory_modules(sop_class_uid):
        for path in _missing(dataset, _tree(module), ""):
            if path not in seen:
                seen.add(path)
                yield path


@lru_cache(maxsize=32)
def _mandatory_modules(sop_class_uid: str) -> tuple[str, ...]:
    iod = tables.get_sop_class_iod_map()[sop_class_uid]
    return tuple(module["key"] for module in tables.get_iod_module_map()[iod] if module["usage"] == "M" and module["key"] != _CONTENT_TREE)


@dataclass(frozen=True, slots=True)
class _Attribute:
    """One line of a module's table, with those below it."""

    tag: BaseTag
    keyword: str
    kind: str
    """`1`, `1C`, `2`, `2C`, `3`."""
    below: tuple[_Attribute, ...]


@lru_cache(maxsize=64)
def _tree(module: str) -> tuple[_Attribute, ...]:
    return tuple(_attributes(tables.construct_module_tree(module)))


def _attributes(tree: dict[str, Any]) -> Iterator[_Attribute]:
    for keyword, node in tree["attributes"].items():
        if (tag := keyword_dict.get(keyword)) is not None:
            is_copied = "attributes" not in node or keyword in identity_keywords()
            yield _Attribute(Tag(tag), keyword, node["type"].value, () if is_copied else tuple(_attributes(node)))


def _missing(dataset: Dataset, tree: tuple[_Attribute, ...], path: str, *, are_alternatives: bool = False) -> Iterator[str]:
    tags = dataset.keys()
    for attribute in tree:
        tag = attribute.tag
        if tag not in tags:
            if attribute.kind in ("1", "2") and not are_alternatives:
                yield f"{path}{attribute.keyword} (type {attribute.kind}) is absent"
            continue
        if attribute.kind == "1" and dataset[tag].is_empty:
            yield f"{path}{attribute.keyword} (type 1) is empty"
            continue
        if attribute.below and dataset[tag].VR == "SQ":
            for number, item in enumerate(dataset[tag].value or (), start=1):
                here = f"{path}{attribute.keyword}[{number}]."
                yield from _missing(item, attribute.below, here, are_alternatives=attribute.keyword in _ALTERNATIVES)
