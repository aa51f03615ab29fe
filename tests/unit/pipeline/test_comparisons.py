"""Earlier visits on their way into a case, and the pictures of a change on their way into its results folder."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dermanode.config import Pipeline
from dermanode.domain import UID, Algorithm, Case, Measurement, Outcome, PicturedProgression, Progression, ViewComparison
from dermanode.domain.codes import PERCENT, private
from dermanode.pipeline import reading
from dermanode.pipeline.assembly import Order, assemble
from dermanode.pipeline.results_folder import results_folder
from dermanode.pipeline.run import Chain, Folded
from dermanode.pipeline.summary import summarise
from dermanode.pipeline.wire import EarlierVisit, Job, SourceFile
from dermanode.testing import worked_cases
from dermanode.testing.workshop import utc_now

VIEW = UID("1.2.3.4")
AREA = Measurement(key="registered_area_change_percent", concept=private("X", "x"), value=np.float64(25.0), unit=PERCENT, view_uid=VIEW)


def picture(shade: int) -> np.ndarray[Any, Any]:
    return np.full((30, 40, 3), shade, np.uint8)


def comparison(number: int = 0, view: UID = VIEW) -> ViewComparison:
    return ViewComparison(
        sop_instance_uid=view,
        prior_case_id=f"earlier-{number}",
        prior_view_uid=UID(f"1.2.9.{number}"),
        to_prior=np.eye(3),
        now=picture(200),
        then=picture(100),
        difference=picture(10 + number),
        measurements=(AREA,),
    )


def progression(*comparisons: ViewComparison) -> PicturedProgression:
    return PicturedProgression(algorithm=Algorithm("Acme", "1"), priors=("earlier-0",), changes=(), comparisons=comparisons)


def job(tmp_path: Path, *visits: EarlierVisit) -> Job:
    return Job(case_id="c1", revision=1, pipeline="test", files=(), stages=(), made_at=utc_now(), workdir=tmp_path, priors=visits)


def visit(number: int, *files: Path) -> EarlierVisit:
    outcome = Outcome(case_id=f"earlier-{number}", revision=1, is_failed=False, reports=())
    sources = tuple(SourceFile(sop_instance_uid=UID(f"1.2.9.{k}"), path=path) for k, path in enumerate(files))
    return EarlierVisit(case_id=f"earlier-{number}", acquired_at=datetime(2026, number, 1, tzinfo=UTC), outcome=outcome, files=sources)


def photographs(folder: Path, *numbers: int) -> list[Path]:
    return [worked_cases.save(worked_cases.photograph(number), folder) for number in numbers]


# --- on the way in


def test_an_earlier_visit_brings_its_photographs_decoded_when_asked_for(tmp_path: Path) -> None:
    (tmp_path / "sources").mkdir()
    (prior,) = reading.priors(job(tmp_path, visit(1, *photographs(tmp_path / "sources", 1, 2))))
    assert (prior.case_id, prior.acquired_at) == ("earlier-1", datetime(2026, 1, 1, tzinfo=UTC))
    assert [view.pixels().shape for view in prior.views] == [(96, 128, 3)] * 2


def test_a_visit_whose_photographs_are_gone_keeps_its_outcome(tmp_path: Path) -> None:
    (prior,) = reading.priors(job(tmp_path, visit(1, tmp_path / "purged.dcm")))
    assert prior.views == ()
    assert prior.outcome.case_id == "earlier-1"


def test_a_photograph_that_is_gone_does_not_cost_the_others(tmp_path: Path) -> None:
    (tmp_path / "sources").mkdir()
    (prior,) = reading.priors(job(tmp_path, visit(1, *photographs(tmp_path / "sources", 1), tmp_path / "purged.dcm")))
    assert len(prior.views) == 1


def test_a_visit_that_cannot_be_read_has_no_photographs_and_costs_no_other(tmp_path: Path) -> None:
    (tmp_path / "sources").mkdir()
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(b"no DICOM")
    first, second = reading.priors(job(tmp_path, visit(1, broken), visit(2, *photographs(tmp_path / "sources", 1))))
    assert (first.case_id, first.views) == ("earlier-1", ())
    assert len(second.views) == 1


# --- on the way out


def test_the_outcome_names_the_pictures_and_holds_no_arrays(case: Case) -> None:
    outcome = summarise(Folded(case.with_finding(progression(comparison(), comparison(1))), ()), (), 0.0)
    assert [one.difference for one in outcome.comparisons] == ["changes/0-difference.jpg", "changes/1-difference.jpg"]
    first = outcome.comparisons[0]
    assert (first.sop_instance_uid, first.prior_case_id, first.prior_view_uid) == (VIEW, "earlier-0", "1.2.9.0")
    assert (first.measurements[0].key, type(first.measurements[0].value)) == ("registered_area_change_percent", float)
    assert type(outcome.progression) is Progression


def test_a_progression_without_pictures_has_no_comparisons(case: Case) -> None:
    bare = Progression(algorithm=Algorithm("Acme", "1"), priors=(), changes=())
    assert summarise(Folded(case.with_finding(bare), ()), (), 0.0).comparisons == ()


def test_assembly_writes_three_pictures_for_each_comparison_where_the_outcome_says(
    tmp_path: Path, make_chain: Callable[..., Chain]
) -> None:
    case = worked_cases.worked([worked_cases.photograph(1)], tmp_path / "sources")
    view = case.series.views[0].sop_instance_uid
    folded = make_chain({}).fold(case.with_finding(progression(comparison(view=view))), [])
    pipeline = Pipeline.model_validate({"name": "test", "match": {"modalities": ["DMS"]}, "stages": {}})
    with results_folder(tmp_path / "results", case.id) as folder:
        order = Order(job=job(tmp_path), pipeline=pipeline, destinations={}, facility="", unreadable=(), extra=(), elapsed_s=lambda: 1.0)
        outcome = assemble(folded, folder, order)
        folder.publish()
    (shown,) = outcome.comparisons
    shades = {}
    for name in (shown.now, shown.then, shown.difference):
        with Image.open(tmp_path / "results" / case.id / name) as opened:
            assert opened.size == (40, 30)
            shades[name] = opened.getpixel((20, 15))
    assert shades == {shown.now: (200,) * 3, shown.then: (100,) * 3, shown.difference: (10,) * 3}
    listed = [made for made in outcome.objects if made.path.startswith(f"{case.id}/changes/")]
    assert [made.kind for made in listed] == ["PREVIEW"] * 3


def test_the_pictures_of_a_case_are_those_of_its_last_progression(case: Case) -> None:
    assert case.comparisons == ()
    assert len(case.with_finding(progression(comparison())).comparisons) == 1
