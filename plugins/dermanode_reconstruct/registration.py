"""From photographs to camera poses over the skin: ring tracks first, structure from motion where the ring does not fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dermanode.domain import UID
from dermanode.errors import DermaNodeError
from dermanode_reconstruct.adjustment import Adjusted, Trust, adjust
from dermanode_reconstruct.grid import Grid, Matrix
from dermanode_reconstruct.parallax import measure_parallax
from dermanode_reconstruct.photograph import Photograph
from dermanode_reconstruct.poses import Poses, ring_poses
from dermanode_reconstruct.rig import Arrangement, Rig
from dermanode_reconstruct.screening import is_blurred, sharpness, why_empty
from dermanode_reconstruct.settings import ReconstructSettings
from dermanode_reconstruct.skin_plane import skin_plane
from dermanode_reconstruct.structure_from_motion import NoPoses, free_poses, levelled
from dermanode_reconstruct.tracks import FEWEST, Tracks, follow, rectified

FEWEST_VIEWS = 3
_CORNERS = 400
_TRACKING_HALF_MM, _TRACKING_STEP_MM = 7.0, 0.0274
"""Of the grid that is tracked on, for pictures of 20 mm width and 1024 px."""
_ENOUGH_TRACKS = 40
"""With so many long tracks an arrangement is believed without a look at the others."""
_OUTLIER_PX = 2.0
_TILT_SLACK_DEG = 2.0
"""A nominal tilt that is off by more is replaced by the measured one."""
_MISFIT = 3.0
"""A view whose median error is so many times that of all does not fit."""
_MOST_TILT_ERROR = 0.1
"""Relative error of every height beyond which none is given."""
_LOOSE = 6.0
"""How much less structure from motion, or a rig that moved, is trusted than a ring."""
_MOST_OF_THEM = 0.75
"""An arrangement that fits a smaller share of the views may be the wrong one: the others are tried too."""
_OPEN_DEG, _OPEN_RATIO = 100.0, 1.5
"""A gap in the ring so wide, and so much wider than the next, leaves an arc: no point is followed across it."""
UNSTEADY_DEG = 5.0
"""A rig whose neighbours are turned by more against each other than it says has moved; one that shakes by 0.7 degrees reaches 3.5."""


class NoDepth(DermaNodeError):
    """Views that give no surface in depth; the text says why."""

    def __init__(self, reason: str, dropped: Sequence[tuple[UID, str]] = ()) -> None:
        self.reason = reason
        self.dropped = tuple(dropped)
        """What was wrong with single views."""
        super().__init__(f"No depth from these views: {reason}")


@dataclass(frozen=True, eq=False)
class Registered:
    """Photographs with their poses: z = 0 is the skin, the reference (first) sees x to the right and y up."""

    photographs: tuple[Photograph, ...]
    poses: Poses
    points_mm: Matrix
    """N x 3: the tracked points."""
    error_px: float
    """Median reprojection error, in source pixels."""
    tilt_deg: float
    tilt_error: float
    """Relative standard deviation of tan(tilt), and so of every height, by the adjustment's own covariance."""
    words: str
    """How the poses were found."""
    dropped: tuple[tuple[UID, str], ...]
    rig_error_deg: float | None = None
    """By how much the turn from one view to the next differs from the rig's, at most; None where no rig was asked."""
    others: int = 0
    """So many of the dropped views fit one another."""


@dataclass(frozen=True, eq=False)
class _Start:
    """Photographs in the order of the ring, where they may stand, and what the skin's tracks say of it."""

    photographs: tuple[Photograph, ...]
    nominal: Poses
    azimuths_deg: Matrix
    trust: Trust
    words: str
    is_ring: bool


def register(
    photographs: Sequence[Photograph],
    rig: Rig,
    arrangements: Iterator[Arrangement],
    settings: ReconstructSettings,
    *,
    scale: float,
    threads: int,
    workdir: Path,
    limit_s: float,
) -> Registered:
    """The poses of the views that fit together. `scale` is the size of the pictures' field against 20 mm. Raises `NoDepth`."""
    empty = [why_empty(one) for one in photographs]
    usable = np.array([index for index, why in enumerate(empty) if why is None], dtype=int)
    dropped = [(one.view.sop_instance_uid, why) for one, why in zip(photographs, empty, strict=True) if why is not None]
    if len(usable) < FEWEST_VIEWS:
        raise NoDepth(f"only {len(usable)} of {len(photographs)} views are of use, and depth needs {FEWEST_VIEWS}", dropped)
    trust = Trust(turn_deg=settings.ring.turn_trust_deg, shift_mm=settings.ring.shift_trust_mm * scale)
    best: tuple[Registered, _Start] | None = None
    failed: list[str] = []
    for start, unjoined in _starts(photographs, rig, arrangements, usable, trust, settings, threads, workdir, limit_s, failed):
        try:
            found = _settled(start, settings, scale, threads, [*dropped, *unjoined])
        except _NoFit as misfit:
            failed.append(f"{start.words}: {misfit.reason}")
            continue
        except NoDepth:
            # Without parallax no other arrangement has any; with a better one found before, this one is wrong.
            if best is None:
                raise
            continue
        if best is None or len(found.photographs) > len(best[0].photographs):
            best = found, start
        if len(found.photographs) >= _MOST_OF_THEM * len(usable):
            break
    if best is None:
        raise NoDepth("the views do not fit together (" + "; ".join(failed) + ")", dropped)
    return _told(*best, settings, scale, threads)


