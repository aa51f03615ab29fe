"""Secondary Captures: a heat map over its photograph, one object a view, for viewers that show nothing else of it (PS3.3 A.8.1)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image
from pydicom import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from dermanode.dicom import concepts, overlay
from dermanode.dicom.coding import coded
from dermanode.dicom.outline import outline
from dermanode.dicom.result import ResultContext
from dermanode.dicom.sources import SourceImage
from dermanode.domain import UID, Case, HeatMap, HeatMaps
from dermanode.domain.series import RGB
from dermanode.errors import EncodingError, UnreadableObject

KIND = "SC"
LONGEST_PX = 1024
"""A longer photograph is shown smaller: a heat map has no such detail, and the object is not compressed."""
SHORTEST_PX = 512
"""A photograph whose longer side is below it is shown enlarged, so that the legend can be read beside it."""


def capture_uid(context: ResultContext, finding: int, view_uid: str) -> UID:
    """The SOP Instance UID of a view's picture; `finding` counts the case's heat maps from 0."""
    return context.uid("instance", KIND, str(finding), view_uid)


def named_maps(case: Case) -> Iterator[tuple[int, HeatMaps, HeatMap]]:
    """Every map of the case with its finding, and that one's number among the case's heat maps."""
    for number, found in enumerate(case.heat_maps):
        for heat_map in found.maps:
            yield number, found, heat_map


def encode_captures(context: ResultContext) -> list[Dataset]:
    """One Secondary Capture for each map of the case. Raises `EncodingError` for a view that is not in the case or cannot be decoded."""
    return [
        _encode(context, capture_uid(context, number, heat_map.sop_instance_uid), found, heat_map, instance)
        for instance, (number, found, heat_map) in enumerate(named_maps(context.case), start=1)
    ]


def explains(found: HeatMaps) -> str:
    """`Grad-CAM: Melanocytic nevus, 93 %`."""
    return f"{found.method}: {found.explained.concept.meaning}, {100 * found.explained.probability:.0f} %"


def _encode(context: ResultContext, uid: UID, found: HeatMaps, heat_map: HeatMap, instance: int) -> Dataset:
    source = context.sources.image(heat_map.sop_instance_uid)
    picture, is_scaled = _picture(context, source, found, heat_map)
    capture = Dataset()
    capture.SOPClassUID, capture.SOPInstanceUID = SecondaryCaptureImageStorage, uid
    # Not the source's modality: who routes or hangs photographs must not take it for one.
    capture.Modality, capture.ConversionType = "OT", "SYN"
    capture.InstanceNumber = instance
    capture.ImageType = ["DERIVED", "SECONDARY"]
    capture.PatientOrientation = None
    capture.ImageComments = context.fit(f"AI - research use, not a photograph. {explains(found)}", 1024)
    by = f"{found.algorithm.name} {found.algorithm.version}"
    capture.DerivationDescription = context.fit(
        f"{found.method} heat map of {found.explained.concept.meaning} by {by}, over the photograph in grey, with the lesion's outline "
        "and a legend below",
        1024,
    )
    capture.SourceImageSequence = [_source(context, source, is_scaled)]
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
    context.place(capture, KIND, "heat map")
    return capture


def _picture(context: ResultContext, source: SourceImage, found: HeatMaps, heat_map: HeatMap) -> tuple[RGB, bool]:
    """What is burned in, and whether its pixels are others than the photograph's."""
    view = source.view
    try:
        photograph = view.pixels(LONGEST_PX)
    except UnreadableObject as unreadable:
        raise EncodingError(f"The heat map of {view.sop_instance_uid} has no photograph to lie over: {unreadable.reason}") from unreadable
    rows, columns = _shown_size(view.rows, view.columns)
    if photograph.shape[:2] != (rows, columns):
        photograph = np.asarray(Image.fromarray(photograph).resize((columns, rows), Image.Resampling.BILINEAR))
    picture = overlay.laid_over(photograph, overlay.heat_on(heat_map, (rows, columns), (view.rows, view.columns)))
    mask = context.case.segmentation.mask(heat_map.sop_instance_uid) if context.case.segmentation else None
    polygon = outline(mask.mask) if mask is not None and mask.mask.shape == (view.rows, view.columns) else None
    if polygon is not None:
        picture = overlay.with_outline(picture, polygon * (columns / view.columns, rows / view.rows))
    lines = ("AI - RESEARCH USE - NOT A PHOTOGRAPH", _printable(explains(found)))
    return overlay.with_legend(picture, lines), (rows, columns) != (view.rows, view.columns)


def _shown_size(rows: int, columns: int) -> tuple[int, int]:
    longest = max(rows, columns)
    if longest > LONGEST_PX:
        return max(1, round(rows * LONGEST_PX / longest)), max(1, round(columns * LONGEST_PX / longest))
    times = -(-SHORTEST_PX // longest)
    return rows * times, columns * times


def _printable(text: str) -> str:
    # The font that comes with Pillow has Latin letters only.
    return text.encode("latin-1", "replace").decode("latin-1")


def _source(context: ResultContext, source: SourceImage, is_scaled: bool) -> Dataset:
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
    """What the photograph under the heat passes on: who can be recognised in it, and what compression took from it."""
    # The legend names no patient and no date (PS3.3 C.7.6.1.1): what is burned in is what was burned into the photograph.
    for keyword in ("BurnedInAnnotation", "RecognizableVisualFeatures"):
        if header.get(keyword) in ("YES", "NO"):
            setattr(capture, keyword, header.get(keyword))
    capture.LossyImageCompression = "01" if str(header.get("LossyImageCompression", "") or "") == "01" else "00"
    if capture.LossyImageCompression == "01":
        for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            if header.get(keyword) not in (None, ""):
                setattr(capture, keyword, header.get(keyword))
