"""Rendered scenes as valid Dermoscopic Photography series, as a ring of dermatoscopes would send them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection, Sequence
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from PIL import Image
from pydicom import Dataset, dcmwrite
from pydicom.uid import JPEGBaseline8Bit

from dermanode.dicom.picture import Picture
from dermanode.dicom.read import RING_CREATOR
from dermanode.dicom.uids import derive_uid
from dermanode.dicom.visible import DERMOSCOPIC, Session, visible_instance
from dermanode.domain import UID, Code
from dermanode.testing.relief import Shape
from dermanode.testing.ring import Ring
from dermanode.testing.scene import RenderedView, Scene, render

SKIN_OF_BACK = Code("66643007", "SCT", "Skin of back")
FIRST_VISIT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


class Stated(StrEnum):
    """What a series says of its geometry."""

    AZIMUTH = "azimuth"
    ELEVATION = "elevation"
    DISTANCE = "distance"
    SPACING = "spacing"


def make_series(
    scene: Scene,
    ring: Ring | None = None,
    *,
    patient_id: str = "SCENE-PATIENT",
    patient_name: str = "Scene^Patient",
    acquired_at: datetime = FIRST_VISIT,
    study_uid: UID | None = None,
    series_uid: UID | None = None,
    accession_number: str = "",
    tracking_id: str = "Lesion 1",
    body_site: Code | None = SKIN_OF_BACK,
    size: tuple[int, int] = (1024, 768),
    jpeg_quality: int = 92,
    views: Sequence[RenderedView] | None = None,
    azimuths_deg: Sequence[float] | None = None,
    unstated: Collection[Stated] = (),
) -> list[Dataset]:
    """One instance a view: JPEG baseline, pixel spacing, distance, elevation and azimuth stated, lesion tracked.

    `azimuths_deg` states others than the true ones; what is `unstated` is left out. A lesion that is pressed is stated to be so.

    UIDs are derived from scene, ring, patient and moment; the lesion's tracking UID from patient and tracking ID alone, so that
    a later visit of the same lesion has the same. `views` saves rendering twice, and may come from several rigs and scenes.
    """
    ring = Ring() if ring is None else ring
    rendered = render(scene, ring, size) if views is None else views
    stated_deg = [view.azimuth_deg for view in rendered] if azimuths_deg is None else azimuths_deg
    what = [repr(scene), repr(ring), repr(size), repr(jpeg_quality), patient_id, patient_name, acquired_at.isoformat(), accession_number]
    what += [*_unsaid(scene), *_unsaid(ring), *sorted(unstated), *map(repr, azimuths_deg or ())]
    study = study_uid or derive_uid("scene study", *what)
    series = series_uid or derive_uid("scene series", study, *what)
    session = Session(
        sop_class=DERMOSCOPIC,
        patient_id=patient_id,
        patient_name=patient_name,
        study_uid=study,
        series_uid=series,
        began_at=acquired_at,
        accession_number=accession_number,
        series_description=f"Rendered {Shape(scene.shape)}, ring of {ring.views}",
        body_site=body_site,
        tracking_id=tracking_id,
        tracking_uid=derive_uid("lesion", patient_id, tracking_id) if tracking_id else None,
        manufacturer="DermaNode scenes",
        model="Ring of virtual dermatoscopes",
    )
    instances = []
    for number, (view, azimuth_deg) in enumerate(zip(rendered, stated_deg, strict=True), start=1):
        instance = _instance(session, view, derive_uid("scene instance", series, str(number), *what), number, jpeg_quality)
        _state(instance, view.ring, azimuth_deg, view.pixels.shape[1], unstated)
        instance.ContactMethod = "NON_CONTACT" if scene.pressed == 1 else "CONTACT"
        instances.append(instance)
    return instances


def _unsaid(thing: object) -> list[str]:
    """The fields of a scene or a ring that its repr leaves out, where they say something."""
    said = []
    for field in fields(thing) if is_dataclass(thing) else ():
        value = getattr(thing, field.name)
        if not field.repr and value != field.default:
            said.append(f"{field.name}={value!r}")
        said += _unsaid(value)
    return said


def _instance(session: Session, view: RenderedView, uid: UID, number: int, jpeg_quality: int) -> Dataset:
    instance = visible_instance(
        session,
        _compressed(view, jpeg_quality),
        sop_instance_uid=uid,
        number=number,
        acquired_at=session.began_at + timedelta(seconds=number - 1),
    )
    instance.LightSourcePolarization = "POLARIZED"
    instance.EmitterColorTemperature, instance.OpticalMagnificationFactor = 5500, 10
    return instance


def _state(instance: Dataset, ring: Ring, azimuth_deg: float, columns: int, unstated: Collection[Stated]) -> None:
    if Stated.SPACING not in unstated:
        instance.PixelSpacing = [f"{ring.spacing_mm(columns):.10g}"[:16]] * 2
    if Stated.DISTANCE not in unstated:
        instance.SubjectDistance = f"{ring.distance_mm:g}"
    if Stated.ELEVATION not in unstated:
        # As EXIF counts it: the optical axis against the horizon, here the skin; looking down is negative.
        instance.CameraElevationAngle = f"{ring.tilt_deg - 90:g}"
    if Stated.AZIMUTH not in unstated:
        instance.private_block(0x0017, RING_CREATOR, create=True).add_new(0x01, "DS", f"{azimuth_deg:g}")


def _compressed(view: RenderedView, quality: int) -> Picture:
    rows, columns = view.pixels.shape[:2]
    stream = io.BytesIO()
    Image.fromarray(view.pixels).save(stream, "JPEG", quality=quality, subsampling="4:2:2")
    data = stream.getvalue()
    return Picture(
        transfer_syntax=str(JPEGBaseline8Bit),
        data=data,
        rows=rows,
        columns=columns,
        photometric="YBR_FULL_422",
        samples=3,
        lossy_ratio=rows * columns * 3 / len(data),
        icc_profile=None,
        taken_at=None,
        digest=hashlib.sha256(data).hexdigest(),
    )


def write_series(folder: Path, instances: Sequence[Dataset]) -> list[Path]:
    """Writes each instance as `view-01.dcm` and so on; the folder is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"view-{number:02}.dcm" for number in range(1, len(instances) + 1)]
    for path, instance in zip(paths, instances, strict=True):
        dcmwrite(path, instance, enforce_file_format=True)
    return paths


def demo_series(acquired_at: datetime, size: tuple[int, int] = (1024, 768), views: int = 8, *, grown_percent: float = 0.0) -> list[Dataset]:
    """The series of the demo: views of a raised, pigmented lesion from a ring, as a visit at that moment.

    A lesion that has grown since (in volume) is seen at another visit: with other noise, and the cameras not quite where they were.
    """
    lesion = Scene(Shape.DOME, seed=7, height_mm=1.2)
    if grown_percent:
        lesion = replace(lesion.grown(grown_percent), visit=1)
    ring = Ring(views=views)
    return make_series(lesion, ring, patient_id="DEMO-PATIENT", patient_name="Demo^Dermoscopy", acquired_at=acquired_at, size=size)
