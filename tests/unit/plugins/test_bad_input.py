"""Weights, devices and pictures that are not as they should be: each leaves a finding or a reason that says so, never a negative."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import dermanode_classify
import dermanode_preprocess
import dermanode_segment
import numpy as np
import pytest
import torch
from dermanode_classify.classifier import load as load_classifier
from dermanode_classify.settings import ClassifySettings
from dermanode_classify.stage import classify_views
from dermanode_networks.runner import Runner
from dermanode_segment.segmenter import load
from dermanode_segment.stage import segment_views
from dermanode_training.data.lesions import Collection
from numpy.typing import NDArray
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from safetensors.torch import load_file

from dermanode.dicom.photograph import make_instances
from dermanode.dicom.read import read_series
from dermanode.domain import Case, StageReport, StageStatus
from dermanode.pipeline.context import Powers
from dermanode.pipeline.hooks import Hooks
from dermanode.pipeline.manifest import read_manifest
from dermanode.pipeline.plan import Candidate, StagePlan
from dermanode.pipeline.run import Chain, Folded

CHECKOUT = Path(__file__).resolve().parents[3]
PLUGINS = {"preprocess": dermanode_preprocess, "segment": dermanode_segment, "classify": dermanode_classify}
Image = NDArray[np.uint8]
Fold = Callable[[Case], Folded]


class Silent:
    """Watches a chain and does nothing."""

    def began(self, stage: str, plugin: str, timeout_s: float) -> None: ...

    def advanced(self, stage: str, plugin: str, fraction: float) -> None: ...

    def ended(self, report: StageReport) -> None: ...


@pytest.fixture
def fold(tiny_models: Any, tmp_path: Path) -> Fold:
    """A case through the stages preprocess, segment and classify, as a worker runs them, with the bundles in `tiny_models`."""
    hooks = Hooks()
    for stage, plugin in PLUGINS.items():
        hooks.add(f"dermanode-{stage}", plugin)
    hooks.register()
    manifests = {
        f"dermanode-{stage}": read_manifest(Path(str(plugin.__file__)).with_name("dermanode.toml"), f"dermanode-{stage}")
        for stage, plugin in PLUGINS.items()
    }
    powers = Powers(device="cpu", threads=1, open_bundle=tiny_models.open)
    chain = Chain(hooks=hooks, manifests=manifests, powers=powers, settings={}, watcher=Silent(), workdir=tmp_path / "work")
    stages = [StagePlan(stage, (Candidate(f"dermanode-{stage}", True),)) for stage in PLUGINS]
    return lambda case: chain.fold(case, stages)


@pytest.fixture
def outlines(tiny_models: Any) -> Any:
    """`tiny_models` with the shipped segmenter in it, which finds lesions."""
    shutil.rmtree(tiny_models.root / "lesion_segmentation")
    shutil.copytree(CHECKOUT / "models" / "lesion_segmentation", tiny_models.root / "lesion_segmentation")
    return tiny_models


@pytest.fixture
def case_of(make_case: Callable[..., Case], make_view: Callable[..., Any]) -> Callable[..., Case]:
    return lambda *images: make_case(*(make_view(image, number=number + 1) for number, image in enumerate(images)))


@dataclass
class SmallDevice:
    """A backend over another, that holds only so many pictures."""

    inner: Callable[[torch.Tensor], tuple[torch.Tensor, ...]]
    most: int

    def __call__(self, pictures: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if len(pictures) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return self.inner(pictures)


def report(folded: Folded, stage: str) -> StageReport:
    return next(one for one in folded.reports if one.stage == stage)


def biased(tiny_models: Any, bias: float) -> None:
    """The segmenter says the same of every pixel."""
    tensors = load_file(tiny_models.weights("lesion_segmentation"))
    last = {name: torch.zeros_like(value) for name, value in tensors.items() if name.startswith("model.2.")}
    for name in last:
        if name.endswith("conv.bias"):
            last[name] += bias
        if name.endswith("running_var"):
            last[name] += 1
    tiny_models.publish("lesion_segmentation", tensors | last)


def missing(models: Any, name: str) -> None:
    models.weights(name).unlink()


def altered(models: Any, name: str) -> None:
    content = bytearray(models.weights(name).read_bytes())
    content[len(content) // 2] ^= 1
    models.weights(name).write_bytes(content)


def newer(models: Any, name: str) -> None:
    models.tell(name, "metadata", version="2.0.0")


def others(models: Any, name: str) -> None:
    other = "lesion_classifier" if name == "lesion_segmentation" else "lesion_segmentation"
    models.publish(name, load_file(models.weights(other)))


def not_a_number(models: Any, name: str) -> None:
    tensors = load_file(models.weights(name))
    models.publish(name, {key: value * float("nan") if value.is_floating_point() else value for key, value in tensors.items()})


BROKEN = [
    (missing, "cannot be read"),
    (altered, "were altered"),
    (newer, "its version is 2.0.0"),
    (others, "the weights"),
    (not_a_number, "hold values that are no numbers"),
]


@pytest.mark.parametrize(("spoil", "words"), BROKEN)
def test_segmenter_with_bad_weights_fails_in_words_and_finds_nothing(
    spoil: Callable[[Any, str], None], words: str, tiny_models: Any, fold: Fold, case_of: Any, photograph: Any
) -> None:
    spoil(tiny_models, "lesion_segmentation")
    folded = fold(case_of(photograph(64, 80)[0]))
    assert report(folded, "segment").status is StageStatus.FAILED
    assert words in report(folded, "segment").reason
    assert "Bundle lesion_segmentation" in report(folded, "segment").reason
    assert folded.case.segmentation is None
    assert report(folded, "classify").status is StageStatus.DECLINED
    assert "no view has a lesion's mask" in report(folded, "classify").reason


@pytest.mark.parametrize(("spoil", "words"), BROKEN)
def test_classifier_with_bad_weights_fails_in_words_and_gives_no_probability(
    spoil: Callable[[Any, str], None], words: str, tiny_models: Any, fold: Fold, case_of: Any, photograph: Any
) -> None:
    biased(tiny_models, 8.0)
    spoil(tiny_models, "lesion_classifier")
    folded = fold(case_of(photograph(64, 80)[0]))
    assert report(folded, "classify").status is StageStatus.FAILED
    assert words in report(folded, "classify").reason
    assert folded.case.classification is None
    assert folded.is_failed


def test_check_of_strangeness_for_another_network_is_refused(tiny_models: Any, fold: Fold, case_of: Any, photograph: Any) -> None:
    biased(tiny_models, 8.0)
    tensors = load_file(tiny_models.weights("lesion_classifier"))
    tiny_models.publish("lesion_classifier", tensors | {"familiarity.mean": torch.zeros(9), "familiarity.precision": torch.eye(9)})
    folded = fold(case_of(photograph(64, 80)[0]))
    assert report(folded, "classify").status is StageStatus.FAILED
    assert "its check of strangeness has 9 numbers" in report(folded, "classify").reason


def test_network_that_answers_nan_fails_and_does_not_read_as_no_lesion(
    tiny_models: Any, fold: Fold, case_of: Any, photograph: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dermanode_segment.segmenter.Eager", lambda network, device: lambda pictures: (pictures[:, :1] * float("nan"),))
    folded = fold(case_of(photograph(64, 80)[0]))
    assert report(folded, "segment").status is StageStatus.FAILED
    assert "answer on cpu is not a number" in report(folded, "segment").reason


def test_segment_runs_fewer_views_at_once_where_memory_is_short(tiny_models: Any, case_of: Any, photograph: Any, context: Any) -> None:
    case = case_of(*(photograph(64, 80, seed=seed)[0] for seed in range(8)))
    case = case.with_finding(dermanode_preprocess.preprocess(case, context))
    whole = load(tiny_models.open("lesion_segmentation"), "cpu")
    short = replace(whole, runner=Runner("lesion_segmentation", SmallDevice(whole.runner.backend, 3), torch.device("cpu")))
    roomy, found = segment_views(case, whole, context), segment_views(case, short, context)
    assert found is not None
    assert roomy is not None
    assert any("did not hold 8 pictures at once: they were run 2 at a time" in remark for remark in found.remarks)
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(found.masks, roomy.masks, strict=True))


def test_classify_runs_fewer_views_at_once_where_memory_is_short(
    tiny_models: Any, fold: Fold, case_of: Any, photograph: Any, context: Any
) -> None:
    biased(tiny_models, 8.0)
    case = fold(case_of(*(photograph(64, 80, seed=seed)[0] for seed in range(4)))).case
    whole = load_classifier(tiny_models.open("lesion_classifier"), "cpu")
    short = replace(whole, runner=Runner("lesion_classifier", SmallDevice(whole.runner.backend, 1), torch.device("cpu")))
    context.bundle = tiny_models.open
    found = classify_views(case, short, ClassifySettings(), context)
    assert found is not None
    assert any("run 1 at a time" in remark for remark in found.remarks)
    assert case.classification is not None
    assert found.top.probability == pytest.approx(case.classification.top.probability, abs=1e-6)


def test_device_without_memory_for_one_picture_is_a_failure_that_names_it(
    tiny_models: Any, fold: Fold, case_of: Any, photograph: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dermanode_segment.segmenter.Eager", lambda network, device: SmallDevice(network, 0))
    folded = fold(case_of(photograph(64, 80)[0]))
    assert report(folded, "segment").status is StageStatus.FAILED
    assert "cpu has no memory for one picture of lesion_segmentation" in report(folded, "segment").reason


def test_empty_mask_is_declined_with_the_number_of_views(tiny_models: Any, fold: Fold, case_of: Any, photograph: Any) -> None:
    biased(tiny_models, -8.0)
    folded = fold(case_of(photograph(64, 80)[0], photograph(64, 80, seed=4)[0]))
    assert report(folded, "segment").status is StageStatus.DECLINED
    assert "no lesion was found in any of 2 view(s)" in report(folded, "segment").reason
    assert report(folded, "classify").status is StageStatus.DECLINED
    assert folded.case.classification is None


def test_full_frame_mask_says_that_its_edge_is_not_seen(tiny_models: Any, fold: Fold, case_of: Any, photograph: Any) -> None:
    biased(tiny_models, 8.0)
    folded = fold(case_of(photograph(64, 80)[0]))
    assert folded.case.segmentation is not None
    (mask,) = folded.case.segmentation.masks
    assert mask.mask.all()
    assert mask.touches_border
    assert any("its edge is not seen" in remark for remark in report(folded, "segment").remarks)
    assert folded.case.classification is not None


def test_lesion_cut_by_the_border_is_said(outlines: Any, fold: Fold, case_of: Any, photograph: Any) -> None:
    image, _ = photograph(600, 800)
    folded = fold(case_of(np.ascontiguousarray(image[:, 420:])))
    assert any("reaches the edge of the picture; a part of it may be missing" in remark for remark in report(folded, "segment").remarks)


def test_picture_of_twenty_pixels_is_enlarged_and_said(outlines: Any, fold: Fold, case_of: Any, photograph: Any) -> None:
    folded = fold(case_of(photograph(20, 20)[0]))
    assert "View 1: only 20 x 20 pixels, enlarged to 512 x 512." in report(folded, "preprocess").remarks
    assert folded.case.segmentation is not None
    assert folded.case.segmentation.masks[0].mask.shape == (20, 20)
    assert folded.case.classification is not None


def test_picture_of_108_megapixels_stays_in_memory(tmp_path: Path) -> None:
    """A JPEG of 12,000 x 9,000 in DICOM, in a process of its own, so that its peak can be told."""
    taken = subprocess.run([sys.executable, "-c", LARGE, str(CHECKOUT), str(tmp_path)], capture_output=True, text=True, check=False)
    assert taken.returncode == 0, taken.stderr
    share, shape, grown_mib = taken.stdout.split(";")
    assert shape.strip() == "(9000, 12000)"
    assert float(share) == pytest.approx(0.3768, abs=0.03)
    # The mask itself is 103 MiB, and exists once as numbers and once as truth values; the picture would be 309 MiB.
    assert float(grown_mib) < 600


LARGE = """
import io, resource, sys
from datetime import UTC, datetime
from pathlib import Path
import cv2, numpy as np
checkout, folder = map(Path, sys.argv[1:])
tile = np.full((500, 750, 3), (150, 165, 215), np.uint8)
cv2.circle(tile, (375, 250), 200, (55, 70, 115), -1)
cv2.imwrite(str(folder / "large.jpg"), cv2.resize(tile[:, 42:-41], (12000, 9000)), [cv2.IMWRITE_JPEG_QUALITY, 80])
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
from pydicom import dcmwrite
from dermanode.dicom.photograph import make_instances
from dermanode.dicom.read import read_series
from dermanode.domain import Case
from dermanode_training.measuring.serving import PlainContext, case_of
import dermanode_preprocess, dermanode_segment
(instance,) = make_instances([folder / "large.jpg"], patient_id="P1", made_at=datetime(2026, 1, 1, tzinfo=UTC))
dcmwrite(folder / "large.dcm", instance, enforce_file_format=True)
context = PlainContext(checkout / "models")
for photograph in (tile, None):
    case = case_of([tile]) if photograph is not None else Case("large", 1, read_series([folder / "large.dcm"]))
    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    case = case.with_finding(dermanode_preprocess.preprocess(case, context))
    case = case.with_finding(dermanode_segment.segment(case, context))
