"""A photograph's pixels as a DICOM instance can hold them: JPEG data as they came, or plain RGB."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path, PurePath

import simplejpeg
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from dermanode.dicom.jpeg import JpegFrame, jpeg_frame, without_metadata
from dermanode.errors import PhotographError

_FORMATS = ("JPEG", "PNG", "TIFF", "BMP")
_CURE = "Save it again as JPEG or PNG."


@dataclass(frozen=True, slots=True)
class Picture:
    """One photograph, ready to be put into an instance."""

    transfer_syntax: str
    data: bytes
    """A JPEG stream (baseline), or the samples by pixel, rows x columns x samples."""
    rows: int
    columns: int
    photometric: str
    samples: int
    lossy_ratio: float | None
    """How many times smaller JPEG made it; None if it never was compressed with loss."""
    icc_profile: bytes | None
    taken_at: datetime | None
    """As the camera's clock showed it, without a zone; None where the file does not say."""
    digest: str
    """SHA-256 of the file."""
    make: str = ""
    """The camera's, as the file says."""
    model: str = ""


def read_picture(path: Path) -> Picture:
    """The picture in a JPEG, PNG, TIFF or BMP file, as `picture_of` makes it. Raises `PhotographError` naming the file and the cure."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PhotographError(f"{path} cannot be opened ({error.strerror}).") from error
    return picture_of(data, path)


def picture_of(data: bytes, path: PurePath) -> Picture:
    """The picture in the bytes of a file, upright as its EXIF orientation says.

    Baseline JPEG that stands upright keeps its compressed bytes; everything else becomes plain RGB or grey. Of the file's EXIF, XMP
    and IPTC only the moment and the camera's name are kept: they may say where it was taken and by whom.
    Raises `PhotographError` naming the file and the cure.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            pages: int = getattr(image, "n_frames", 1)
            # MPO, as cameras write it, is a JPEG with smaller copies of itself behind it.
            if pages > 1 and image.format != "MPO":
                raise PhotographError(f"{path} holds {pages} pictures. Save each as a file of its own.")
            exif = image.getexif()
            is_upright = exif.get(ExifTags.Base.Orientation, 1) in (0, 1)
            frame = jpeg_frame(data) if image.format in ("JPEG", "MPO") else None
            taken_at = _taken_at(exif)
            make, model = _text(exif, ExifTags.Base.Make), _text(exif, ExifTags.Base.Model)
            if frame is not None and frame.process == 0 and frame.precision == 8 and frame.components in (1, 3) and is_upright:
                return replace(_as_it_came(data, frame, image.info.get("icc_profile"), taken_at), make=make, model=model)
            return replace(_plain(data, image, frame, taken_at), make=make, model=model)
    except UnidentifiedImageError as error:
        raise PhotographError(f"{path} is no photograph that can be read: not JPEG, PNG, TIFF or BMP. {_CURE}") from error
    except Image.DecompressionBombError as error:
        raise PhotographError(f"{path} is too large for a photograph. {_CURE}") from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        # Pillow's decoders raise all of these for damaged files.
        raise PhotographError(f"{path} is damaged ({str(error).strip() or type(error).__name__}). {_CURE}") from error


def _as_it_came(data: bytes, frame: JpegFrame, icc_profile: bytes | None, taken_at: datetime | None) -> Picture:
    simplejpeg.decode_jpeg(data, "GRAY")  # raises for a stream that ends early: better now than at the reader's
    # PS3.3 C.8.12.1.1.1 does not know YBR_FULL: the label is the same for every subsampling, which the stream states itself.
    photometric = "MONOCHROME2" if frame.components == 1 else "RGB" if frame.is_rgb else "YBR_FULL_422"
    return Picture(
        transfer_syntax=str(JPEGBaseline8Bit),
        data=without_metadata(data),
        rows=frame.rows,
        columns=frame.columns,
        photometric=photometric,
        samples=frame.components,
        lossy_ratio=frame.rows * frame.columns * frame.components / len(data),
        icc_profile=icc_profile if frame.components == 3 else None,
        taken_at=taken_at,
        digest=hashlib.sha256(data).hexdigest(),
    )


def _plain(data: bytes, image: Image.Image, frame: JpegFrame | None, taken_at: datetime | None) -> Picture:
    icc_profile = image.info.get("icc_profile") if image.mode in ("RGB", "RGBA") else None
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):
        # Pillow would cut 16 bits off at 255 instead of scaling them.
        upright = upright.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    pixels = upright if upright.mode == "L" else upright.convert("L" if upright.mode in ("1", "LA") else "RGB")
    samples = len(pixels.getbands())
    return Picture(
        transfer_syntax=str(ExplicitVRLittleEndian),
        data=pixels.tobytes(),
        rows=pixels.height,
        columns=pixels.width,
        photometric="RGB" if samples == 3 else "MONOCHROME2",
        samples=samples,
        lossy_ratio=image.width * image.height * frame.components / len(data) if frame else None,
        icc_profile=icc_profile,
        taken_at=taken_at,
        digest=hashlib.sha256(data).hexdigest(),
    )


def _text(exif: Image.Exif, tag: int) -> str:
    """A value as DICOM's LO takes it."""
    value = str(exif.get(tag) or "").strip("\0 ")
    return "".join(character for character in value if character.isprintable() and character != "\\")[:64]


def _taken_at(exif: Image.Exif) -> datetime | None:
    inner = exif.get_ifd(ExifTags.IFD.Exif)
    for text in (inner.get(ExifTags.Base.DateTimeOriginal), inner.get(ExifTags.Base.DateTimeDigitized), exif.get(ExifTags.Base.DateTime)):
        try:
            return datetime.strptime(str(text).strip("\0 "), "%Y:%m:%d %H:%M:%S")
        except ValueError:
            continue
    return None
