"""A table of photographed lesions: `lesions.csv` beside zips or folders of images and masks."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dermanode_training.data.sets import DataMissing, PictureSet, open_set

__all__ = ["Collection", "DataMissing", "Lesion", "PictureBroken"]

NEEDED = ("id", "set", "split", "image")
"""The columns without which a row says nothing; every other may be missing or empty."""
NAMED = 3
"""So many of the missing files are named; of the others the number."""


class PictureBroken(DataMissing):
    """A file that no picture can be decoded from."""


@dataclass(frozen=True, slots=True)
class Lesion:
    """One row of the table: a photograph, its mask's name and its label."""

    number: int
    """The row, counted from 0: the index in a pack."""
    id: str
    set: str
    split: str
    image: str
    mask: str
    """Empty where there is none."""
    label: str
    """One of seven diagnoses; empty where there is none."""
    label8: str = ""
    """One of eight: AKIEC is AK or SCC. Empty where that is not known."""
    sex: str = ""
    age: str = ""
    site: str = ""
    group: str = ""
    """Photographs that are not independent share it: those of one lesion, and near-duplicates. The id where nothing is known."""


class Collection:
    """The rows of a table and the pixels behind them; a set is a zip or a folder of its name."""

    def __init__(self, data: Path, images: Path | None = None) -> None:
        """`data` is the table or the folder of `lesions.csv`; `images` is the folder of the sets, by default beside the table."""
        table = data if data.is_file() else data / "lesions.csv"
        if not table.is_file():
            raise DataMissing(f"{table} does not exist: give the folder that holds lesions.csv and the archives.")
        self.table, self.folder = table, images or table.parent
        with table.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            absent = [name for name in NEEDED if name not in (reader.fieldnames or ())]
            if absent:
                raise DataMissing(f"{table} has no column {', '.join(absent)}. Its first line is to name {', '.join(NEEDED)} at least.")
            self.lesions = tuple(_lesion(number, row) for number, row in enumerate(reader))
        self._sets: dict[str, PictureSet] = {}

    def __len__(self) -> int:
        return len(self.lesions)

    def split(self, name: str) -> tuple[Lesion, ...]:
        """The rows of one side: `train` is fitted, `val` chooses."""
        return tuple(lesion for lesion in self.lesions if lesion.split == name)

    def side(self, name: str) -> tuple[Lesion, ...]:
        """The rows of one side, of which there must be some; every row for `all`, unless a side is called so.

        Raises `DataMissing`.
        """
        is_unsided = name == "all" and not self.split(name)
        found = self.lesions if is_unsided else self.split(name)
        if not found:
            known = Counter(lesion.split for lesion in self.lesions)
            there = ", ".join(f"{split or '(none)'} ({count})" for split, count in sorted(known.items())) or "no row at all"
            raise DataMissing(f"{self.table} has no row whose split is {name!r}; there are: {there}.")
        return found

    def missing(self, lesions: Sequence[Lesion]) -> Mapping[str, frozenset[int]]:
        """What is not there of the images and masks that rows name, as sentences, each with the numbers of its rows. Nothing is read."""
        without: dict[str, list[Lesion]] = {}
        found: dict[str, frozenset[int]] = {}
        for lesion in lesions:
            without.setdefault(lesion.set, []).append(lesion)
        for name, rows in without.items():
            try:
                pictures = self._set(name)
            except DataMissing as error:
                found[str(error)] = frozenset(row.number for row in rows)
                continue
            for kind, wanted in (("image", [(row, row.image) for row in rows]), ("mask", [(row, row.mask) for row in rows if row.mask])):
                absent = [(row, member) for row, member in wanted if not pictures.has(member)]
                if absent:
                    first = ", ".join(member or f"(empty, id {row.id})" for row, member in absent[:NAMED])
                    more = f" and {len(absent) - NAMED} more" if len(absent) > NAMED else ""
                    cure = f"put them into the set's folder or zip in {self.folder}, or take their rows out of lesions.csv"
                    sentence = f"The set {name} lacks {len(absent)} {kind} file(s): {first}{more}; {cure}."
                    found[sentence] = frozenset(row.number for row, _ in absent)
        return found

    def image(self, lesion: Lesion) -> NDArray[np.uint8]:
        """The photograph as it is in the set: rows x columns x 3, sRGB. Raises `DataMissing`, `PictureBroken`."""
        return self._decode(lesion.set, lesion.image, cv2.IMREAD_COLOR_RGB)

    def mask(self, lesion: Lesion) -> NDArray[np.bool_]:
        """The annotated lesion: rows x columns, True is lesion. Raises `DataMissing`, `PictureBroken`."""
        grey = self._decode(lesion.set, lesion.mask, cv2.IMREAD_GRAYSCALE)
        # Some sets write a lesion as 1, not as 255.
        return np.asarray(grey > (127 if grey.max() > 1 else 0))

    def images(self) -> Iterator[tuple[Lesion, NDArray[np.uint8]]]:
        for lesion in self.lesions:
            yield lesion, self.image(lesion)

    def _decode(self, set_name: str, member: str, how: int) -> NDArray[np.uint8]:
        file = np.frombuffer(self._set(set_name).read(member), np.uint8)
        try:
            pixels = cv2.imdecode(file, how) if len(file) else None
        except cv2.error:  # a header that promises more pixels than OpenCV is willing to decode
            pixels = None
        if pixels is None:
            raise PictureBroken(f"{member} of the set {set_name} is no picture that can be decoded.")
        return np.asarray(pixels, np.uint8)

    def _set(self, name: str) -> PictureSet:
        if name not in self._sets:
            self._sets[name] = open_set(self.folder, name)
        return self._sets[name]


def _lesion(number: int, row: Mapping[str, str | None]) -> Lesion:
    told = {name: (value or "").strip() for name, value in row.items() if isinstance(value, str)}
    label, label8 = told.get("label7", "").upper(), told.get("label8", "").upper()
    return Lesion(
        number=number,
        id=told["id"],
        set=told["set"],
        split=told["split"],
        image=told["image"],
        mask=told.get("mask", ""),
        # Each of the two says the other, but for AKIEC, which may be AK or SCC.
        label=label or ("AKIEC" if label8 in ("AK", "SCC") else label8),
        label8=label8 or ("" if label == "AKIEC" else label),
        sex=told.get("sex", ""),
        age=told.get("age", ""),
        site=told.get("site", ""),
        group=told.get("group") or told.get("lesion") or f"{told['set']}/{told['id']}",
    )
