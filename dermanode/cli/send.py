"""`import` and `send`: photographs become DICOM, and DICOM goes to a node or a PACS."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from pydicom import Dataset, dcmread, dcmwrite
from pydicom.errors import InvalidDicomError

from dermanode.cli.opened import configuration
from dermanode.config import DimseDestination
from dermanode.deliver.destination import Package
from dermanode.deliver.dimse import Dimse
from dermanode.dicom.photograph import make_instances
from dermanode.dicom.sites import known_site
from dermanode.domain import AETitle, Code
from dermanode.errors import PhotographError

CALLING = AETitle("DERMANODE-SEND")
PHOTOGRAPHS = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"}


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    importing = commands.add_parser(
        "import",
        help="make DICOM instances of photographs",
        description="Makes valid Dermoscopic Photography (or VL Photographic) instances of JPEG, PNG, TIFF or BMP photographs: "
        "one series of one lesion. JPEG data are wrapped as they are, not compressed again.",
    )
    importing.add_argument("photographs", nargs="+", type=Path, metavar="PHOTO", help="files, or folders of them")
    importing.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the DICOM files go")
    _add_identity(importing)
    importing.set_defaults(run=_import)

    send = commands.add_parser(
        "send",
        help="send DICOM files or photographs by C-STORE",
        description="Sends DICOM files as they are; photographs are made into instances first (see `dermanode import`).",
    )
    send.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="files, or folders of them")
    send.add_argument("--to", metavar="AE@HOST:PORT", help="the receiver (default: the node of these settings)")
    _add_identity(send)
    send.set_defaults(run=_send)


def _add_identity(parser: argparse.ArgumentParser) -> None:
    identity = parser.add_argument_group("whose photographs (not for DICOM files, which say so themselves)")
    identity.add_argument("--patient-id", default="", metavar="ID")
    identity.add_argument("--patient-name", default="", metavar="FAMILY^GIVEN")
    identity.add_argument("--accession-number", default="", metavar="NUMBER")
    identity.add_argument("--lesion", default="", metavar="NAME", help="the lesion's name, the same at every visit (Tracking ID)")
    identity.add_argument("--body-site", metavar="SITE", help="a SNOMED CT code or a name, such as back (DICOM PS3.16 CID 4029)")
    identity.add_argument("--laterality", default="", choices=["L", "R", "B", "U"], help="the side of the body")
    identity.add_argument("--clinical", action="store_true", help="close-up photographs, not dermoscopy: VL Photographic instances")
    identity.add_argument("--pixel-spacing-mm", type=float, metavar="MM", help="millimetres per pixel at the lesion, where known")


def files_in(paths: Sequence[Path]) -> list[Path]:
    """The files themselves and those in folders, in order. Raises `PhotographError` for what does not exist."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += sorted(inner for inner in path.rglob("*") if inner.is_file() and not inner.name.startswith("."))
        elif path.exists():
            files.append(path)
        else:
            raise PhotographError(f"{path} does not exist.")
    return files


@dataclass(frozen=True)
class Identity:
    """Whose photographs they are, and of which kind; DICOM files say so themselves."""

    patient_id: str
    patient_name: str = ""
    is_clinical: bool = False
    pixel_spacing_mm: float | None = None
    accession_number: str = ""
    lesion: str = ""
    body_site: Code | None = None
    laterality: str = ""

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Identity:
        """Raises `PhotographError` for a site that nobody knows."""
        site = known_site(arguments.body_site) if arguments.body_site else None
        if arguments.body_site and site is None:
            raise PhotographError(f"{arguments.body_site!r} is no known site: name a code or a name of CID 4029, such as 'Skin of back'.")
        return cls(
            arguments.patient_id,
            arguments.patient_name,
            arguments.clinical,
            arguments.pixel_spacing_mm,
            arguments.accession_number,
            arguments.lesion,
            site,
            arguments.laterality,
        )


def instances_of(photographs: Sequence[Path], identity: Identity) -> list[Dataset]:
    """The photographs as one series. Raises `PhotographError`."""
    if not identity.patient_id:
        raise PhotographError("Photographs do not say whose they are: name the patient with --patient-id.")
    return list(
        make_instances(
            photographs,
            patient_id=identity.patient_id,
            patient_name=identity.patient_name,
            sop_class="photographic" if identity.is_clinical else "dermoscopic",
            pixel_spacing_mm=identity.pixel_spacing_mm,
            accession_number=identity.accession_number,
            tracking_id=identity.lesion,
            body_site=identity.body_site,
            laterality=identity.laterality,
            made_at=datetime.now(UTC),
        )
    )


def sendable(paths: Sequence[Path], identity: Identity, folder: Path) -> list[Path]:
    """The DICOM files among these, and the photographs made into instances in `folder`. Raises `PhotographError` when there is nothing."""
    files = files_in(paths)
    photographs = [file for file in files if file.suffix.lower() in PHOTOGRAPHS]
    objects = [file for file in files if file not in photographs and _is_dicom(file)]
    left_out = len(files) - len(photographs) - len(objects)
    if left_out:
        print(f"{left_out} files are neither DICOM nor photographs, and are left out.")
    if photographs:
        objects += write_instances(instances_of(photographs, identity), folder)
    if not objects:
        raise PhotographError(f"There is nothing to send in {', '.join(str(path) for path in paths)}.")
    return objects


def write_instances(instances: Sequence[Dataset], folder: Path) -> list[Path]:
    """Writes each as `<SOP Instance UID>.dcm`."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for instance in instances:
        file = folder / f"{instance.SOPInstanceUID}.dcm"
        dcmwrite(file, instance, enforce_file_format=True)
        written.append(file)
    return written


def _import(arguments: argparse.Namespace) -> int:
    for file in write_instances(instances_of(files_in(arguments.photographs), Identity.of(arguments)), arguments.out):
        print(file)
    return 0


def _send(arguments: argparse.Namespace) -> int:
    receiver = _receiver(arguments)
    with TemporaryDirectory(prefix="dermanode-") as folder:
        print(send_files(sendable(arguments.paths, Identity.of(arguments), Path(folder)), receiver))
    return 0


def send_files(files: Sequence[Path], receiver: DimseDestination, calling_ae: AETitle = CALLING) -> str:
    """Sends DICOM files over one association; what the receiver answered, in words. Raises `DeliveryError`."""
    return Dimse("Sending", receiver, calling_ae).deliver(Package("", tuple(files)))


def _receiver(arguments: argparse.Namespace) -> DimseDestination:
    if arguments.to:
        title, _, address = arguments.to.partition("@")
        host, _, port = address.rpartition(":")
        if not (title and host and port.isdigit()):
            raise PhotographError(f"{arguments.to!r} is no receiver: write AE@HOST:PORT, such as DERMANODE@127.0.0.1:11112.")
        return DimseDestination(type="dimse", ae_title=AETitle(title), host=host, port=int(port))
    settings = configuration(arguments).settings
    host = settings.receive.host if settings.receive.host != "0.0.0.0" else "127.0.0.1"
    return DimseDestination(type="dimse", ae_title=settings.node.ae_title, host=host, port=settings.receive.port)


def _is_dicom(file: Path) -> bool:
    try:
        dcmread(file, stop_before_pixels=True, specific_tags=["SOPInstanceUID"])
    except (InvalidDicomError, OSError, EOFError):
        return False
    return True
