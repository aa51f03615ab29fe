"""The folder of a case's results: filled out of sight, synced, and then put in place at once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import blake3
import numpy as np
import simplejpeg
from PIL import Image

from dermanode.domain import UID, Digest, ProducedObject
from dermanode.domain.series import RGB
from dermanode.pipeline import leftovers

PREVIEW_SIZE_PX = 1024
PREVIEW_QUALITY = 85


@dataclass(frozen=True)
class ResultsFolder:
    """The files of one case while they are being made."""

    results_dir: Path
    case_id: str
    previews: list[ProducedObject] = field(default_factory=list)

    @property
    def place(self) -> Path:
        return self.results_dir / self.case_id

    @property
    def making(self) -> Path:
        return leftovers.making(self.results_dir, self.case_id)

    def write(self, name: str, content: bytes, *, kind: str, sop: tuple[UID, UID] | None = None, description: str = "") -> ProducedObject:
        """Writes one file. `sop` is its SOP Class and Instance UID, where it is a DICOM object."""
        path = self.file(name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return ProducedObject(
            kind=kind,
            path=f"{self.case_id}/{name}",
            digest=Digest(blake3.blake3(content).hexdigest()),
            size_bytes=len(content),
            sop_class_uid=sop[0] if sop else None,
            sop_instance_uid=sop[1] if sop else None,
            description=description,
        )

    def file(self, name: str) -> Path:
        """Where a file lies until the folder is published."""
        return self.making / name

    def refuse(self, made: ProducedObject, reasons: tuple[str, ...]) -> ProducedObject:
        """Puts a file that the gate refused aside, where no destination looks for it."""
        name = made.path.removeprefix(f"{self.case_id}/")
        (self.making / "refused").mkdir(exist_ok=True)
        self.file(name).rename(self.file(f"refused/{name}"))
        return replace(made, path=f"{self.case_id}/refused/{name}", passed_gate=False, reasons=reasons)

    def add_preview(self, sop_instance_uid: UID, pixels: RGB) -> None:
        """Writes a view as the page shows it: a JPEG whose longest side is at most `PREVIEW_SIZE_PX`."""
        if max(pixels.shape[:2]) > PREVIEW_SIZE_PX:
            image = Image.fromarray(pixels)
            image.thumbnail((PREVIEW_SIZE_PX, PREVIEW_SIZE_PX), Image.Resampling.BOX)
            pixels = np.asarray(image)
        name = f"views/{sop_instance_uid}.jpg"
        self.previews.append(self.write(name, encode_jpeg(pixels), kind="PREVIEW", description="View, for the page"))

    def publish(self) -> None:
        """Puts the folder in place of an earlier run's. After a crash either the old one, or none and a case to be run again, is there."""
        for path in [*self.making.rglob("*"), self.making]:
            _sync(path)
        retired = leftovers.retired(self.results_dir, self.case_id)
        shutil.rmtree(retired, ignore_errors=True)
        if self.place.exists():
            self.place.rename(retired)
        self.making.rename(self.place)
        _sync(self.results_dir)
        shutil.rmtree(retired, ignore_errors=True)


def encode_jpeg(pixels: RGB) -> bytes:
    """A picture for the page."""
    content: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=PREVIEW_QUALITY)
    return content


@contextmanager
def results_folder(results_dir: Path, case_id: str) -> Iterator[ResultsFolder]:
    """A new folder for a case; what a killed worker left of an earlier try is removed, and so is this one if it is not published."""
    folder = ResultsFolder(results_dir, case_id)
    shutil.rmtree(folder.making, ignore_errors=True)
    folder.making.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder.making, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
