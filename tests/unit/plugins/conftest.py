"""Cases built of arrays, for the tests of stages."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from dermanode.dicom.read import read_series
from dermanode.domain import (
    UID,
    Algorithm,
    CameraGeometry,
    Case,
    Finding,
    Patient,
    Prior,
    Segmentation,
    Series,
    View,
    ViewMask,
)
from dermanode.hookspecs import Bundle
from dermanode.pipeline.bundles import open_bundle
from dermanode.testing import mishaps
from dermanode.testing.scenes import Mishap, RenderedView, Ring, Scene, make_series, render, write_series

SHIPPED = Path(__file__).resolve().parents[3] / "models"
ALGORITHM = Algorithm("Test", "1")


@dataclass(frozen=True, eq=False)
class ArrayPixels:
    """A pixel source over an array, which scales as JPEG does: by halves, never below what was asked for."""

    array: NDArray[np.uint8]

    def decode(self, longest_side_px: int | None = None) -> NDArray[np.uint8]:
        pixels = self.array
        if longest_side_px is not None:
            factor = 1
            while factor < 8 and max(pixels.shape[:2]) // (2 * factor) >= longest_side_px:
                factor *= 2
            rows, columns = pixels.shape[:2]
            pixels = cv2.resize(pixels, (-(-columns // factor), -(-rows // factor)), interpolation=cv2.INTER_AREA)
        return pixels


@dataclass
class Log:
    events: list[str] = field(default_factory=list)

    def info(self, event: str, **fields: Any) -> None:
        self.events.append(event)

    def warning(self, event: str, **fields: Any) -> None:
        self.events.append(event)


@dataclass
class Context:
    """A stage context that remembers why a stage declined."""

    workdir: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    threads: int = 1
    deadline: float = field(default_factory=lambda: time.monotonic() + 60)
    log: Log = field(default_factory=Log)
    reasons: list[str] = field(default_factory=list)
    progressed: list[float] = field(default_factory=list)

    def bundle(self, name: str) -> Bundle:
        raise AssertionError(f"no bundle {name} here")

    def progress(self, fraction: float) -> None:
        self.progressed.append(fraction)

    def decline(self, reason: str) -> None:
        self.reasons.append(reason)


@pytest.fixture
def make_context(tmp_path: Path) -> Callable[..., Context]:
    def make(**settings: Any) -> Context:
        return Context(tmp_path, settings)

    return make


@pytest.fixture
def context(make_context: Callable[..., Context]) -> Context:
    return make_context()


@pytest.fixture
def make_view() -> Callable[..., View]:
    def make(pixels: NDArray[np.uint8], *, number: int = 1, spacing_mm: float | None = None, is_contact: bool | None = None) -> View:
        spacing = None if spacing_mm is None else (spacing_mm, spacing_mm)
        source = None if spacing_mm is None else "pixel spacing (0028,0030)"
        return View(
            sop_instance_uid=UID(f"1.2.3.{number}"),
            sop_class_uid=UID("1.2.840.10008.5.1.4.1.1.77.1.4"),
            rows=pixels.shape[0],
            columns=pixels.shape[1],
            source=ArrayPixels(pixels),
            number=number,
            geometry=CameraGeometry(pixel_spacing_mm=spacing, spacing_source=source, is_contact=is_contact),
        )

    return make


@pytest.fixture
def make_case() -> Callable[..., Case]:
    def make(
        *views: View,
        masks: Sequence[NDArray[np.bool_]] = (),
        findings: Sequence[Finding] = (),
        priors: Sequence[Prior] = (),
        acquired_at: datetime | None = None,
        confidence: float = 0.9,
    ) -> Case:
        series = Series(UID("1.2.3"), UID("1.2.3.0"), Patient("P1"), "XC", tuple(views), acquired_at=acquired_at)
        case = Case("case", 1, series, tuple(priors), tuple(findings))
        if masks:
            case = case.with_finding(
                Segmentation(
                    algorithm=ALGORITHM,
                    masks=tuple(
                        ViewMask(
                            sop_instance_uid=view.sop_instance_uid,
                            mask=mask,
                            confidence=confidence if mask.any() else 0.0,
                            touches_border=bool(mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any()),
                        )
                        for view, mask in zip(views, masks, strict=True)
                    ),
                )
            )
        return case

    return make


DIAGNOSES = ("NV", "MEL", "BKL", "AK")


@pytest.fixture
def disc_data(tmp_path: Path) -> Path:
    """A folder laid out as training data are: twelve photographs of discs, ten to fit and two to choose by, with masks and labels."""
    random = np.random.default_rng(0)
    folder = tmp_path / "data" / "Discs"
    folder.mkdir(parents=True)
    with (folder.parent / "lesions.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["id", "set", "split", "image", "mask", "label7", "label8"])
        for number in range(12):
            mask = np.zeros((96, 96), np.uint8)
            cv2.circle(mask, (int(random.integers(30, 66)), int(random.integers(30, 66))), int(random.integers(15, 28)), 255, -1)
            pixels = np.where(mask[..., None] > 0, (60, 70, 120), (150, 165, 215)).astype(np.uint8)
            cv2.imwrite(str(folder / f"{number}.jpg"), pixels)
            cv2.imwrite(str(folder / f"{number}.png"), mask)
            label = DIAGNOSES[number % len(DIAGNOSES)]
            split = "val" if number > 9 else "train"
            table.writerow([str(number), "Discs", split, f"{number}.jpg", f"{number}.png", "AKIEC" if label == "AK" else label, label])
    return folder.parent


@dataclass
class Models:
    """A folder of small bundles with fresh weights, which a test may spoil."""

    root: Path

    def open(self, name: str) -> Bundle:
        return open_bundle(self.root, name)

    def weights(self, name: str) -> Path:
        return self.root / name / "models" / "model.safetensors"

    def publish(self, name: str, tensors: Mapping[str, Any]) -> None:
        """Writes weights and their digest."""
        from safetensors.torch import save_file

        save_file(dict(tensors), self.weights(name))
        self.seal(name)

    def seal(self, name: str) -> None:
        """Makes the metadata promise the weights' file as it is."""
        digest = hashlib.sha256(self.weights(name).read_bytes()).hexdigest()
        self.tell(name, "metadata", weights={"file": "models/model.safetensors", "sha256": digest})

    def tell(self, name: str, file: str, **changes: Any) -> None:
        """Changes keys of a configuration; None takes one out."""
        path = self.root / name / "configs" / f"{file}.json"
        told = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        kept = {key: value for key, value in (told | changes).items() if value is not None}
        path.write_text(json.dumps(kept), encoding="utf-8")


