"""What the standard requires of an object, from the module tables that highdicom ships (its own API to them is private)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from highdicom import _standard_utils as tables
from pydicom import Dataset
from pydicom.datadict import keyword_dict

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


@lru_cache(maxsize=64)
def _tree(module: str) -> dict[str, Any]:
    tree: dict[str, Any] = tables.construct_module_tree(module)
    return tree


def _missing(dataset: Dataset, tree: dict[str, Any], path: str, *, are_alternatives: bool = False) -> Iterator[str]:
    for keyword, node in tree["attributes"].items():
        kind = node["type"].value
        tag = keyword_dict.get(keyword)
        if tag is None:
            continue
        here = f"{path}{keyword}"
        is_present = tag in dataset
        if not is_present:
            if kind in ("1", "2") and not are_alternatives:
                yield f"{here} (type {kind}) is absent"
            continue
        if kind == "1" and dataset[tag].is_empty:
            yield f"{here} (type 1) is empty"
            continue
        if "attributes" in node and keyword not in identity_keywords() and dataset[tag].VR == "SQ":
            for number, item in enumerate(dataset[tag].value or (), start=1):
                yield from _missing(item, node, f"{here}[{number}].", are_alternatives=keyword in _ALTERNATIVES)
