"""Camera poses from pictures of which nobody knows the order, by pycolmap (COLMAP 4)."""

from __future__ import annotations

import itertools
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from dermanode.errors import DermaNodeError
from dermanode_reconstruct.grid import Matrix
from dermanode_reconstruct.poses import Poses
from dermanode_reconstruct.skin_plane import skin_plane
from dermanode_reconstruct.tracks import Tracks

FEWEST_VIEWS = 3
_LONGEST_PX = 1024
"""SIFT at full size costs four times as much for each doubling and finds pores, not marks."""
_FEATURES = 2_000
_FEWEST_POINTS = 30
_FEWEST_MATCHES = 20
"""Of a pair, for a homography."""
_LEAST_TILT_DEG = 2.5
"""Eight views that only turn in their plane, on a rig that shakes by 0.7 degrees, measure up to 1.8; a tilt of 3 measures 3.2."""
_UPPER_QUARTER = 75
"""Percentile of the pairs: views opposite each other on a ring show no stretch at any tilt."""
_WORSE = 2.0
"""So many times the median error of all views is a view's error that fits badly."""
_SEED = 0


class NoPoses(DermaNodeError):
    """Pictures that give no camera poses; the text says why."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"No camera poses: {reason}")


@dataclass(frozen=True, eq=False)
class FreePoses:
    """Cameras and points in a frame and a scale of their own. V views of the input are in it, N points."""

    views: tuple[int, ...]
    """The place of each view in the input, ascending."""
    poses: Poses
    """World to camera, in the same order."""
    points: Matrix
    """N x 3."""
    tracks: Tracks
    """N x V: where the views show the points, in pixels of the input, pixel centres at whole numbers."""
    reprojection_error_px: float
    """Mean over the tracks, in pixels of the input."""
    dropped: tuple[tuple[int, str], ...]
    """(place in the input, reason) of each view that is not in it."""


@dataclass(frozen=True, eq=False)
class Levelled:
    """Free poses brought to the skin: z = 0 is the skin, z leads to the cameras, lengths are mm."""

    views: tuple[int, ...]
    poses: Poses
    """x leads right in the first of the views, y up; the origin is where the optical axes meet the skin (median)."""
    points_mm: Matrix
    """N x 3."""
    skin_share: float
    """Share of the points, evened out over the field, that lie on the plane."""


def free_poses(
    pictures: Sequence[NDArray[np.uint8]],
    intrinsics: Sequence[Matrix],
    *,
    mapper: Literal["incremental", "global"] = "incremental",
    threads: int = 1,
    workdir: Path | None = None,
    limit_s: float | None = None,
) -> FreePoses:
    """Poses of grey pictures (rows x columns, any sizes) with known K (3 x 3 each, pixel centres at whole numbers), up to a similarity.

    SIFT features at 1024 px, all pairs matched and verified, then one of COLMAP's mappers with K held fixed. The same input gives the
    same answer on one thread. Temporary files lie in `workdir` and are gone afterwards. Standard output and error stay silent.

    On scenes of 768 px rotations come within 0.1 to 0.3 degrees for raised lesions and eight views, 0.9 for flat ones, 0.8 for
    little texture and 1.6 for three views: good to begin an adjustment with that knows the distance.

    Raises `NoPoses`: too few pictures, too few marks in common, no parallax (told before any mapping: that would not end well), not at
    least 3 views joined, or `limit_s` passed. The limit is looked at between pictures, pairs and registrations; global mapping is
    only not begun after it.
    """
    if len(pictures) < FEWEST_VIEWS:
        raise NoPoses(f"{len(pictures)} pictures are fewer than {FEWEST_VIEWS}")
    import pycolmap

    with tempfile.TemporaryDirectory(dir=workdir, prefix="poses-") as folder, _quiet(pycolmap), _until(limit_s, pycolmap) as cancelled:
        work = _Work(pycolmap, Path(folder), threads, cancelled)
        try:
            scales = work.extract(pictures, intrinsics)
            work.match()
            tilt_deg = work.tilt_deg(intrinsics, scales)
            if tilt_deg < _LEAST_TILT_DEG:
                raise NoPoses(f"no parallax: the cameras are tilted by {tilt_deg:.1f} degrees, as far as the pictures can tell")
            model = work.map(mapper)
        except InterruptedError as error:
            raise NoPoses(f"not found within {limit_s:g} s") from error
    return _read(model, scales)


class _Work:
    """COLMAP's database in a folder, and the steps that fill it."""

    def __init__(self, pycolmap: Any, folder: Path, threads: int, cancelled: Any) -> None:
        self.pycolmap, self.folder, self.threads, self.cancelled = pycolmap, folder, threads, cancelled
        self.database = folder / "database.db"
        (folder / "pictures").mkdir()

    def extract(self, pictures: Sequence[NDArray[np.uint8]], intrinsics: Sequence[Matrix]) -> list[tuple[float, float]]:
        """Features of each picture; returns how many of its (columns, rows) a column and a row of the input became."""
        options = self.pycolmap.FeatureExtractionOptions()
        options.num_threads = self.threads
        options.sift.max_num_features = _FEATURES
        options.sift.first_octave = 0
        scales = []
        for number, (picture, camera) in enumerate(zip(pictures, intrinsics, strict=True)):
            rows, columns = picture.shape
            shrink = min(1.0, _LONGEST_PX / max(rows, columns))
            size = (round(columns * shrink), round(rows * shrink))
            scale = (size[0] / columns, size[1] / rows)
            small = picture if shrink == 1.0 else cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
            cv2.imwrite(str(self.folder / "pictures" / _name(number)), small, [cv2.IMWRITE_PNG_COMPRESSION, 0])
            reader = self.pycolmap.ImageReaderOptions()
            reader.camera_model = "PINHOLE"
            # COLMAP's pixel centres are at halves.
            focal = (camera[0, 0] * scale[0], camera[1, 1] * scale[1])
            centre = ((camera[0, 2] + 0.5) * scale[0], (camera[1, 2] + 0.5) * scale[1])
            reader.camera_params = ",".join(repr(float(value)) for value in (*focal, *centre))
            self.pycolmap.extract_features(
                self.database,
                self.folder / "pictures",
                image_names=[_name(number)],
                camera_mode=self.pycolmap.CameraMode.PER_IMAGE,
                reader_options=reader,
                extraction_options=options,
                device=self.pycolmap.Device.cpu,
                cancellation_token=self.cancelled,
            )
            scales.append(scale)
        return scales

    def match(self) -> None:
        """All pairs, verified by their epipolar geometry."""
        matching = self.pycolmap.FeatureMatchingOptions()
        matching.num_threads = self.threads
        matching.guided_matching = False
        verification = self.pycolmap.TwoViewGeometryOptions()
        verification.ransac.random_seed = _SEED
        verification.ransac.max_error = 2.0
        self.pycolmap.match_exhaustive(
            self.database,
            matching_options=matching,
            verification_options=verification,
            device=self.pycolmap.Device.cpu,
            cancellation_token=self.cancelled,
        )

    def tilt_deg(self, intrinsics: Sequence[Matrix], scales: Sequence[tuple[float, float]]) -> float:
        """How far the cameras are tilted, from the homographies of the skin between pairs: at a right angle of azimuth, which is not
        known here, the ratio of the singular values is 1 / cos(tilt)^2, and less else. Raises `NoPoses` where no pair has one.
        """
        found = []
        with self.pycolmap.Database.open(self.database) as database:
            numbers = {image.name: image.image_id for image in database.read_all_images()}
            identities = [numbers[_name(number)] for number in range(len(scales))]
            places = [self._places(database, identity) / scale - 0.5 for identity, scale in zip(identities, scales, strict=True)]
            for one, other in itertools.combinations(range(len(scales)), 2):
                if not database.exists_two_view_geometry(identities[one], identities[other]):
                    continue
                pairs = np.asarray(database.read_two_view_geometry(identities[one], identities[other]).inlier_matches)
                if len(pairs) < _FEWEST_MATCHES:
                    continue
                homography, _ = cv2.findHomography(places[one][pairs[:, 0]], places[other][pairs[:, 1]], cv2.USAC_MAGSAC, 3.0)
                if homography is None:
                    continue
                stretch = np.linalg.svd((np.linalg.inv(intrinsics[other]) @ homography @ intrinsics[one])[:2, :2])[1]
                found.append(float(np.rad2deg(np.arccos(np.sqrt(stretch[1] / stretch[0])))))
        if not found:
            raise NoPoses(f"no two pictures have {_FEWEST_MATCHES} marks in common")
        return float(np.percentile(found, _UPPER_QUARTER))

    def _places(self, database: Any, identity: int) -> Matrix:
        """N x 2: the features of a picture."""
        found = database.read_keypoints(identity)
        matrix = found if isinstance(found, np.ndarray) else self.pycolmap.keypoints_to_matrix(found)
        return np.asarray(matrix, dtype=np.float64)[:, :2]

    def map(self, mapper: str) -> Any:
        """The model with the most views. Raises `NoPoses`."""
        if self.cancelled.is_cancelled:
            raise InterruptedError
        self.pycolmap.set_random_seed(_SEED)
        models = self._incremental() if mapper == "incremental" else self._global()
        best = max(models.values(), key=lambda model: (model.num_reg_images(), model.num_points3D()), default=None)
        if best is None or best.num_points3D() < _FEWEST_POINTS:
            if self.cancelled.is_cancelled:
                raise InterruptedError
            raise NoPoses("the pictures do not fit together as views of one thing")
        return best

    def _incremental(self) -> dict[int, Any]:
        """COLMAP's mapper that adds view after view (Schoenberger and Frahm 2016)."""
        options = self.pycolmap.IncrementalPipelineOptions()
        options.num_threads = options.mapper.num_threads = self.threads
        options.random_seed = options.mapper.random_seed = options.triangulation.random_seed = _SEED
        # The default, 10, exceeds a ring of eight views.
        options.min_model_size = FEWEST_VIEWS
        options.extract_colors = False
        options.ba_refine_focal_length = options.ba_refine_principal_point = options.ba_refine_extra_params = False
        options.mapper.abs_pose_refine_focal_length = options.mapper.abs_pose_refine_extra_params = False
        # Neighbours on a ring that is tilted by 5 degrees are some 4 degrees apart.
        options.mapper.init_min_tri_angle = 4.0
        models: dict[int, Any] = self.pycolmap.incremental_mapping(
            self.database, self.folder / "pictures", self.folder / "model", options, cancellation_token=self.cancelled
        )
        return models

    def _global(self) -> dict[int, Any]:
        """COLMAP's mapper that solves for all views at once (GLOMAP, Pan et al. 2024)."""
        options = self.pycolmap.GlobalPipelineOptions()
        options.num_threads = options.mapper.num_threads = self.threads
        options.random_seed = options.mapper.random_seed = _SEED
        options.min_model_size = FEWEST_VIEWS
        adjustment = options.mapper.bundle_adjustment
        adjustment.refine_focal_length = adjustment.refine_principal_point = adjustment.refine_extra_params = False
        adjustment.ceres.use_gpu = options.mapper.global_positioning.use_gpu = False
        adjustment.ceres.solver_options.num_threads = self.threads
        (self.folder / "model").mkdir()
        models: dict[int, Any] = self.pycolmap.global_mapping(self.database, self.folder / "pictures", self.folder / "model", options)
        return models


