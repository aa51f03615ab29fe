"""A series of views of one lesion, as it came, and who it is of."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dermanode.domain.codes import Code
from dermanode.domain.identifiers import UID, AETitle

RGB = NDArray[np.uint8]
"""Pixels: rows x columns x 3, sRGB, 0 to 255."""


class PixelSource(Protocol):
    """Where the pixels of a view come from; nothing is decoded before it is asked for."""

    def decode(self, longest_side_px: int | None = None) -> RGB:
        """The pixels as RGB, rows x columns x 3.

        `longest_side_px` asks for the smallest size the codec gives cheaply whose longer side is not below it (or the
        full size); None is the full size. Raises `UnreadableObject`.
        """
        ...


@dataclass(frozen=True, slots=True)
class Patient:
    """Whom a series is of. Every field may be empty: devices leave them so."""

    patient_id: str
    issuer: str = ""
    name: str = ""
    """As DICOM writes it: `Family^Given`."""
    birth_date: date | None = None
    sex: str = ""
    formerly: tuple[tuple[str, str], ...] = ()
    """(patient id, issuer) of those whom the hospital merged into this one: images may still bear them."""


@dataclass(frozen=True, slots=True)
class CameraGeometry:
    """What an image says about the camera that took it; None where it says nothing."""

    pixel_spacing_mm: tuple[float, float] | None = None
    """(between rows, between columns), at the lesion."""
    spacing_source: str | None = None
    """Which attribute gave the spacing, in words."""
    subject_distance_mm: float | None = None
    focal_length_mm: float | None = None
    optical_magnification: float | None = None
    elevation_deg: float | None = None
    azimuth_deg: float | None = None
    """Nominal azimuth on the ring, where the acquisition states it."""
    is_contact: bool | None = None
    """True when the dermatoscope touched the skin, which presses a lesion flat."""
    is_polarized: bool | None = None


@dataclass(frozen=True, slots=True)
class LesionKey:
    """What tells that two visits show one lesion. Never compared across patients."""

    tracking_uid: UID | None
    tracking_id: str | None
    body_site: str | None
    """The site's code value."""
    laterality: str = ""
    """`L`, `R`, `B` or `U`, as DICOM writes it; empty where it is not stated."""


@dataclass(frozen=True, eq=False)
class View:
    """One photograph of the lesion."""

    sop_instance_uid: UID
    sop_class_uid: UID
    rows: int
    columns: int
    source: PixelSource = field(repr=False)
    number: int | None = None
    """Instance Number, else None."""
    acquisition_number: int | None = None
    acquired_at: datetime | None = None
    geometry: CameraGeometry = field(default_factory=CameraGeometry)
    view_code: Code | None = None

    def pixels(self, longest_side_px: int | None = None) -> RGB:
        """The source pixels, decoded when asked for: rows x columns x 3, sRGB. Raises `UnreadableObject`."""
        return self.source.decode(longest_side_px)


@dataclass(frozen=True, eq=False)
class Series:
    """The views that one device made of one lesion in one session."""

    study_instance_uid: UID
    series_instance_uid: UID
    patient: Patient
    modality: str
    views: tuple[View, ...]
    accession_number: str = ""
    study_date: date | None = None
    acquired_at: datetime | None = None
    body_site: Code | None = None
    laterality: str = ""
    tracking_id: str | None = None
    tracking_uid: UID | None = None
    source_ae: AETitle | None = None
    manufacturer: str = ""

    @property
    def lesion(self) -> LesionKey:
        site = self.body_site.value if self.body_site else None
        return LesionKey(self.tracking_uid, self.tracking_id, site, self.laterality)

    def view(self, sop_instance_uid: str) -> View:
        """The view of that SOP Instance UID. Raises KeyError."""
        for view in self.views:
            if view.sop_instance_uid == sop_instance_uid:
                return view
        raise KeyError(sop_instance_uid)
