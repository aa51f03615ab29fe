from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from blake3 import blake3
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dermanode.domain import UID, Digest, Outcome, ProducedObject
from dermanode.testing.dicomweb import ROOT, Service, as_file, parts_of, photograph
from dermanode.testing.recorded import NOON, open_case

ANY = 'multipart/related; type="application/dicom"; transfer-syntax=*'
PLACE = "/studies/2.25.1/series/2.25.10/instances/2.25.11"
JPEG = "1.2.840.10008.1.2.4.50"
SEGMENTS = "1.2.840.10008.5.1.4.1.1.66.4"


def files_of(service: Service, path: str, accept: str) -> list[Dataset]:
    response = service.get(path, accept=accept)
    assert response.status_code == 200, response.text
    return [dcmread(BytesIO(content)) for _, content in parts_of(response)]


def segmentation() -> Dataset:
    """Three frames of single bits that do not end with a byte."""
    dataset = photograph("2.25.41", "2.25.40", Modality="SEG", rows=5)
    dataset.SOPClassUID, dataset.Columns, dataset.NumberOfFrames = SEGMENTS, 3, 3
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    del dataset.PlanarConfiguration
    dataset.BitsAllocated = dataset.BitsStored = 1
    dataset.HighBit = 0
    dataset.PixelData = np.packbits(frames(), bitorder="little").tobytes()
    return dataset


def frames() -> np.ndarray:
    return (np.arange(45) % 7 == 0).astype(np.uint8)


def test_objects_come_back_byte_for_byte_behind_their_head(service: Service) -> None:
    sent = [photograph("2.25.11", is_jpeg=True), photograph("2.25.12")]
    service.store(*sent)
    for path in ("/studies/2.25.1", "/studies/2.25.1/series/2.25.10"):
        response = service.get(path, accept=ANY)
        found = {kind.partition("transfer-syntax=")[2]: dcmread(BytesIO(content)).PixelData for kind, content in parts_of(response)}
        assert found == {JPEG: sent[0].PixelData, ExplicitVRLittleEndian: sent[1].PixelData}
    single = service.get(PLACE, accept="application/dicom; transfer-syntax=*")
    assert single.headers["content-type"] == "application/dicom"
    assert dcmread(BytesIO(single.content)).SOPInstanceUID == "2.25.11"


def test_a_lossy_object_is_decoded_only_where_that_is_asked_for(service: Service) -> None:
    service.store(photograph(is_jpeg=True))
    (as_stored,) = files_of(service, PLACE, 'multipart/related; type="application/dicom"')
    assert as_stored.file_meta.TransferSyntaxUID == JPEG
    (decoded,) = files_of(service, PLACE, "multipart/related; type=application/dicom; transfer-syntax=1.2.840.10008.1.2.1")
    assert decoded.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert decoded.PhotometricInterpretation == "RGB"
    assert np.abs(decoded.pixel_array.astype(int) - (200, 120, 100)).max() <= 3
    assert decoded.LossyImageCompression == "01"


def test_an_implicit_object_becomes_explicit_by_default(service: Service) -> None:
    implicit = photograph()
    implicit.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    service.store(implicit)
    (found,) = files_of(service, PLACE, "*/*")
    assert found.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert found.PixelData == implicit.PixelData
    (model,) = service.get(f"{PLACE}/metadata").json()
    assert model["00280010"] == {"vr": "US", "Value": [24]}
    assert model["00100010"]["Value"] == [{"Alphabetic": "Doe^Jane"}]
    (entity,) = service.get("/instances").json()
    assert entity["00280010"] == {"vr": "US", "Value": [24]}


def test_a_syntax_that_it_cannot_be_given_in_is_not_acceptable(service: Service) -> None:
    service.store(photograph())
    for accept in (
        f"multipart/related; type=application/dicom; transfer-syntax={JPEG}",
        "text/html",
        "application/dicom+json",
        "multipart/related; type=image/jpeg",
    ):
        response = service.get(PLACE, accept=accept)
        assert response.status_code == 406, accept
        assert response.text.endswith(".")


def test_what_is_not_there_is_not_found(service: Service) -> None:
    service.store(photograph())
    for path in ("/studies/2.25.9", "/studies/2.25.1/series/2.25.9", f"{PLACE}9", "/studies/2.25.9/metadata", f"{PLACE}/bulkdata/00282000"):
        assert service.get(path).status_code == 404, path
    for path in (f"{PLACE}/frames/2", f"{PLACE}/bulkdata/0008/0/zz", f"{PLACE}/bulkdata/../../../etc/passwd"):
        assert service.get(path).status_code == 404, path
    for path in (f"{PLACE}/frames/0", f"{PLACE}/frames/1,x", f"{PLACE}/frames/-1", "/studies/..%2f..", f"{PLACE}/rendered?viewport=a"):
        assert service.get(path).status_code in (400, 404), path


