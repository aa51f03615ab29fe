"""The finding of several views: mesh, curvature, numbers with their errors, and what the reader must know."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from dermanode.domain import Algorithm, CameraPose, Case, HeightField, Measurement, Surface
from dermanode.domain.codes import NO_UNITS, Code
from dermanode_reconstruct.closed_mesh import ClosedMesh, close, sampled
from dermanode_reconstruct.curvature import mean_curvature
from dermanode_reconstruct.lesion import cell_shares
from dermanode_reconstruct.multiview import Field, Reconstruction
from dermanode_reconstruct.overhang import overhangs
from dermanode_reconstruct.quantities import Errors, measure
from dermanode_reconstruct.registration import UNSTEADY_DEG
from dermanode_reconstruct.settings import ReconstructSettings
from dermanode_reconstruct.single_view import RELATIVE_RELIEF
from dermanode_reconstruct.soundness import soundness

ALGORITHM = Algorithm("DermaNode multi-view stereo", "0.1.0", family=Code("114206", "DCM", "Shape from motion"))
_FEW_VIEWS = 4
_SMALL_TILT_DEG = 8.0
_RESTLESS_PX = 0.45
"""Median reprojection error, in working pixels: 0.1 to 0.25 on skin that keeps still, 0.6 where it moves by 0.1 mm."""
_APART = 0.85
"""Mean overlap of the views' outlines with the lesion's below which they say different things; 0.99 where all are right."""
_SMALL_CELLS = 40
"""A lesion of fewer cells across is smoothed by the solver as a whole."""
_DIM = 0.01
"""Share of the lesion without anything to see from which on the reader is told."""
_NOTABLE_FILLING = 0.02
"""Share of the volume below the base from which on the reader is told that the mesh does not show it."""


def surface_of(case: Case, made: Reconstruction, settings: ReconstructSettings) -> Surface:
    """The surface, in mm where the rig is calibrated, else in source pixels and relative. Raises `NoMesh`."""
    grid, heights, share = made.grid, made.heights, cell_shares(made.lesion)
    curvature_scale_mm = max(settings.curvature_scale_mm * made.scale, 0.75 * grid.step_mm)
    mesh = close(heights, made.base.field, made.colours, made.lesion.level, grid.left_mm, grid.top_mm, grid.step_mm, faces=settings.faces)
    curvature = sampled(mean_curvature(made.z, grid.step_mm, scale_mm=curvature_scale_mm), mesh.rows_columns)
    errors = Errors(
        base=made.base,
        scatter_mm=max(made.base.scatter_mm, made.deviation_mm),
        tilt=made.registered.tilt_error,
        outline_mm=made.lesion.outline_error_mm,
        pixel_height_mm=made.pixel_height_mm,
        scale=made.scale,
    )
    measurements = measure(heights, share, grid, errors)
    state = soundness(mesh.vertices, mesh.faces)
    registered = made.registered
    surface = Surface(
        algorithm=ALGORITHM,
        remarks=tuple(_remarks(case, made, mesh, measurements)),
        vertices=mesh.vertices.astype(np.float32),
        faces=mesh.faces,
        normals=mesh.normals.astype(np.float32),
        colours=mesh.colours,
        mean_curvature=curvature.astype(np.float32),
        curvature_scale_mm=curvature_scale_mm,
        is_lesion=mesh.is_top,
        is_metric=True,
        lateral_unit="mm",
        method=f"multi-view stereo of {len(registered.photographs)} views; {registered.words}",
        scale_source=made.rig.scale_source,
        used_views=tuple(one.view.sop_instance_uid for one in registered.photographs),
        dropped_views=registered.dropped,
        is_closed=state.is_sound,
        is_manifold=state.is_sound,
        height_field=HeightField(
            heights=heights.astype(np.float32),
            base=made.base.field.astype(np.float32),
            colours=made.colours,
            is_lesion=made.lesion.is_lesion,
            left=grid.left_mm,
            top=grid.top_mm,
            step=grid.step_mm,
        ),
        cameras=_cameras(made),
        tilt_deg=registered.tilt_deg,
        reprojection_error_px=registered.error_px,
        confidence=_confidence(made, measurements),
        measurements=measurements,
    )
    return surface if made.rig.is_calibrated else _relative(surface, made, share)


def _cameras(made: Reconstruction) -> tuple[CameraPose, ...]:
    registered = made.registered
    return tuple(
        CameraPose(
            sop_instance_uid=one.view.sop_instance_uid,
            rotation=rotation.copy(),
            centre=centre.copy(),
            focal_px=float(one.intrinsics[0, 0]) * one.to_source,
        )
        for one, rotation, centre in zip(registered.photographs, registered.poses.rotations, registered.poses.centres, strict=True)
    )


def _confidence(made: Reconstruction, measurements: tuple[Measurement, ...]) -> float:
    """conf3D = interval x views x outlines, each 0 to 1: 1 less the relative half width of the volume's 90 % interval; n / (n + 1) of n
    views that show the outline; how well the views' masks agree on the surface."""
    volume = measurements[0]
    assert volume.lower is not None
    assert volume.upper is not None
    certainty = 1 - (volume.upper - volume.lower) / (2 * max(abs(volume.value), 1e-6))
    views = min(len(made.registered.photographs), made.lesion.outlined)
    return float(np.clip(certainty, 0, 1) * views / (views + 1) * np.clip(made.lesion.consistency, 0, 1))


