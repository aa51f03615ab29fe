"""VL Photographic and Dermoscopic Photography instances, built from a picture (PS3.3 A.32.4, A.32.11)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID

from dermanode.dicom.picture import Picture
from dermanode.domain import UID, Code

DERMOSCOPIC = UID("1.2.840.10008.5.1.4.1.1.77.1.7")
PHOTOGRAPHIC = UID("1.2.840.10008.5.1.4.1.1.77.1.4")


@dataclass(frozen=True, slots=True)
class Session:
    """What the instances of one series share."""

    sop_class: UID
    patient_id: str
    patient_name: str
    study_uid: UID
    series_uid: UID
    began_at: datetime
    """With its zone."""
    is_time_known: bool = True
    """False where only the day is known on which the study began."""
    issuer_of_patient_id: str = ""
    birth_date: date | None = None
    sex: str = ""
    """`M`, `F`, `O`; '' where unknown."""
    accession_number: str = ""
    series_description: str = ""
    body_site: Code | None = None
    laterality: str = ""
    """`L`, `R`, `B`, `U`; '' where unknown or unpaired."""
    tracking_id: str = ""
    tracking_uid: UID | None = None
    manufacturer: str = "DermaNode"
    model: str = "Photograph import"
    serial_number: str = "0"
    software: str = "1"


def visible_instance(
    session: Session,
    picture: Picture,
    *,
    sop_instance_uid: UID,
    number: int | None,
    acquired_at: datetime,
    pixel_spacing_mm: tuple[float, float] | None = None,
    is_polarized: bool | None = None,
    is_contact: bool | None = None,
) -> Dataset:
    """One instance, with its file meta information; `acquired_at` has its zone. `number` is None where views are not counted."""
    instance = Dataset()
    instance.file_meta = FileMetaDataset()
    instance.file_meta.MediaStorageSOPClassUID = session.sop_class
    instance.file_meta.MediaStorageSOPInstanceUID = sop_instance_uid
    instance.file_meta.TransferSyntaxUID = picture.transfer_syntax
    instance.file_meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    instance.SpecificCharacterSet = "ISO_IR 192"
    instance.SOPClassUID, instance.SOPInstanceUID = session.sop_class, sop_instance_uid
    _identify(instance, session)
    _describe(instance, session, number, acquired_at)
    if session.sop_class == DERMOSCOPIC:
        _describe_dermoscopy(instance, session, is_polarized, is_contact)
    _fill(instance, picture, pixel_spacing_mm)
    return instance


def _identify(instance: Dataset, session: Session) -> None:
    """Patient, General Study, General Series, Enhanced General Equipment."""
    instance.PatientName, instance.PatientID = session.patient_name, session.patient_id
    instance.PatientBirthDate = f"{session.birth_date:%Y%m%d}" if session.birth_date else ""
    instance.PatientSex = session.sex
    if session.issuer_of_patient_id:
        instance.IssuerOfPatientID = session.issuer_of_patient_id
    instance.StudyInstanceUID, instance.SeriesInstanceUID = session.study_uid, session.series_uid
    instance.StudyDate = instance.SeriesDate = f"{session.began_at:%Y%m%d}"
    instance.StudyTime = f"{session.began_at:%H%M%S}" if session.is_time_known else ""
    if session.is_time_known:
        instance.SeriesTime = instance.StudyTime
    instance.TimezoneOffsetFromUTC = f"{session.began_at:%z}" or "+0000"
    instance.ReferringPhysicianName, instance.StudyID = "", "1"
    instance.AccessionNumber = session.accession_number
    instance.SeriesNumber = 1
    instance.Modality = "DMS" if session.sop_class == DERMOSCOPIC else "XC"
    if session.series_description:
        instance.SeriesDescription = session.series_description
    instance.Manufacturer, instance.ManufacturerModelName = session.manufacturer, session.model
    instance.DeviceSerialNumber, instance.SoftwareVersions = session.serial_number, session.software


def _describe(instance: Dataset, session: Session, number: int | None, acquired_at: datetime) -> None:
    """General Acquisition, General Image, Acquisition Context, VL Image."""
    instance.InstanceNumber = number
    if number is not None:
        instance.AcquisitionNumber = number
    instance.ContentDate, instance.ContentTime = f"{acquired_at:%Y%m%d}", f"{acquired_at:%H%M%S}"
    instance.AcquisitionDate, instance.AcquisitionTime = instance.ContentDate, instance.ContentTime
    instance.AcquisitionDateTime = f"{acquired_at:%Y%m%d%H%M%S%z}"
    instance.ImageType = ["ORIGINAL", "PRIMARY"]
    instance.PatientOrientation = None
    instance.ImageLaterality = session.laterality or "U"
    instance.BurnedInAnnotation = "NO"
    instance.AcquisitionContextSequence = []
    if session.body_site is not None:
        site = Dataset()
        site.CodeValue, site.CodingSchemeDesignator = session.body_site.value, session.body_site.scheme
        site.CodeMeaning = session.body_site.meaning
        instance.AnatomicRegionSequence = [site]


def _describe_dermoscopy(instance: Dataset, session: Session, is_polarized: bool | None, is_contact: bool | None) -> None:
    """Dermoscopic Image: what is unknown stays empty (type 2)."""
    instance.RecognizableVisualFeatures = "NO"
    instance.LightSourcePolarization = {True: "POLARIZED", False: "NON_POLARIZED", None: None}[is_polarized]
    instance.ContactMethod = {True: "CONTACT", False: "NON_CONTACT", None: None}[is_contact]
    if is_contact:
        instance.ImmersionMedia = None
    instance.EmitterColorTemperature = instance.OpticalMagnificationFactor = None
    if session.tracking_uid is not None:
        instance.TrackingID, instance.TrackingUID = session.tracking_id, session.tracking_uid


def _fill(instance: Dataset, picture: Picture, pixel_spacing_mm: tuple[float, float] | None) -> None:
    """Image Pixel, Lossy Compression, ICC Profile."""
    instance.SamplesPerPixel, instance.PhotometricInterpretation = picture.samples, picture.photometric
    if picture.samples == 3:
        instance.PlanarConfiguration = 0
    instance.Rows, instance.Columns = picture.rows, picture.columns
    instance.BitsAllocated = instance.BitsStored = 8
    instance.HighBit, instance.PixelRepresentation = 7, 0
    if pixel_spacing_mm is not None:
        instance.PixelSpacing = [f"{spacing:.10g}"[:16] for spacing in pixel_spacing_mm]
    instance.LossyImageCompression = "00" if picture.lossy_ratio is None else "01"
    if picture.lossy_ratio is not None:
        instance.LossyImageCompressionRatio = f"{picture.lossy_ratio:.4g}"
        instance.LossyImageCompressionMethod = "ISO_10918_1"
    if picture.icc_profile:
        instance.ICCProfile = picture.icc_profile
    if picture.transfer_syntax == "1.2.840.10008.1.2.4.50":
        instance.PixelData = encapsulate([picture.data])
        instance["PixelData"].is_undefined_length = True
    else:
        instance.PixelData = picture.data + b"\0" * (len(picture.data) % 2)
    instance["PixelData"].VR = "OB"
