"""The ablation's figures as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

COMMAND = "benchmarks/fusion_ablation.py --data DIR --work DIR --fits {fits}"


def page(told: Mapping[str, Any]) -> str:
    """What was measured, in the order of the program; parts that were not are left out."""
    photographs, scenes = told.get("photographs"), told.get("scenes")
    lines = [
        "# What the third dimension adds",
        "",
        f"Made by `{COMMAND.format(fits=_fits(photographs))}`. In brackets: 95 % bootstrap intervals over lesions, differences paired.",
        "For the log loss less is better, for the AUC of MALIGNANT against all others more.",
        "",
    ]
    if photographs:
        lines += _photographs(photographs)
    if scenes:
        lines += _scenes(scenes)
    return "\n".join(lines).rstrip() + "\n"


def _fits(photographs: Mapping[str, Any] | None) -> int:
    return int(photographs["fitted"][0]["fits"]) if photographs and "fitted" in photographs else 0


def _photographs(told: Mapping[str, Any]) -> list[str]:
    low, middle, high = told["conf3d"]
    lines = [
        "## Photographs: no shape, shape from one view",
        "",
        f"The {told['photographs']} photographs of `val`, {told['malignant']} of them malignant, through preprocess, segment, reconstruct, "
        f"fuse and classify. conf3D is {middle:.3f} (5 to 95 %: {low:.3f} to {high:.3f}). `val` also chose the temperatures, of all alike.",
        "",
        "The shipped weights, compared with sums over the diagnoses:",
        "",
        *_table(told["shipped"]),
        "",
        _verdict(told["shipped"]),
        "",
    ]
    if "fitted" in told:
        lines += [
            f"Fitted anew to {told['training_pictures']} training pictures, {_fits(told)} times each from other seeds (which also keep "
            "other pictures aside), compared with the picture alone. Figures are means over the fits. "
            "This asks what the relief is worth to a fusion that never had it, not to one that misses it:",
            "",
            *_table(told["fitted"]),
            "",
            _verdict(told["fitted"]),
            "",
        ]
    return lines


def _scenes(told: Mapping[str, Any]) -> list[str]:
    lines = [
        "## Eight views: made-up reliefs under real photographs",
        "",
        "**This says nothing of real lesions.** Nobody has given us photographs of lesions from several sides with their diagnoses, so "
        "what multi-view shape is worth for a diagnosis is not known here. What can be asked is whether three dimensions do harm: the "
        f"colours of {told['lesions']} photographs of `val` ({told['malignant']} malignant, the others benign; outlined, 5 to 25 % of the "
        "frame, clear of its edge) were laid over domes, plateaus, craters and flat lesions that follow the outline, and photographed by "
        "a virtual ring of eight cameras. The k-th benign and the k-th malignant lesion have the same relief, so heights tell nothing of "
        "the diagnosis: the best that the third dimension can do here is to change nothing.",
        "",
        f"{told['metric']} of {told['lesions']} came out in millimetres." + _reasons(told["reasons"]),
        f"The classifier would have declined {told['declined']} of them as unlike its training pictures.",
        "",
        *_table(told["ways"]),
        "",
        "Only the AUC tells here. Half of these lesions are malignant, of `val` a fifth: whatever raises P(MALIGNANT) of all alike lowers "
        "this log loss, and is no gain. " + _verdict([way | {"log_loss_gained": None} for way in told["ways"]]),
        "",
        "How far the surface of eight views moves the answer, and by how much it raises P(MALIGNANT) of each kind, in the mean:",
        "",
        "| against | same most probable group | moves P(MALIGNANT) by, mean | at most | raises it, benign | raises it, malignant |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    about = {way["key"]: way["about"] for way in told["ways"]}
    for key, one in told["eight_views_against"].items():
        moved = f"{one['moved_mean']:.3f} | {one['moved_most']:.3f} | {one['raised_benign']:+.3f} | {one['raised_malignant']:+.3f}"
        lines.append(f"| {about[key]} | {one['same_group']} of {told['lesions']} | {moved} |")
    shading, views = told["conf3d"]["shading"], told["conf3d"]["views"]
    lines += [
        "",
        f"conf3D: {_range(shading)} for the shading of one view, {_range(views)} for the surface of eight (least, median, most). The gate "
        "takes it as at most the highest of the training pictures, which all have one view: how much more a surface in millimetres is to "
        "be trusted could not be learnt.",
        "",
        "Features that lie farther from the middle of the training pictures than four deviations, and count as four: "
        f"by shading {_counted(told['strange']['shading'])}; by eight views {_counted(told['strange']['views'])}.",
    ]
    return lines


def _table(ways: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["| way | log loss | AUC malignant | log loss, difference | AUC, difference |", "| --- | --- | --- | --- | --- |"]
    for way in ways:
        cells = (_told(way["log_loss"]), _told(way["auc_malignant"]), _told(way["log_loss_gained"], "+"), _told(way["auc_gained"], "+"))
        lines.append(f"| {way['about']} | {' | '.join(cells)} |")
    return lines


def _verdict(ways: Sequence[Mapping[str, Any]]) -> str:
    """What the last way is shown to change."""
    way, said = ways[-1], []
    for name, figure, sign in (("log loss", way["log_loss_gained"], 1), ("AUC", way["auc_gained"], -1)):
        if figure is None:
            continue
        if figure["low"] <= 0 <= figure["high"]:
            said.append(f"no change of the {name} is shown: the interval holds 0")
        else:
            said.append(f"the {name} is {'better' if sign * figure['value'] < 0 else 'worse'}")
    return f"The last line against the one that has no difference: {'; '.join(said)}." if said else ""


def _told(figure: Mapping[str, float] | None, sign: str = "") -> str:
    if figure is None:
        return "–"
    value, low, high = (f"{figure[name]:{sign}.3f}" for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def _range(quantiles: Sequence[float]) -> str:
    return ", ".join(f"{one:.2f}" for one in quantiles)


def _counted(features: Mapping[str, int]) -> str:
    return ", ".join(f"{name} in {count}" for name, count in sorted(features.items(), key=lambda one: -one[1])) or "none"


def _reasons(reasons: Sequence[str]) -> str:
    return f" The others did not: {' '.join(reasons)}" if reasons else ""
