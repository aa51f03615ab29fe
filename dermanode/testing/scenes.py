"""Scenes: rendered lesions of known volume, photographed from a ring and written as DICOM series.

python -m dermanode.testing.scenes --out DIR --seed 1 --shape dome [--truth FILE] [--mishap "lens cap on one view"]
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

from dermanode.testing.mishaps import Mishap, scene_of, unlucky_series
from dermanode.testing.motion import Motion
from dermanode.testing.relief import Relief, Shape, Truth
from dermanode.testing.ring import Ring
from dermanode.testing.scene import RenderedView, Scene, render
from dermanode.testing.series import Stated, demo_series, make_series, write_series
from dermanode.testing.skin import Look

__all__ = [
    "Look",
    "Mishap",
    "Motion",
    "Relief",
    "RenderedView",
    "Ring",
    "Scene",
    "Shape",
    "Stated",
    "Truth",
    "demo_series",
    "make_series",
    "render",
    "scene_of",
    "unlucky_series",
    "write_series",
]


def main(arguments: list[str] | None = None) -> int:
    """Writes one series to a folder and prints what a measurement of it should find."""
    parser = argparse.ArgumentParser(prog="python -m dermanode.testing.scenes", description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the DICOM files go")
    parser.add_argument("--shape", choices=[shape.value for shape in Shape], default=Shape.DOME.value)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--height-mm", type=float, help="default: usual for the shape")
    parser.add_argument("--diameter-mm", type=float, default=Scene.diameter_mm)
    parser.add_argument("--skin-type", type=int, choices=range(1, 7), default=Look().skin_type, help="Fitzpatrick, 1 to 6")
    parser.add_argument("--views", type=int, default=Ring().views)
    parser.add_argument("--tilt-deg", type=float, default=Ring().tilt_deg)
    parser.add_argument("--size", type=int, nargs=2, default=(1024, 768), metavar=("COLUMNS", "ROWS"))
    parser.add_argument("--patient-id", default="SCENE-PATIENT", metavar="ID")
    parser.add_argument("--visit", type=int, default=0, help="another visit of the same lesion: new noise and jitter")
    parser.add_argument("--grown-percent", type=float, default=0.0, help="how much larger the volume is than it was")
    parser.add_argument("--mishap", type=Mishap, choices=list(Mishap), help="what goes wrong while the series is taken")
    parser.add_argument("--truth", type=Path, metavar="FILE", help="also write what a measurement should find, as JSON")
    chosen = parser.parse_args(arguments)
    scene = Scene(Shape(chosen.shape), chosen.seed, chosen.diameter_mm, chosen.height_mm, look=Look(skin_type=chosen.skin_type))
    scene = replace(scene.grown(chosen.grown_percent) if chosen.grown_percent else scene, visit=chosen.visit)
    ring, size = Ring(views=chosen.views, tilt_deg=chosen.tilt_deg), (chosen.size[0], chosen.size[1])
    if chosen.mishap is None:
        instances = make_series(scene, ring, patient_id=chosen.patient_id, size=size)
    else:
        scene = scene_of(chosen.mishap, scene)
        instances = unlucky_series(chosen.mishap, scene, ring, size, patient_id=chosen.patient_id)
    for path in write_series(chosen.out, instances):
        print(path)
    truth = scene.truth
    if chosen.truth:
        said = {key: value for key, value in asdict(truth).items() if key != "diameter_mm"}
        chosen.truth.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    print(f"volume {truth.volume_mm3:.3f} mm3, height {truth.height_mm:g} mm")
    print(f"area {truth.area_mm2:.2f} mm2, surface {truth.surface_mm2:.2f} mm2, diameter {truth.diameter_mm:.2f} mm")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
