from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import ImplicitVRLittleEndian, JPEGBaseline8Bit

from dermanode.deliver.destination import Package
from dermanode.deliver.dimse import Dimse
from dermanode.domain import AETitle
from dermanode.errors import DeliveryRefused, DestinationUnavailable
from dermanode.testing.pacs import LoopbackPacs

SEG = "1.2.840.10008.5.1.4.1.1.66.4"
SURFACE_SEG = "1.2.840.10008.5.1.4.1.1.66.5"
SR = "1.2.840.10008.5.1.4.1.1.88.34"

WriteDicom = Callable[..., Path]


@pytest.fixture
def package(write_dicom: WriteDicom) -> Package:
    return Package(
        "case-1",
        (write_dicom("seg.dcm", "1.2.1", SEG), write_dicom("surface.dcm", "1.2.2", SURFACE_SEG), write_dicom("sr.dcm", "1.2.3", SR)),
    )


def to(pacs: LoopbackPacs, **settings: object) -> Dimse:
    return Dimse("pacs", pacs.destination(**settings), AETitle("DERMANODE"))


def test_all_objects_of_a_case_travel_in_one_association(package: Package) -> None:
    with LoopbackPacs() as pacs:
        assert to(pacs).deliver(package) == "3 objects stored by LOOPBACK"
    assert [(one.sop_instance_uid, one.calling_ae, one.association) for one in pacs.received] == [
        (uid, "DERMANODE", 1) for uid in ("1.2.1", "1.2.2", "1.2.3")
    ]


def test_bytes_arrive_as_they_are_in_the_file(package: Package) -> None:
    with LoopbackPacs() as pacs:
        to(pacs).deliver(package)
    for path, received in zip(package.files, pacs.received, strict=True):
        assert received.content[-60:] == path.read_bytes()[-60:]
        assert received.dataset() == dcmread(path)


def test_pacs_that_knows_only_implicit_vr_gets_implicit_vr(package: Package) -> None:
    with LoopbackPacs(transfer_syntaxes=[ImplicitVRLittleEndian]) as pacs:
        to(pacs).deliver(package)
    assert {one.transfer_syntax_uid for one in pacs.received} == {ImplicitVRLittleEndian}
    assert [one.dataset().PatientName for one in pacs.received] == ["Nobody"] * 3


def test_compressed_object_is_never_decoded_for_a_pacs(write_dicom: WriteDicom) -> None:
    file = write_dicom("sc.dcm", "1.2.5", "1.2.840.10008.5.1.4.1.1.7", JPEGBaseline8Bit)
    with LoopbackPacs(transfer_syntaxes=[ImplicitVRLittleEndian]) as pacs, pytest.raises(DeliveryRefused, match="takes none of Secondary"):
        to(pacs).deliver(Package("case-1", (file,)))


def test_class_that_is_not_taken_is_refused_after_the_others_were_stored(package: Package) -> None:
    reason = r"stored 2 of 3; surface\.dcm: Surface Segmentation Storage .* is not accepted"
    with LoopbackPacs(sop_classes=[SEG, SR]) as pacs, pytest.raises(DeliveryRefused, match=reason):
        to(pacs).deliver(package)
    assert pacs.uids == {"1.2.1", "1.2.3"}


@pytest.mark.parametrize("status", [0xB000, 0xB006, 0xB007])
def test_warning_counts_as_stored_and_is_told(package: Package, status: int) -> None:
    with LoopbackPacs() as pacs:
        pacs.status = status
        assert f"sr.dcm: 0x{status:04X}" in to(pacs).deliver(package)


def test_object_that_is_there_already_counts_as_stored(package: Package) -> None:
    with LoopbackPacs() as pacs:
        pacs.status = 0x0111
        assert to(pacs).deliver(package).startswith("3 objects stored")


@pytest.mark.parametrize("status", [0xA900, 0xC000, 0x0122, 0x0124])
def test_judged_object_is_refused_for_good(package: Package, status: int) -> None:
    with LoopbackPacs() as pacs:
        pacs.status = status
        with pytest.raises(DeliveryRefused, match=rf"stored 0 of 3; seg\.dcm: 0x{status:04X}"):
            to(pacs).deliver(package)


@pytest.mark.parametrize("status", [0xA700, 0x0110])
def test_full_pacs_is_tried_again(package: Package, status: int) -> None:
    with LoopbackPacs() as pacs:
        pacs.status = lambda uid: status if uid == "1.2.3" else 0
        with pytest.raises(DestinationUnavailable, match=rf"stored 2 of 3; sr\.dcm: 0x{status:04X}"):
            to(pacs).deliver(package)
        pacs.status = 0
        to(pacs).deliver(package)
    assert pacs.uids == {"1.2.1", "1.2.2", "1.2.3"}


def test_lost_association_is_tried_again(package: Package) -> None:
    with LoopbackPacs() as pacs:
        pacs.drops_after = 1
        with pytest.raises(DestinationUnavailable, match=r"stored 1 of 3; surface\.dcm: no answer; sr\.dcm: not sent"):
            to(pacs).deliver(package)


def test_slow_pacs_is_left_after_the_time(package: Package) -> None:
    with LoopbackPacs() as pacs:
        pacs.delay_s = 1.0
        with pytest.raises(DestinationUnavailable, match="no answer"):
            to(pacs, timeout_s=0.2).deliver(package)


def test_rejected_association_is_tried_again_and_says_why(package: Package) -> None:
    with LoopbackPacs() as pacs:
        pacs.is_closed = True
        with pytest.raises(DestinationUnavailable, match="rejected the association: it does not know our AE title"):
            to(pacs).deliver(package)


# pynetdicom leaves the socket of a connection that was refused to the garbage collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_absent_pacs_is_tried_again(package: Package) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        pacs = LoopbackPacs(port=taken.getsockname()[1])
    with pytest.raises(DestinationUnavailable, match="cannot be reached"):
        to(pacs).deliver(package)


def test_file_that_is_no_dicom_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "sr.dcm"
    file.write_bytes(b"not DICOM")
    with LoopbackPacs() as pacs, pytest.raises(DeliveryRefused, match=r"sr\.dcm is no DICOM file"):
        to(pacs).deliver(Package("case-1", (file,)))


def test_loopback_pacs_keeps_objects_in_a_folder(package: Package, tmp_path: Path) -> None:
    with LoopbackPacs(tmp_path / "pacs") as pacs:
        to(pacs).deliver(package)
        assert pacs.wait_for(3, timeout_s=5)
    assert sorted(path.name for path in (tmp_path / "pacs").iterdir()) == ["1.2.1.dcm", "1.2.2.dcm", "1.2.3.dcm"]