def _name(number: int) -> str:
    return f"{number:04d}.png"


@contextmanager
def _quiet(pycolmap: Any) -> Iterator[None]:
    """COLMAP logs to standard error only what is fatal."""
    before = pycolmap.logging.minloglevel
    pycolmap.logging.minloglevel = int(pycolmap.logging.FATAL)
    try:
        yield
    finally:
        pycolmap.logging.minloglevel = before


@contextmanager
def _until(limit_s: float | None, pycolmap: Any) -> Iterator[Any]:
    """A token that cancels what is given it, after the limit."""
    token = pycolmap.CancellationToken()
    timer = None if limit_s is None else threading.Timer(limit_s, token.cancel)
    if timer is not None:
        timer.daemon = True
        timer.start()
    try:
        yield token
    finally:
        if timer is not None:
            timer.cancel()


def _read(model: Any, scales: Sequence[tuple[float, float]]) -> FreePoses:
    """COLMAP's model in the house's types. Raises `NoPoses`."""
    images = {int(image.name.split(".")[0]): image for image in model.images.values() if image.has_pose}
    views = sorted(images)
    if len(views) < FEWEST_VIEWS:
        raise NoPoses(f"only {len(views)} of {len(scales)} views fit together")
    column = {images[view].image_id: at for at, view in enumerate(views)}
    points = list(model.points3D.values())
    pixels = np.full((len(points), len(views), 2), np.nan)
    for row, point in enumerate(points):
        for seen in point.track.elements:
            if seen.image_id in column:
                at = column[seen.image_id]
                pixels[row, at] = images[views[at]].points2D[seen.point2D_idx].xy / np.array(scales[views[at]]) - 0.5
    rigid = [images[view].cam_from_world() for view in views]
    poses = Poses(np.array([one.rotation.matrix() for one in rigid]), np.array([one.translation for one in rigid]))
    xyz = np.array([point.xyz for point in points])
    projected, _ = poses.project(xyz, np.array([_intrinsics(images[view].camera, scales[view]) for view in views]))
    errors = np.linalg.norm(projected - pixels, axis=2)
    typical = np.array([np.median(seen) if len(seen := errors[np.isfinite(errors[:, at]), at]) else np.inf for at in range(len(views))])
    # Nearly parallel rays allow a camera that leans the wrong way; it gives itself away by fitting worse than the others.
    kept = np.flatnonzero(typical <= _WORSE * np.median(typical))
    if len(kept) < FEWEST_VIEWS:
        raise NoPoses(f"only {len(kept)} of {len(scales)} views fit together well")
    chosen = tuple(views[at] for at in kept)
    reasons = ((view, "fits worse than the others" if view in images else "has too few marks in common") for view in range(len(scales)))
    is_point = np.isfinite(errors[:, kept]).sum(axis=1) >= 2
    return FreePoses(
        chosen,
        poses.chosen(kept),
        xyz[is_point],
        Tracks(pixels[np.ix_(is_point, kept)]),
        float(np.nanmean(errors[np.ix_(is_point, kept)])),
        tuple((view, reason) for view, reason in reasons if view not in chosen),
    )


