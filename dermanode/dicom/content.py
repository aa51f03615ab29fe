"""The content tree of a Structured Report as it is read (PS3.3 C.17.3): plain Python or nothing, no exception for an odd item."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dermanode.dicom.elements import Elements
from dermanode.domain import UID, Code

CONTENT = 0x0040A730
"""Content Sequence."""
_VALUE_TYPE, _CONCEPT_NAME, _CONCEPT = 0x0040A040, 0x0040A043, 0x0040A168
_TEXT, _UID = 0x0040A160, 0x0040A124
_MEASURED, _NUMERIC, _FLOATING, _UNIT = 0x0040A300, 0x0040A30A, 0x0040A161, 0x004008EA
_REFERENCED, _REFERENCED_INSTANCE = 0x00081199, 0x00081155


@dataclass(frozen=True, slots=True)
class Item:
    """One content item: a name, a value, and what stands below it."""

    elements: Elements

    @property
    def value_type(self) -> str:
        """`NUM`, `CODE`, `CONTAINER`, ..."""
        return self.elements.text(_VALUE_TYPE)

    @property
    def name(self) -> Code | None:
        return self.elements.code(_CONCEPT_NAME)

    @property
    def children(self) -> tuple[Item, ...]:
        return tuple(Item(elements) for elements in self.elements.items(CONTENT))

    @property
    def text(self) -> str:
        return self.elements.text(_TEXT)

    @property
    def code(self) -> Code | None:
        return self.elements.code(_CONCEPT)

    @property
    def uid(self) -> UID | None:
        return self.elements.uid(_UID)

    @property
    def number(self) -> tuple[float, Code] | None:
        """The finite number of a NUM item and its unit; the floating point value, which is exact, before the decimal one."""
        for measured in self.elements.items(_MEASURED):
            unit = measured.code(_UNIT)
            value = measured.number(_FLOATING)
            value = measured.number(_NUMERIC) if value is None else value
            if value is not None and unit is not None:
                return value, unit
        return None

    @property
    def instance(self) -> UID | None:
        """The instance that an IMAGE or COMPOSITE item refers to."""
        return next((referenced.uid(_REFERENCED_INSTANCE) for referenced in self.elements.items(_REFERENCED)), None)

    def is_named(self, name: Code) -> bool:
        """Names are the same by value and scheme; the meaning is for people, in any language."""
        own = self.name
        return own is not None and (own.value, own.scheme) == (name.value, name.scheme)

    def named(self, name: Code) -> Iterator[Item]:
        """The items right below that have the name."""
        return (child for child in self.children if child.is_named(name))

    def child(self, name: Code) -> Item | None:
        """The first item right below that has the name."""
        return next(self.named(name), None)
