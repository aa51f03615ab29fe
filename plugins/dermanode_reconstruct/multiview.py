"""From several views to a surface in millimetres."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from dermanode.domain import Segmentation, View
from dermanode_reconstruct import dense
from dermanode_reconstruct.distinctness import indistinct_share
from dermanode_reconstruct.grid import Grid
from dermanode_reconstruct.lesion import Extent, Lesion, find_extent, lie
from dermanode_reconstruct.photograph import Photograph, take
from dermanode_reconstruct.photometric import Gate, fuse
from dermanode_reconstruct.poses import Poses
from dermanode_reconstruct.registration import NoDepth, Registered, register
from dermanode_reconstruct.rig import Rig, arrangements, rig_of
from dermanode_reconstruct.settings import ReconstructSettings
from dermanode_reconstruct.skin_base import Base, fit_base
from dermanode_reconstruct.stack import stacks

Field = NDArray[np.float64]

_STEP_PX = 2.8
"""Of the height field, in working pixels."""
_USUAL_FIELD_MM, _USUAL_PX = 20.0, 1024
_SKIN_MM = 2.8
"""Skin around the lesion, for pictures of 20 mm width."""
_RIM_MM = 0.6
"""The skin around the lesion on which slopes are compared too."""
_SMALLEST_HALF_MM = 4.0
_MOST_CELLS = 321
_LEAST_AGREEMENT = 0.7
"""On rendered scenes 0.96 to 0.98; 0.3 to 0.5 where the poses are wrong."""
_MOST_INDISTINCT = 0.12
"""Share of the lesion whose height the pictures do not tell beyond which no surface is given."""
_SEEN_BY = 3
"""Views that must show a point before its height is believed."""


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """The lesion's height field and all that is known of it. Arrays are n x n over `grid`."""

    registered: Registered
    rig: Rig
    grid: Grid
    z: Field
    """Of the surface, mm."""
    base: Base
    lesion: Lesion
    colours: NDArray[np.uint8]
    """x 3, sRGB."""
    deviation_mm: float
    """Standard deviation of the lesion's heights by the solver's own curvature."""
    agreement: float
    """How much of their contrast the pictures have in common on the surface, 0 to 1."""
    indistinct: float
    """Share of the lesion whose height the pictures do not tell, 0 to 1."""
    gate: Gate | None
    """How the shading's slopes agreed with the stereo's; None where they were not asked."""
    is_seen: NDArray[np.bool_]
    """At least three views show it."""
    scale: float
    """The pictures' field against 20 mm: the lengths of the method are multiplied by it."""
    took_s: tuple[tuple[str, float], ...]
    """(step, seconds), in their order."""

    @property
    def pixel_height_mm(self) -> float:
        """The height that moves a point by one working pixel in a picture."""
        pixel_mm = float(np.median([one.spacing_mm for one in self.registered.photographs]))
        return pixel_mm / float(np.tan(np.deg2rad(self.registered.tilt_deg)))

    @property
    def heights(self) -> Field:
        """Above the base."""
        return self.z - self.base.field


@dataclass
class Stopwatch:
    """How long each step took."""

    began: float
    laps: list[tuple[str, float]]

    @classmethod
    def start(cls) -> Stopwatch:
        return cls(time.perf_counter(), [])

    def lap(self, step: str) -> None:
        now = time.perf_counter()
        self.laps.append((step, now - self.began))
        self.began = now


