"""One object in Explicit VR Little Endian, its pixels decoded."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from threading import Semaphore
from typing import IO

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import ExplicitVRLittleEndian

from dermanode.errors import UnreadableObject
from dermanode.web.dicomweb.frames import Frames, frames_of

_CHUNK_BYTES = 1 << 18
_MOST_BYTES = 1 << 31
"""What is longer uncompressed has no place in a native object (PS3.5 A.4: the length of a value has 32 bits)."""
_AGAINST_THE_STANDARD = (
    *(InvalidDicomError, ValueError, TypeError, KeyError, AttributeError, NotImplementedError, EOFError, OSError),
    struct.error,
)
"""What pydicom raises for a data set that is."""
_TURNS = Semaphore(2)
"""So many are decoded at once: each is in memory as a whole."""


def transcoded(path: Path) -> Iterator[bytes]:
    """The file in Explicit VR Little Endian, in pieces. Raises `UnreadableObject` where its pixels cannot be decoded, before the first."""
    with TemporaryFile() as scratch:
        with _TURNS:
            _written(path, scratch)
        scratch.seek(0)
        while chunk := scratch.read(_CHUNK_BYTES):
            yield chunk


def _written(path: Path, scratch: IO[bytes]) -> None:
    try:
        dataset = dcmread(path)
        if dataset.file_meta.TransferSyntaxUID.is_encapsulated and "PixelData" in dataset:
            with frames_of(path) as frames:
                _decode(dataset, frames)
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.save_as(scratch, enforce_file_format=True)
    # What pydicom raises for a data set against the standard
    except (
        InvalidDicomError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        NotImplementedError,
        EOFError,
        OSError,
        struct.error,
    ) as error:
        raise UnreadableObject("the object", f"it cannot be encoded anew ({type(error).__name__})") from error


def _decode(dataset: Dataset, frames: Frames) -> None:
    content = bytearray()
    for number in range(1, frames.count + 1):
        decoded = frames.decoded(number)
        content += decoded.content
        if len(content) * frames.count // number > _MOST_BYTES:
            raise UnreadableObject("the object", "it is too long uncompressed")
        dataset.PhotometricInterpretation = decoded.photometric
    if dataset.get("SamplesPerPixel", 1) > 1:
        dataset.PlanarConfiguration = 0
    dataset.PixelData = bytes(content) + b"\0" * (len(content) % 2)
    dataset["PixelData"].VR = "OB" if dataset.BitsAllocated <= 8 else "OW"
    dataset["PixelData"].is_undefined_length = False
