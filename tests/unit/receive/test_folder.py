"""Watched folders: each photograph once, whatever its writer, its sidecar or a crash does."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.encaps import generate_frames

from dermanode.config import Settings, WatchedFolder
from dermanode.dicom.picture import Picture, picture_of
from dermanode.errors import ConfigurationError
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import ObjectState, StoredObject
from dermanode.ledger.spool import Spool
from dermanode.receive.committer import Committer
from dermanode.receive.folder.sidecar import read_json, read_table
from dermanode.receive.folder.statements import NotUnderstood, Statement, particulars_of
from dermanode.receive.folder.template import NameTemplate
from dermanode.receive.folder.watch import FolderWatcher
from dermanode.receive.index import HeaderReader
from dermanode.receive.intake import Intake

NOW = datetime(2026, 5, 1, 10, tzinfo=UTC)


@dataclass
class Watched:
    """A watcher on a clock that stands still until it is told to go on."""

    path: Path
    ledger: Ledger
    spool: Spool
    watcher: FolderWatcher
    clock: list[float] = field(default_factory=lambda: [0.0])

    def photograph(self, name: str, seed: int = 1, **options: Any) -> Path:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 255, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file, **options)
        return file

    def look(self, seconds: float = 5.0) -> int:
        """Looks now, and again so much later."""
        first = self.watcher.step()
        self.clock[0] += seconds
        return first + self.watcher.step()

    def objects(self, state: ObjectState | None = None) -> list[StoredObject]:
        return list(reversed(self.ledger.objects.recent(100, state)))

    def datasets(self) -> list[Dataset]:
        return [dcmread(self.spool.path(one.arrival.path)) for one in self.objects()]

    def words(self) -> list[str]:
        return [f"{event.kind}: {event.words}" for event in self.ledger.history.of("folder:camera")]


@pytest.fixture
def watched(tmp_path: Path, ledger_url: str) -> Iterator[Callable[..., Watched]]:
    opened: list[tuple[Committer, Ledger]] = []

    def make(**folder: Any) -> Watched:
        path = tmp_path / "photographs"
        path.mkdir(exist_ok=True)
        settings = Settings.model_validate({"node": {"data_dir": str(tmp_path)}, "folders": {"camera": {"path": str(path), **folder}}})
        ledger, spool = Ledger.open(ledger_url), Spool(tmp_path / "spool")
        committer = Committer(spool, ledger.objects)
        committer.start()
        opened.append((committer, ledger))
        intake = Intake(spool, committer, minimum_free_mib=0, clock=lambda: NOW, on_stored=lambda: None)
        clock = [0.0]
        watcher = FolderWatcher(
            "camera", settings.folders["camera"], intake, ledger, spool, settings, now=lambda: NOW, clock_s=lambda: clock[0]
        )
        return Watched(path, ledger, spool, watcher, clock)

    yield make
    for committer, ledger in opened:
        committer.stop()
        ledger.close()


NAMED = "{patient_id}/{study}_{lesion}_{view}.jpg"


def test_a_photograph_becomes_an_object_with_its_own_jpeg_data(watched: Any) -> None:
    folder = watched(name_template=NAMED, issuer_of_patient_id="HOSPITAL")
    content = folder.photograph("4711/V1_L2_3.jpg", quality=90).read_bytes()
    assert folder.look() == 1
    (made,) = folder.datasets()
    assert (made.PatientID, made.IssuerOfPatientID, made.TrackingID, made.InstanceNumber) == ("4711", "HOSPITAL", "L2", 3)
    assert next(generate_frames(made.PixelData, number_of_frames=1)).rstrip(b"\0") == content.rstrip(b"\0")
    assert list(folder.path.rglob("*.jpg")) == [folder.path / ".taken" / "4711" / "V1_L2_3.jpg"]
    assert folder.look() == 0


def test_views_of_one_lesion_are_one_series_and_lesions_without_a_name_are_not(watched: Any) -> None:
    folder = watched(name_template="{patient_id}_{lesion}_{view}")
    for number in (1, 2):
        folder.photograph(f"P_L1_{number}.jpg", number)
    folder.photograph("P_L2_1.png", 3)
    folder.look()
    one, two, other = folder.datasets()
    assert one.StudyInstanceUID == two.StudyInstanceUID == other.StudyInstanceUID
    assert one.SeriesInstanceUID == two.SeriesInstanceUID != other.SeriesInstanceUID
    unnamed = watched(name_template="{patient_id}-{}")
    for number in (4, 5):
        unnamed.photograph(f"Q-{number}.jpg", number)
    unnamed.look()
    first, second = unnamed.datasets()[3:]
    assert first.SeriesInstanceUID != second.SeriesInstanceUID


def test_a_photograph_without_a_patient_goes_to_quarantine_with_the_reason(watched: Any) -> None:
    folder = watched(name_template=NAMED)
    folder.photograph("IMG_0001.JPG")
    assert folder.look() == 1
    (one,) = folder.objects(ObjectState.QUARANTINED)
    assert one.reason.startswith(f"IMG_0001.JPG does not say whose it is, its name has not the form {NAMED}. Put it into the folder again")
    HeaderReader(folder.ledger, folder.spool).drain()
    assert folder.datasets()[0].PatientID == ""
    audit = folder.ledger.audit(folder.spool, deep=True)
    assert audit.is_clean
    assert audit.accepted == 1
    # Under a name that says whose it is, it is another object.
    folder.photograph("4711/V1_L2_3.jpg")
    folder.look()
    assert [one.state for one in folder.objects()] == [ObjectState.QUARANTINED, ObjectState.WAITING]


def test_the_same_photograph_twice_is_counted_and_not_doubled(watched: Any) -> None:
    folder = watched(name_template=NAMED)
    for _ in range(2):
        file = folder.photograph("4711/V1_L2_3.jpg")
        os.utime(file, (1_700_000_000 + folder.clock[0], 1_700_000_000 + folder.clock[0]))
        assert folder.look() == 1
    (one,) = folder.objects()
    assert one.duplicates == 1
    assert sorted(path.name for path in (folder.path / ".taken" / "4711").iterdir()) == ["V1_L2_3-2.jpg", "V1_L2_3.jpg"]


def test_a_crash_between_the_ledger_and_the_move_doubles_nothing(watched: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = watched(name_template=NAMED)
    folder.photograph("4711/V1_L2_3.jpg")
    monkeypatch.setattr(folder.watcher, "_clear_away", lambda _file: None)
    assert folder.look() == 1
    again = watched(name_template=NAMED)
    assert again.look() == 1
    (one,) = again.objects()
    assert one.duplicates == 1
    assert again.path.joinpath(".taken", "4711", "V1_L2_3.jpg").exists()


def test_what_is_kept_in_place_is_taken_once_also_after_a_restart(watched: Any) -> None:
    folder = watched(name_template=NAMED, after="keep")
    file = folder.photograph("4711/V1_L2_3.jpg")
    assert folder.look() == 1
    assert folder.look() == 0
    again = watched(name_template=NAMED, after="keep")
    assert again.look() == 0
    assert file.exists()
    assert again.objects()[0].duplicates == 0


def test_a_photograph_can_be_deleted_once_it_is_in(watched: Any) -> None:
    folder = watched(name_template=NAMED, after="delete")
    file = folder.photograph("4711/V1_L2_3.jpg")
    assert folder.look() == 1
    assert not file.exists()


def test_a_file_that_still_grows_is_left_alone(watched: Any) -> None:
    folder = watched(name_template=NAMED)
    whole = folder.photograph("4711/V1_L2_3.jpg").read_bytes()
    file = folder.path / "4711" / "V1_L2_3.jpg"
    file.write_bytes(b"")
    assert folder.look(100) == 0
    for size in (10, 200, 400):
        file.write_bytes(whole[:size])
        assert folder.watcher.step() == 0
        folder.clock[0] += 1.0
    file.write_bytes(whole)
    assert folder.look() == 1


def test_a_damaged_photograph_stays_and_is_told_once_until_it_is_mended(watched: Any) -> None:
    folder = watched(name_template=NAMED)
    file = folder.photograph("4711/V1_L2_3.jpg")
    whole = file.read_bytes()
    file.write_bytes(whole[:400])
    for _ in range(3):
        assert folder.look() == 0
    assert file.exists()
    assert len(folder.words()) == 1
    assert folder.words()[0].startswith("photograph_refused: 4711/V1_L2_3.jpg: 4711/V1_L2_3.jpg is damaged")
    file.write_bytes(whole)
    assert folder.look() == 1


def test_links_hidden_files_and_other_kinds_are_passed_over_in_words(watched: Any, tmp_path: Path) -> None:
    folder = watched(name_template=NAMED)
    outside = tmp_path / "secret.jpg"
    outside.write_bytes(folder.photograph("4711/V1_L2_3.jpg").read_bytes())
    (folder.path / "4711" / "V1_L2_4.jpg").symlink_to(outside)
    (folder.path / "loop").symlink_to(folder.path)
    (folder.path / ".hidden.jpg").write_bytes(outside.read_bytes())
    (folder.path / "notes.txt").write_text("hello")
    assert folder.look() == 1
    assert len(folder.objects()) == 1
    assert sum("links are not followed" in words for words in folder.words()) == 2
    assert any("notes.txt: it is neither" in words for words in folder.words())


def test_a_file_that_may_not_be_read_waits(watched: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = watched(name_template=NAMED)
    folder.photograph("4711/V1_L2_3.jpg")

    def refuse(_file: object) -> bytes:
        raise PermissionError(13, "Permission denied")  # what the system says; the tests may run as root, who reads everything

    with monkeypatch.context() as patched:
        patched.setattr("dermanode.receive.folder.watch.read_whole", refuse)
        assert folder.look() == 0
    assert "it cannot be read: Permission denied. Give the node's user the right to." in folder.words()[0]
    assert folder.look() == 1


def test_a_missing_folder_is_told_and_waited_for(watched: Any) -> None:
    folder = watched(name_template=NAMED)
    folder.path.rmdir()
    assert folder.look() == 0
    assert "it cannot be looked into" in folder.words()[0]
    folder.photograph("4711/V1_L2_3.jpg")
    assert folder.look() == 1


def test_dicom_files_are_taken_in_as_they_are(watched: Any, tmp_path: Path) -> None:
    folder = watched(name_template=NAMED)
    folder.photograph("4711/V1_L2_3.jpg")
    folder.look()
    made = folder.datasets()[0]
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dcmwrite(folder.path / "export", made, enforce_file_format=True)
    assert folder.look() == 1
    assert folder.datasets()[1] == made


def test_a_json_sidecar_may_come_later_and_goes_with_its_photograph(watched: Any) -> None:
    folder = watched(sidecar="json", sidecar_wait_s=60)
    folder.photograph("IMG_1.jpg")
    assert folder.look(10) == 0
    said = {
        "patient_id": "4711",
        "patient_name": "Müller^Änne",
        "birth_date": "1980-12-31",
        "sex": "female",
        "lesion": "L1",
        "body_site": "back",
        "laterality": "left",
        "view": 2,
        "pixel_spacing_mm": 0.02,
        "acquired_at": "2026-04-30T09:10:11+00:00",
        "polarization": "polarized",
        "contact": True,
    }
    (folder.path / "IMG_1.json").write_text(json.dumps(said))
    assert folder.look() == 1
    (made,) = folder.datasets()
    assert (made.PatientName, made.PatientBirthDate, made.PatientSex) == ("Müller^Änne", "19801231", "F")
    assert (made.ImageLaterality, made.PixelSpacing, made.LightSourcePolarization, made.ContactMethod) == (
        "L",
        [0.02, 0.02],
        "POLARIZED",
        "CONTACT",
    )
    assert made.AnatomicRegionSequence[0].CodeMeaning == "Skin of back"
    assert datetime.strptime(made.AcquisitionDateTime, "%Y%m%d%H%M%S%z") == datetime(2026, 4, 30, 9, 10, 11, tzinfo=UTC)
    assert sorted(path.name for path in (folder.path / ".taken").iterdir()) == ["IMG_1.jpg", "IMG_1.json"]


def test_without_its_sidecar_a_photograph_is_quarantined_after_a_while(watched: Any) -> None:
    folder = watched(sidecar="json", sidecar_wait_s=30)
    folder.photograph("IMG_1.jpg")
    assert folder.look(10) == 0
    assert folder.look(31) == 1
    assert "no NAME.json beside it came within 30 s" in folder.objects()[0].reason


@pytest.mark.parametrize("after", ["move", "delete"])
def test_a_sidecar_that_comes_too_late_does_not_speak_for_the_next_photograph_of_that_name(watched: Any, after: str) -> None:
    folder = watched(sidecar="json", sidecar_wait_s=30, after=after)
    folder.photograph("IMG_1.jpg")
    folder.look(10)
    assert folder.look(31) == 1
    (folder.path / "IMG_1.json").write_text(json.dumps({"patient_id": "the first"}))
    folder.look(10)
    folder.photograph("IMG_1.jpg", seed=2)
    folder.look(10)
    assert folder.look(31) == 1
    assert [made.PatientID for made in folder.datasets()] == ["", ""]
    assert len(folder.objects(ObjectState.QUARANTINED)) == 2
    assert sum(word.startswith("sidecar_late") for word in folder.words()) == 1
    (folder.path / "IMG_2.json").write_text(json.dumps({"patient_id": "the second"}))
    folder.look(10)
    folder.photograph("IMG_2.jpg", seed=3)
    assert folder.look(10) == 1
    assert folder.datasets()[-1].PatientID == "the second"


@pytest.mark.parametrize("is_late", [False, True])
def test_a_sidecar_that_stays_does_not_speak_for_the_next_photograph_of_that_name(watched: Any, is_late: bool) -> None:
    folder = watched(sidecar="json", sidecar_wait_s=30, after="keep")
    said = folder.path / "IMG_1.json"
    folder.photograph("IMG_1.jpg")
    if is_late:
        folder.look(10)
        assert folder.look(31) == 1
    said.write_text(json.dumps({"patient_id": "the first"}))
    assert folder.look(10) == (not is_late)
    folder.photograph("IMG_1.jpg", seed=2)
    assert folder.look(10) == 0
    said.write_text(json.dumps({"patient_id": "another"}))
    assert folder.look(10) == 1
    assert folder.datasets()[-1].PatientID == "another"


def test_a_wrong_row_keeps_its_photograph_waiting_and_names_line_and_cure(watched: Any) -> None:
    folder = watched(sidecar="csv")
    folder.photograph("a.jpg", 1)
    folder.photograph("b.jpg", 2)
    table = folder.path / "photographs.csv"
    table.write_bytes("\ufefffile;patient_id;patient_name;birth_date\nA.JPG;1;Groß^Jörg;31.12.1980\nb.jpg;2;;31.13.1980\n".encode())
    assert folder.look() == 1
    assert folder.datasets()[0].PatientName == "Groß^Jörg"
    assert folder.words() == [
        "photograph_waits: b.jpg: photographs.csv line 3: birth_date '31.13.1980' is no date: write it as 1980-12-31."
    ]
    table.write_bytes("file;patient_id;patient_name;birth_date\nb.jpg;2;Groß^Jörg;31.12.1980\n".encode("latin-1"))
    assert folder.look() == 1
    assert folder.datasets()[1].PatientName == "Groß^Jörg"


def test_what_cannot_be_written_waits_for_another_sidecar(watched: Any) -> None:
    folder = watched(sidecar="json")
    folder.photograph("a.jpg")
    sidecar = folder.path / "a.json"
    sidecar.write_text(json.dumps({"patient_id": "1", "accession_number": "12345678901234567"}))
    assert folder.look() == 0
    assert "The accession number '12345678901234567' cannot be used: at most 16" in folder.words()[0]
    sidecar.write_text(json.dumps({"patient_id": "1", "accession_number": "1234567890123456"}))
    assert folder.look() == 1


def test_one_file_that_breaks_a_decoder_does_not_stop_the_folder(watched: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = watched(name_template=NAMED)
    folder.photograph("4711/V1_L2_1.jpg", 1)
    folder.photograph("4711/V1_L2_2.jpg", 2)
    decode = picture_of

    def breaks(data: bytes, path: PurePath) -> Picture:
        if path.name == "V1_L2_1.jpg":
            raise RuntimeError("a decoder's own")
        return decode(data, path)

    monkeypatch.setattr("dermanode.receive.folder.watch.picture_of", breaks)
    assert folder.look() == 1
    assert folder.words() == ["photograph_refused: 4711/V1_L2_1.jpg: it cannot be worked on (RuntimeError): save it again."]


def test_where_it_was_taken_is_not_carried_over(watched: Any) -> None:
    folder = watched(name_template=NAMED)
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Acme", "Scope 9"
    exif.get_ifd(0x8769)[0x9003] = "2025:06:01 10:11:12"
    exif.get_ifd(0x8825)[0x0002] = (48.0, 51.0, 29.6)
    file = folder.photograph("4711/V1_L2_3.jpg", exif=exif)
    assert b"Exif" in file.read_bytes()
    folder.look()
    (made,) = folder.datasets()
    assert (made.Manufacturer, made.ManufacturerModelName, made.AcquisitionDate) == ("Acme", "Scope 9", "20250601")
    assert b"Exif" not in made.PixelData
    assert np.array_equal(
        np.asarray(Image.open(folder.path / ".taken" / "4711" / "V1_L2_3.jpg")),
        np.asarray(Image.open(__import__("io").BytesIO(next(generate_frames(made.PixelData, number_of_frames=1))))),
    )


def said(**values: str) -> dict[str, Statement]:
    return {name: Statement(value, "here") for name, value in values.items()}


def test_the_sidecar_speaks_before_the_name() -> None:
    found = particulars_of(said(patient_id="1", lesion=""), said(patient_id="2", lesion="L"), issuer="H")
    assert (found.patient_id, found.lesion, found.issuer) == ("1", "L", "H")


@pytest.mark.parametrize(
    ("field_name", "text", "cure"),
    [
        ("birth_date", "5/6/1980", "write it as 1980-12-31"),
        ("acquired_at", "yesterday", "write it as 2026-05-01T10:20:30"),
        ("sex", "x", "write M or F or O"),
        ("laterality", "up", "write L or R or B or U"),
        ("view", "-1", "write 1, 2, 3"),
        ("pixel_spacing_mm", "20", "millimetres a pixel"),
        ("body_site", "moon", "CID 4029"),
        ("polarization", "maybe", "write polarized or non_polarized"),
    ],
)
def test_what_cannot_be_understood_names_the_place_and_the_cure(field_name: str, text: str, cure: str) -> None:
    with pytest.raises(NotUnderstood, match=rf"here: {field_name} .*{cure}"):
        particulars_of(said(**{field_name: text}))


def test_values_are_understood_in_the_ways_people_write_them() -> None:
    found = particulars_of(said(birth_date="1.2.1980", pixel_spacing_mm="0,02", sex="w", contact="non-contact", body_site="SKIN OF BACK"))
    assert (found.birth_date, found.pixel_spacing_mm, found.sex, found.is_contact) == (date(1980, 2, 1), 0.02, "F", False)
    assert found.body_site is not None
    assert found.body_site.meaning == "Skin of back"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"patient_id,lesion\n1,2\n", "line 1 has no column `file`"),
        (b"file,patient\na.jpg,2\n", "line 1 has the column 'patient': known are"),
        (b"file,view,view\na.jpg,2,3\n", "'view' twice"),
        (b'file,view\n"a.jpg,2\n', "is no row of a table"),
        (b"", "has no column `file`"),
    ],
)
def test_a_table_with_wrong_columns_is_told_by_line(content: bytes, words: str) -> None:
    with pytest.raises(NotUnderstood, match=words):
        read_table(content, Path("t.csv"))


def test_a_photograph_with_two_rows_is_not_guessed_at() -> None:
    rows = read_table(b"file,patient_id\na.jpg,1\na.jpg,2\n", Path("t.csv"))
    assert isinstance(rows["a.jpg"], NotUnderstood)


@pytest.mark.parametrize("content", [b"[1]", b"{", b'{"patient": "1"}', b'{"view": [1]}', b"[" * 100_000])
def test_a_json_sidecar_that_is_none_is_told(content: bytes) -> None:
    with pytest.raises(NotUnderstood, match=r"s\.json"):
        read_json(content, Path("s.json"))


@pytest.mark.parametrize("template", ["{nobody}", "{patient_id}{lesion}", "plain.jpg", "{view}_{view}"])
def test_a_template_that_cannot_be_one_is_refused_at_the_start(template: str) -> None:
    with pytest.raises(ConfigurationError, match=r"folders\.x"):
        NameTemplate(template, "folders.x")


def test_a_template_compares_the_end_of_the_path_literally() -> None:
    template = NameTemplate("{patient_id}/{lesion} (v{view}).jpg", "x")
    found = template.read(Path("clinic/47.11/L+1 (v2).PNG"))
    assert found is not None
    assert {name: one.value for name, one in found.items()} == {"patient_id": "47.11", "lesion": "L+1", "view": "2"}
    assert template.read(Path("L1 (v2).png")) is None


def test_settings_know_a_folder() -> None:
    assert WatchedFolder.model_validate({"path": "/x"}).after == "move"