@pytest.fixture
def tiny_models(tmp_path: Path) -> Models:
    """`lesion_segmentation` and `lesion_classifier`, configured as the shipped ones but for a network of two levels."""
    import torch

    made = Models(tmp_path / "models")
    trunk = {"_target_": "dermanode_classify.trunks.residual", "channels": [4, 8], "strides": [2, 2], "features": 16, "units": 1}
    networks = {
        "lesion_segmentation": {
            "_target_": "UNet",
            "spatial_dims": 2,
            "in_channels": 3,
            "out_channels": 1,
            "channels": [4, 8],
            "strides": [2],
        },
        "lesion_classifier": {"_target_": "dermanode_classify.network.LesionClassifier", "trunk": trunk, "classes": 8, "seen": ["level0"]},
    }
    # What validation chose for the shipped weights is not what these tests are about.
    chosen = {"is_mirrored": False, "outline": {"threshold": 0.55, "refinements": 3, "bilateral_weight": 3.0, "gaussian_weight": 0.5}}
    for name, network in networks.items():
        shutil.copytree(SHIPPED / name / "configs", made.root / name / "configs", ignore=shutil.ignore_patterns("networks"))
        (made.root / name / "models").mkdir()
        made.tell(name, "inference", network_def=network, side_px=32, run=None, imports=None, strangeness_limit=1e9)
        if name == "lesion_segmentation":
            made.tell(name, "inference", **chosen)
        made.tell(name, "metadata", version="0.1.0", weights={"file": "models/model.safetensors", "sha256": "0" * 64}, eval_metrics={})
        torch.manual_seed(0)
        beside = {"familiarity.mean": torch.zeros(8), "familiarity.precision": torch.eye(8)} if name == "lesion_classifier" else {}
        made.publish(name, made.open(name).parser().get_parsed_content("network_def").state_dict() | beside)
    return made


