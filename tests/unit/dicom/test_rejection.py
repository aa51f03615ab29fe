"""What a rejection note makes a PACS hide."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dermanode.dicom import gate
from dermanode.dicom.encode import Encoded, encode_case
from dermanode.dicom.references import Instance, instances_in
from dermanode.dicom.rejection import Rejection


@pytest.fixture
def notes(everything: Any, all_kinds: Any) -> list[Encoded]:
    """Of a second revision: one destination got everything, the other a report only."""
    had = [(one.kind, Instance.of(one.dataset)) for one in everything.objects]
    wanted = (
        Rejection("pacs", tuple(instance for _, instance in had)),
        Rejection("plain", tuple(instance for kind, instance in had if kind == "SR")),
    )
    order = replace(all_kinds, kinds=("SR", "KOS"), rejections=wanted)
    made: list[Encoded] = encode_case(replace(everything.case, revision=2), replace(everything.outcome, revision=2), order)
    return [one for one in made if one.kind == "KOS"]


def named(note: Encoded) -> list[str]:
    return [
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in note.dataset.ContentSequence if "ReferencedSOPSequence" in item
    ]


def test_each_destination_is_told_of_what_it_got(notes: list[Encoded], everything: Any) -> None:
    assert [note.destination for note in notes] == ["pacs", "plain"]
    assert set(named(notes[0])) == {one.dataset.SOPInstanceUID for one in everything.objects}
    assert named(notes[1]) == [everything.datasets("SR")[0].SOPInstanceUID]


def test_the_title_is_a_reason_of_iocm_that_is_true_of_them(notes: list[Encoded]) -> None:
    for note in notes:
        (title,) = note.dataset.ConceptNameCodeSequence
        assert (title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning) == ("113001", "DCM", "Rejected for Quality Reasons")
        assert note.dataset.Modality == "KO"
        assert note.dataset.ContentSequence[0].TextValue.startswith("Superseded by revision 2")


def test_images_are_named_as_images_and_documents_as_composites(notes: list[Encoded]) -> None:
    types = {
        item.ReferencedSOPSequence[0].ReferencedSOPClassUID: item.ValueType
        for item in notes[0].dataset.ContentSequence
        if "ReferencedSOPSequence" in item
    }
    composites = {uid.removeprefix("1.2.840.10008.5.1.4.1.1.") for uid, kind in types.items() if kind == "COMPOSITE"}
    assert composites == {"66.5", "104.1", "104.3", "88.34"}
    assert len(types) == 8


def test_evidence_and_content_name_the_same(notes: list[Encoded]) -> None:
    for note in notes:
        evidence = {one.sop_instance_uid for one in instances_in(note.dataset, "CurrentRequestedProcedureEvidenceSequence")}
        assert evidence == set(named(note))


def test_a_note_on_a_photograph_never_leaves(everything: Any, all_kinds: Any) -> None:
    series = everything.case.series
    view = series.views[0]
    photograph = Instance(view.sop_class_uid, view.sop_instance_uid, series.series_instance_uid, series.study_instance_uid)
    wrong = Rejection("pacs", (photograph,))
    (note,) = encode_case(everything.case, everything.outcome, replace(all_kinds, kinds=("KOS",), rejections=(wrong,)))
    assert "must not be hidden" in "\n".join(gate.check(note.dataset, everything.sources, []))


def test_a_note_on_another_study_never_leaves(everything: Any, all_kinds: Any) -> None:
    wrong = Rejection("pacs", (Instance("1.2.840.10008.5.1.4.1.1.88.34", "1.2.3", "1.2.4", "1.2.5"),))
    (note,) = encode_case(everything.case, everything.outcome, replace(all_kinds, kinds=("KOS",), rejections=(wrong,)))
    assert "another study must not be changed" in "\n".join(gate.check(note.dataset, everything.sources, []))


def test_where_a_note_cannot_be_made_the_report_says_why(made: Any, all_kinds: Any) -> None:
    order = replace(all_kinds, kinds=("SR", "KOS"), why_no_rejections="the objects of the earlier revision are no longer here to be named")
    (report,) = encode_case(made.case, made.outcome, order)
    said = [item.TextValue for item in report.dataset.ContentSequence[-1].ContentSequence if item.ValueType == "TEXT"]
    assert "Rejection note not made: the objects of the earlier revision are no longer here to be named" in said
