"""The chain of the stage: several views in depth; where they show none, one view's shading."""

from __future__ import annotations

import cv2

from dermanode.domain import Case, Segmentation, Surface
from dermanode.hookspecs import StageContext
from dermanode_reconstruct.choice import choose_view
from dermanode_reconstruct.mesh import NoMesh
from dermanode_reconstruct.metric import surface_of
from dermanode_reconstruct.multiview import reconstruct_views, use_threads
from dermanode_reconstruct.registration import FEWEST_VIEWS, NoDepth
from dermanode_reconstruct.settings import ReconstructSettings
from dermanode_reconstruct.single_view import reconstruct_view


def surface_from(case: Case, segmentation: Segmentation, context: StageContext, settings: ReconstructSettings) -> Surface | None:
    """The lesion's surface; None, with the reason given to the context, where no view shows a lesion. Raises `UnreadableObject`."""
    count = len(case.series.views)
    why_single, unfit = f"no surface in millimetres: depth needs {FEWEST_VIEWS} views, and {count} came", {}
    outlined = [view for view in case.series.views if (mask := segmentation.mask(view.sop_instance_uid)) and mask.mask.any()]
    if count >= FEWEST_VIEWS and outlined:
        cv2.setNumThreads(1)  # the pools below use the threads
        use_threads(context.threads)
        try:
            made = reconstruct_views(
                case.series.views,
                segmentation,
                settings,
                device=context.device,
                threads=context.threads,
                workdir=context.workdir,
                deadline=context.deadline,
                progress=context.progress,
            )
            context.log.info(
                "surface_reconstructed", views=len(made.registered.photographs), **{f"{k}_s": round(v, 3) for k, v in made.took_s}
            )
            return surface_of(case, made, settings)
        except (NoDepth, NoMesh) as error:
            why_single, unfit = f"no surface in millimetres: {error.reason}", dict(getattr(error, "dropped", ()))
    choice = choose_view(case.series.views, segmentation, case.clean_views, settings.least_lesion_px)
    if not outlined:
        why_single = ""
    if choice is None:
        lack = f"no view shows a lesion of at least {settings.least_lesion_px} pixels with skin around it"
        context.decline(f"{why_single}; {lack}" if why_single else lack)
        return None
    return reconstruct_view(choice, settings, why_single, unfit)
