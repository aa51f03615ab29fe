"""The fold: every stage leaves a report, and no plugin can end the chain."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pluggy
import pytest

from dermanode.domain import UID, Algorithm, Case, Features, Finding, Measurement, Outcome, Prior, Risk, Segmentation, StageStatus, ViewMask
from dermanode.domain.codes import MM2, private
from dermanode.hookspecs import hookimpl, hookspec
from dermanode.pipeline.plan import Candidate, StagePlan
from dermanode.pipeline.run import Chain

ALGORITHM = Algorithm("Test", "1.0")
Make = Callable[..., Chain]
Asked = Callable[..., StagePlan]


def risk_of(score: float, **fields: Any) -> Risk:
    return Risk(algorithm=ALGORITHM, score=score, level="low", terms=(), **fields)


class Scores:
    """Performs the stage risk."""

    @hookimpl
    def risk(self, case: Case, context: Any) -> Any:
        return risk_of(0.25, remarks=("from a test",))


class Declines:
    @hookimpl
    def risk(self, case: Case, context: Any) -> Any:
        return context.decline("no feature was measured")


class SaysNothing:
    @hookimpl
    def risk(self, case: Case, context: Any) -> Any:
        return None


class Raises:
    @hookimpl
    def risk(self, case: Case, context: Any) -> Any:
        raise ValueError("a bad day")


class Exits:
    @hookimpl
    def risk(self, case: Case, context: Any) -> Any:
        raise SystemExit(3)


def test_performed_stage_is_reported_with_who_did_it(case: Case, make_chain: Make, asked: Asked) -> None:
    folded = make_chain({"acme": Scores()}).fold(case, [asked("risk", "acme")])
    report = folded.reports[0]
    assert (report.status, report.plugin, report.plugin_version, report.algorithm) == (StageStatus.PERFORMED, "acme", "1.0", ALGORITHM)
    assert report.remarks == ("from a test",)
    assert report.took_s > 0
    assert folded.case.risk is not None
    assert not folded.is_failed


def test_next_plugin_is_asked_when_the_first_declines(case: Case, make_chain: Make, asked: Asked) -> None:
    folded = make_chain({"shy": Declines(), "acme": Scores()}).fold(case, [asked("risk", "shy", "acme")])
    assert folded.reports[0].plugin == "acme"
    assert "shy declined: no feature was measured" in folded.reports[0].remarks


def test_order_is_the_plans_and_not_that_of_loading(case: Case, make_chain: Make, asked: Asked) -> None:
    plugins = {"first": Scores(), "second": Scores()}
    assert make_chain(plugins).fold(case, [asked("risk", "second", "first")]).reports[0].plugin == "second"


def test_declined_stage_says_why(case: Case, make_chain: Make, asked: Asked) -> None:
    folded = make_chain({"shy": Declines(), "mute": SaysNothing()}).fold(case, [asked("risk", "shy", "mute")])
    assert folded.reports[0].status is StageStatus.DECLINED
    assert folded.reports[0].reason == "shy declined: no feature was measured; mute declined: it gave no reason"
    assert not folded.is_failed


@pytest.mark.parametrize(("plugin", "words"), [(Raises(), "acme raised ValueError: a bad day"), (Exits(), "acme raised SystemExit: 3")])
def test_plugin_that_raises_fails_its_stage_and_no_other(case: Case, make_chain: Make, asked: Asked, plugin: object, words: str) -> None:
    folded = make_chain({"acme": plugin, "good": Scores()}).fold(case, [asked("risk", "acme"), asked("risk", "good")])
    assert [report.status for report in folded.reports] == [StageStatus.FAILED, StageStatus.PERFORMED]
    assert folded.reports[0].reason == words
    assert folded.is_failed
    assert (folded.faults[0].plugin, folded.faults[0].stage) == ("acme", "risk")


def test_plugin_after_one_that_raised_serves_the_stage_and_the_fault_is_said(case: Case, make_chain: Make, asked: Asked) -> None:
    folded = make_chain({"acme": Raises(), "good": Scores()}).fold(case, [asked("risk", "acme", "good")])
    assert folded.reports[0].status is StageStatus.PERFORMED
    assert "acme raised ValueError: a bad day" in folded.reports[0].remarks
    assert len(folded.faults) == 1


def broken_promises(case: Case) -> list[tuple[str, Any, str]]:
    stranger = ViewMask(sop_instance_uid=UID("9.9"), mask=np.zeros((6, 8), bool), confidence=0.0, touches_border=False)
    small = ViewMask(sop_instance_uid=UID("1.2.3.4"), mask=np.zeros((3, 4), bool), confidence=0.0, touches_border=False)
    area = Measurement(key="area", concept=private("A", "Area"), value=float("nan"), unit=MM2)
    return [
        ("risk", "high", "returned a str where the stage promises a Risk"),
        ("risk", Features(algorithm=ALGORITHM, measurements=()), "returned a Features where the stage promises a Risk"),
        ("risk", risk_of(float("inf")), "returned Risk.score = inf where the stage promises finite numbers"),
        ("fuse", Features(algorithm=ALGORITHM, measurements=(area,)), "Features.measurements[0].value = nan"),
        ("segment", Segmentation(algorithm=ALGORITHM, masks=(stranger,)), "the view 9.9, which is none of them"),
        ("segment", Segmentation(algorithm=ALGORITHM, masks=(small,)), "bool of 3 x 4 where the stage promises bool masks of 6 x 8"),
        ("segment", Segmentation(algorithm=ALGORITHM, masks=None), "a field of another type"),  # type: ignore[arg-type]
    ]


@pytest.mark.parametrize("index", range(7))
def test_finding_that_breaks_its_promise_fails_the_stage(case: Case, make_chain: Make, asked: Asked, index: int) -> None:
    stage, finding, words = broken_promises(case)[index]
    plugin = type("Plugin", (), {stage: hookimpl(lambda self, case, context: finding)})()
    folded = make_chain({"acme": plugin}).fold(case, [asked(stage, "acme")])
    assert folded.reports[0].status is StageStatus.FAILED
    assert words in folded.reports[0].reason
    assert not folded.case.findings


def test_stage_that_nobody_can_serve_says_so(case: Case, make_chain: Make) -> None:
    plan = StagePlan("risk", (Candidate("gone", False, "it is not installed"),))
    report = make_chain({}).fold(case, [plan, StagePlan("fuse", ())]).reports[0]
    assert report.status is StageStatus.NOT_SERVED
    assert report.reason == "gone was not asked: it is not installed"


def test_stage_without_plugins_says_so(case: Case, make_chain: Make) -> None:
    assert make_chain({}).fold(case, [StagePlan("fuse", ())]).reports[0].reason == "the pipeline names no plugin for this stage"


def test_plugin_that_needs_priors_is_not_asked_without_any(case: Case, make_chain: Make, asked: Asked) -> None:
    wants = {"acme": {"risk": {"wants": {"needs_priors": True}}}}
    chain = make_chain({"acme": Raises()}, wants)
    assert "acme was not asked: the lesion has no earlier visit" in chain.fold(case, [asked("risk", "acme")]).reports[0].reason
    deaf = replace(case, prior_gaps=("earlier visits could not be asked for at pacs: it does not answer",))
    assert "no earlier visit; earlier visits could not be asked for at pacs" in chain.fold(deaf, [asked("risk", "acme")]).reports[0].reason
    prior = Prior("case-0", None, Outcome(case_id="case-0", revision=1, is_failed=False, reports=()))
    later = Case(case.id, case.revision, case.series, (prior,))
    assert chain.fold(later, [asked("risk", "acme")]).reports[0].status is StageStatus.FAILED


def test_plugin_that_needs_a_gpu_is_not_asked_on_a_cpu(case: Case, make_chain: Make, asked: Asked) -> None:
    chain = make_chain({"acme": Scores()}, {"acme": {"risk": {"device": "cuda"}}})
    assert "needs a GPU" in chain.fold(case, [asked("risk", "acme")]).reports[0].reason


def test_excluded_plugin_is_not_called_and_its_reason_stands(case: Case, make_chain: Make, asked: Asked) -> None:
    chain = make_chain({"acme": Scores()}, excluded={("risk", "acme"): "missed its deadline of 2 s"})
    folded = chain.fold(case, [asked("risk", "acme")])
    assert folded.reports[0].status is StageStatus.FAILED
    assert folded.reports[0].reason == "acme missed its deadline of 2 s"
    assert not folded.faults, "the engine has counted it already"


def test_manifest_that_promises_a_hook_which_is_not_there_is_a_fault(case: Case, make_chain: Make, asked: Asked) -> None:
    folded = make_chain({"acme": Scores()}, {"acme": {"fuse": {}}}).fold(case, [asked("fuse", "acme")])
    assert "a hook `fuse`" in folded.reports[0].reason


def test_later_stage_sees_the_finding_of_an_earlier_one(case: Case, make_chain: Make, asked: Asked) -> None:
    class Both:
        @hookimpl
        def fuse(self, case: Case, context: Any) -> Any:
            return Features(algorithm=ALGORITHM, measurements=())

        @hookimpl
        def risk(self, case: Case, context: Any) -> Any:
            return risk_of(1.0 if case.features is not None else 0.0)

    folded = make_chain({"acme": Both()}).fold(case, [asked("fuse", "acme"), asked("risk", "acme")])
    assert folded.case.risk is not None
    assert folded.case.risk.score == 1.0


def test_context_gives_the_plugin_what_it_may_use(case: Case, make_chain: Make, asked: Asked, watched: Any) -> None:
    seen: dict[str, Any] = {}

    class Curious:
        @hookimpl
        def risk(self, case: Case, context: Any) -> Any:
            seen.update(device=context.device, threads=context.threads, settings=context.settings, is_dir=context.workdir.is_dir())
            seen["left_s"] = context.deadline - time.monotonic()
            context.progress(7)
            context.log.info("looked", case=case.id)
            return risk_of(0.0)

    make_chain({"acme": Curious()}, {"acme": {"risk": {"timeout_s": 9}}}, settings={"acme": {"depth": 3}}).fold(
        case, [asked("risk", "acme")]
    )
    assert (seen["device"], seen["threads"], seen["settings"], seen["is_dir"]) == ("cpu", 1, {"depth": 3}, True)
    assert 8 < seen["left_s"] <= 9
    assert watched.progressed == [1.0]
    assert watched.begun == [("risk", "acme", 9.0)]
    assert [report.stage for report in watched.reports] == ["risk"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Border(Finding):
    length_mm: float


class BorderSpec:
    @hookspec(firstresult=True)
    def border(self, case: Case, context: Any) -> Any:
        """A vendor's own stage."""