def _starts(
    photographs: Sequence[Photograph],
    rig: Rig,
    arrangements: Iterator[Arrangement],
    usable: Matrix,
    trust: Trust,
    settings: ReconstructSettings,
    threads: int,
    workdir: Path,
    limit_s: float,
    failed: list[str],
) -> Iterator[tuple[_Start, list[tuple[UID, str]]]]:
    """Where the views may stand, one after the other: on the ring, then as structure from motion finds them."""
    for arrangement in arrangements:
        yield _on_the_ring(photographs, rig, arrangement, usable, trust), []
    if settings.is_motion_searched:
        try:
            yield _by_motion([photographs[index] for index in usable], trust, settings, threads, workdir, limit_s)
        except NoPoses as misfit:
            failed.append(f"structure from motion: {misfit.reason}")


def _told(found: Registered, start: _Start, settings: ReconstructSettings, scale: float, threads: int) -> Registered:
    """With what more can be said of the views that were dropped: out of focus, or at one with one another."""
    if not found.dropped:
        return found
    uids = {uid for uid, _ in found.dropped}
    by_uid = {one.view.sop_instance_uid: one for one in start.photographs}
    sharp = float(np.median([sharpness(one) for one in found.photographs]))
    dropped = tuple((uid, _BLURRED if uid in by_uid and is_blurred(by_uid[uid], sharp) else why) for uid, why in found.dropped)
    unfit = np.array([one.view.sop_instance_uid in uids for one in start.photographs])
    others = 0
    if unfit.sum() >= FEWEST_VIEWS:
        with suppress(_NoFit, NoDepth):
            others = len(_settled(_only(start, unfit), settings, scale, threads, ()).photographs)
    return replace(found, dropped=dropped, others=others)