def _relative(surface: Surface, made: Reconstruction, share: Field) -> Surface:
    """The same shape in source pixels: the scale was made up, so nothing in mm is said."""
    assert surface.height_field is not None
    pixel_mm = float(np.median([one.spacing_mm / one.to_source for one in made.registered.photographs]))
    field = surface.height_field
    diameter_mm = 2 * float(np.sqrt(share.sum() * made.grid.step_mm**2 / np.pi))
    relief = Measurement(
        key="relative_relief",
        concept=RELATIVE_RELIEF,
        value=float(np.percentile(made.heights[made.lesion.is_lesion], 95)) / diameter_mm,
        unit=NO_UNITS,
        definition="95th percentile of the lesion's height above the skin around it, divided by the diameter of the circle of the lesion's "
        "area; from several views of unknown scale.",
    )
    return replace(
        surface,
        vertices=(surface.vertices / np.float32(pixel_mm)).astype(np.float32),
        mean_curvature=None,
        curvature_scale_mm=None,
        is_metric=False,
        lateral_unit="px",
        height_field=replace(
            field,
            heights=field.heights / np.float32(pixel_mm),
            base=field.base / np.float32(pixel_mm),
            left=field.left / pixel_mm,
            top=field.top / pixel_mm,
            step=field.step / pixel_mm,
        ),
        cameras=tuple(replace(one, centre=one.centre / pixel_mm) for one in surface.cameras),
        measurements=(relief,),
        remarks=(*surface.remarks, "No view states a pixel spacing: the shape is measured, its size is not. Heights are relative."),
    )


def _remarks(case: Case, made: Reconstruction, mesh: ClosedMesh, measurements: tuple[Measurement, ...]) -> Iterator[str]:
    registered, lesion = made.registered, made.lesion
    yield from made.rig.remarks
    if registered.dropped:
        yield f"{len(registered.dropped)} of {len(case.series.views)} views were not used; the reasons stand with the surface."
    if registered.others:
        yield f"{registered.others} of these fit one another: they show another lesion, or the patient moved in between."
    if len(registered.photographs) < _FEW_VIEWS:
        yield f"Only {len(registered.photographs)} views fit together: steep sides are uncertain."
    if registered.words != "ring tracks (the stated azimuths)":
        yield f"The cameras were found by {registered.words}."
    if registered.rig_error_deg is not None and registered.rig_error_deg > UNSTEADY_DEG:
        yield (
            f"The views stand otherwise than the rig says, by up to {registered.rig_error_deg:.0f} degrees from one to the next: the "
            "patient or the camera moved. What the pictures show was used."
        )
    if registered.tilt_deg < _SMALL_TILT_DEG:
        yield f"The cameras were tilted by only {registered.tilt_deg:.1f} degrees: there is little depth to see, as the intervals say."
    if registered.error_px > _RESTLESS_PX * float(np.median([one.to_source for one in registered.photographs])):
        yield (
            f"Points of the skin are {registered.error_px:.1f} pixels from where they should be: the skin moved between the views, or the "
            "lenses distort. Heights may be off by more than their intervals say."
        )
    if (across := 2 * float(np.sqrt(lesion.is_lesion.sum() / np.pi))) < _SMALL_CELLS:
        yield f"The lesion is only {across * made.grid.step_mm:.1f} mm across, little for these pictures: its height comes out too small."
    # The median error in the pictures, as a height.
    noise_mm = made.pixel_height_mm * registered.error_px / float(np.median([one.to_source for one in registered.photographs]))
    if overhangs(registered.points_mm, noise_mm, lesion.is_lesion, made.grid):
        yield "The tracked points are no height field: the lesion overhangs, and what lies under the overhang is counted to its volume."
    if made.indistinct > _DIM:
        yield f"On {made.indistinct:.0%} of the lesion there is too little to see: heights are uncertain there."
    if made.rig.is_calibrated and not any(view.geometry.subject_distance_mm for view in case.series.views):
        yield "No view states its distance from the skin: the rig's distance in the settings was taken."
    if len({spacing for view in case.series.views if (spacing := view.geometry.pixel_spacing_mm)}) > 1:
        yield "The views have different pixel spacings: each was taken with its own."
    if any(view.geometry.is_contact for view in case.series.views):
        yield "The dermatoscope touched the skin (Contact Method): the lesion was pressed flat, heights are too small."
    if 2 * lesion.outlined < len(registered.photographs):
        yield f"The lesion was outlined in only {lesion.outlined} of {len(registered.photographs)} views."
    if lesion.consistency < _APART:
        yield (
            f"The outlines of the views do not agree: their mean overlap with the lesion's is {lesion.consistency:.0%}. Its area, and what "
            "is measured inside, is uncertain."
        )
    if lesion.others:
        yield f"{lesion.others} more lesion{'s' if lesion.others > 1 else ''} in the field: only the largest was measured."
    masks = case.segmentation.masks if case.segmentation else ()
    if any(mask.touches_border for mask in masks):
        yield "The lesion reaches the edge of a picture: the surface may show only a part of it."
    volume = measurements[0].value
    if mesh.filled_volume > _NOTABLE_FILLING * max(abs(volume), 1e-6):
        yield (
            f"Parts of the lesion lie below the skin around ({mesh.filled_volume:.2f} mm3): the volume counts them as negative, the closed "
            "mesh leaves them out."
        )