mask = case.segmentation.masks[0].mask
print(mask.mean(), mask.shape, peak() - before, sep=";")
"""


def dicom(folder: Path, pixels: NDArray[Any], **header: object) -> Case:
    """Pixels as a native DICOM photograph, read as the node reads it."""
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.77.1.4", "1.2.3.4"
    image.StudyInstanceUID, image.SeriesInstanceUID, image.PatientID, image.Modality = "1.2.3", "1.2.3.1", "P1", "XC"
    image.Rows, image.Columns = pixels.shape[:2]
    bits = pixels.dtype.itemsize * 8
    samples = pixels.shape[2] if pixels.ndim == 3 else 1
    defaults = {"SamplesPerPixel": samples, "PhotometricInterpretation": "RGB" if samples == 3 else "MONOCHROME2", "InstanceNumber": 1}
    if samples > 1:
        defaults["PlanarConfiguration"] = 0
    depth = {"BitsAllocated": bits, "BitsStored": bits, "HighBit": bits - 1, "PixelRepresentation": 0}
    for keyword, value in {**defaults, **depth, **header}.items():
        setattr(image, keyword, value)
    image.PixelData = pixels.tobytes()
    image["PixelData"].VR = "OB" if bits == 8 else "OW"
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID, image.file_meta.MediaStorageSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    dcmwrite(folder / "image.dcm", image, enforce_file_format=True)
    return Case("case", 1, read_series([folder / "image.dcm"]))


def outline(folded: Folded) -> NDArray[np.bool_]:
    assert folded.case.segmentation is not None, report(folded, "segment").reason
    return folded.case.segmentation.masks[0].mask


def dice(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    return 2 * float((found & truth).sum()) / float(found.sum() + truth.sum())


@pytest.mark.parametrize(
    ("depth", "header"),
    [
        (8, {}),
        (16, {}),
        (16, {"BitsStored": 12, "HighBit": 11}),
        (16, {"WindowCenter": 32768, "WindowWidth": 65536}),
    ],
)
def test_grey_picture_is_outlined_and_said_to_have_no_colour(
    depth: int, header: dict[str, object], outlines: Any, fold: Fold, photograph: Any, tmp_path: Path
) -> None:
    image, truth = photograph(300, 400)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    stored = int(str(header.get("BitsStored", depth)))
    pixels = grey if depth == 8 else (grey.astype(np.uint16) << (stored - 8))
    folded = fold(dicom(tmp_path, pixels, **header))
    assert any("no colour" in remark for remark in report(folded, "preprocess").remarks)
    assert dice(outline(folded), truth) > 0.8
    assert folded.case.classification is not None


def test_colours_of_sixteen_bits_give_the_outline_of_eight(outlines: Any, fold: Fold, photograph: Any, tmp_path: Path) -> None:
    image, _ = photograph(300, 400)
    eight = outline(fold(dicom(tmp_path, image)))
    sixteen = outline(fold(dicom(tmp_path, image.astype(np.uint16) << 8)))
    assert np.array_equal(eight, sixteen)


def test_retired_argb_is_unreadable_and_never_outlined(fold: Fold, photograph: Any, tmp_path: Path) -> None:
    image, _ = photograph(64, 80)
    folded = fold(dicom(tmp_path, np.dstack([np.full((64, 80), 255, np.uint8), image]), PhotometricInterpretation="ARGB"))
    assert report(folded, "preprocess").status is StageStatus.FAILED
    assert "Photometric Interpretation 'ARGB' is not supported" in report(folded, "preprocess").reason
    assert {report(folded, stage).status for stage in ("segment", "classify")} == {StageStatus.DECLINED}


def imported(folder: Path, pixels: NDArray[Any]) -> Case:
    """Pixels (BGR or BGRA) as a PNG that a person imports."""
    cv2.imwrite(str(folder / "photograph.png"), pixels)
    (instance,) = make_instances([folder / "photograph.png"], patient_id="P1", made_at=datetime(2026, 1, 1, tzinfo=UTC))
    dcmwrite(folder / "photograph.dcm", instance, enforce_file_format=True)
    return Case("case", 1, read_series([folder / "photograph.dcm"]))


def test_alpha_channel_of_an_imported_photograph_changes_nothing(outlines: Any, fold: Fold, photograph: Any, tmp_path: Path) -> None:
    bgr = photograph(300, 400)[0][..., ::-1]
    plain = outline(fold(imported(tmp_path, bgr)))
    alpha = np.random.default_rng(0).integers(0, 256, (300, 400), np.uint8)
    assert np.array_equal(outline(fold(imported(tmp_path, np.dstack([bgr, alpha])))), plain)


def decoded(folder: Path, pixels: NDArray[Any]) -> Image:
    """Pixels as a PNG of a set of data, decoded as training and evaluation do."""
    (folder / "Set").mkdir(exist_ok=True)
    cv2.imwrite(str(folder / "Set" / "1.png"), pixels)
    (folder / "lesions.csv").write_text("id,set,split,image,mask,label7,label8\n1,Set,val,1.png,,,\n", encoding="utf-8")
    collection = Collection(folder)
    return collection.image(collection.lesions[0])


def test_photographs_of_a_folder_are_eight_bit_colour_whatever_their_file_holds(photograph: Any, tmp_path: Path) -> None:
    rgb = photograph(60, 80)[0]
    bgr, grey = np.ascontiguousarray(rgb[..., ::-1]), cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    assert np.array_equal(decoded(tmp_path, np.dstack([bgr, np.zeros((60, 80), np.uint8)])), rgb)
    assert np.array_equal(decoded(tmp_path, bgr.astype(np.uint16) * 257), rgb)
    assert np.array_equal(decoded(tmp_path, grey), np.dstack([grey] * 3))
    assert np.array_equal(decoded(tmp_path, grey.astype(np.uint16) * 257), np.dstack([grey] * 3))