class _NoFit(DermaNodeError):
    """One way to arrange the views that does not explain them."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def _on_the_ring(photographs: Sequence[Photograph], rig: Rig, arrangement: Arrangement, usable: Matrix, trust: Trust) -> _Start:
    reference = int(usable[0])
    turned = (arrangement.azimuths_deg - arrangement.azimuths_deg[reference]) % 360.0
    order = sorted((int(index) for index in usable), key=lambda index: turned[index])
    distances = np.array([photographs[index].distance_mm for index in order])
    azimuths = turned[order]
    nominal = ring_poses(azimuths, rig.tilts_deg[order], distances)
    return _Start(
        tuple(photographs[index] for index in order), nominal, azimuths, trust, f"ring tracks ({arrangement.words})", is_ring=True
    )


def _by_motion(
    photographs: Sequence[Photograph], trust: Trust, settings: ReconstructSettings, threads: int, workdir: Path, limit_s: float
) -> tuple[_Start, list[tuple[UID, str]]]:
    """The same from structure from motion. Raises `NoPoses`."""
    free = free_poses(
        [one.grey for one in photographs],
        [one.intrinsics for one in photographs],
        mapper="global" if settings.motion_mapper == "global" else "incremental",
        threads=threads,
        workdir=workdir,
        limit_s=min(limit_s, settings.motion_limit_s),
    )
    found = levelled(free, float(np.median([photographs[index].distance_mm for index in free.views])))
    centres = found.poses.centres
    azimuths = np.rad2deg(np.arctan2(centres[:, 1], centres[:, 0]))
    turned = (azimuths - azimuths[0]) % 360.0
    order = np.argsort(turned, kind="stable")
    chosen = tuple(photographs[free.views[index]] for index in order)
    words = "structure from motion, because the ring's azimuths do not fit"
    start = _Start(chosen, found.poses.chosen(order), turned[order], trust.looser(_LOOSE), words, is_ring=False)
    return start, [(photographs[index].view.sop_instance_uid, why) for index, why in free.dropped]


def _settled(start: _Start, settings: ReconstructSettings, scale: float, threads: int, dropped: Sequence[tuple[UID, str]]) -> Registered:
    """Tracks, gate and adjustment, twice. Raises `_NoFit` where the start explains too little, `NoDepth` where there is no parallax."""
    intrinsics = np.array([one.intrinsics for one in start.photographs])
    grid = Grid.around((0.0, 0.0), _TRACKING_HALF_MM * scale, _TRACKING_STEP_MM * scale)
    arc = _middle_of_arc(start.azimuths_deg)
    tracks = _tracked(start, start.nominal, grid, range(0, len(start.photographs), 3) if arc is None else [arc], threads)
    is_in = tracks.is_seen.sum(0) >= FEWEST
    if is_in.sum() < FEWEST_VIEWS or len(tracks) < FEWEST:
        raise _NoFit(f"only {len(tracks)} points are seen in enough views")
    if not is_in.all():
        unfit = [(start.photographs[index].view.sop_instance_uid, _UNFIT) for index in np.flatnonzero(~is_in)]
        return _settled(_only(start, is_in), settings, scale, threads, [*dropped, *unfit])
    start = _gated(start, tracks, intrinsics, settings, dropped)
    adjusted, tracks = _adjusted(tracks, intrinsics, start.nominal, start.trust)
    more = _tracked(start, adjusted.poses, grid, [len(start.photographs) // 2 if arc is None else arc], threads)
    # From the same view of an arc the same points are followed again, between pictures that are more alike now.
    more = tracks.and_(more) if arc is None else more if len(more) > len(tracks) / 2 else tracks
    adjusted, tracks = _adjusted(more, intrinsics, start.nominal, start.trust)
    if start.is_ring and _rig_error_deg(start.nominal, adjusted.poses) > UNSTEADY_DEG:
        # Somebody moved: the rig no longer says where the cameras stand over the skin.
        adjusted, tracks = _adjusted(tracks, intrinsics, adjusted.poses, start.trust.looser(_LOOSE))
    if adjusted.error_px > settings.most_error_px:
        raise _NoFit(f"points are off by {adjusted.error_px:.1f} pixels")
    errors = np.array([np.median(adjusted.errors_px[seen, view]) if seen.any() else np.inf for view, seen in enumerate(tracks.is_seen.T)])
    fits = (errors <= max(_MISFIT * adjusted.error_px, 0.7)) & (tracks.is_seen.sum(0) >= FEWEST)
    if not fits.all():
        if fits.sum() < FEWEST_VIEWS:
            raise _NoFit("too few views agree with one another")
        moved = [(start.photographs[index].view.sop_instance_uid, _MOVED) for index in np.flatnonzero(~fits)]
        return _settled(_only(start, fits), settings, scale, threads, [*dropped, *moved])
    found = _levelled(start, adjusted, dropped)
    if found.tilt_deg < settings.least_tilt_deg - 1.0 or found.tilt_error > _MOST_TILT_ERROR:
        raise NoDepth(f"the views hardly show parallax: the cameras are tilted by {found.tilt_deg:.1f} degrees", dropped)
    return found


def _middle_of_arc(azimuths_deg: Matrix) -> int | None:
    """The view from which `follow` reaches all others without crossing the gap of an open ring; None where the ring is closed.

    Azimuths ascend. Across the gap pictures differ too much: what is followed there is followed wrongly.
    """
    count = len(azimuths_deg)
    gaps = np.diff(azimuths_deg, append=azimuths_deg[0] + 360.0)
    widest, next_to_it = np.sort(gaps)[[-1, -2]]
    if widest < max(_OPEN_DEG, _OPEN_RATIO * next_to_it):
        return None
    return (int(np.argmax(gaps)) + 1 + count - 1 - count // 2) % count


_BLURRED = "it is out of focus"
_UNFIT = "too few points of the other views are found in it: another lesion, a wrong azimuth, or a patient who moved"
_MOVED = "it does not fit the others: the patient or the camera moved"


def _only(start: _Start, which: Matrix) -> _Start:
    kept = np.flatnonzero(which)
    return replace(
        start,
        photographs=tuple(start.photographs[index] for index in kept),
        nominal=start.nominal.chosen(kept),
        azimuths_deg=start.azimuths_deg[kept],
    )


def _tracked(start: _Start, poses: Poses, grid: Grid, starts: Sequence[int], threads: int) -> Tracks:
    """The long tracks from the first of `starts` that gives enough of them, else from the best."""
    pictures, to_picture = rectified(start.photographs, poses, grid, threads)
    fewest = min(4, len(start.photographs))
    best = Tracks(np.empty((0, len(start.photographs), 2)))
    for first in starts:
        tracks = follow(pictures, to_picture, first, _CORNERS, threads).long(fewest)
        if len(tracks) > len(best):
            best = tracks
        if len(best) >= _ENOUGH_TRACKS and (best.is_seen.sum(0) >= FEWEST).sum() > len(start.photographs) / 2:
            break
    return best


def _gated(start: _Start, tracks: Tracks, intrinsics: Matrix, settings: ReconstructSettings, dropped: Sequence[tuple[UID, str]]) -> _Start:
    """The start with the tilt that the pictures show. Raises `NoDepth` below the least tilt: never adjust what has no parallax."""
    parallax = measure_parallax(_on_skin(start, tracks), intrinsics, start.azimuths_deg)
    if parallax.pairs == 0:
        raise _NoFit("too few points are seen by two views far enough apart to tell the tilt of the cameras")
    if parallax.tilt_deg < settings.least_tilt_deg:
        raise NoDepth(f"the views show no parallax: the cameras are tilted by {parallax.tilt_deg:.1f} degrees", dropped)
    nominal_deg = float(np.median(start.nominal.tilts_deg))
    if abs(parallax.tilt_deg - nominal_deg) <= _TILT_SLACK_DEG or not start.is_ring:
        return start
    tilts = np.full(len(start.photographs), parallax.tilt_deg)
    return replace(start, nominal=ring_poses(start.azimuths_deg, tilts, start.nominal.translations[:, 2]))


def _on_skin(start: _Start, tracks: Tracks) -> Tracks:
    """The tracks that no mask holds, where there are enough of them: a raised lesion is no plane."""
    is_lesion = np.zeros(len(tracks), bool)
    for view, one in enumerate(start.photographs):
        if one.mask is None:
            continue
        seen = tracks.is_seen[:, view]
        column, row = np.round(tracks.pixels[seen, view]).astype(int).T
        rows, columns = one.mask.shape
        is_lesion[seen] |= one.mask[row.clip(0, rows - 1), column.clip(0, columns - 1)] > 127
    skin = ~is_lesion
    return Tracks(tracks.pixels[skin]) if skin.sum() >= 4 * FEWEST else tracks


def _adjusted(tracks: Tracks, intrinsics: Matrix, nominal: Poses, trust: Trust) -> tuple[Adjusted, Tracks]:
    """Adjusts, leaves out what is far off, adjusts again. Raises `_NoFit`."""
    fewest = min(4, len(nominal))
    rough = adjust(tracks, intrinsics, nominal, trust)
    tracks = tracks.without(rough.is_seen & (rough.errors_px > max(_OUTLIER_PX, 3 * rough.error_px))).long(fewest)
    if len(tracks) < FEWEST:
        raise _NoFit("hardly any point is where the poses put it")
    return rough.again(tracks), tracks


def _levelled(start: _Start, adjusted: Adjusted, dropped: Sequence[tuple[UID, str]]) -> Registered:
    """Turns the world so that the skin is z = 0 and the reference view sees x to the right."""
    poses, points = adjusted.poses, adjusted.points_mm
    plane = skin_plane(points)
    normal = np.array([0.0, 0.0, 1.0])
    origin = np.zeros(3)
    if plane is not None:
        normal = plane.normal * np.sign(plane.normal[2])
        origin = normal * plane.offset * np.sign(plane.normal[2])
    right = poses.rotations[0, 0] - (poses.rotations[0, 0] @ normal) * normal
    right /= np.linalg.norm(right)
    turn = np.stack([right, np.cross(normal, right), normal])
    moved = poses.moved(turn, origin)
    # The distance is stated to the skin. The adjustment holds it to its origin, which may lie a millimetre beside the skin.
    factor = float(np.median([one.distance_mm for one in start.photographs] / (moved.centres[:, 2] / -moved.rotations[:, 2, 2])))
    moved = Poses(moved.rotations, moved.translations * factor)
    tilt = np.deg2rad(float(np.median(moved.tilts_deg)))
    # The cameras' tilt is their turn about their own x axis; what all of them share scales every height.
    shared = np.zeros(6 * len(poses))
    shared[0::6] = 1 / len(poses)
    spread = float(np.sqrt(shared @ adjusted.pose_covariance() @ shared))
    source_px = float(np.median([one.to_source for one in start.photographs]))
    return Registered(
        photographs=start.photographs,
        poses=moved,
        points_mm=(points - origin) @ turn.T * factor,
        error_px=adjusted.error_px * source_px,
        tilt_deg=float(np.rad2deg(tilt)),
        tilt_error=spread / (np.sin(tilt) * np.cos(tilt)),
        words=start.words,
        dropped=tuple(dropped),
        rig_error_deg=_rig_error_deg(start.nominal, poses) if start.is_ring else None,
    )


def _rig_error_deg(nominal: Poses, found: Poses) -> float:
    """The largest difference of the turns between neighbours. A turn of all views together says nothing: the origin is free."""
    angles = []
    for one in range(len(found)):
        other = (one + 1) % len(found)
        turns = [poses.rotations[other] @ poses.rotations[one].T for poses in (nominal, found)]
        angles.append(np.arccos(np.clip((np.trace(turns[0].T @ turns[1]) - 1) / 2, -1, 1)))
    return float(np.rad2deg(max(angles)))
