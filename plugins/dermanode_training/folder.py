"""A folder of photographs through the serving path: what the bundles' `run` does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import dermanode_classify
import dermanode_fuse
import dermanode_preprocess
import dermanode_reconstruct
import dermanode_segment
import numpy as np

from dermanode.domain import Case
from dermanode_training.data.lesions import DataMissing
from dermanode_training.measuring.serving import PlainContext, case_of

SUFFIXES = {".jpg", ".jpeg", ".png"}


def segment(bundle_root: str, dataset_dir: str, output_dir: str, device: str = "cpu") -> None:
    """Writes NAME_mask.png, at the photograph's own size, for every JPEG or PNG photograph of the folder."""
    models, out = Path(bundle_root).resolve().parent, Path(output_dir)
    out.mkdir(parents=True, exist_ok=True)
    for path in _photographs(Path(dataset_dir)):
        case, context = _segmented(path, models, device)
        if case.segmentation is None:
            print(f"{path.name}: {'; '.join(context.declined)}")
            continue
        (found,) = case.segmentation.masks
        cv2.imwrite(str(out / f"{path.stem}_mask.png"), found.mask.astype(np.uint8) * 255)
        print(f"{path.name}: lesion on {found.mask.mean():.1%} of the picture, confidence {found.confidence:.2f}")


def classify(bundle_root: str, dataset_dir: str, output_dir: str, device: str = "cpu") -> None:
    """Writes NAME.json with the probabilities for every JPEG or PNG photograph of the folder."""
    models, out = Path(bundle_root).resolve().parent, Path(output_dir)
    out.mkdir(parents=True, exist_ok=True)
    for path in _photographs(Path(dataset_dir)):
        case, context = _segmented(path, models, device)
        found = dermanode_classify.classify(case, context)
        if found is None:
            print(f"{path.name}: {'; '.join(context.declined)}")
            continue
        chances = {one.label: round(one.probability, 4) for one in (*found.diagnosis, *found.groups)}
        answer = {"probabilities": chances, "is_in_domain": found.is_in_domain, "remarks": found.remarks}
        (out / f"{path.stem}.json").write_text(json.dumps(answer, indent=1), encoding="utf-8")
        print(f"{path.name}: {found.top.label} {found.top.probability:.2f}")


def fuse(bundle_root: str, dataset_dir: str, output_dir: str, device: str = "cpu") -> None:
    """Writes NAME.json with the groups' probabilities, by picture and geometry, for every JPEG or PNG photograph of the folder."""
    models, out = Path(bundle_root).resolve().parent, Path(output_dir)
    out.mkdir(parents=True, exist_ok=True)
    for path in _photographs(Path(dataset_dir)):
        case, context = _segmented(path, models, device)
        for stage in (dermanode_reconstruct.reconstruct, dermanode_fuse.fuse):
            finding = stage(case, context)
            case = case if finding is None else case.with_finding(finding)
        found = dermanode_classify.classify(case, replace(context, settings={"fusion": True}))
        if found is None:
            print(f"{path.name}: {'; '.join(context.declined)}")
            continue
        chances = {one.label: round(one.probability, 4) for one in found.groups}
        answer = {"probabilities": chances, "is_in_domain": found.is_in_domain, "remarks": found.remarks}
        (out / f"{path.stem}.json").write_text(json.dumps(answer, indent=1), encoding="utf-8")
        print(f"{path.name}: {', '.join(f'{label} {chance:.2f}' for label, chance in chances.items())}")


def _photographs(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise DataMissing(f"{folder} holds no JPEG or PNG photograph: set dataset_dir.")
    return found


def _segmented(path: Path, models: Path, device: str) -> tuple[Case, PlainContext]:
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if pixels is None:
        raise DataMissing(f"{path} cannot be decoded.")
    context = PlainContext(models, device=device)
    case = case_of([np.asarray(pixels, np.uint8)], path.stem)
    for stage in (dermanode_preprocess.preprocess, dermanode_segment.segment):
        finding = stage(case, context)
        case = case if finding is None else case.with_finding(finding)
    return case, context