@pytest.fixture
def photograph() -> Callable[..., tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    """Skin with a soft-edged brown lesion a little off the middle, and where that is."""

    def make(rows: int = 600, columns: int = 800, *, radius: float = 0.25, seed: int = 3) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        random = np.random.default_rng(seed)
        y, x = np.mgrid[:rows, :columns].astype(np.float32)
        angle = np.arctan2(y - rows * 0.48, x - columns * 0.53)
        edge = radius * rows * (1 + 0.12 * np.cos(3 * angle) + 0.06 * np.sin(5 * angle))
        away = np.hypot(x - columns * 0.53, y - rows * 0.48) - edge
        share = 1 / (1 + np.exp(np.clip(away / 4, -50, 50)))[..., None]
        speckle = cv2.GaussianBlur(random.standard_normal((rows, columns)).astype(np.float32), (0, 0), 3)[..., None] * 40
        skin, lesion = np.array([215, 165, 150], np.float32), np.array([115, 70, 55], np.float32)
        pixels = skin * (1 - share) + (lesion + speckle) * share + random.normal(0, 3, (rows, columns, 1))
        return np.clip(pixels, 0, 255).astype(np.uint8), np.asarray(away < 0)

    return make


SMALL = (512, 384)


class Darkroom:
    """Renders each scene once a session, and makes cases of what was rendered, as a ring would send it."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._made, self._series = folder, {}, 0

    def render(self, scene: Scene, ring: Ring | None = None, size: tuple[int, int] = SMALL, skin: Any = None) -> list[RenderedView]:
        key = scene, ring or Ring(), size
        if key not in self._made:
            self._made[key] = tuple(render(scene, ring, size, skin))
        return list(self._made[key])

    def take(self, mishap: Mishap, scene: Scene) -> mishaps.Taken:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(mishaps, "render", self.render)
            return mishaps.take(mishap, scene, Ring(), SMALL)

    def case(self, views: Sequence[RenderedView], scene: Scene, *, masks: Sequence[NDArray[np.bool_]] | None = None, **stated: Any) -> Case:
        """The views as JPEG in DICOM, read back, outlined as the scene says or by `masks`."""
        self._series += 1
        instances = make_series(scene, views=views, **stated)
        series = read_series(write_series(self._folder / str(self._series), instances))
        outlines = [view.mask for view in views] if masks is None else masks
        found = tuple(
            ViewMask(
                sop_instance_uid=view.sop_instance_uid,
                mask=mask.copy(),
                confidence=0.9 if mask.any() else 0.0,
                touches_border=bool(mask[[0, -1]].any() or mask[:, [0, -1]].any()),
            )
            for view, mask in zip(series.views, outlines, strict=True)
        )
        return Case("case", 1, series, (), (Segmentation(algorithm=ALGORITHM, masks=found),))


@pytest.fixture(scope="session")
def darkroom(tmp_path_factory: pytest.TempPathFactory) -> Darkroom:
    return Darkroom(tmp_path_factory.mktemp("darkroom"))


@dataclass(frozen=True, eq=False)
class Tried:
    """What the reconstruct stage made of a case."""

    surface: Any
    reasons: tuple[str, ...]
    """Why it declined."""

    def measured(self, key: str) -> Any:
        return next(one for one in self.surface.measurements if one.key == key)

    @property
    def words(self) -> str:
        """All that is said to the reader."""
        if self.surface is None:
            return " ".join(self.reasons)
        return " ".join([*self.surface.remarks, *(why for _, why in self.surface.dropped_views)])


@pytest.fixture(scope="session")
def reconstructed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Tried]:
    """Takes a case through the hook of the reconstruct stage."""
    import dermanode_reconstruct

    def run(case: Case, *, threads: int = 1, **settings: Any) -> Tried:
        # Tests do not fail because the machine is busy.
        context = Context(
            tmp_path_factory.mktemp("work"), {"motion_limit_s": 200.0} | settings, threads=threads, deadline=time.monotonic() + 600
        )
        return Tried(dermanode_reconstruct.reconstruct(case, context), tuple(context.reasons))

    return run