def _intrinsics(camera: Any, scale: tuple[float, float]) -> Matrix:
    focal_x, focal_y, x, y = camera.params
    return np.array([[focal_x / scale[0], 0, x / scale[0] - 0.5], [0, focal_y / scale[1], y / scale[1] - 0.5], [0, 0, 1.0]])


def levelled(free: FreePoses, distance_mm: float) -> Levelled:
    """The free poses over the skin, so large that the cameras are `distance_mm` from it along their axes (median).

    The skin is the plane on which most of the field lies (`skin_plane`). Raises `NoPoses` where no plane holds or the cameras are not
    all on its one side. A plane fitted to pigment, not to skin, would lie above the skin, in parallel: heights count from a base fitted
    later, only the scale is off by the lesion's height over the distance.
    """
    plane = skin_plane(free.points)
    if plane is None:
        raise NoPoses("the points lie on no plane that could be the skin")
    centres = free.poses.centres
    normal, offset = plane.normal, plane.offset
    if np.median(centres @ normal - offset) < 0:
        normal, offset = -normal, -offset
    heights = centres @ normal - offset
    axes = free.poses.rotations[:, 2]
    # Axes that hardly lead down would meet the skin nowhere near the lesion.
    if (heights <= 0).any() or (down := -(axes @ normal)).min() < 0.3:
        raise NoPoses("the cameras do not look at one side of the skin")
    distances = heights / down
    meeting = centres + distances[:, None] * axes
    scale = distance_mm / float(np.median(distances))
    right = free.poses.rotations[0, 0] - (free.poses.rotations[0, 0] @ normal) * normal
    right /= np.linalg.norm(right)
    turn = np.stack([right, np.cross(normal, right), normal])
    origin = np.median(meeting, axis=0)
    origin += (offset - origin @ normal) * normal
    moved = free.poses.moved(turn, origin)
    return Levelled(free.views, Poses(moved.rotations, moved.translations * scale), (free.points - origin) @ turn.T * scale, plane.share)
