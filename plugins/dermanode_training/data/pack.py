"""A pack: every photograph decoded once, small, in files that are mapped into memory.

`images.npy` and `masks.npy` hold the rows of the table in order; `cleaned.npy` holds what the preprocess plugin makes of them, and
`is_cleaned.npy` says for which rows it exists yet, so that training may begin while cleaning still runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import structlog
from numpy.typing import NDArray

from dermanode.errors import DermaNodeError
from dermanode_training.data.lesions import Collection

log = structlog.get_logger(__name__)

SIDE_PX = 256
LOGGED_IMAGES = 500

TABLE = "table.sha256"
"""The digest of the table whose rows the pack holds; packs of older releases have none."""


class PackDiffers(DermaNodeError):
    """A folder that holds the pictures of another table."""


class Pack:
    """The mapped arrays of a folder. Masks are 0 to 255: an area-averaged edge keeps its fraction."""

    def __init__(self, folder: Path) -> None:
        self.images: NDArray[np.uint8] = np.load(folder / "images.npy", mmap_mode="r")
        self.masks: NDArray[np.uint8] = np.load(folder / "masks.npy", mmap_mode="r")
        self._cleaned: NDArray[np.uint8] | None = None
        self._is_cleaned: NDArray[np.bool_] | None = None
        if (folder / "is_cleaned.npy").is_file():
            self._cleaned = np.load(folder / "cleaned.npy", mmap_mode="r")
            self._is_cleaned = np.load(folder / "is_cleaned.npy", mmap_mode="r")

    def __len__(self) -> int:
        return len(self.images)

    def is_cleaned(self, number: int) -> bool:
        """The preprocess plugin has come to that row."""
        return self._is_cleaned is not None and bool(self._is_cleaned[number])

    def cleaned(self, number: int) -> NDArray[np.uint8] | None:
        """What the preprocess plugin made of that row, None where it has not come to it yet."""
        return np.asarray(self._cleaned[number]) if self._cleaned is not None and self.is_cleaned(number) else None

    def cleaned_rows(self, numbers: NDArray[np.intp]) -> NDArray[np.uint8]:
        """The same for several rows, to all of which it has come."""
        assert self._cleaned is not None, "no row is cleaned"
        return np.asarray(self._cleaned[numbers])


def write_pack(collection: Collection, folder: Path, *, processes: int = 1) -> Pack:
    """Decodes every photograph and mask into the folder; one that already has them is opened as it is. Raises `PackDiffers`."""
    digest = hashlib.sha256(collection.table.read_bytes()).hexdigest()
    if (folder / "masks.npy").is_file():
        return _of_that_table(Pack(folder), folder, len(collection), digest)
    folder.mkdir(parents=True, exist_ok=True)
    count = len(collection)
    np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (count, SIDE_PX, SIDE_PX, 3))
    np.lib.format.open_memmap(folder / "masks.partial.npy", "w+", np.uint8, (count, SIDE_PX, SIDE_PX))
    done = 0
    for written in _in_processes(_decode, collection, folder, range(count), processes):
        done += written
        log.info("pack_grows", done=done, of=count)
    (folder / TABLE).write_text(digest, encoding="utf-8")
    (folder / "masks.partial.npy").rename(folder / "masks.npy")
    log.info("pack_written", folder=str(folder), images=count)
    return Pack(folder)


def _of_that_table(pack: Pack, folder: Path, count: int, digest: str) -> Pack:
    before = (folder / TABLE).read_text(encoding="utf-8") if (folder / TABLE).is_file() else digest
    if len(pack) != count or before != digest:
        raise PackDiffers(f"{folder} holds the pictures of another table ({len(pack)} rows): give another --work, or remove the folder.")
    return pack


def clean_pack(collection: Collection, folder: Path, *, seed: int = 0, processes: int = 1) -> None:
    """Sends photographs through the preprocess plugin's own cleaning, in random order; goes on where it was stopped."""
    count = len(collection)
    if not (folder / "is_cleaned.npy").is_file():
        np.lib.format.open_memmap(folder / "cleaned.npy", "w+", np.uint8, (count, SIDE_PX, SIDE_PX, 3))
        np.save(folder / "is_cleaned.npy", np.zeros(count, np.bool_))
    is_cleaned = np.load(folder / "is_cleaned.npy", mmap_mode="r")
    missing = [int(number) for number in np.random.default_rng(seed).permutation(count) if not is_cleaned[number]]
    done = count - len(missing)
    for cleaned in _in_processes(_clean, collection, folder, missing, processes):
        done += cleaned
        log.info("pack_is_cleaned", done=done, of=count)


def _decode(collection: Collection, folder: Path, numbers: Sequence[int]) -> int:
    images, masks = (np.lib.format.open_memmap(folder / name, "r+") for name in ("images.npy", "masks.partial.npy"))
    for number in numbers:
        lesion = collection.lesions[number]
        images[number] = cv2.resize(collection.image(lesion), (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
        if lesion.mask:
            mask = collection.mask(lesion).astype(np.uint8) * 255
            masks[number] = cv2.resize(mask, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    return len(numbers)


def _clean(collection: Collection, folder: Path, numbers: Sequence[int]) -> int:
    from dermanode_preprocess.cleaning import clean

    pictures, is_cleaned = (np.lib.format.open_memmap(folder / name, "r+") for name in ("cleaned.npy", "is_cleaned.npy"))
    for number in numbers:
        pixels = clean(collection.image(collection.lesions[number])).pixels
        pictures[number] = cv2.resize(pixels, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
        is_cleaned[number] = True
    return len(numbers)


Work = Callable[[Collection, Path, Sequence[int]], int]


def _in_processes(work: Work, collection: Collection, folder: Path, numbers: Sequence[int], processes: int) -> Iterator[int]:
    """Does the rows in parts, here or in so many processes, each of which writes into the folder's files; gives how many each part was."""
    size = max(1, min(LOGGED_IMAGES, -(-len(numbers) // max(1, processes))))
    parts = [numbers[start : start + size] for start in range(0, len(numbers), size)]
    if processes <= 1:
        yield from (work(collection, folder, part) for part in parts)
        return
    # Not forked: the parent may have threads, and an open zip has one place that both would read from.
    with ProcessPoolExecutor(processes, get_context("spawn"), _begin, (collection.table, collection.folder)) as pool:
        yield from pool.map(partial(_do, work, folder), parts)


_collections: list[Collection] = []
"""In a process of `_in_processes` the table that it works on; nowhere else is there any."""


def _begin(table: Path, images: Path) -> None:
    cv2.setNumThreads(1)
    _collections[:] = [Collection(table, images)]


def _do(work: Work, folder: Path, numbers: Sequence[int]) -> int:
    (collection,) = _collections
    return work(collection, folder, numbers)