class Vendor:
    @hookimpl
    def add_hookspecs(self, pluginmanager: pluggy.PluginManager) -> None:
        pluginmanager.add_hookspecs(BorderSpec)

    @hookimpl
    def border(self, case: Case, context: Any) -> Any:
        return Border(algorithm=ALGORITHM, length_mm=12.0)


def test_vendor_adds_a_stage_of_its_own(case: Case, make_chain: Make, asked: Asked) -> None:
    folded = make_chain({"vendor": Vendor()}).fold(case, [asked("border", "vendor")])
    assert folded.reports[0].status is StageStatus.PERFORMED
    assert folded.case.finding(Border) is not None


def test_vendors_stage_may_be_served_by_a_plugin_loaded_before_the_vendor(case: Case, make_chain: Make, asked: Asked) -> None:
    class Early:
        @hookimpl
        def border(self, case: Case, context: Any) -> Any:
            return Border(algorithm=ALGORITHM, length_mm=1.0)

    folded = make_chain({"early": Early(), "vendor": Vendor()}).fold(case, [asked("border", "early")])
    assert folded.reports[0].plugin == "early"


def test_extra_objects_are_collected_and_a_plugin_that_raises_adds_none(case: Case, make_chain: Make) -> None:
    class Adds:
        @hookimpl
        def extra_objects(self, case: Case, context: Any) -> Any:
            return ["dataset"]

    class Breaks:
        @hookimpl
        def extra_objects(self, case: Case, context: Any) -> Any:
            yield "half"
            raise ValueError("no more")

    objects, faults = make_chain({"one": Adds(), "two": Breaks(), "three": Adds()}).extra_objects(case, ["one", "two"])
    assert objects == (("one", "dataset"),)
    assert [(fault.plugin, fault.reason) for fault in faults] == [("two", "raised ValueError: no more")]


def test_case_finished_reaches_every_plugin_though_one_raises(case: Case, make_chain: Make) -> None:
    told: list[str] = []

    class Deaf:
        @hookimpl
        def case_finished(self, case: Case, outcome: Outcome) -> None:
            raise RuntimeError("not listening")

    class Listens:
        @hookimpl
        def case_finished(self, case: Case, outcome: Outcome) -> None:
            told.append(outcome.case_id)

    outcome = Outcome(case_id=case.id, revision=1, is_failed=False, reports=())
    make_chain({"deaf": Deaf(), "listens": Listens()}).case_finished(case, outcome, ["deaf", "listens"])
    assert told == ["case-1"]


def test_seven_stages_cost_the_fold_less_than_five_milliseconds(case: Case, make_chain: Make, asked: Asked) -> None:
    plugins = {f"p{number}": Scores() for number in range(7)}
    chain = make_chain(plugins)
    stages = [asked("risk", name) for name in plugins]
    chain.fold(case, stages)
    durations = []
    for _ in range(9):
        began = time.perf_counter()
        chain.fold(case, stages)
        durations.append(time.perf_counter() - began)
    assert min(durations) < 0.005
