"""A case with everything in it, one that failed, and one of nobody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest

from dermanode.config import MllpDestination
from dermanode.domain import (
    UID,
    Algorithm,
    Case,
    Classification,
    ClassProbability,
    Code,
    Features,
    Measurement,
    Outcome,
    Patient,
    Progression,
    Risk,
    RiskTerm,
    Series,
    StageReport,
    StageStatus,
    View,
)
from dermanode.domain.codes import BENIGN, MALIGNANT, MM, MM2, PERCENT, SUSPICIOUS, private
from dermanode.domain.outcome import SurfaceSummary

MELANOMA = Code("93655004", "SCT", "Malignant melanoma of skin")
NEVUS = Code("400096001", "SCT", "Melanocytic nevus")


class NoPixels:
    def decode(self, longest_side_px: int | None = None) -> np.ndarray:
        raise AssertionError("a message looks at no pixel")


@pytest.fixture
def made_at() -> datetime:
    return datetime(2026, 11, 21, 9, 30, tzinfo=UTC)


@pytest.fixture
def mllp() -> MllpDestination:
    return MllpDestination(type="mllp", host="127.0.0.1", port=2575, receiving_application="HIS", receiving_facility="Ward|7")


@pytest.fixture
def case() -> Case:
    view = View(UID("1.2.3.4"), UID("1.2.840.10008.5.1.4.1.1.77.1.7"), 768, 1024, NoPixels())
    series = Series(
        study_instance_uid=UID("1.2.3"),
        series_instance_uid=UID("1.2.3.1"),
        patient=Patient("P|1^2", "St. Mary & Co", "Müller^Änne^Zoë^Dr.^Jr.=山田^太郎", date(1970, 2, 3), "F"),
        modality="DMS",
        views=(view,),
        accession_number="A\\100",
        acquired_at=datetime(2026, 11, 20, 8, 0, tzinfo=UTC),
        body_site=Code("77568009", "SCT", "Back"),
        laterality="L",
        tracking_id="nevus 7",
        tracking_uid=UID("1.2.3.9"),
    )
    return Case("case-1", 1, series)


@pytest.fixture
def outcome() -> Outcome:
    algorithm = Algorithm("dermanode-net", "0.1.0")
    stages = ("preprocess", "segment", "reconstruct", "fuse", "classify", "progression", "risk")
    area = Measurement(key="area_mm2", concept=Code("42798000", "SCT", "Area"), value=0.0000123456, unit=MM2, lower=11.0, upper=13.5)
    height = Measurement(
        key="height_max_mm",
        concept=Code("121207", "DCM", "Height"),
        value=0.82,
        unit=MM,
        derivation=Code("56851009", "SCT", "Maximum"),
        view_uid=UID("1.2.3.4"),
        definition="Highest point above the skin | plane",
    )
    own = private("ASYMMETRY", "Asymmetry")
    asymmetry = Measurement(key="ASYMMETRY", concept=own, value=21.0, unit=PERCENT)
    return Outcome(
        case_id="case-1",
        revision=1,
        is_failed=False,
        reports=tuple(
            StageReport(stage=s, status=StageStatus.PERFORMED, plugin=f"dermanode-{s}", plugin_version="0.1.0", algorithm=algorithm)
            for s in stages
        ),
        surface=SurfaceSummary(
            method="shape from shading, one view",
            is_metric=False,
            scale_source="pixel spacing",
            vertices=10,
            faces=12,
            used_views=(UID("1.2.3.4"),),
            dropped_views=(),
            tilt_deg=2.5,
            confidence=0.3,
            measurements=(replace(height), area),
        ),
        features=Features(algorithm=algorithm, measurements=(area, asymmetry), absent=(("volume_mm3", "heights are relative"),)),
        classification=Classification(
            algorithm=algorithm,
            diagnosis=(
                ClassProbability(label="MEL", concept=MELANOMA, probability=0.7, spread=0.1),
                ClassProbability(label="NV", concept=NEVUS, probability=0.3),
            ),
            groups=(
                ClassProbability(label="BENIGN", concept=BENIGN, probability=0.2),
                ClassProbability(label="SUSPICIOUS", concept=SUSPICIOUS, probability=0.1),
                ClassProbability(label="MALIGNANT", concept=MALIGNANT, probability=0.7),
            ),
        ),
        progression=Progression(
            algorithm=algorithm,
            priors=("case-0",),
            changes=(Measurement(key="area_change_pct", concept=private("AREA-CHANGE", "Change of the area"), value=12.0, unit=PERCENT),),
            trends=(
                Measurement(
                    key="area_trend",
                    concept=private("AREA-TREND", "Trend of the area"),
                    value=-0.4,
                    unit=Code("%/(30.d)", "UCUM", "percent per 30 days"),
                    lower=-0.9,
                    upper=0.1,
                ),
            ),
            alerts=("The area grew by 12 % in 90 days.",),
        ),
        risk=Risk(
            algorithm=algorithm,
            score=0.61,
            level="high",
            terms=(RiskTerm(name="malignancy", weight=1.0, value=0.61),),
            missing=(("growth", "no second prior"),),
            recommendation="Show to a dermatologist ~ soon & surely.",
        ),
    )


@pytest.fixture
def failed(outcome: Outcome) -> Outcome:
    """The segmentation raised, all that builds on it was declined."""
    first, _, *rest = outcome.reports
    raised = StageReport(stage="segment", status=StageStatus.FAILED, plugin="acme", reason="raised ValueError: no lesion")
    declined = [StageReport(stage=r.stage, status=StageStatus.DECLINED, plugin=r.plugin, reason="there is no mask") for r in rest]
    return Outcome(case_id="case-1", revision=1, is_failed=True, reports=(first, raised, *declined))


@pytest.fixture
def of_nobody(case: Case) -> Case:
    """What a device sends that asks for nothing."""
    bare = replace(
        case.series,
        patient=Patient(""),
        accession_number="",
        acquired_at=None,
        body_site=None,
        laterality="",
        tracking_id=None,
        tracking_uid=None,
    )
    return replace(case, series=bare)


@pytest.fixture
def other_patient(case: Case) -> Callable[[str], Case]:
    return lambda patient_id: replace(case, series=replace(case.series, patient=Patient(patient_id)))
