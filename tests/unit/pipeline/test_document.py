"""The report for people goes into an object, into messages and onto the page; without its fonts, its absence is said."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest

from dermanode.config import Destination, MllpDestination, Pipeline
from dermanode.dicom import outlined
from dermanode.domain import Outcome
from dermanode.errors import CannotSetPages
from dermanode.pipeline import assembly
from dermanode.pipeline.results_folder import results_folder
from dermanode.pipeline.run import Chain
from dermanode.pipeline.wire import Job
from dermanode.testing import worked_cases
from dermanode.testing.workshop import utc_now

PDF = b"%PDF-1.7\na small one\n%%EOF\n"
Assemble = Callable[..., Outcome]


@pytest.fixture
def assemble(tmp_path: Path, make_chain: Callable[..., Chain]) -> Assemble:
    """Assembles a worked case of one photograph in `tmp_path/results`."""

    def run(kinds: tuple[str, ...], **destinations: Destination) -> Outcome:
        case = worked_cases.worked([worked_cases.photograph(1)], tmp_path / "sources")
        outputs = {"kinds": kinds, "language": "de"}
        pipeline = Pipeline.model_validate({"name": "test", "match": {"modalities": ["DMS"]}, "stages": {}, "outputs": outputs})
        job = Job(case_id="c1", revision=1, pipeline="test", files=(), stages=(), made_at=utc_now(), workdir=tmp_path)
        order = assembly.Order(
            job=job, pipeline=pipeline, destinations=destinations, facility="Clinic", unreadable=(), extra=(), elapsed_s=lambda: 1.0
        )
        with results_folder(tmp_path / "results", case.id) as folder:
            outcome = assembly.assemble(make_chain({}).fold(case, []), folder, order)
            folder.publish()
        return outcome

    return run


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The languages in which a report was asked for; each is answered with `PDF`."""
    languages: list[str] = []

    def write(*_: object, language: str, **__: object) -> bytes:
        languages.append(language)
        return PDF

    monkeypatch.setattr(assembly, "encode_pdf", write)
    return languages


def test_it_becomes_an_object_and_a_file_of_the_page(assemble: Assemble, asked: list[str], tmp_path: Path) -> None:
    outcome = assemble(("SR", "PDF"))
    (made,) = [one for one in outcome.objects if one.kind == "PDF"]
    assert made.passed_gate, made.reasons
    assert pydicom.dcmread(tmp_path / "results" / made.path).EncapsulatedDocument.startswith(PDF)
    (page,) = [one for one in outcome.objects if one.path.endswith("/report.pdf")]
    assert (tmp_path / "results" / page.path).read_bytes() == PDF
    assert asked == ["de"]


def test_it_is_not_written_where_nobody_wants_it(assemble: Assemble, asked: list[str]) -> None:
    assemble(("SR",))
    assert asked == []


def test_a_message_carries_it_though_no_object_does(assemble: Assemble, asked: list[str], tmp_path: Path) -> None:
    his = MllpDestination(type="mllp", host="127.0.0.1", port=2575, is_pdf_embedded=True)
    outcome = assemble(("SR",), his=his)
    (letter,) = [one for one in outcome.objects if one.kind == "HL7"]
    assert base64.b64encode(PDF) in (tmp_path / "results" / letter.path).read_bytes()
    assert asked == ["de"]


def test_a_machine_without_its_fonts_loses_it_and_nothing_else(assemble: Assemble, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> bytes:
        raise CannotSetPages("no font for Arabic", ("fonts-something",))

    monkeypatch.setattr(assembly, "encode_pdf", refuse)
    outcome = assemble(("SR", "PDF"))
    assert not outcome.is_failed
    (report,) = [one for one in outcome.objects if one.kind == "SR"]
    said = (tmp_path / "results" / report.path).read_bytes()
    assert b"Encapsulated PDF object not made: No pages can be set: no font for Arabic" in said


def test_a_defect_in_it_costs_it_and_nothing_else(assemble: Assemble, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: object, **__: object) -> bytes:
        raise KeyError("moment")

    monkeypatch.setattr(assembly, "encode_pdf", fail)
    outcome = assemble(("SEG", "SR", "PDF"))
    assert not outcome.is_failed
    assert {one.kind for one in outcome.objects} >= {"SEG", "SR"}
    (report,) = [one for one in outcome.objects if one.kind == "SR"]
    assert b"not made: a defect of the node ended it (KeyError: 'moment')" in (tmp_path / "results" / report.path).read_bytes()


def test_a_defect_in_one_kind_of_object_costs_no_other(assemble: Assemble, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: object, **__: object) -> Iterator[object]:
        raise ZeroDivisionError("no scale")

    monkeypatch.setattr(outlined, "encode_outlined", fail)
    outcome = assemble(("SEG", "OVERLAY", "SR"))
    assert {one.kind for one in outcome.objects} >= {"SEG", "SR"}
    assert "OVERLAY: a defect of the node ended it (ZeroDivisionError: no scale)" in outcome.reason
    (report,) = [one for one in outcome.objects if one.kind == "SR"]
    assert b"OVERLAY: a defect of the node ended it" in (tmp_path / "results" / report.path).read_bytes()
