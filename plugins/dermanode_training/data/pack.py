"""A pack: every photograph decoded once, small, in files that are mapped into memory.

`images.npy` and `masks.npy` hold the rows of the table in order; `cleaned.npy` holds what the preprocess plugin makes of them, and
`is_cleaned.npy` says for which rows it exists yet, so that training may begin while cleaning still runs.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import structlog
from numpy.typing import NDArray

from dermanode.errors import DermaNodeError
from dermanode_training.data.lesions import Collection

log = structlog.get_logger(__name__)

SIDE_PX = 256
LOGGED_IMAGES = 1000

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

    def cleaned(self, number: int) -> NDArray[np.uint8] | None:
        """What the preprocess plugin made of that row, None where it has not come to it yet."""
        if self._cleaned is None or self._is_cleaned is None or not self._is_cleaned[number]:
            return None
        return np.asarray(self._cleaned[number])


def write_pack(collection: Collection, folder: Path) -> Pack:
    """Decodes every photograph and mask into the folder; one that already has them is opened as it is. Raises `PackDiffers`."""
    digest = hashlib.sha256(collection.table.read_bytes()).hexdigest()
    if (folder / "masks.npy").is_file():
        return _of_that_table(Pack(folder), folder, len(collection), digest)
    folder.mkdir(parents=True, exist_ok=True)
    count = len(collection)
    images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (count, SIDE_PX, SIDE_PX, 3))
    masks = np.lib.format.open_memmap(folder / "masks.partial.npy", "w+", np.uint8, (count, SIDE_PX, SIDE_PX))
    for lesion, pixels in collection.images():
        images[lesion.number] = cv2.resize(pixels, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
        if lesion.mask:
            mask = collection.mask(lesion).astype(np.uint8) * 255
            masks[lesion.number] = cv2.resize(mask, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
        if lesion.number % LOGGED_IMAGES == LOGGED_IMAGES - 1:
            log.info("pack_grows", done=lesion.number + 1, of=count)
    (folder / TABLE).write_text(digest, encoding="utf-8")
    (folder / "masks.partial.npy").rename(folder / "masks.npy")
    log.info("pack_written", folder=str(folder), images=count)
    return Pack(folder)


def _of_that_table(pack: Pack, folder: Path, count: int, digest: str) -> Pack:
    before = (folder / TABLE).read_text(encoding="utf-8") if (folder / TABLE).is_file() else digest
    if len(pack) != count or before != digest:
        raise PackDiffers(f"{folder} holds the pictures of another table ({len(pack)} rows): give another --work, or remove the folder.")
    return pack


def clean_pack(collection: Collection, folder: Path, *, seed: int = 0) -> None:
    """Sends photographs through the preprocess plugin's own cleaning, in random order; goes on where it was stopped."""
    from dermanode_preprocess.cleaning import clean

    count = len(collection)
    if not (folder / "is_cleaned.npy").is_file():
        np.lib.format.open_memmap(folder / "cleaned.npy", "w+", np.uint8, (count, SIDE_PX, SIDE_PX, 3))
        np.save(folder / "is_cleaned.npy", np.zeros(count, np.bool_))
    cleaned = np.lib.format.open_memmap(folder / "cleaned.npy", "r+")
    is_cleaned = np.lib.format.open_memmap(folder / "is_cleaned.npy", "r+")
    for number in np.random.default_rng(seed).permutation(count):
        if not is_cleaned[number]:
            pixels = clean(collection.image(collection.lesions[number])).pixels
            cleaned[number] = cv2.resize(pixels, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
            is_cleaned[number] = True
    log.info("pack_cleaned", folder=str(folder), images=count)
