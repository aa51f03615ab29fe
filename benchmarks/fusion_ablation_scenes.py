"""Photographs of real lesions laid over made-up reliefs, photographed again from a ring, and what the chain says of them.

There are no photographs of one lesion from several sides with a diagnosis. So the colours are those of a photograph, and the heights are
drawn without a look at the diagnosis: what comes out says whether the third dimension does harm, never whether it helps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from dermanode_classify import BUNDLE as CLASSIFIER
from dermanode_classify.classifier import Answer, Classifier, load
from dermanode_classify.fusion import BUNDLE as FUSION
from dermanode_classify.fusion import FARTHEST, Fusion, load_fusion
from dermanode_classify.geometry import FEATURES, Geometry, geometry_of
from dermanode_classify.stage import shown_crops
from dermanode_reconstruct.choice import choose_view
from dermanode_reconstruct.settings import ReconstructSettings
from dermanode_reconstruct.single_view import reconstruct_view
from dermanode_training.data.lesions import Collection, DataMissing, Lesion
from dermanode_training.fusing.table import STAGES
from dermanode_training.measuring.listing import Listing, listings
from dermanode_training.measuring.serving import PlainContext, case_of
from numpy.typing import NDArray

from dermanode.dicom.read import read_series
from dermanode.domain import Case, Series, Surface
from dermanode.pipeline.bundles import open_bundle
from dermanode.testing.camera import photograph
from dermanode.testing.relief import USUAL_HEIGHT_MM, Relief, Shape
from dermanode.testing.ring import Ring
from dermanode.testing.scenes import Look, RenderedView, Scene, make_series, write_series
from dermanode.testing.skin import Skin, grow_skin

SHARES = (0.05, 0.25)
"""Of the frame: a lesion as large as that has skin around it in every view, and is large enough to be told."""
SHAPES = (Shape.DOME, Shape.PLATEAU, Shape.CRATER, Shape.FLAT)
SIZE = (768, 768)
FRAMED = 0.9
"""The width of the rendered picture in that of the photograph: what lies beyond is the photograph's skin, mirrored."""
SMOOTHED_MM = 0.25
"""The share of the way to the outline has creases along the middle of a lesion; no skin has."""
LIGHTEST = 1 / 1.05
"""Linear albedo of a white pixel: the camera's gain makes it white again."""
FIRST_SEED = 5000


@dataclass(frozen=True)
class Form:
    """A made-up relief."""

    shape: Shape
    height_mm: float
    diameter_mm: float
    """Of the circle of the lesion's area."""
    seed: int


@dataclass(frozen=True, eq=False)
class Told:
    """What the chain says of one lesion, by each way."""

    lesion: Lesion
    form: Form
    is_malignant: bool
    chances: Mapping[str, NDArray[np.float64]]
    """By way: the groups' probabilities, in the order of the fusion's labels."""
    conf3d: Mapping[str, float]
    """By the ways that differ in their surface alone."""
    strange: Mapping[str, tuple[str, ...]]
    """By the same: features that lie so far from the training pictures that the fusion takes them as less."""
    is_metric: bool
    """The eight views gave millimetres."""
    reason: str
    """Why they did not."""
    is_declined: bool
    """The classify stage would say nothing, because the pictures are too unlike those it was trained on."""


