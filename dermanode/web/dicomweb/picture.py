"""A picture of an object for a browser (PS3.18 10.4.1.1.3), by the node's own decoder."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from threading import Semaphore

from PIL import Image

from dermanode.dicom.pixels import DicomPixels
from dermanode.web.dicomweb.problem import Problem

KINDS = ("image/jpeg", "image/png")
_LONGEST_SIDE = 16384
_TURNS = Semaphore(2)
"""So many are decoded at once: each is in memory as a whole."""


def viewport(text: str) -> tuple[int, int] | None:
    """Width and height of `vw,vh`; the parts after them, which would cut the picture, are not supported. Raises `Problem` 400."""
    if not text:
        return None
    numbers = [part.strip() for part in text.split(",")]
    if len(numbers) != 2 or not all(number.isascii() and number.isdigit() and 0 < int(number) <= _LONGEST_SIDE for number in numbers):
        raise Problem(400, f"viewport={text[:40]!r}: the node scales to a width and a height, such as 512,512.")
    return int(numbers[0]), int(numbers[1])


def quality(text: str) -> int:
    """Of JPEG, 1 to 100. Raises `Problem` 400."""
    if not text:
        return 90
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= 100:
        raise Problem(400, f"quality={text[:20]!r} is none: 1 to 100.")
    return int(text)


def rendered(path: Path, kind: str, size: tuple[int, int] | None, jpeg_quality: int) -> bytes:
    """The picture, no larger than `size` and of its own proportions. Raises `UnreadableObject` for what is no single picture."""
    with _TURNS:
        rgb = DicomPixels(path).decode(max(size) if size else None)
        image = Image.fromarray(rgb)
        if size:
            image.thumbnail(size)
        stream = BytesIO()
        if kind == "image/png":
            image.save(stream, "PNG")
        else:
            image.save(stream, "JPEG", quality=jpeg_quality)
        return stream.getvalue()
