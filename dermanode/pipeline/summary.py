"""A case with its findings, made small: the outcome that the ledger, the page and the messages keep."""

from __future__ import annotations

from dermanode.dicom.capture import named_maps
from dermanode.dicom.outline import outline
from dermanode.domain import UID, Case, Outcome, Surface, View
from dermanode.domain.outcome import ComparisonSummary, HeatMapSummary, SurfaceSummary, ViewSummary
from dermanode.pipeline.run import Folded
from dermanode.pipeline.wire import plain


def summarise(folded: Folded, unreadable: tuple[tuple[UID, str], ...], took_s: float) -> Outcome:
    """The outcome of a case, as yet without objects."""
    case = folded.case
    outcome = Outcome(
        case_id=case.id,
        revision=case.revision,
        is_failed=folded.is_failed,
        reports=folded.reports,
        views=tuple(_view(case, view) for view in case.series.views),
        unreadable=unreadable,
        surface=_surface(case.surface) if case.surface else None,
        features=case.features,
        classification=case.classification,
        heat_maps=tuple(
            HeatMapSummary(
                sop_instance_uid=heat_map.sop_instance_uid,
                method=found.method,
                explained=found.explained,
                share_inside=heat_map.share_inside,
                picture=heat_name(number, heat_map.sop_instance_uid),
            )
            for number, found, heat_map in named_maps(case)
        ),
        progression=case.progression,
        comparisons=tuple(
            ComparisonSummary(
                sop_instance_uid=one.sop_instance_uid,
                prior_case_id=one.prior_case_id,
                prior_view_uid=one.prior_view_uid,
                **comparison_names(number),
                measurements=one.measurements,
            )
            for number, one in enumerate(case.comparisons)
        ),
        risk=case.risk,
        took_s=took_s,
    )
    return plain(outcome)  # a plugin's numbers may be NumPy scalars, and its findings subclasses


def heat_name(finding: int, view_uid: str) -> str:
    """The path of a view's heat in the results folder; `finding` counts the case's heat maps from 0."""
    return f"heat/{finding}-{view_uid}.png"


def comparison_names(number: int) -> dict[str, str]:
    """The paths of a comparison's pictures in the results folder; `number` counts the case's comparisons from 0."""
    return {picture: f"changes/{number}-{picture}.jpg" for picture in ("now", "then", "difference")}


def _view(case: Case, view: View) -> ViewSummary:
    mask = case.segmentation.mask(view.sop_instance_uid) if case.segmentation else None
    clean = case.clean_views.view(view.sop_instance_uid) if case.clean_views else None
    quality = clean.quality if clean else None
    polygon = outline(mask.mask) if mask else None
    return ViewSummary(
        sop_instance_uid=view.sop_instance_uid,
        rows=view.rows,
        columns=view.columns,
        # The outline has the first pixel's centre at 0.5, a view summary at 0.
        outlines=(tuple((float(column), float(row)) for column, row in polygon[:-1] - 0.5),) if polygon is not None else (),
        mask_confidence=float(mask.confidence) if mask else None,
        lesion_fraction=float(mask.mask.mean()) if mask else None,
        hair_fraction=quality.hair_fraction if quality else None,
        delta_e_before=quality.delta_e_before if quality else None,
        delta_e_after=quality.delta_e_after if quality else None,
        blur=quality.blur if quality else None,
        glare_fraction=quality.glare_fraction if quality else None,
    )


def _surface(surface: Surface) -> SurfaceSummary:
    return SurfaceSummary(
        method=surface.method,
        is_metric=surface.is_metric,
        scale_source=surface.scale_source,
        lateral_unit=surface.lateral_unit,
        vertices=len(surface.vertices),
        faces=len(surface.faces),
        used_views=surface.used_views,
        dropped_views=surface.dropped_views,
        is_closed=surface.is_closed,
        is_manifold=surface.is_manifold,
        tilt_deg=surface.tilt_deg,
        reprojection_error_px=surface.reprojection_error_px,
        confidence=surface.confidence,
        curvature_scale_mm=surface.curvature_scale_mm,
        measurements=surface.measurements,
    )