def chosen(collection: Collection, split: str, count: int, groups: Listing) -> list[Lesion]:
    """At most so many, the benign half first, then as many malignant ones: outlined, clear of the edge, one photograph a lesion.

    They are spread evenly over the split. Raises `DataMissing` where there is none of both.
    """
    found: dict[str, list[Lesion]] = {"BENIGN": [], "MALIGNANT": []}
    known = set()
    for lesion in collection.side(split):
        place = groups.truth(lesion)
        rows = None if place is None else found.get(groups.labels[place])
        if rows is not None and lesion.mask and lesion.group not in known and _is_clear(collection.mask(lesion)):
            known.add(lesion.group)
            rows.append(lesion)
    half = min(count // 2, *(len(rows) for rows in found.values()))
    if not half:
        raise DataMissing(f"{split} has no outlined lesions of both kinds that are clear of the edge and fill 5 to 25 % of the frame.")
    return [rows[round(at)] for rows in found.values() for at in np.linspace(0, len(rows) - 1, half)]


def forms(count: int) -> list[Form]:
    """So many reliefs. The caller gives the same ones to benign and to malignant lesions, so that they can tell nothing."""
    made = []
    for number in range(count):
        random = np.random.default_rng([FIRST_SEED, number])
        shape = SHAPES[number % len(SHAPES)]
        height_mm = USUAL_HEIGHT_MM[shape] * random.uniform(0.25, 0.75)
        made.append(Form(shape, float(height_mm), float(random.uniform(5, 9)), FIRST_SEED + number))
    return made


def skin_of(pixels: NDArray[np.uint8], mask: NDArray[np.bool_], form: Form) -> tuple[Skin, Ring]:
    """The photograph's colours, linear, on a skin that is raised where the mask says lesion, and the ring that sees as much of it.

    Beyond the photograph its mirror image goes on. The lesion's middle is the origin. Furrows and grain are those of the scenes.
    """
    side_px = min(mask.shape)
    step_of_pixel = form.diameter_mm / (2 * float(np.sqrt(np.count_nonzero(mask) / np.pi)))
    ring = Ring(field_mm=FRAMED * side_px * step_of_pixel)
    half_mm = float(ring.field_mm / 2 * np.hypot(1, 1 / np.cos(np.deg2rad(ring.tilt_deg))) * 1.06 + 1)
    step_mm = max(ring.spacing_mm(SIZE[0]), 0.012)
    rows, columns = np.nonzero(mask)
    bare = grow_skin(Relief(Shape.FLAT, 1.0, 0.0), Look(pigment=0.0, dots=0, hairs=0), form.seed, half_mm=half_mm, step_mm=step_mm)
    axis = np.linspace(-half_mm, half_mm, bare.height_mm.shape[0])
    x, y = np.meshgrid(columns.mean() + axis / step_of_pixel, rows.mean() + axis / step_of_pixel)
    where = (x.astype(np.float32), y.astype(np.float32))
    colours = cv2.remap(_linear(pixels), *where, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    # Mirrored lesions beyond the photograph's edge are seen by nobody, but its skin is not to be raised there.
    inside = cv2.remap(mask.astype(np.float32), *where, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT) > 0.5
    albedo = np.clip(colours, 0.002, 1).transpose(2, 0, 1).astype(np.float32) * np.float32(LIGHTEST)
    return Skin(half_mm, bare.step_mm, np.ascontiguousarray(albedo), _raised(inside, form, step_mm) + bare.height_mm, inside), ring


def photographed(skin: Skin, ring: Ring, form: Form) -> list[RenderedView]:
    """The ring's pictures of that skin."""
    random = np.random.default_rng([form.seed, 2])
    views = []
    for azimuth_deg, pose in zip(ring.azimuths_deg(), list(ring.poses(random)), strict=True):
        pixels, mask = photograph(skin, ring, pose, SIZE, random)
        views.append(RenderedView(pixels, mask, *pose, ring.intrinsics(SIZE), azimuth_deg, ring))
    return views


@dataclass
class Chain:
    """The plugins, ready to be asked."""

    models: Path
    classifier: Classifier
    fusion: Fusion
    groups: Listing

    @classmethod
    def of(cls, models: Path) -> Chain:
        """Raises `BundleError`."""
        classifier = load(open_bundle(models, CLASSIFIER), "cpu")
        return cls(models, classifier, load_fusion(open_bundle(models, FUSION), "cpu"), listings(classifier.classes)[2])

    def tell(self, collection: Collection, lesion: Lesion, form: Form) -> Told:
        """One lesion: the photograph as it is, one rendered view, and all of them with and without each kind of surface."""
        pixels = collection.image(lesion)
        skin, ring = skin_of(pixels, collection.mask(lesion), form)
        with TemporaryDirectory(prefix="dermanode-laid-") as folder:
            made = make_series(
                Scene(form.shape, form.seed), ring, patient_id=f"LAID-{lesion.number}", views=photographed(skin, ring, form), size=SIZE
            )
            files = write_series(Path(folder), made)
            flat, one = self._through(case_of([pixels], lesion.id).series), self._through(read_series(files[:1]))
            case = self._through(read_series(files))
            answer, alone = self._answer(case), self._answer(one)
            shading = _shading_of(case)
        laid = {name: _geometry(case, found) for name, found in (("flat", None), ("shading", shading), ("views", case.surface))}
        chances = {
            "photograph": self._fused(self._answer(flat), _geometry(flat, flat.surface)),
            "one": self._fused(alone, _geometry(one, one.surface)),
            "sums": self.classifier.classes.grouped(answer.chances).mean(0),
        }
        chances |= {name: self._fused(answer, geometry) for name, geometry in laid.items()}
        surface = case.surface
        is_metric = surface is not None and surface.is_metric
        return Told(
            lesion,
            form,
            self.groups.truth(lesion) == self.groups.labels.index("MALIGNANT"),
            chances,
            {name: geometry.confidence for name, geometry in laid.items()},
            {name: self._strange(geometry) for name, geometry in laid.items()},
            is_metric,
            "" if is_metric else "; ".join(surface.remarks[:1]) if surface else "no surface",
            bool(np.median(answer.strangeness) > self.classifier.decline_limit),
        )

    def _through(self, series: Series) -> Case:
        context = PlainContext(self.models)
        case = Case(id=series.series_instance_uid, revision=1, series=series)
        for stage in STAGES:
            finding = stage(case, context)
            case = case if finding is None else case.with_finding(finding)
        return case

    def _answer(self, case: Case) -> Answer:
        _, crops = shown_crops(case, self.classifier)
        return self.classifier.answer(crops)

    def _fused(self, answer: Answer, geometry: Geometry) -> NDArray[np.float64]:
        return self.fusion.groups(answer.features, answer.chances, geometry).groups

    def _strange(self, geometry: Geometry) -> tuple[str, ...]:
        network = self.fusion.network
        away = (geometry.values - network.solid_middle.double().numpy()) / network.solid_deviation.double().numpy()
        is_known = network.solid_known.numpy() > 0
        return tuple(name for name, far, known in zip(FEATURES, away, is_known, strict=True) if known and abs(far) > FARTHEST)


def _geometry(case: Case, surface: Surface | None) -> Geometry:
    """Of the case with that surface in the place of its own."""
    kept = replace(case, findings=tuple(one for one in case.findings if not isinstance(one, Surface)))
    geometry = geometry_of(kept if surface is None else kept.with_finding(surface))
    if geometry is None:
        raise ValueError(f"{case.id} was not measured")
    return geometry


def _is_clear(mask: NDArray[np.bool_]) -> bool:
    return SHARES[0] <= float(mask.mean()) <= SHARES[1] and not (mask[[0, -1]].any() or mask[:, [0, -1]].any())


def _linear(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """sRGB bytes as linear light, 0 to 1 (IEC 61966-2-1)."""
    encoded = np.arange(256) / 255
    table = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4).astype(np.float32)
    return np.asarray(table[pixels])


def _raised(inside: NDArray[np.bool_], form: Form, step_mm: float) -> NDArray[np.float32]:
    """The form's profile over the share of the way from the lesion's middle to its outline, in mm."""
    away = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    share = 1 - away / max(float(away.max()), 1.0)
    heights = np.where(inside, Relief(form.shape, 1.0, form.height_mm).profile(share.astype(np.float64)), 0.0)
    return np.asarray(cv2.GaussianBlur(heights, (0, 0), SMOOTHED_MM / step_mm), np.float32)


def _shading_of(case: Case) -> Surface | None:
    """What the reconstruct stage makes of the same views where it finds no depth in them."""
    if case.segmentation is None:
        return None
    settings = ReconstructSettings()
    choice = choose_view(case.series.views, case.segmentation, case.clean_views, settings.least_lesion_px)
    return None if choice is None else reconstruct_view(choice, settings)
