"""A lesion followed over three visits: a ledger with their cases and files, for tests of what shows them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
from PIL import Image

from dermanode.domain import UID, Algorithm, Measurement, Outcome, Progression, StageReport, StageStatus, Surface, Visit
from dermanode.domain.codes import MM, MM2, NO_UNITS, PERCENT, Code, private
from dermanode.domain.outcome import ComparisonSummary, SurfaceSummary, ViewSummary
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import CaseRecord
from dermanode.pipeline.mesh import encode_mesh
from dermanode.testing.raised import raised
from dermanode.testing.recorded import NOON, finished_outcome, open_case, receive_image

_GROWTH = (1.0, 1.12, 1.5)
"""Of the height, at each visit."""
_AFTER_DAYS = (0, 92, 181)
_ALGORITHM = Algorithm("recorded", "1")
_AREA = Code("42798000", "SCT", "Area")
_VOLUME = Code("RNU0", "IBSI", "Volume of Mesh")


def record_followed(ledger: Ledger, results_dir: Path, *, views: int = 8) -> tuple[CaseRecord, ...]:
    """Three finished visits of one lesion, oldest first; the last has a metric surface, a history, an alert and a comparison.

    Its history names a fourth visit, the oldest, that only the PACS knows.
    """
    records: list[CaseRecord] = []
    outcomes: list[Outcome] = []
    for number, days in enumerate(_AFTER_DAYS):
        at = NOON + timedelta(days=days)
        uids = [receive_image(ledger, 30 + number, image, patient_id="P3", at=at).sop_instance_uid for image in range(1, views + 1)]
        record = open_case(ledger, 30 + number, patient_id="P3", now=at)
        outcome = _outcome(record, uids, number, list(zip(records, outcomes, strict=True)), results_dir)
        records.append(ledger.cases.finish(record.id, outcome, [], at + timedelta(seconds=2)))
        outcomes.append(outcome)
    return tuple(records)


def _outcome(record: CaseRecord, uids: list[UID], number: int, earlier: list[tuple[CaseRecord, Outcome]], results_dir: Path) -> Outcome:
    folder = results_dir / record.id
    outcome = finished_outcome(record, uids[0], results_dir)
    surface = raised(uids[:-1], height_mm=1.2 * _GROWTH[number], radius_mm=3.2 + 0.2 * number)
    surface = replace(surface, dropped_views=((uids[-1], "blurred: 12 tracks, and 40 are needed"),))
    (folder / "mesh.json").write_bytes(encode_mesh(surface))
    picture = _photograph(3.2 + 0.2 * number)
    for uid in uids:
        picture.save(folder / "views" / f"{uid}.jpg")
    area_mm2 = 36.1 + 4 * number
    area = Measurement(key="area_mm2", concept=_AREA, value=area_mm2, unit=MM2, lower=0.97 * area_mm2, upper=1.03 * area_mm2)
    outcome = replace(
        outcome,
        views=tuple(ViewSummary(sop_instance_uid=uid, rows=240, columns=320) for uid in uids),
        surface=_summary(surface),
        features=replace(outcome.features, measurements=(area, *surface.measurements), absent=()) if outcome.features else None,
        risk=replace(outcome.risk, score=0.21 + 0.1 * number, recommendation="Review by a dermatologist.") if outcome.risk else None,
    )
    if number < 2:
        return outcome
    performed = StageReport(stage="progression", status=StageStatus.PERFORMED, plugin="dermanode-progression")
    reports = tuple(performed if report.stage == "progression" else report for report in outcome.reports)
    return replace(
        outcome, reports=reports, progression=_progression(earlier), comparisons=(_comparison(record, uids[0], earlier[-1], folder),)
    )


def _progression(earlier: list[tuple[CaseRecord, Outcome]]) -> Progression:
    visits = [
        Visit(
            case_id="2.25.4711",
            acquired_at=NOON - timedelta(days=200),
            values=(Measurement(key="area_mm2", concept=_AREA, value=35.0, unit=MM2),),
        )
    ]
    for record, outcome in earlier:
        values = list(outcome.features.measurements if outcome.features else ())
        chances = outcome.classification.groups if outcome.classification else ()
        values += [
            Measurement(key=group.label.lower(), concept=group.concept, value=group.probability + 0.02, unit=NO_UNITS)
            for group in chances
            if group.label != "BENIGN"
        ]
        if outcome.risk:
            values.append(Measurement(key="risk", concept=private("RISK", "Risk"), value=outcome.risk.score, unit=NO_UNITS))
        visits.append(Visit(case_id=record.id, acquired_at=record.acquired_at, values=tuple(values)))
    slope = Measurement(
        key="volume_mm3_trend",
        concept=private("TRENDVOL", "Growth of volume in 30 days, as a share of the first visit's"),
        value=0.119,
        unit=Code("/(30.d)", "UCUM", "per 30 days"),
        lower=0.09,
        upper=0.15,
    )
    change = Measurement(
        key="volume_mm3_change_percent", concept=private("CHGVOL", "Change of volume since the last visit"), value=44.0, unit=PERCENT
    )
    return Progression(
        algorithm=_ALGORITHM,
        priors=tuple(record.id for record, _ in earlier),
        changes=(change,),
        trends=(slope,),
        history=tuple(visits),
        alerts=("Volume rose by 44 % since the last visit (2026-06-01, 89 days before), more than 20 %.",),
        remarks=("Area rose by 10 % since the last visit, but within error.",),
    )


def _comparison(record: CaseRecord, view: UID, last: tuple[CaseRecord, Outcome], folder: Path) -> ComparisonSummary:
    names = {picture: f"changes/0-{picture}.jpg" for picture in ("now", "then", "difference")}
    now, then = _photograph(3.6), _photograph(3.4)
    apart = np.abs(np.asarray(now, np.int16) - np.asarray(then, np.int16)).sum(axis=2)
    difference = Image.fromarray(np.stack([np.clip(apart * 3, 0, 255), apart // 2, apart // 3], -1).astype(np.uint8))
    for name, picture in zip(("now", "then", "difference"), (now, then, difference), strict=True):
        (folder / names[name]).parent.mkdir(exist_ok=True)
        picture.save(folder / names[name])
    rise = Measurement(key="area_change_percent", concept=private("CHGAREA", "Change of area in this view"), value=11.4, unit=PERCENT)
    shift = Measurement(key="border_shift_mm", concept=private("BORDSHIFT", "Largest shift of the border"), value=0.24, unit=MM)
    return ComparisonSummary(
        sop_instance_uid=view,
        prior_case_id=last[0].id,
        prior_view_uid=last[1].views[0].sop_instance_uid,
        measurements=(rise, shift),
        now=names["now"],
        then=names["then"],
        difference=names["difference"],
    )


def _summary(surface: Surface) -> SurfaceSummary:
    return SurfaceSummary(
        method=surface.method,
        is_metric=surface.is_metric,
        scale_source=surface.scale_source,
        vertices=len(surface.vertices),
        faces=len(surface.faces),
        used_views=surface.used_views,
        dropped_views=surface.dropped_views,
        is_closed=surface.is_closed,
        tilt_deg=surface.tilt_deg,
        reprojection_error_px=surface.reprojection_error_px,
        confidence=surface.confidence,
        curvature_scale_mm=surface.curvature_scale_mm,
        measurements=surface.measurements,
    )


def _photograph(radius_mm: float) -> Image.Image:
    """A brown lesion on skin, 320 x 240, 20 pixels a millimetre."""
    y, x = np.mgrid[-6:6:240j, -8:8:320j]
    share = np.hypot(x, y) / (radius_mm * (1 + 0.08 * np.cos(2 * np.arctan2(y, x) + 0.4)))
    pigment = 1 / (1 + np.exp((share - 1) * 25))
    skin, brown = np.array([222.0, 178.0, 158.0]), np.array([120.0, 76.0, 56.0])
    spots = 0.75 + 0.25 * np.sin(2.3 * x) * np.cos(2.1 * y)
    colours = skin * (1 - pigment[..., None]) + brown * (pigment * spots)[..., None]
    return Image.fromarray(np.clip(colours, 0, 255).astype(np.uint8))
