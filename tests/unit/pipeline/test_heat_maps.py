"""A vendor's stage between classify and risk: its heat maps are checked, summarised and shown, and its absence is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pluggy
import pytest
from PIL import Image

from dermanode.config import Pipeline
from dermanode.dicom.statements import statements
from dermanode.domain import UID, Algorithm, Case, Classification, ClassProbability, Code, HeatMap, HeatMaps, Outcome, Risk, StageStatus
from dermanode.domain.codes import MALIGNANT, private
from dermanode.hookspecs import hookimpl, hookspec
from dermanode.pipeline.assembly import Order, assemble
from dermanode.pipeline.plan import StagePlan
from dermanode.pipeline.results_folder import results_folder
from dermanode.pipeline.run import Chain
from dermanode.pipeline.summary import summarise
from dermanode.pipeline.wire import Job
from dermanode.testing import worked_cases
from dermanode.testing.workshop import utc_now

ALGORITHM = Algorithm("Acme saliency", "2.0")
VIEW = UID("1.2.3.4")
MELANOMA = ClassProbability(label="MEL", concept=private("MEL", "Melanoma"), probability=0.7)
Make = Callable[..., Chain]
Asked = Callable[..., StagePlan]


@dataclass(frozen=True, eq=False, kw_only=True)
class Saliency(HeatMaps):
    stage: ClassVar[str] = "saliency"


def heat_map(**fields: Any) -> HeatMap:
    return HeatMap(
        **{"sop_instance_uid": VIEW, "heat": np.full((6, 8), 0.5, np.float32), "to_source": np.eye(3), "share_inside": 0.5, **fields}
    )


def saliency(*maps: HeatMap) -> Saliency:
    concept = Code("130404", "DCM", "Saliency")
    return Saliency(algorithm=ALGORITHM, method="Occlusion", concept=concept, explained=MELANOMA, maps=maps or (heat_map(),))


class Stages:
    @hookspec(firstresult=True)
    def saliency(self, case: Case, context: Any) -> Any: ...


class Vendor:
    """Brings the stage `saliency`, and serves the stages beside it."""

    def __init__(self, found: Callable[[Case, Any], Any]) -> None:
        self.found = found
        self.risk_saw: list[HeatMaps] = []

    @hookimpl
    def add_hookspecs(self, pluginmanager: pluggy.PluginManager) -> None:
        pluginmanager.add_hookspecs(Stages)

    @hookimpl
    def classify(self, case: Case, context: Any) -> Classification:
        return Classification(algorithm=ALGORITHM, diagnosis=(MELANOMA,), groups=(replace(MELANOMA, label="MALIGNANT", concept=MALIGNANT),))

    @hookimpl
    def saliency(self, case: Case, context: Any) -> Any:
        assert case.classification is not None
        return self.found(case, context)

    @hookimpl
    def risk(self, case: Case, context: Any) -> Risk:
        self.risk_saw += case.heat_maps
        return Risk(algorithm=ALGORITHM, score=0.5, level="moderate", terms=())


def test_it_runs_where_the_pipeline_names_it_and_later_stages_see_its_finding(case: Case, make_chain: Make, asked: Asked) -> None:
    vendor = Vendor(lambda _case, _context: saliency())
    folded = make_chain({"acme": vendor}).fold(case, [asked(stage, "acme") for stage in ("classify", "saliency", "risk")])
    assert [report.stage for report in folded.reports] == ["classify", "saliency", "risk"]
    assert {report.status for report in folded.reports} == {StageStatus.PERFORMED}
    assert [found.method for found in vendor.risk_saw] == ["Occlusion"]


def test_the_outcome_names_class_method_and_picture_of_every_map(case: Case, make_chain: Make, asked: Asked) -> None:
    folded = make_chain({"acme": Vendor(lambda _case, _context: saliency())}).fold(
        case, [asked("classify", "acme"), asked("saliency", "acme")]
    )
    (shown,) = summarise(folded, (), 1.0).heat_maps
    assert (shown.sop_instance_uid, shown.method, shown.explained.label, shown.share_inside) == (VIEW, "Occlusion", "MEL", 0.5)
    assert shown.picture == f"heat/0-{VIEW}.png"


@pytest.mark.parametrize("status", [StageStatus.DECLINED, StageStatus.FAILED])
def test_where_it_is_not_performed_the_report_says_why(case: Case, make_chain: Make, asked: Asked, status: StageStatus) -> None:
    def found(_case: Case, context: Any) -> Any:
        if status is StageStatus.FAILED:
            raise ValueError("no such layer")
        return context.decline("the network is not known")

    folded = make_chain({"acme": Vendor(found)}).fold(case, [asked("classify", "acme"), asked("saliency", "acme"), asked("risk", "acme")])
    assert [report.status for report in folded.reports] == [StageStatus.PERFORMED, status, StageStatus.PERFORMED]
    outcome: Outcome = summarise(folded, (), 1.0)
    assert outcome.heat_maps == ()
    reason = "raised ValueError: no such layer" if status is StageStatus.FAILED else "declined: the network is not known"
    assert any(f"saliency not performed: acme {reason}" in said.text for said in statements(folded.case, outcome))


NAN = np.full((6, 8), np.nan, np.float32)
BROKEN: dict[str, tuple[tuple[HeatMap, ...], str]] = {
    "a view of another case": ((heat_map(sop_instance_uid=UID("9.9")),), "the view 9.9, which is none of them"),
    "two maps of a view": ((heat_map(), heat_map()), "one map a view"),
    "heat above 1": ((heat_map(heat=np.full((6, 8), 2, np.float32)),), "heat from 0 to 1"),
    "heat that is no number": ((heat_map(heat=NAN),), "heat from 0 to 1"),
    "heat in bytes": ((heat_map(heat=np.zeros((6, 8), np.uint8)),), "uint8 of 6 x 8"),
    "heat in colours": ((heat_map(heat=np.zeros((6, 8, 3), np.float32)),), "6 x 8 x 3"),
    "a matrix that leads nowhere": ((heat_map(to_source=np.zeros((3, 3))),), "can be inverted"),
    "a share that is no number": ((heat_map(share_inside=float("nan")),), "share_inside = nan"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_maps_that_cannot_be_shown_fail_the_stage(case: Case, make_chain: Make, asked: Asked, name: str) -> None:
    maps, words = BROKEN[name]
    folded = make_chain({"acme": Vendor(lambda _case, _context: saliency(*maps))}).fold(
        case, [asked("classify", "acme"), asked("saliency", "acme")]
    )
    assert folded.reports[1].status is StageStatus.FAILED
    assert words in folded.reports[1].reason


def test_assembly_writes_the_object_and_the_pages_picture(tmp_path: Path, make_chain: Make) -> None:
    case = worked_cases.worked([worked_cases.photograph(1)], tmp_path / "sources")
    folded = make_chain({}).fold(case, [])
    pipeline = Pipeline.model_validate({"name": "test", "match": {"modalities": ["DMS"]}, "stages": {}})
    job = Job(case_id="c1", revision=1, pipeline="test", files=(), stages=(), made_at=utc_now(), workdir=tmp_path)
    with results_folder(tmp_path / "results", case.id) as folder:
        order = Order(job=job, pipeline=pipeline, destinations={}, facility="", unreadable=(), extra=(), elapsed_s=lambda: 1.0)
        outcome = assemble(folded, folder, order)
        folder.publish()
    (capture,) = [made for made in outcome.objects if made.kind == "SC"]
    assert capture.passed_gate, capture.reasons
    assert "Grad-CAM" in capture.description
    (shown,) = outcome.heat_maps
    with Image.open(tmp_path / "results" / case.id / shown.picture) as picture:
        assert picture.mode == "RGBA"
        assert picture.size == (128, 96)