def reconstruct_views(
    views: Sequence[View],
    segmentation: Segmentation,
    settings: ReconstructSettings,
    *,
    device: str,
    threads: int,
    workdir: Path,
    deadline: float,
    progress: Callable[[float], None],
) -> Reconstruction:
    """The surface that the views show. Raises `NoDepth` where they show none, `UnreadableObject` for a view that cannot be decoded."""
    watch = Stopwatch.start()
    rig = rig_of(views, settings.ring)
    masks = [segmentation.mask(view.sop_instance_uid) for view in views]
    photographs = take(views, masks, rig.calibrations, settings.working_px, threads)
    scale = float(np.median([one.spacing_mm for one in photographs])) * settings.working_px / _USUAL_FIELD_MM
    watch.lap("decode")
    progress(0.2)
    registered = register(
        photographs,
        rig,
        arrangements(views, settings.ring),
        settings,
        scale=scale,
        threads=threads,
        workdir=workdir,
        limit_s=0.5 * (deadline - time.monotonic()),
    )
    watch.lap("poses")
    progress(0.4)
    grid = _grid(registered, scale)
    chroma, light = stacks(registered.photographs, registered.poses, grid, device, threads)
    watch.lap("features")
    solved = dense.solve(chroma, settings.lowest_mm * scale, settings.highest_mm * scale, scale)
    if solved.agreement < _LEAST_AGREEMENT:
        raise NoDepth(
            f"the pictures agree on no surface: they have only {solved.agreement:.0%} of their contrast in common", registered.dropped
        )
    watch.lap("heights")
    progress(0.8)
    seen = chroma.sample(solved.height)[:, -1].cpu()
    z, gate = solved.height.cpu().numpy().astype(np.float64), None
    lesion = lie(registered.photographs, registered.poses, grid, z)
    if lesion is None:
        raise NoDepth("the masks of the views agree on no lesion", registered.dropped)
    indistinct = indistinct_share(chroma, solved.height, lesion.is_lesion, registered.tilt_deg, scale)
    if indistinct > _MOST_INDISTINCT:
        raise NoDepth(f"there is too little to see on {indistinct:.0%} of the lesion: any height would fit", registered.dropped)
    if settings.is_shading_fused:
        fused = fuse(light, solved.height, lesion.near(_RIM_MM * scale / grid.step_mm), scale)
        z, gate = fused.height, fused.gate
        watch.lap("shading")
    is_seen = (seen > 0).sum(0).numpy() >= min(_SEEN_BY, len(registered.photographs))
    base = fit_base(z, lesion.is_lesion, is_seen, grid, scale, (lesion.level > 0.5) & ~lesion.is_lesion)
    if base is None:
        raise NoDepth("too little of the skin around the lesion is seen by three views to measure heights from", registered.dropped)
    colours = _colours(registered.photographs, registered.poses, grid, z)
    watch.lap("base")
    return Reconstruction(
        registered=registered,
        rig=rig,
        grid=grid,
        z=z,
        base=base,
        lesion=lesion,
        colours=colours,
        deviation_mm=float(solved.deviation_mm.cpu().numpy()[lesion.is_lesion].mean()),
        agreement=solved.agreement,
        indistinct=indistinct,
        gate=gate,
        is_seen=is_seen,
        scale=scale,
        took_s=tuple(watch.laps),
    )


def _grid(registered: Registered, scale: float) -> Grid:
    """Around the lesion and the skin that its base is fitted to; its count less one is a multiple of four."""
    extent = find_extent(registered.photographs, registered.poses, 12.0 * scale, 0.1 * scale)
    if extent is None:
        raise NoDepth("no view's mask lies where the views look", registered.dropped)
    return _around(extent, float(np.median([one.spacing_mm for one in registered.photographs])), scale)


def _around(extent: Extent, pixel_mm: float, scale: float) -> Grid:
    half_mm = max(_SMALLEST_HALF_MM * scale, extent.radius_mm + _SKIN_MM * scale)
    step_mm = max(_STEP_PX * pixel_mm, 2 * half_mm / _MOST_CELLS)
    reach = 2 * int(np.ceil(half_mm / step_mm / 2))
    return Grid(extent.middle_mm[0] - reach * step_mm, extent.middle_mm[1] + reach * step_mm, step_mm, 2 * reach + 1)


def _colours(photographs: Sequence[Photograph], poses: Poses, grid: Grid, z: Field) -> NDArray[np.uint8]:
    """Median over up to five views of the colour where each shows the surface: highlights and hairs move, pigment does not."""
    x, y = np.meshgrid(grid.x, grid.y)
    chosen = np.unique(np.linspace(0, len(photographs) - 1, min(5, len(photographs))).round().astype(int))
    intrinsics = np.array([photographs[index].intrinsics for index in chosen])
    pixels, _ = poses.chosen(chosen).project(np.stack([x, y, z], -1).reshape(-1, 3), intrinsics)
    samples = []
    for place, index in enumerate(chosen):
        at = pixels[:, place].reshape(grid.count, grid.count, 2).astype(np.float32)
        smooth = cv2.blur(photographs[index].pixels, (3, 3))
        samples.append(cv2.remap(smooth, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
    median: NDArray[np.uint8] = np.median(np.array(samples), axis=0).round().astype(np.uint8)
    return median


def use_threads(threads: int) -> None:
    """For torch; OpenCV's are those of the pool that calls it."""
    torch.set_num_threads(max(1, threads))
