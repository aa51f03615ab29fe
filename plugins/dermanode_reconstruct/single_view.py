"""The fallback: one view, its mask and its shading make a surface with relative heights."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from dermanode.domain import UID, Algorithm, HeightField, Measurement, Surface
from dermanode.domain.codes import NO_UNITS, Code, private
from dermanode_reconstruct.choice import Choice
from dermanode_reconstruct.eikonal import rise
from dermanode_reconstruct.mesh import grid_faces, height_normals, is_manifold
from dermanode_reconstruct.patch import Patch, cut_patch
from dermanode_reconstruct.settings import ReconstructSettings
from dermanode_reconstruct.shading import Field, slope

ALGORITHM = Algorithm("DermaNode shape from shading", "0.2.0", family=Code("114205", "DCM", "Shape from shading"))
RELATIVE_RELIEF = private("RELRELIEF", "Relative relief")


def reconstruct_view(
    choice: Choice, settings: ReconstructSettings, why_single: str = "", unfit: Mapping[UID, str] | None = None
) -> Surface:
    """The mesh of the lesion in the chosen view. Raises `UnreadableObject`.

    `why_single` says why several views do not serve, `unfit` what was wrong with single ones.
    """
    view = choice.view
    patch = cut_patch(view, choice.mask.mask, settings)
    # All skin is ground, the rim of the picture included where the lesion does not reach it.
    height = rise(slope(patch, settings), patch.step, ~patch.is_lesion)
    # Where fronts from two sides meet the solution has a crease that no skin has.
    height = cv2.GaussianBlur(height, (0, 0), 1.0)
    x, y = np.meshgrid(patch.x, -patch.y)
    faces = grid_faces(*height.shape)
    colours = np.clip(np.round(patch.pixels), 0, 255).astype(np.uint8)
    has_scale = view.geometry.pixel_spacing_mm is not None
    return Surface(
        algorithm=ALGORITHM,
        remarks=(*((f"{why_single[0].upper()}{why_single[1:]}.",) if why_single else ()), *_remarks(choice)),
        vertices=np.stack([x, y, height], axis=-1).reshape(-1, 3).astype(np.float32),
        faces=faces,
        normals=height_normals(height, patch.step),
        colours=colours.reshape(-1, 3),
        is_lesion=patch.is_lesion.reshape(-1).copy(),
        is_metric=False,
        lateral_unit="mm" if has_scale else "px",
        method="shape from shading, one view",
        scale_source=(view.geometry.spacing_source or "pixel spacing") if has_scale else "none: lateral distances are source pixels",
        used_views=(view.sop_instance_uid,),
        dropped_views=tuple((uid, (unfit or {}).get(uid, reason)) for uid, reason in choice.dropped),
        is_closed=False,
        is_manifold=is_manifold(faces),
        height_field=HeightField(
            heights=height.astype(np.float32),
            base=np.zeros(height.shape, np.float32),
            colours=colours,
            is_lesion=patch.is_lesion.copy(),
            left=float(patch.x[0]),
            top=-float(patch.y[0]),
            step=patch.step,
        ),
        measurements=(_relative_relief(patch, height, choice),),
    )


def _relative_relief(patch: Patch, height: Field, choice: Choice) -> Measurement:
    lesion = patch.is_lesion
    diameter = 2 * (float(lesion.sum()) * patch.step**2 / np.pi) ** 0.5
    return Measurement(
        key="relative_relief",
        concept=RELATIVE_RELIEF,
        value=float(np.percentile(height[lesion], 95)) / diameter,
        unit=NO_UNITS,
        definition=(
            "95th percentile of the lesion's height above the skin around it, divided by the diameter of the circle of the lesion's area; "
            "from shape from shading of one view, so comparable only with values of the same method and lighting."
        ),
        view_uid=choice.view.sop_instance_uid,
    )


def _remarks(choice: Choice) -> tuple[str, ...]:
    remarks = [
        "Heights are relative, from the shading of one view: no height, volume or curvature in millimetres may be read from this surface.",
        "Shading does not tell raised from sunken: the lesion is assumed to be raised.",
    ]
    if choice.view.geometry.pixel_spacing_mm is None:
        remarks.append("The view states no pixel spacing: lateral distances are source pixels.")
    if choice.view.geometry.is_contact:
        remarks.append("The dermatoscope touched the skin (Contact Method): the lesion was pressed flat.")
    if choice.mask.touches_border:
        remarks.append("The lesion reaches the edge of the picture: the surface shows only the part that was photographed.")
    return tuple(remarks)
