"""What every Secondary Capture of a view has: a picture that is burned in, and what it passes on of its photograph (PS3.3 A.8.1)."""

from __future__ import annotations

import numpy as np
from PIL import Image
from pydicom import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from dermanode.dicom import concepts
from dermanode.dicom.coding import coded
from dermanode.dicom.outline import Polygon
from dermanode.dicom.result import ResultContext
from dermanode.dicom.sources import SourceImage
from dermanode.domain import UID
from dermanode.domain.series import RGB
from dermanode.errors import EncodingError, UnreadableObject

LONGEST_PX = 1024
"""A longer photograph is shown smaller: what is laid over it has no such detail, and the object is not compressed."""
SHORTEST_PX = 512
"""A photograph whose longer side is below it is shown enlarged, so that the legend can be read beside it."""


def shown(context: ResultContext, source: SourceImage, of: str) -> RGB:
    """The photograph as it is shown: from `SHORTEST_PX` to `LONGEST_PX` on its longer side. Raises `EncodingError`."""
    known = context.photographs
    if source.view.sop_instance_uid not in known:
        known[source.view.sop_instance_uid] = _shown(source, of)
    return known[source.view.sop_instance_uid]


def _shown(source: SourceImage, of: str) -> RGB:
    view = source.view
    try:
        photograph = view.pixels(LONGEST_PX)
    except UnreadableObject as unreadable:
        raise EncodingError(f"The {of} of {view.sop_instance_uid} has no photograph to lie over: {unreadable.reason}") from unreadable
    rows, columns = _shown_size(view.rows, view.columns)
    if photograph.shape[:2] != (rows, columns):
        return np.asarray(Image.fromarray(photograph).resize((columns, rows), Image.Resampling.BILINEAR))
    return photograph


def polygon_on(context: ResultContext, source: SourceImage, picture: RGB) -> Polygon | None:
    """The lesion's outline in pixels of that picture of the whole view; None where the view has none."""
    view = source.view
    found = context.outline_of(view.sop_instance_uid)
    return None if found is None else found * (picture.shape[1] / view.columns, picture.shape[0] / view.rows)


def printable(text: str) -> str:
    """The text in letters that the font of a legend has."""
    # The font that comes with Pillow has Latin letters only.
    return text.encode("latin-1", "replace").decode("latin-1")


def begin_capture(
    context: ResultContext, source: SourceImage, picture: RGB, *, uid: UID, instance: int, comment: str, derivation: str
) -> Dataset:
    """A Secondary Capture of a view, all but its place in a series.

    `picture` shows the whole view; what was added to it lies below or to the right.
    """
    view = source.view
    capture = Dataset()
    capture.SOPClassUID, capture.SOPInstanceUID = SecondaryCaptureImageStorage, uid
    # Not the source's modality: who routes or hangs photographs must not take it for one.
    capture.Modality, capture.ConversionType = "OT", "SYN"
    capture.InstanceNumber = instance
    capture.ImageType = ["DERIVED", "SECONDARY"]
    capture.PatientOrientation = None
    capture.ImageComments = context.fit(comment, 1024)
    capture.DerivationDescription = context.fit(derivation, 1024)
    capture.SourceImageSequence = [_source(context, source, is_scaled=_shown_size(view.rows, view.columns) != (view.rows, view.columns))]
    capture.ReferencedSeriesSequence = [_series(source)]
    series = context.case.series
    if series.body_site:
        capture.AnatomicRegionSequence = [coded(series.body_site, context.sources.repertoire)]
    if series.laterality in ("L", "R", "B", "U"):
        capture.ImageLaterality = series.laterality
    else:
        capture.Laterality = None
    _fill(capture, picture)
    _inherit(capture, source.header)
    return capture


def _shown_size(rows: int, columns: int) -> tuple[int, int]:
    longest = max(rows, columns)
    if longest > LONGEST_PX:
        return max(1, round(rows * LONGEST_PX / longest)), max(1, round(columns * LONGEST_PX / longest))
    times = -(-SHORTEST_PX // longest)
    return rows * times, columns * times


def _source(context: ResultContext, source: SourceImage, *, is_scaled: bool) -> Dataset:
    item = _reference(source)
    item.PurposeOfReferenceCodeSequence = [coded(concepts.SOURCE_OF_PROCESSING, context.sources.repertoire)]
    # The legend adds rows below and moves no pixel.
    item.SpatialLocationsPreserved = "NO" if is_scaled else "YES"
    return item


def _series(source: SourceImage) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = str(source.header["SeriesInstanceUID"].value)
    item.ReferencedInstanceSequence = [_reference(source)]
    return item


def _reference(source: SourceImage) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.view.sop_class_uid, source.view.sop_instance_uid
    return item


def _fill(capture: Dataset, picture: RGB) -> None:
    capture.SamplesPerPixel, capture.PhotometricInterpretation, capture.PlanarConfiguration = 3, "RGB", 0
    capture.Rows, capture.Columns = picture.shape[:2]
    capture.BitsAllocated = capture.BitsStored = 8
    capture.HighBit, capture.PixelRepresentation = 7, 0
    data = picture.tobytes()
    capture.PixelData = data + b"\0" * (len(data) % 2)
    capture["PixelData"].VR = "OB"


def _inherit(capture: Dataset, header: Dataset) -> None:
    """What the photograph passes on: who can be recognised in it, and what compression took from it."""
    # The legend names no patient and no date (PS3.3 C.7.6.1.1): what is burned in is what was burned into the photograph.
    for keyword in ("BurnedInAnnotation", "RecognizableVisualFeatures"):
        if header.get(keyword) in ("YES", "NO"):
            setattr(capture, keyword, header.get(keyword))
    capture.LossyImageCompression = "01" if str(header.get("LossyImageCompression", "") or "") == "01" else "00"
    if capture.LossyImageCompression == "01":
        for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            if header.get(keyword) not in (None, ""):
                setattr(capture, keyword, header.get(keyword))
