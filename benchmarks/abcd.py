"""What the ABCD rule as it is measured tells of melanoma and nevus: the parts, the total dermoscopy score, and each structure of D.

    python benchmarks/abcd.py --data DIR [--split val] [--limit 400] [--json FILE]

Lesions are outlined by the collection's own masks, so that the figures are those of the rule and not of a segmenter. The areas under the
curve are for melanoma against nevus; a lesion without skin around it has neither B nor C, and counts only for A and D. Its thresholds were
set on `train`. D is worth its name where `total_dermoscopy_score` does no worse than `abc_partial_score`, which is the total without it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from dermanode_fuse.appearance import Outlined, look_at
from dermanode_fuse.catalogue import ABC_PARTIAL, ABCD_A, ABCD_B, ABCD_C, ABCD_D, DERMOSCOPY_SCORE
from dermanode_fuse.score import parts_of, total
from dermanode_fuse.settings import FuseSettings
from dermanode_fuse.shape import main_region
from dermanode_training.data.lesions import Collection, DataMissing, Lesion
from dermanode_training.measuring.serving import case_of
from dermanode_training.scoring.metrics import area_under_curve

from dermanode.domain.codes import Quantity

PARTS = (ABCD_A, ABCD_B, ABCD_C, ABCD_D)
TOTALS = (ABC_PARTIAL, DERMOSCOPY_SCORE)
STRUCTURES = ("pigment network", "dots", "globules", "branched streaks", "structureless areas")


@dataclass(frozen=True)
class Scored:
    """One photograph."""

    id: str
    is_melanoma: bool
    scores: dict[str, float | None]
    structures: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """How well one number tells melanoma from nevus."""

    key: str
    pictures: int
    melanomas: int
    auc: float
    melanoma_median: float
    nevus_median: float


def chosen(lesions: Sequence[Lesion], limit: int) -> list[Lesion]:
    """At most `limit`, half of them melanomas where there are so many, evenly over the split."""
    found: list[Lesion] = []
    for label in ("MEL", "NV"):
        rows = [lesion for lesion in lesions if lesion.label == label and lesion.mask]
        found += [rows[round(place)] for place in np.linspace(0, len(rows) - 1, min(limit // 2, len(rows)))] if rows else []
    return found


def scored(collection: Collection, lesion: Lesion, settings: FuseSettings) -> Scored | None:
    """None where the mask shows no lesion to measure."""
    mask = collection.mask(lesion)
    if np.count_nonzero(mask) < settings.least_lesion_px:
        return None
    view = case_of([collection.image(lesion)], lesion.id).series.views[0]
    one = look_at(Outlined(view, main_region(mask)), settings)
    parts = parts_of(one, settings)
    told: dict[Quantity, float | None] = {**parts, **{quantity: total(parts, quantity) for quantity in TOTALS}}
    return Scored(lesion.id, lesion.label == "MEL", {one.key: value for one, value in told.items()}, one.structures.names(settings))


def row_of(key: str, pictures: Sequence[Scored]) -> Row:
    told = [(one.is_melanoma, value) for one in pictures if (value := one.scores[key]) is not None]
    truth, values = np.array([is_melanoma for is_melanoma, _ in told]), np.array([value for _, value in told])
    auc = area_under_curve(truth, values)
    return Row(key, len(told), int(truth.sum()), auc, float(np.median(values[truth])), float(np.median(values[~truth])))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with lesions.csv and the archives")
    parser.add_argument("--split", default="val")
    parser.add_argument("--limit", type=int, default=400, help="so many pictures at most")
    parser.add_argument("--json", type=Path, help="also writes the figures there")
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    try:
        collection = Collection(options.data)
        lesions = chosen(collection.side(options.split), options.limit)
    except DataMissing as error:
        print(f"Nothing was measured: {error}")
        return 0
    settings = FuseSettings()
    pictures = [found for lesion in lesions if (found := scored(collection, lesion, settings)) is not None]
    if len({one.is_melanoma for one in pictures}) < 2:
        print(f"Nothing was measured: {options.split} has no outlined pictures of both melanomas and nevi.")
        return 0
    rows = [row_of(quantity.key, pictures) for quantity in (*PARTS, *TOTALS)]
    print(f"{len(pictures)} photographs of {options.split}, {sum(one.is_melanoma for one in pictures)} of them melanomas.")
    print(f"{'score':24} {'pictures':>8} {'melanomas':>9} {'AUC':>6} {'median MEL':>10} {'median NV':>10}")
    for row in rows:
        print(f"{row.key:24} {row.pictures:8} {row.melanomas:9} {row.auc:6.3f} {row.melanoma_median:10.2f} {row.nevus_median:10.2f}")
    sides = [[one for one in pictures if one.is_melanoma is side] for side in (True, False)]
    print(f"\n{'share of pictures':24} {'melanoma':>8} {'nevus':>8}")
    shares = {f"D = {count}": [np.mean([one.scores[ABCD_D.key] == count for one in side]) for side in sides] for count in range(1, 6)}
    shares |= {name: [np.mean([name in one.structures for one in side]) for side in sides] for name in STRUCTURES}
    for name, (melanoma, nevus) in shares.items():
        print(f"{name:24} {melanoma:8.2f} {nevus:8.2f}")
    if options.json:
        told = {"rows": [asdict(row) for row in rows], "shares": {name: [float(v) for v in pair] for name, pair in shares.items()}}
        options.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
