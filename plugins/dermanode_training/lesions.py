"""A table of photographed lesions: `lesions.csv` beside zips or folders of images and masks."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dermanode.errors import DermaNodeError

ARCHIVES = {"HAM10000": "ham10000.zip", "ISIC2018T1": "isic2018_task1.zip"}
"""Where a set's name and its archive's name differ; any other set is looked for under its own name."""


class DataMissing(DermaNodeError):
    """Training data that are not where they were said to be."""


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
    """Empty where the set has no masks."""
    label: str
    """One of seven diagnoses; empty where there is none."""
    sex: str = ""
    age: str = ""
    site: str = ""


class Collection:
    """The rows of `lesions.csv` and the pixels behind them; a set is a zip or a folder of its name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        table = folder / "lesions.csv"
        if not table.is_file():
            raise DataMissing(f"{table} does not exist: give the folder that holds lesions.csv and the archives.")
        with table.open(newline="", encoding="utf-8") as stream:
            self.lesions = tuple(_lesion(number, row) for number, row in enumerate(csv.DictReader(stream)))
        self._archives: dict[str, zipfile.ZipFile] = {}

    def __len__(self) -> int:
        return len(self.lesions)

    def split(self, name: str) -> tuple[Lesion, ...]:
        """The rows of one side: `train` is fitted, `val` chooses."""
        return tuple(lesion for lesion in self.lesions if lesion.split == name)

    def image(self, lesion: Lesion) -> NDArray[np.uint8]:
        """The photograph as it is in the set: rows x columns x 3, sRGB."""
        return self._decode(lesion.set, lesion.image, cv2.IMREAD_COLOR_RGB)

    def mask(self, lesion: Lesion) -> NDArray[np.bool_]:
        """The annotated lesion: rows x columns, True is lesion."""
        return np.asarray(self._decode(lesion.set, lesion.mask, cv2.IMREAD_GRAYSCALE) > 127)

    def images(self) -> Iterator[tuple[Lesion, NDArray[np.uint8]]]:
        for lesion in self.lesions:
            yield lesion, self.image(lesion)

    def _decode(self, set_name: str, member: str, how: int) -> NDArray[np.uint8]:
        pixels = cv2.imdecode(np.frombuffer(self._read(set_name, member), np.uint8), how)
        if pixels is None:
            raise DataMissing(f"{member} of the set {set_name} is no picture that can be decoded.")
        return np.asarray(pixels, np.uint8)

    def _read(self, set_name: str, member: str) -> bytes:
        folder = self.folder / set_name
        if folder.is_dir():
            return (folder / member).read_bytes()
        if set_name not in self._archives:
            path = self.folder / ARCHIVES.get(set_name, f"{set_name}.zip")
            if not path.is_file():
                raise DataMissing(f"The set {set_name} is neither the folder {folder} nor the archive {path}.")
            self._archives[set_name] = zipfile.ZipFile(path)
        return self._archives[set_name].read(member)


def _lesion(number: int, row: dict[str, str]) -> Lesion:
    return Lesion(
        number=number,
        id=row["id"],
        set=row["set"],
        split=row["split"],
        image=row["image"],
        mask=row.get("mask", ""),
        label=row.get("label7", ""),
        sex=row.get("sex", ""),
        age=row.get("age", ""),
        site=row.get("site", ""),
    )
