"""Which scenes a reconstruction is measured on: one thing is varied at a time, the others stay as usual."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from dermanode.testing.mishaps import scene_of
from dermanode.testing.scenes import Look, Mishap, Motion, Ring, Scene, Shape

FIRST_SEED = 1000
"""Tests use smaller ones."""
FIRST_OF_PAIRS = 1000
"""Pairs of visits are of lesions so many seeds further on."""
REPEATS = 10
LOW_TEXTURE = 0.3
CHANGED_LESIONS = ("dome", "flat")
"""What is varied is varied on a raised lesion and on a flat one."""

LESIONS: Mapping[str, Callable[[int], Scene]] = {
    "flat": lambda seed: Scene(Shape.FLAT, seed),
    "dome": lambda seed: Scene(Shape.DOME, seed),
    "plateau": lambda seed: Scene(Shape.PLATEAU, seed),
    "two lobes": lambda seed: Scene(Shape.TWO_LOBES, seed),
    "crater": lambda seed: Scene(Shape.CRATER, seed),
    "low texture": lambda seed: Scene(Shape.DOME, seed, look=Look(texture=LOW_TEXTURE)),
    "flat, low texture": lambda seed: Scene(Shape.FLAT, seed, look=Look(texture=LOW_TEXTURE)),
}


@dataclass(frozen=True)
class Trial:
    """One series to be taken and measured."""

    lesion: str
    scene: Scene
    ring: Ring = field(default_factory=Ring)
    size: tuple[int, int] = (1024, 768)
    jpeg_quality: int = 92
    mishap: Mishap | None = None
    tags: tuple[tuple[str, str], ...] = ()
    """(part, condition): what it is counted for."""

    @property
    def key(self) -> str:
        """The same for the same pictures."""
        told = asdict(replace(self, tags=()))
        return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:16]


Change = Callable[[Trial], Trial]


def _rig(ring: Ring) -> Change:
    return lambda trial: replace(trial, ring=ring)


def _same(trial: Trial) -> Trial:
    return trial


def _defocused(px: float) -> Change:
    """Blurred by so many pixels of a picture of 1024 columns."""
    return lambda trial: replace(trial, ring=replace(trial.ring, defocus_px=px * trial.size[0] / 1024))


def _skin(skin_type: int) -> Change:
    return lambda trial: replace(trial, scene=replace(trial.scene, look=replace(trial.scene.look, skin_type=skin_type)))


def _jpeg(quality: int) -> Change:
    return lambda trial: replace(trial, jpeg_quality=quality)


VARIED: Mapping[str, Mapping[str, Change]] = {
    "light": {"on the camera": _same, "fixed": _rig(Ring(has_fixed_light=True))},
    "tilt": {f"{tilt} degrees": _rig(Ring(tilt_deg=float(tilt))) for tilt in (0, 3, 5, 10, 25)},
    "views": {f"{views} view{'s' if views > 1 else ''}": _rig(Ring(views=views)) for views in (1, 3, 4, 8, 16)},
    "defocus": {"sharp": _same, "1 px": _defocused(1.0), "2 px": _defocused(2.0)},
    "distortion": {
        "none": _same,
        "1 % barrel": _rig(Ring(distortion=(-1.5, 0.0))),
        "3.5 % barrel": _rig(Ring(distortion=(-5.0, 0.0))),
        "3.5 % pincushion": _rig(Ring(distortion=(5.0, 0.0))),
    },
    "motion": {
        "still": _same,
        "25 um, sway 5 um": _rig(Ring(motion=Motion(breath_mm=0.025, sway_um=5.0))),
        "50 um, sway 10 um": _rig(Ring(motion=Motion(breath_mm=0.05, sway_um=10.0))),
        "100 um, sway 20 um": _rig(Ring(motion=Motion(breath_mm=0.1, sway_um=20.0))),
    },
    "skin": {f"type {name}": _skin(number) for number, name in enumerate(("I", "II", "III", "IV", "V", "VI"), start=1)},
    "jpeg": {f"quality {quality}": _jpeg(quality) for quality in (60, 75, 85, 92, 98)},
}
PARTS = ("shapes", *VARIED, "mishaps", "repeatability", "progression")


def trials(parts: Sequence[str], seeds: Sequence[int], size: tuple[int, int]) -> list[Trial]:
    """Every series that those parts need, each once; what serves several parts is counted for all of them."""
    found: dict[str, Trial] = {}
    for trial in _wanted(parts, seeds, size):
        known = found.get(trial.key, trial)
        found[trial.key] = replace(trial, tags=tuple(dict.fromkeys((*known.tags, *trial.tags))))
    return list(found.values())


def _wanted(parts: Sequence[str], seeds: Sequence[int], size: tuple[int, int]) -> Iterator[Trial]:
    for part in parts:
        for seed in seeds:
            if part == "shapes":
                for name, lesion in LESIONS.items():
                    yield Trial(name, lesion(seed), size=size, tags=((part, name),))
            for condition, change in VARIED.get(part, {}).items():
                for name in CHANGED_LESIONS:
                    yield replace(change(Trial(name, LESIONS[name](seed), size=size)), tags=((part, condition),))
            if part == "mishaps":
                for mishap in Mishap:
                    scene = scene_of(mishap, LESIONS["dome"](seed))
                    yield Trial("dome", scene, size=size, mishap=mishap, tags=((part, mishap.value),))
        if part == "repeatability":
            for name in ("dome", "plateau", "flat"):
                for visit in range(REPEATS):
                    yield Trial(name, replace(LESIONS[name](seeds[0]), visit=visit), size=size, tags=((part, name),))


GROWTHS: Mapping[int, int] = {0: 70, 3: 15, 5: 15, 10: 20, 20: 20, 30: 60}
"""Percent of volume, and how many of 200 pairs grow so: most are where the promises are."""


@dataclass(frozen=True)
class Pair:
    """Two visits of one lesion."""

    first: Trial
    later: Trial
    growth_percent: float

    @property
    def key(self) -> str:
        return f"{self.first.key}-{self.later.key}"


def pairs(count: int, seeds: Sequence[int], size: tuple[int, int]) -> list[Pair]:
    """So many lesions, each seen twice; height, size and skin differ from lesion to lesion, all lengths grow alike."""
    total, made = sum(GROWTHS.values()), []
    growths = [growth for growth, share in GROWTHS.items() for _ in range(share)]
    for number in range(count):
        growth = growths[number * total // count]
        seed = seeds[0] + FIRST_OF_PAIRS + number
        rng = np.random.default_rng([seed, 6])
        name = list(LESIONS)[number % len(LESIONS)]
        scene = LESIONS[name](seed)
        usual_mm = scene.relief.height_mm
        scene = replace(
            scene,
            diameter_mm=float(rng.uniform(5, 9)),
            height_mm=float(usual_mm * rng.uniform(0.7, 1.2)),
            look=replace(scene.look, skin_type=int(rng.integers(1, 5))),
        )
        trial = Trial(name, scene, size=size)
        made.append(Pair(trial, replace(trial, scene=replace(scene.grown(growth), visit=1)), growth))
    return made
