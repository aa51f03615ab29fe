"""What goes wrong when a series is taken: series that a reconstruction must see through or say what was wrong with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from PIL import Image
from pydicom import Dataset

from dermanode.testing.motion import Motion
from dermanode.testing.ring import Ring
from dermanode.testing.scene import RenderedView, Scene, render, skin_before
from dermanode.testing.series import Stated, make_series


class Mishap(StrEnum):
    MISSING_VIEW = "one view missing"
    LENS_CAP = "lens cap on one view"
    NEIGHBOUR = "two lesions in the field"
    LONG_HAIR = "hair across the lesion"
    RULER = "ruler in the picture"
    PRESSED = "lesion pressed by the dermatoscope"
    MOVED_PATIENT = "patient moved between the views"
    BREATHING = "skin moves between the views"
    MIXED_SIZES = "mixed resolutions"
    MIXED_CAMERAS = "mixed cameras"
    OTHER_LESION = "views of different lesions"
    SHUFFLED = "views in another order than their azimuths"
    REVERSED = "azimuths counted the other way round"
    NO_AZIMUTHS = "azimuths not stated"
    NO_SCALE = "neither pixel spacing nor distance stated"
    NO_GEOMETRY = "no geometry stated"


@dataclass(frozen=True, eq=False)
class Taken:
    """A series as it was taken, before it is written."""

    scene: Scene
    views: Sequence[RenderedView]
    azimuths_deg: Sequence[float] | None = None
    """Stated, where they are others than the true ones."""
    unstated: frozenset[Stated] = frozenset()


def unlucky_series(
    mishap: Mishap,
    scene: Scene | None = None,
    ring: Ring | None = None,
    size: tuple[int, int] = (1024, 768),
    *,
    patient_id: str = "SCENE-PATIENT",
) -> list[Dataset]:
    """The series of a scene to which that happened; the ring needs four views or more."""
    ring = Ring() if ring is None else ring
    taken = take(mishap, Scene() if scene is None else scene, ring, size)
    return make_series(
        taken.scene,
        ring,
        size=size,
        views=taken.views,
        azimuths_deg=taken.azimuths_deg,
        unstated=taken.unstated,
        patient_id=patient_id,
        accession_number=mishap.name[:16],
    )


def scene_of(mishap: Mishap, scene: Scene) -> Scene:
    """The scene as it is when that happens: its truth is what a measurement should find."""
    match mishap:
        case Mishap.NEIGHBOUR:
            return replace(scene, has_neighbour=True)
        case Mishap.LONG_HAIR:
            return replace(scene, look=replace(scene.look, has_long_hair=True))
        case Mishap.RULER:
            return replace(scene, look=replace(scene.look, has_ruler=True))
        case Mishap.PRESSED:
            return replace(scene, pressed=0.4)
        case _:
            return scene


def take(mishap: Mishap, scene: Scene, ring: Ring, size: tuple[int, int]) -> Taken:
    """The photographs of a scene to which that happened, with their masks; the ring needs four views or more."""
    scene, half = scene_of(mishap, scene), ring.views // 2
    match mishap:
        case Mishap.LENS_CAP:
            ring = replace(ring, capped=(half,))
        case Mishap.MOVED_PATIENT:
            ring = replace(ring, motion=Motion(shift_mm=2.0, turn_deg=6.0, lean_deg=4.0, moved_from=half))
        case Mishap.BREATHING:
            ring = replace(ring, motion=Motion(breath_mm=0.1, sway_um=20.0))
        case _:
            pass
    skin = skin_before(scene, ring, size)
    views = render(scene, ring, size, skin)
    match mishap:
        case Mishap.MISSING_VIEW:
            return Taken(scene, views[:half] + views[half + 1 :])
        case Mishap.MIXED_SIZES:
            return Taken(scene, views[:half] + [_shrunk(view, (size[0] * 5 // 8, size[1] * 5 // 8)) for view in views[half:]])
        case Mishap.MIXED_CAMERAS:
            other = replace(ring, field_mm=0.8 * ring.field_mm, distance_mm=0.7 * ring.distance_mm)
            return Taken(scene, views[:half] + render(scene, other, (size[0] * 3 // 4, size[0] * 3 // 4), skin)[half:])
        case Mishap.OTHER_LESION:
            return Taken(scene, views[:half] + render(replace(scene, seed=scene.seed + 1_000_000), ring, size)[half:])
        case Mishap.SHUFFLED:
            order = [(3 * k + 1) % ring.views if ring.views % 3 else ring.views - 1 - k for k in range(ring.views)]
            return Taken(scene, [views[k] for k in order], ring.azimuths_deg())
        case Mishap.REVERSED:
            return Taken(scene, views, [(360 - azimuth) % 360 for azimuth in ring.azimuths_deg()])
        case Mishap.NO_AZIMUTHS:
            return Taken(scene, views, unstated=frozenset({Stated.AZIMUTH}))
        case Mishap.NO_SCALE:
            return Taken(scene, views, unstated=frozenset({Stated.SPACING, Stated.DISTANCE}))
        case Mishap.NO_GEOMETRY:
            return Taken(scene, views, unstated=frozenset(Stated))
        case _:
            return Taken(scene, views)


def _shrunk(view: RenderedView, size: tuple[int, int]) -> RenderedView:
    pixels = np.asarray(Image.fromarray(view.pixels).resize(size, Image.Resampling.BOX))
    mask = np.asarray(Image.fromarray(view.mask.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)) > 0
    return replace(view, pixels=pixels, mask=mask, intrinsics=view.ring.intrinsics(size))
