"""Images of a patient whom the hospital merged: which identity results bear, and what the gate lets through."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dermanode.dicom import gate
from dermanode.domain import Case, Patient
from dermanode.errors import EncodingError
from dermanode.testing import worked_cases

OLD, NEW = ("OLD", "CLINIC"), ("NEW", "CLINIC")


def two_views(folder: Path, formerly: tuple[tuple[str, str], ...] = (OLD,)) -> Case:
    """One view under each identity, of the patient NEW."""
    images = [worked_cases.photograph(number, rows=32, columns=32) for number in (1, 2)]
    images[0].PatientID, images[1].PatientID = "OLD", "NEW"
    case = worked_cases.worked(images, folder)
    patient = Patient(patient_id="NEW", issuer="CLINIC", formerly=formerly)
    return replace(case, series=replace(case.series, patient=patient))


def test_results_bear_the_identity_of_an_image_that_has_the_present_one(tmp_path: Path, make_objects: Any) -> None:
    made = make_objects(two_views(tmp_path))
    assert {encoded.dataset.PatientID for encoded in made.objects} == {"NEW"}
    for encoded in made.objects:
        assert gate.check(encoded.dataset, made.sources, made.others(encoded.dataset), merged={OLD, NEW}) == ()


@pytest.mark.parametrize("merged", [(), {NEW}, {OLD}, {NEW, ("OLD", "")}, {("NEW", "OTHER"), ("OLD", "OTHER")}])
def test_gate_keeps_identities_apart_that_nobody_merged(merged: Collection[tuple[str, str]], tmp_path: Path, make_objects: Any) -> None:
    made = make_objects(two_views(tmp_path))
    reasons = gate.check(made.datasets("SR")[0], made.sources, merged=merged)
    assert "PatientID differs from that of a source image." in reasons


def test_gate_refuses_a_merged_identity_that_no_image_bears(tmp_path: Path, make_objects: Any) -> None:
    made = make_objects(two_views(tmp_path))
    report = made.datasets("SR")[0]
    report.PatientID = "THIRD"
    assert "PatientID differs from the source image's." in gate.check(report, made.sources, merged={OLD, NEW, ("THIRD", "CLINIC")})


def test_images_of_two_patients_whom_nobody_merged_are_not_encoded(tmp_path: Path, make_objects: Any) -> None:
    for formerly in ((), (("SOMEBODY", "CLINIC"),)):
        folder = tmp_path / str(len(formerly))
        folder.mkdir()
        with pytest.raises(EncodingError, match="mixes patients"):
            make_objects(two_views(folder, formerly))
