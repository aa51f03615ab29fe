"""Which steps after the network make outlines better: mean Dice with each step of the bundle's `outline` changed in turn.

    python benchmarks/outline.py --data DIR [--split val] [--limit N] [--models models] [--threads 1] [--json FILE]

Photographs go the way of a case: decoded, cleaned, through the network, the mask brought to source resolution and compared with the
annotated one there. A step is changed alone: one that is on is left out, one that is off is put in. `change` is the mean difference of
Dice from the bundle as it is, over the same pictures, with its 95 % interval (1.96 standard errors). A step should be kept when the
change without it is negative.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import dermanode_preprocess
import numpy as np
from dermanode_segment import BUNDLE
from dermanode_segment.outline import OutlineRules
from dermanode_segment.segmenter import Segmenter, load
from dermanode_segment.stage import view_mask
from dermanode_training.data.lesions import Collection
from dermanode_training.measuring.serving import PlainContext, case_of
from dermanode_training.scoring.metrics import dice, intersection_over_union

from dermanode.pipeline.bundles import open_bundle

POOR_IOU = 0.65


@dataclass(frozen=True)
class Variant:
    """The bundle's way, or another."""

    rules: OutlineRules
    is_mirrored: bool


@dataclass(frozen=True)
class Row:
    """What a variant gave."""

    variant: str
    dice: float
    share_iou_poor: float
    change: float
    """Mean difference of Dice from the bundle as it is."""
    margin: float
    """Half of its 95 % interval."""


def variants(segmenter: Segmenter) -> Mapping[str, Variant]:
    """The bundle as it is, then with one step changed at a time, then the network's answer alone."""
    rules, is_mirrored = segmenter.outline, segmenter.is_mirrored
    changed = {"as configured": Variant(rules, is_mirrored)}
    changed["without mirroring" if is_mirrored else "with mirroring"] = Variant(rules, not is_mirrored)
    for step in (-0.1, -0.05, 0.05, 0.1):
        threshold = round(rules.threshold + step, 3)
        changed[f"threshold {threshold:g}"] = Variant(replace(rules, threshold=threshold), is_mirrored)
    if rules.refinements:
        changed["without refinement"] = Variant(replace(rules, refinements=0), is_mirrored)
        bilateral, gaussian = (OutlineRules().bilateral_weight, OutlineRules().gaussian_weight)
        name = "without the bilateral part" if rules.bilateral_weight else "with the bilateral part"
        changed[name] = Variant(replace(rules, bilateral_weight=0.0 if rules.bilateral_weight else bilateral), is_mirrored)
        name = "without the Gaussian part" if rules.gaussian_weight else "with the Gaussian part"
        changed[name] = Variant(replace(rules, gaussian_weight=0.0 if rules.gaussian_weight else gaussian), is_mirrored)
    else:
        changed["with refinement"] = Variant(replace(rules, refinements=3), is_mirrored)
    one = "every piece kept" if rules.is_one_piece else "one piece kept"
    changed[one] = Variant(replace(rules, is_one_piece=not rules.is_one_piece), is_mirrored)
    holes = "holes left" if rules.are_holes_filled else "holes filled"
    changed[holes] = Variant(replace(rules, are_holes_filled=not rules.are_holes_filled), is_mirrored)
    changed["the network alone"] = Variant(OutlineRules(is_one_piece=False, are_holes_filled=False), False)
    return changed


def measured(collection: Collection, split: str, limit: int | None, models: Path, threads: int) -> list[Row]:
    """All variants over the same pictures."""
    context = PlainContext(models, threads=threads)
    segmenter = load(open_bundle(models, BUNDLE), "cpu")
    ways = {is_mirrored: replace(segmenter, is_mirrored=is_mirrored) for is_mirrored in (False, True)}
    tried = variants(segmenter)
    lesions = [lesion for lesion in collection.split(split) if lesion.mask]
    if limit is not None:
        # Evenly over the split, so that every set has its share.
        lesions = [lesions[round(place)] for place in np.linspace(0, len(lesions) - 1, min(limit, len(lesions)))]
    scores: dict[str, list[tuple[float, float]]] = {name: [] for name in tried}
    for number, lesion in enumerate(lesions):
        case = case_of([collection.image(lesion)], lesion.id)
        found = dermanode_preprocess.preprocess(case, context)
        assert found is not None
        (cleaned,), truth = found.views, collection.mask(lesion)
        chances = {is_mirrored: way.answer([cleaned.pixels]).chances[0] for is_mirrored, way in ways.items()}
        for name, variant in tried.items():
            mask = view_mask(cleaned, chances[variant.is_mirrored], case.series.views[0], variant.rules).mask
            scores[name].append((dice(mask, truth), intersection_over_union(mask, truth)))
        if number % 50 == 49:
            print(f"{number + 1} of {len(lesions)}", file=sys.stderr, flush=True)
    table = {name: np.array(pairs) for name, pairs in scores.items()}
    return [_row(name, pairs, table["as configured"]) for name, pairs in table.items()]


def _row(
    name: str, pairs: np.ndarray[tuple[int, int], np.dtype[np.float64]], reference: np.ndarray[tuple[int, int], np.dtype[np.float64]]
) -> Row:
    change = pairs[:, 0] - reference[:, 0]
    error = float(change.std(ddof=1)) / len(change) ** 0.5 if len(change) > 1 else 0.0
    return Row(name, float(pairs[:, 0].mean()), float((pairs[:, 1] < POOR_IOU).mean()), float(change.mean()), 1.96 * error)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with lesions.csv and the archives")
    parser.add_argument("--split", default="val")
    parser.add_argument("--limit", type=int, help="so many pictures, evenly over the split")
    parser.add_argument("--models", type=Path, default=Path(__file__).resolve().parents[1] / "models")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also writes the rows there")
    options = parser.parse_args(arguments)
    rows = measured(Collection(options.data), options.split, options.limit, options.models, options.threads)
    print(f"{'':28} {'Dice':>7} {'IoU<0.65':>8}   change")
    for row in rows:
        print(f"{row.variant:28} {row.dice:7.4f} {row.share_iou_poor:8.2%}   {row.change:+.4f} ± {row.margin:.4f}")
    if options.json:
        told = [{"variant": row.variant, "dice": row.dice, "share_iou_below_0.65": row.share_iou_poor} for row in rows]
        options.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
