"""A report's content with each different item once: what the gate asks of an item, it asks of that item alone.

A report of eight views has some six hundred items, of which two thirds repeat another: every number says who computed it. Items of the
same bytes get the same verdict, so the gate and highdicom need to read one of them.
"""

from __future__ import annotations

from collections.abc import Hashable

from pydicom import DataElement, Dataset
from pydicom.tag import Tag

_CONTENT = Tag("ContentSequence")
_CHARSET = Tag("SpecificCharacterSet")
_VALUE_TYPE = Tag("ValueType")


def leave_one_of_each(dataset: Dataset) -> None:
    """Takes out of the content every item of a data set just read whose bytes, down to the last level, are those of an earlier one.

    Elements of the same bytes, such as a code, are parsed once and then shared. Raises what pydicom raises.
    """
    _leave(dataset, set(), {})


def _leave(dataset: Dataset, seen: set[Hashable], parsed: dict[Hashable, DataElement]) -> None:
    if _CONTENT not in dataset:
        return
    content = dataset[_CONTENT]
    kept = []
    for item in content.value:
        # A nested sequence of defined length, as the node writes them, is bytes until it is asked for.
        elements = [(element.tag, element.VR, element.value) for element in item.values()]
        if _CHARSET in item or any(not isinstance(value, bytes) for _, _, value in elements):
            kept.append(item)
            continue
        if (key := tuple(elements)) in seen:
            continue
        seen.add(key)
        kept.append(item)
        for element in elements:
            if element[0] == _CONTENT:
                # An outline is held against the image that stands below it.
                if not any(tag == _VALUE_TYPE and value.startswith(b"SCOORD") for tag, _, value in elements):
                    _leave(item, seen, parsed)
            elif element in parsed:
                item[element[0]] = parsed[element]
            else:
                parsed[element] = item[element[0]]
    content.value = kept
