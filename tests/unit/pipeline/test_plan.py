"""The plan is a pure choice, and its reasons are sentences."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from dermanode.config import Pipeline
from dermanode.domain import UID
from dermanode.ledger.records import SeriesKey, WaitingSeries
from dermanode.pipeline.manifest import Manifest
from dermanode.pipeline.plan import Plan, Unwanted, plan

PHOTOGRAPH = "1.2.840.10008.5.1.4.1.1.77.1.4"
DERMOSCOPY = "1.2.840.10008.5.1.4.1.1.77.1.7"
CT = "1.2.840.10008.5.1.4.1.1.2"
NOW = datetime(2026, 11, 21, tzinfo=UTC)

SERIES = WaitingSeries(
    key=SeriesKey(UID("1.2"), UID("1.2.3"), "P1"),
    waiting=1,
    in_case=0,
    first_at=NOW,
    last_at=NOW,
    associations=frozenset({"a"}),
    sop_classes=frozenset({DERMOSCOPY}),
    modality="DMS",
    calling_aes=frozenset({"CAMERA"}),
    called_aes=frozenset({"DERMANODE"}),
    body_site="45980000",
    is_image=True,
)


def pipeline(name: str = "one", *, stages: dict[str, list[str]] | None = None, **match: Any) -> Pipeline:
    asked = {"sop_classes": [PHOTOGRAPH, DERMOSCOPY], **match}
    return Pipeline.model_validate({"name": name, "match": asked, "stages": stages or {"segment": ["acme"]}})


def manifest(name: str = "acme", stage: str = "segment", **wants: Any) -> Manifest:
    keys = {"name": name, "version": "1", "api": 1, "summary": "", "intended_use": "", "stages": {stage: {"wants": wants}}}
    return Manifest.model_validate(keys)


ACME = {"acme": manifest()}


def wanted(series: WaitingSeries, *pipelines: Pipeline, suspended: dict[str, str] | None = None) -> Plan:
    chosen = plan(series, pipelines, ACME, suspended or {})
    assert isinstance(chosen, Plan)
    return chosen


def unwanted(series: WaitingSeries, *pipelines: Pipeline) -> str:
    answer = plan(series, pipelines, ACME, {})
    assert isinstance(answer, Unwanted)
    return answer.reason


def test_first_pipeline_that_wants_the_series_takes_it() -> None:
    assert wanted(SERIES, pipeline("other", modalities=["XC"]), pipeline("first"), pipeline("second")).pipeline == "first"


def test_plan_says_who_will_be_asked() -> None:
    assert wanted(SERIES, pipeline()).words == ("The pipeline one takes the series.", "segment: acme will be asked.")


def test_late_image_is_counted_with_those_in_the_case() -> None:
    late = replace(SERIES, waiting=1, in_case=7)
    assert wanted(late, pipeline("ring", views={"fewest": 8})).pipeline == "ring"


@pytest.mark.parametrize(
    ("match", "reason"),
    [
        ({"modalities": ["XC"]}, "one takes modality XC, not DMS"),
        ({"ae_titles": ["SCANNER"]}, "one takes series from SCANNER, not from CAMERA"),
        ({"body_sites": ["1"]}, "one takes body site 1, not 45980000"),
        ({"views": {"fewest": 8}}, "one needs 8 views, and there is 1"),
    ],
)
def test_unwanted_series_gets_a_reason_from_each_pipeline(match: dict[str, Any], reason: str) -> None:
    assert unwanted(SERIES, pipeline(**match)) == f"No pipeline wants it. {reason}."


def test_too_many_views_are_a_reason() -> None:
    assert "one takes at most 1 views, and there are 3" in unwanted(replace(SERIES, waiting=3), pipeline(views={"most": 1}))


def test_ct_is_named_as_what_it_is() -> None:
    ct = replace(SERIES, sop_classes=frozenset({CT}), modality="CT")
    assert unwanted(ct, pipeline("one"), pipeline("two")) == "CT Image Storage is no dermoscopic image: no pipeline wants it."


def test_what_is_no_image_is_unwanted_by_every_pipeline() -> None:
    report = replace(SERIES, sop_classes=frozenset({"1.2.840.10008.5.1.4.1.1.88.34"}), is_image=False)
    assert unwanted(report, pipeline()) == "Comprehensive 3D SR Storage: no image, and only images are processed."


def test_node_without_pipelines_wants_nothing() -> None:
    assert unwanted(SERIES) == "No pipeline is configured."


def test_plugin_that_cannot_be_asked_is_in_the_plan_with_its_reason() -> None:
    stages = {"segment": ["gone", "broken", "acme", "picky", "other-stage", "tired"]}
    known = {
        **ACME,
        "picky": manifest("picky", fewest_views=4),
        "other-stage": manifest("other-stage", "risk"),
        "tired": manifest("tired"),
    }
    chosen = plan(SERIES, [pipeline(stages=stages)], known, {"tired": "segment: raised ValueError"}, {"broken": "It is not TOML."})
    assert isinstance(chosen, Plan)
    reasons = {candidate.plugin: candidate.reason for candidate in chosen.stages[0].candidates}
    assert reasons == {
        "gone": "it is not installed",
        "broken": "it is broken. It is not TOML.",
        "acme": "",
        "picky": "it needs 4 views, and there is 1",
        "other-stage": "its manifest has no [stages.segment]",
        "tired": "it is suspended: segment: raised ValueError",
    }
    assert chosen.words[1].startswith("segment: acme will be asked; gone is not asked: it is not installed; ")


@pytest.mark.parametrize(
    ("wants", "reason"),
    [
        ({"sop_classes": [PHOTOGRAPH]}, "it does not read Dermoscopic Photography Image Storage"),
        ({"modalities": ["XC", "OT"]}, "it wants modality XC or OT, not DMS"),
        ({"body_sites": ["1"]}, "it wants body site 1, not 45980000"),
    ],
)
def test_plugins_wants_are_held_against_the_series(wants: dict[str, Any], reason: str) -> None:
    chosen = plan(SERIES, [pipeline()], {"acme": manifest(**wants)}, {})
    assert isinstance(chosen, Plan)
    assert chosen.stages[0].candidates[0].reason == reason
    assert chosen.stages[0].words == f"segment: nobody can be asked; acme is not asked: {reason}."