def test_what_a_client_knows_is_not_sent_again(service: Service) -> None:
    service.store(photograph())
    first = service.get(f"{PLACE}/frames/1")
    again = service.client.get(f"/dicom-web{PLACE}/frames/1", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    study = service.get("/studies/2.25.1", accept=ANY).headers["etag"]
    service.store(photograph("2.25.12"))
    assert service.client.get("/dicom-web/studies/2.25.1", headers={"if-none-match": study, "accept": ANY}).status_code == 200


def test_metadata_has_long_values_by_reference_that_can_be_followed(service: Service) -> None:
    dataset = photograph()
    dataset.ICCProfile = bytes(range(256)) * 8
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "39937001", "SCT", "Skin"
    inner = Dataset()
    inner.EncapsulatedDocument = b"long " * 1000
    dataset.AnatomicRegionSequence = Sequence([item, inner])
    dataset.PixelAspectRatio = [1, 1]
    dataset.add_new(0x00090010, "LO", "ACME")
    dataset.add_new(0x00091001, "FD", [1.5, float("nan")])
    dataset.add_new(0x00091002, "OB", b"\1\2")
    dataset.add_new(0x00091003, "AT", [0x00100010])
    service.store(dataset)
    (model,) = service.get("/studies/2.25.1/metadata").json()
    assert model["00091001"] == {"vr": "FD", "Value": [1.5, None]}
    assert model["00091002"] == {"vr": "OB", "InlineBinary": "AQI="}
    assert model["00091003"] == {"vr": "AT", "Value": ["00100010"]}
    assert model["00280034"] == {"vr": "IS", "Value": [1, 1]}
    assert model["00082218"]["Value"][0]["00080104"]["Value"] == ["Skin"]
    assert "7FE00010" in model
    for value, content in (
        (model["00282000"], dataset.ICCProfile),
        (model["00082218"]["Value"][1]["00420011"], inner.EncapsulatedDocument),
        (model["7FE00010"], dataset.PixelData),
    ):
        assert "Value" not in value
        uri = value["BulkDataURI"]
        assert uri.startswith(f"{ROOT}/dicom-web{PLACE}/bulkdata/")
        response = service.client.get(uri, headers={"accept": "multipart/related; type=application/octet-stream"})
        assert parts_of(response)[0][1] == content
    plain = service.client.get(model["00282000"]["BulkDataURI"], headers={"accept": "application/octet-stream"})
    assert plain.content == dataset.ICCProfile


def test_frames_are_given_as_stored_or_decoded(service: Service) -> None:
    service.store(photograph(is_jpeg=True))
    stored = {
        "multipart/related; type=application/octet-stream; transfer-syntax=*": "application/octet-stream",
        f'multipart/related; type="image/jpeg"; transfer-syntax={JPEG}': "image/jpeg",
        "multipart/related; type=image/jpeg": "image/jpeg",
        'multipart/related; type="*/*"; transfer-syntax=*': "image/jpeg",
    }
    for accept, kind in stored.items():
        ((content_type, content),) = parts_of(service.get(f"{PLACE}/frames/1", accept=accept))
        assert content_type == f"{kind}; transfer-syntax={JPEG}", accept
        assert content.startswith(b"\xff\xd8\xff")
    for accept in ("multipart/related; type=application/octet-stream", "*/*", ""):
        ((content_type, content),) = parts_of(service.get(f"{PLACE}/frames/1", accept=accept))
        assert content_type == f"application/octet-stream; transfer-syntax={ExplicitVRLittleEndian}"
        assert np.abs(np.frombuffer(content, np.uint8).reshape(-1, 3).astype(int) - (200, 120, 100)).max() <= 3
    assert service.get(f"{PLACE}/frames/1", accept="image/jpeg").content.startswith(b"\xff\xd8\xff")
    assert service.get(f"{PLACE}/frames/1", accept="multipart/related; type=image/jp2").status_code == 406


def test_frames_of_single_bits_are_cut_where_they_end(service: Service) -> None:
    service.store(segmentation())
    path = "/studies/2.25.1/series/2.25.40/instances/2.25.41/frames/1,3"
    parts = parts_of(service.get(path, accept="multipart/related; type=application/octet-stream; transfer-syntax=*"))
    found = [np.unpackbits(np.frombuffer(content, np.uint8), bitorder="little")[:15] for _, content in parts]
    assert np.array_equal(found, frames().reshape(3, 15)[[0, 2]])
    assert service.get(path.replace("1,3", "4")).status_code == 404


def test_pictures_are_made_by_the_nodes_own_decoder(service: Service) -> None:
    service.store(photograph(is_jpeg=True), segmentation())
    for path, size in ((f"{PLACE}/rendered", (32, 24)), ("/studies/2.25.1/thumbnail", (32, 24)), (f"{PLACE}/frames/1/rendered", (32, 24))):
        response = service.get(path)
        assert response.headers["content-type"] == "image/jpeg"
        assert Image.open(BytesIO(response.content)).size == size
    small = service.get(f"{PLACE}/rendered", accept="image/png", viewport="16,16", quality="80")
    assert small.headers["content-type"] == "image/png"
    assert Image.open(BytesIO(small.content)).size == (16, 12)
    refused = service.get("/studies/2.25.1/series/2.25.40/rendered")
    assert refused.status_code == 406
    assert "3 frames" in refused.text
    assert service.get(f"{PLACE}/rendered", accept="application/dicom").status_code == 406
    assert service.get(f"{PLACE}/rendered", viewport="\N{SUPERSCRIPT TWO},1").status_code == 400
    assert service.get(f"{PLACE}/rendered", quality="\N{SUPERSCRIPT TWO}").status_code == 400


def test_a_damaged_object_is_refused_in_a_sentence(service: Service) -> None:
    broken = photograph(is_jpeg=True)
    broken.PixelData = broken.PixelData[:60] + b"\0" * (len(broken.PixelData) - 60)
    service.store(broken)
    for path, accept in (
        (f"{PLACE}/rendered", ""),
        (f"{PLACE}/frames/1", ""),
        (PLACE, "multipart/related; type=application/dicom; transfer-syntax=1.2.840.10008.1.2.1"),
    ):
        response = service.get(path, accept=accept)
        assert response.status_code == 406, path
        assert response.text.endswith(".")
    assert service.get(PLACE, accept=ANY).status_code == 200
    assert service.get(f"{PLACE}/metadata").status_code == 200


def test_an_object_that_cannot_be_given_as_asked_spoils_no_study(service: Service) -> None:
    broken = photograph("2.25.12", is_jpeg=True)
    broken.PixelData = broken.PixelData[:60] + b"\0" * (len(broken.PixelData) - 60)
    service.store(photograph(), broken, photograph("2.25.13"))
    service.spool.path(service.ledger.objects.find("2.25.13")[0].arrival.path).unlink()
    service.get("/studies/2.25.1", accept=ANY)
    explicit = "multipart/related; type=application/dicom; transfer-syntax=1.2.840.10008.1.2.1"
    found = {content.SOPInstanceUID: content.file_meta.TransferSyntaxUID for content in files_of(service, "/studies/2.25.1", explicit)}
    assert found == {"2.25.11": ExplicitVRLittleEndian, "2.25.12": JPEG}


def test_results_that_passed_the_gate_are_given_beside_what_they_were_made_of(service: Service, tmp_path: Path) -> None:
    service.store(photograph())
    case = open_case(service.ledger, 10)
    passed, refused = photograph("2.25.51", "2.25.50", Modality="SEG"), photograph("2.25.52", "2.25.50", Modality="SEG")
    made = []
    for name, dataset in (("passed.dcm", passed), ("refused.dcm", refused)):
        file = tmp_path / "results" / case.id / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(as_file(dataset))
        made.append(
            ProducedObject(
                kind="SEG",
                path=f"{case.id}/{name}",
                digest=Digest(blake3(file.read_bytes()).hexdigest()),
                size_bytes=file.stat().st_size,
                sop_class_uid=UID(SEGMENTS),
                sop_instance_uid=UID(str(dataset.SOPInstanceUID)),
                passed_gate=dataset is passed,
            )
        )
    service.ledger.cases.finish(case.id, Outcome(case_id=case.id, revision=1, is_failed=False, reports=(), objects=tuple(made)), [], NOON)
    (study,) = service.get("/studies", ModalitiesInStudy="SEG").json()
    assert study["00080061"]["Value"] == ["DMS", "SEG"]
    assert study["00201208"]["Value"] == [2]
    assert [one["0020000E"]["Value"] for one in service.get("/studies/2.25.1/series").json()] == [["2.25.10"], ["2.25.50"]]
    ((_, content),) = parts_of(service.get("/studies/2.25.1/series/2.25.50", accept=ANY))
    assert content == as_file(passed)
    assert service.get("/studies/2.25.1/series/2.25.50/instances/2.25.52").status_code == 404
    # What a PACS has sent back is the same object: it is given once.
    service.store(passed)
    assert service.get("/studies", PatientID="P1").json()[0]["00201208"]["Value"] == [2]
