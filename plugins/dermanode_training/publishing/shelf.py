"""Where figures are kept: the bundle's docs, and the values in its metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dermanode.errors import DermaNodeError
from dermanode_training.measuring import tables
from dermanode_training.measuring.picture import confusion_picture
from dermanode_training.measuring.report import Report, as_json, summary
from dermanode_training.publishing.metadata import update_metadata


class NotWritten(DermaNodeError):
    """Figures that could not be written where they belong."""


def shelve(told: Report, bundle: Path, command: str) -> None:
    """figures_SPLIT.json and .md and the confusion matrices as pictures; in the metadata the figures of other splits stay.

    Raises `NotWritten`.
    """
    docs = bundle / "docs"
    put(docs / f"figures_{told.split}.json", as_json(told))
    pictures = {f"confusion_{told.split}_{name}.png": name for name in told.whole.diagnoses}
    links = "".join(f"\n![{tables.TITLES[name]}, confusion matrix]({file})\n" for file, name in pictures.items())
    put(docs / f"figures_{told.split}.md", tables.markdown(told, command) + links)
    for file, name in pictures.items():
        figures = told.whole.diagnoses[name]
        title = f"{tables.TITLES[name]}: {told.split}, {figures.images:,} photographs"
        subtitle = f"accuracy {figures.accuracy.value:.3f}, balanced accuracy {figures.balanced_accuracy.value:.3f}"
        put(docs / file, _png(confusion_picture(figures.labels, np.array(figures.confusion), title, subtitle)))
    if told.whole.outline or told.whole.diagnoses:
        update_metadata(bundle, {"eval_metrics": _metrics(bundle) | {told.split: summary(told)}})


def put(path: Path, content: str | bytes) -> None:
    """Writes the file and the folders above it. Raises `NotWritten`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise NotWritten(f"{path} cannot be written ({error.strerror}). Give --no-write to print the figures only.") from error


def _metrics(bundle: Path) -> dict[str, Any]:
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    found: dict[str, Any] = metadata.get("eval_metrics", {})
    return found


def _png(pixels: NDArray[np.uint8]) -> bytes:
    return bytes(cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 9])[1])
