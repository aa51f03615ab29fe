"""The plane of a photograph, local to its image: pixels times spacing, nothing anatomic."""

from __future__ import annotations

from pydicom import Dataset
from pydicom.valuerep import DS

from dermanode.dicom.sources import STAND_IN_CLASS, SourceImage
from dermanode.dicom.uids import derive_uid
from dermanode.domain import UID


def frame_of_reference_uid(view_uid: str) -> UID:
    """The frame of reference of one photograph: its first pixel at the origin, x along the rows, y along the columns, in mm."""
    return derive_uid("image frame of reference", view_uid)


def planar(source: SourceImage, frame_uid: str | None = None) -> Dataset:
    """The source as highdicom wants it: no patient, which is stamped on afterwards, and an image-local plane.

    `frame_uid` names another frame of reference, for results that lie in that of a reconstruction.
    """
    header, view = source.header, source.view
    image = Dataset()
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
        setattr(image, keyword, str(header[keyword].value))
    image.SOPClassUID, image.SOPInstanceUID = STAND_IN_CLASS, view.sop_instance_uid
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate", "StudyTime"):
        setattr(image, keyword, None)
    image.Rows, image.Columns = view.rows, view.columns
    image.FrameOfReferenceUID = frame_uid or frame_of_reference_uid(view.sop_instance_uid)
    image.PositionReferenceIndicator = ""
    image.ImagePositionPatient = [0, 0, 0]
    image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image.SliceThickness = 1
    image.PixelSpacing = [decimal(mm) for mm in source.spacing_mm or (1.0, 1.0)]
    if str(header.get("LossyImageCompression", "") or "") == "01":
        image.LossyImageCompression = "01"
        for keyword, nominal in (("LossyImageCompressionRatio", "1"), ("LossyImageCompressionMethod", "ISO_10918_1")):
            value = header.get(keyword)
            setattr(image, keyword, value if value not in (None, "") else nominal)
    return image


def decimal(number: float) -> DS:
    """A number in the sixteen characters of a decimal string."""
    return DS(number, auto_format=True)
