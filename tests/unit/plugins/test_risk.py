"""The risk stage: the formula, what is missing, and that absence never reads as negative."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from dermanode_risk import risk

from dermanode.domain import (
    Algorithm,
    Case,
    Classification,
    ClassProbability,
    Features,
    Finding,
    Measurement,
    Progression,
    Risk,
)
from dermanode.domain.codes import NO_UNITS, private
from dermanode.errors import ConfigurationError

ALGORITHM = Algorithm("Test", "1")
CODE = private("X", "x")


def classified(malignant: float, suspicious: float = 0.0, *, is_in_domain: bool = True) -> Classification:
    shares = {"BENIGN": 1 - malignant - suspicious, "SUSPICIOUS": suspicious, "MALIGNANT": malignant}
    groups = tuple(ClassProbability(label=label, concept=CODE, probability=p) for label, p in shares.items())
    return Classification(algorithm=ALGORITHM, diagnosis=(groups[0],), groups=groups, is_in_domain=is_in_domain)


def _measurements(values: Mapping[str, float]) -> tuple[Measurement, ...]:
    return tuple(Measurement(key=k, concept=CODE, value=v, unit=NO_UNITS) for k, v in values.items())


def measured(absent: tuple[tuple[str, str], ...] = (), **values: float) -> Features:
    return Features(algorithm=ALGORITHM, measurements=_measurements(values), absent=absent)


def since_first(key: str, value: float, lower: float, upper: float) -> Progression:
    found = Measurement(key=f"{key}_change_since_first_percent", concept=CODE, value=value, unit=NO_UNITS, lower=lower, upper=upper)
    return Progression(algorithm=ALGORITHM, priors=("earlier",), changes=(found,))


def changed(**values: float) -> Progression:
    return Progression(algorithm=ALGORITHM, priors=("earlier",), changes=_measurements(values))


@pytest.fixture
def case_of(make_view: Callable[..., Any], make_case: Callable[..., Case]) -> Callable[..., Case]:
    return lambda *findings: make_case(make_view(np.zeros((8, 8, 3), np.uint8)), findings=findings)


@pytest.fixture
def risk_of(case_of: Callable[..., Case], make_context: Callable[..., Any]) -> Callable[..., Risk]:
    def risk_of(*findings: Finding, **settings: Any) -> Risk:
        context = make_context(**settings)
        found = risk(case_of(*findings), context)
        assert found is not None, context.reasons
        return found

    return risk_of


def test_all_five_terms_add_up_as_the_formula_says(risk_of: Callable[..., Risk]) -> None:
    found = risk_of(
        classified(0.5, 0.2),
        measured(asymmetry=0.25, max_curvature_per_mm=0.4),
        changed(volume_mm3_change_since_first_percent=30.0, abc_partial_score_change_since_first=1.0),
    )
    assert found.score == pytest.approx(0.40 * 0.5 + 0.25 * 0.3 + 0.20 * 0.4 + 0.10 * 0.5 + 0.05 * 0.5)
    assert found.missing == ()
    assert sum(term.weight for term in found.terms) == pytest.approx(1)
    assert sum(term.contribution for term in found.terms) == pytest.approx(found.score)


def test_the_larger_of_malignant_and_suspicious_counts(risk_of: Callable[..., Risk]) -> None:
    assert risk_of(classified(0.2, 0.5)).score == pytest.approx(0.5)
    assert risk_of(classified(0.5, 0.2)).score == pytest.approx(0.5)


def test_missing_terms_are_named_with_their_reason_and_the_weights_renormalised(risk_of: Callable[..., Risk]) -> None:
    found = risk_of(classified(0.5), measured(absent=(("max_curvature_per_mm", "heights are relative"),), asymmetry=0.25))
    assert {term.name: term.weight for term in found.terms} == {"probability": pytest.approx(0.8), "asymmetry": pytest.approx(0.2)}
    assert found.score == pytest.approx(0.8 * 0.5 + 0.2 * 0.5)
    assert dict(found.missing) == {
        "growth": "no earlier visit was compared with",
        "curvature": "heights are relative",
        "ABCD change": "no earlier visit was compared with",
    }


def test_growth_is_taken_from_the_area_where_there_is_no_volume_and_says_so(risk_of: Callable[..., Risk]) -> None:
    found = risk_of(classified(0.1), changed(area_mm2_change_since_first_percent=50.0))
    assert {term.name: term.value for term in found.terms}["growth"] == pytest.approx(0.5)
    assert any("growth is that of the area".lower() in remark.lower() for remark in found.remarks)


@pytest.mark.parametrize(("change_percent", "value"), [(-40.0, 0.0), (250.0, 1.0)])
def test_growth_is_clipped(risk_of: Callable[..., Risk], change_percent: float, value: float) -> None:
    found = risk_of(classified(0.1), changed(volume_mm3_change_since_first_percent=change_percent))
    assert {term.name: term.value for term in found.terms}["growth"] == value


def test_without_classification_it_declines_rather_than_call_it_low(case_of: Callable[..., Case], context: Any) -> None:
    assert risk(case_of(measured(asymmetry=0.0), changed(area_mm2_change_since_first_percent=0.0)), context) is None
    assert "would read as low" in context.reasons[0]


def test_out_of_domain_it_declines(case_of: Callable[..., Case], context: Any) -> None:
    assert risk(case_of(classified(0.0, is_in_domain=False), measured(asymmetry=0.0)), context) is None
    assert "must not be relied on" in context.reasons[0]


@pytest.mark.parametrize("groups", [(), (ClassProbability(label="BENIGN", concept=CODE, probability=1.0),)])
def test_without_the_groups_it_declines(case_of: Callable[..., Case], context: Any, groups: tuple[ClassProbability, ...]) -> None:
    only = Classification(algorithm=ALGORITHM, diagnosis=(ClassProbability(label="NV", concept=CODE, probability=1.0),), groups=groups)
    assert risk(case_of(only), context) is None
    assert "does not give" in context.reasons[0]


def test_a_probability_that_is_no_number_does_not_pass_for_zero(case_of: Callable[..., Case], context: Any) -> None:
    assert risk(case_of(classified(math.nan)), context) is None


def test_a_measurement_that_is_no_number_is_missing(risk_of: Callable[..., Risk]) -> None:
    assert "asymmetry" in dict(risk_of(classified(0.5), measured(asymmetry=math.nan)).missing)


@pytest.mark.parametrize(("malignant", "level"), [(0.1, "low"), (0.2, "moderate"), (0.49, "moderate"), (0.5, "high"), (1.0, "high")])
def test_the_level_follows_the_limits(risk_of: Callable[..., Risk], malignant: float, level: str) -> None:
    assert risk_of(classified(malignant)).level == level


def test_a_stable_symmetric_lesion_does_not_outvote_its_class(risk_of: Callable[..., Risk]) -> None:
    found = risk_of(
        classified(0.95),
        measured(asymmetry=0.0, max_curvature_per_mm=0.0),
        changed(volume_mm3_change_since_first_percent=0.0, abc_partial_score_change_since_first=0.0),
    )
    assert found.score == pytest.approx(0.38)
    assert found.level == "high"
    assert any("class probability of 0.95" in remark for remark in found.remarks)


@pytest.mark.parametrize(("is_alert_moderate", "level"), [(True, "moderate"), (False, "low")])
def test_an_alert_makes_the_level_moderate_unless_set_otherwise(risk_of: Callable[..., Risk], is_alert_moderate: bool, level: str) -> None:
    alerted = replace(changed(), alerts=("Area rose by 43 %.",))
    found = risk_of(classified(0.1), alerted, is_alert_moderate=is_alert_moderate)
    assert found.level == level
    assert any("change since an earlier visit" in remark for remark in found.remarks) is is_alert_moderate


def test_limits_and_recommendations_are_settings(risk_of: Callable[..., Risk]) -> None:
    found = risk_of(classified(0.2), moderate_from=0.15, recommendation_moderate="See Dr Smith.")
    assert (found.level, found.recommendation) == ("moderate", "See Dr Smith.")


def test_every_level_has_its_recommendation(risk_of: Callable[..., Risk]) -> None:
    assert len({risk_of(classified(p)).recommendation for p in (0.1, 0.4, 0.9)}) == 3


def test_limits_in_the_wrong_order_are_refused(case_of: Callable[..., Case], make_context: Callable[..., Any]) -> None:
    with pytest.raises(ConfigurationError, match="high_from must not be below moderate_from"):
        risk(case_of(classified(0.5)), make_context(moderate_from=0.7))


def test_growth_is_that_since_the_first_visit_not_since_the_last(risk_of: Callable[..., Risk]) -> None:
    found = risk_of(classified(0.1), changed(volume_mm3_change_percent=90.0, volume_mm3_change_since_first_percent=40.0))
    assert {term.name: term.value for term in found.terms}["growth"] == pytest.approx(0.4)


@pytest.mark.parametrize(("lower", "value"), [(-2.0, 0.0), (0.0, 0.0), (1.0, 0.12)])
def test_growth_within_its_own_error_counts_as_none_and_says_so(risk_of: Callable[..., Risk], lower: float, value: float) -> None:
    found = risk_of(classified(0.1), since_first("volume_mm3", 12.0, lower, 26.0))
    assert {term.name: term.value for term in found.terms}["growth"] == pytest.approx(value)
    assert any("12 % of what counts as 1, is within error and counts as 0" in remark for remark in found.remarks) is (value == 0)


def test_growth_of_unknown_error_counts_as_it_is(risk_of: Callable[..., Risk]) -> None:
    found = risk_of(classified(0.1), changed(volume_mm3_change_since_first_percent=12.0))
    assert {term.name: term.value for term in found.terms}["growth"] == pytest.approx(0.12)


@pytest.mark.parametrize(
    ("features", "progression", "value", "is_partial"),
    [
        (measured(abcd_change=1.0), None, 0.5, False),
        (measured(abcd_change=1.0), changed(total_dermoscopy_score_change_since_first=2.0), 0.5, False),
        (measured(), changed(total_dermoscopy_score_change_since_first=2.0, abc_partial_score_change_since_first=1.0), 1.0, False),
        (measured(), changed(abc_partial_score_change_since_first=1.0), 0.5, True),
    ],
)
def test_the_change_of_the_whole_abcd_score_goes_before_that_of_a_part(
    risk_of: Callable[..., Risk], features: Features, progression: Progression | None, value: float, is_partial: bool
) -> None:
    found = risk_of(classified(0.1), features, *([progression] if progression else []))
    assert {term.name: term.value for term in found.terms}["ABCD change"] == pytest.approx(value)
    assert any("without D" in remark for remark in found.remarks) is is_partial


def test_the_score_has_an_interval_from_what_is_known_of_its_parts(risk_of: Callable[..., Risk]) -> None:
    sure = classified(0.5)
    spread = replace(sure, groups=tuple(replace(group, spread=0.1) for group in sure.groups))
    found = risk_of(spread, since_first("volume_mm3", 50.0, 30.0, 70.0))
    # 0.40 and 0.25 of 0.65: sqrt((0.615 * 0.1645)^2 + (0.385 * 0.2)^2) = 0.127
    assert found.score == pytest.approx(0.5)
    assert "90 % interval of the score, from the errors of probability, growth: 0.37 to 0.63." in found.remarks
    assert not any("interval" in remark for remark in risk_of(sure).remarks)
