"""IHE AI Results, Evidence Creator: one test for each thing that is asked of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from pydicom import Dataset

from dermanode.dicom.references import instances_in

ALGORITHM_NAME, ALGORITHM_VERSION = "111001", "111003"


@pytest.fixture
def report(everything: Any) -> Dataset:
    dataset: Dataset = everything.datasets("SR")[0]
    return dataset


def items(dataset: Dataset) -> Iterator[Dataset]:
    for item in dataset.get("ContentSequence", ()):
        yield item
        yield from items(item)


def named(dataset: Dataset, code: str) -> list[Dataset]:
    return [item for item in items(dataset) if item.get("ConceptNameCodeSequence") and item.ConceptNameCodeSequence[0].CodeValue == code]


def children(item: Dataset) -> set[str]:
    return {child.ConceptNameCodeSequence[0].CodeValue for child in item.get("ContentSequence", ()) if "ConceptNameCodeSequence" in child}


def algorithm_of(item: Dataset) -> str:
    name: str = next(one.TextValue for one in item.ContentSequence if one.ConceptNameCodeSequence[0].CodeValue == ALGORITHM_NAME)
    return name


def groups(report: Dataset) -> list[Dataset]:
    return named(report, "125007")


def findings(report: Dataset) -> list[Dataset]:
    """The numbers and judgements of all groups."""
    return [item for group in groups(report) for item in group.ContentSequence if is_finding(item)]


def is_finding(item: Dataset) -> bool:
    return item.ValueType == "NUM" or (item.ValueType == "CODE" and item.RelationshipType == "CONTAINS" and children(item) != set())


def test_findings_are_in_a_comprehensive_3d_sr(report: Dataset) -> None:
    assert report.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34"


def test_the_root_is_template_1500(report: Dataset) -> None:
    template = report.ContentTemplateSequence[0]
    assert (template.MappingResource, template.TemplateIdentifier) == ("DCMR", "1500")
    assert report.ConceptNameCodeSequence[0].CodeValue == "126000"


def test_the_procedure_reported_is_the_imaging_procedure_not_the_algorithm(report: Dataset) -> None:
    (procedure,) = named(report, "121058")
    assert procedure.ConceptCodeSequence[0].CodeValue == "363679005"
    assert report.PerformedProcedureCodeSequence[0].CodeValue == "446078004"


def test_contributing_equipment_has_one_item_for_each_algorithm(report: Dataset, everything: Any) -> None:
    equipment = report.ContributingEquipmentSequence
    assert [item.ManufacturerModelName for item in equipment] == [finding.algorithm.name for finding in everything.case.findings]
    for item in equipment:
        assert item.PurposeOfReferenceCodeSequence[0].CodeMeaning == "Processing Algorithm"
        assert item.Manufacturer
        assert item.SoftwareVersions
        assert item.DeviceUID


def test_the_device_uid_changes_at_every_retraining_and_at_nothing_else(everything: Any, make_objects: Any, all_kinds: Any) -> None:
    first, *rest = everything.case.findings
    only = replace(all_kinds, kinds=("SR",))

    def devices(case: Any) -> list[str]:
        (report,) = make_objects(case, None, only).datasets("SR")
        return [item.DeviceUID for item in report.ContributingEquipmentSequence]

    before = devices(everything.case)
    retrained = replace(first, algorithm=replace(first.algorithm, weights_digest="e" * 64))
    after = devices(replace(everything.case, findings=(retrained, *rest)))
    assert [old == new for old, new in zip(before, after, strict=True)] == [False] + [True] * len(rest)
    assert devices(replace(everything.case, revision=2)) == before


def test_every_number_and_judgement_identifies_its_algorithm(report: Dataset, everything: Any) -> None:
    assert len(findings(report)) > 20
    for item in findings(report):
        assert {ALGORITHM_NAME, ALGORITHM_VERSION} <= children(item), item.ConceptNameCodeSequence[0].CodeMeaning
    for group in groups(report):
        assert {ALGORITHM_NAME, ALGORITHM_VERSION} <= children(group)


def test_a_judgement_is_that_of_the_classifier_not_of_the_segmenter(report: Dataset, everything: Any) -> None:
    (top,), (level,) = named(report, "TOPCLASS"), named(report, "RISKLEVEL")
    assert [algorithm_of(item) for item in (top, level)] == [
        everything.case.classification.algorithm.name,
        everything.case.risk.algorithm.name,
    ]


def test_every_finding_has_a_tracking_identifier_and_its_uid(report: Dataset, everything: Any) -> None:
    assert groups(report)
    for group in groups(report):
        assert {"112039", "112040"} <= children(group)
    uids = {item.UID for group in groups(report) for item in group.ContentSequence if item.get("UID")}
    assert uids == {everything.case.series.tracking_uid}


def test_every_segment_identifies_its_algorithm(everything: Any) -> None:
    for form in ("SEG", "SEG_FRACTIONAL", "SEG_LABELMAP"):
        for seg in everything.datasets(form):
            (segment,) = [one for one in seg.SegmentSequence if one.SegmentNumber == 1]
            (found,) = segment.SegmentationAlgorithmIdentificationSequence
            assert (found.AlgorithmName, found.AlgorithmVersion, found.AlgorithmFamilyCodeSequence[0].CodeValue) == (
                "example-segment",
                "1.2.0",
                "123110",
            )


def test_there_is_an_image_library_with_every_photograph(report: Dataset, everything: Any) -> None:
    (library,) = named(report, "111028")
    listed = [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in items(library) if item.ValueType == "IMAGE"]
    assert [view.sop_instance_uid for view in everything.case.series.views] == listed[:3]


def test_every_referenced_instance_is_in_the_evidence(report: Dataset, everything: Any) -> None:
    evidence = {one.sop_instance_uid for one in instances_in(report, "CurrentRequestedProcedureEvidenceSequence")}
    named_in_content = {one.ReferencedSOPInstanceUID for item in items(report) for one in item.get("ReferencedSOPSequence", ())}
    assert named_in_content <= evidence
    views = {view.sop_instance_uid for view in everything.case.series.views}
    assert evidence == views | {one.SOPInstanceUID for one in everything.others(report)}


def test_it_is_unverified_and_preliminary(report: Dataset) -> None:
    assert (report.VerificationFlag, report.PreliminaryFlag, report.CompletionFlag) == ("UNVERIFIED", "PRELIMINARY", "COMPLETE")
    assert "VerifyingObserverSequence" not in report


def test_results_are_new_series_in_the_patients_study(everything: Any) -> None:
    series = everything.case.series
    for encoded in everything.objects:
        assert encoded.dataset.StudyInstanceUID == series.study_instance_uid
        assert encoded.dataset.SeriesInstanceUID != series.series_instance_uid
        assert encoded.dataset.PatientID == "P-4711"


def test_private_codes_come_with_whose_scheme_it_is(everything: Any) -> None:
    for encoded in everything.objects:
        (scheme,) = encoded.dataset.CodingSchemeIdentificationSequence
        assert (scheme.CodingSchemeDesignator, scheme.CodingSchemeName) == ("99DERMANODE", "DermaNode private concepts")
        assert scheme.CodingSchemeUID.startswith("2.25.")


def test_one_area_is_told_where_the_surface_states_it_too(everything: Any, make_objects: Any, all_kinds: Any) -> None:
    area = next(m for m in everything.case.features.measurements if m.key == "area_mm2")
    footprint = replace(area, key="footprint_mm2", value=21.4)
    surface = replace(everything.case.surface, measurements=(*everything.case.surface.measurements, footprint))
    case = everything.case.with_finding(surface)
    (report,) = make_objects(case, None, replace(all_kinds, kinds=("SR",))).datasets("SR")
    areas = [item for item in named(report, "42798000") if item.ValueType == "NUM"]
    assert len(areas) == 1
    (key,) = [one.TextValue for one in areas[0].ContentSequence if one.ConceptNameCodeSequence[0].CodeValue == "112039"]
    assert key == "area_mm2"
