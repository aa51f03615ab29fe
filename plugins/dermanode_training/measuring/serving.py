"""A photograph taken through the plugins as a case is, so that figures are those of what serves."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from dermanode.domain import UID, Case, Patient, Series, View
from dermanode.domain.series import RGB
from dermanode.hookspecs import Bundle
from dermanode.pipeline.bundles import open_bundle

DERMOSCOPIC = UID("1.2.840.10008.5.1.4.1.1.77.1.7")


@dataclass(frozen=True, eq=False)
class Pixels:
    """Decoded pixels as the source of a view."""

    rgb: RGB

    def decode(self, longest_side_px: int | None = None) -> RGB:
        return self.rgb


@dataclass
class PlainContext:
    """A stage's powers outside of a node: bundles from a folder, declines kept."""

    models: Path
    threads: int = 1
    device: str = "cpu"
    deadline: float = field(default_factory=lambda: time.monotonic() + 3600)
    settings: Mapping[str, Any] = field(default_factory=dict)
    log: Any = field(default_factory=lambda: structlog.get_logger(__name__))
    workdir: Path = Path()
    declined: list[str] = field(default_factory=list)
    opened: dict[str, Bundle] = field(default_factory=dict)
    """The bundles asked for so far: a run has the same weights from its first photograph to its last."""

    def bundle(self, name: str) -> Bundle:
        if name not in self.opened:
            self.opened[name] = open_bundle(self.models, name)
        return self.opened[name]

    def progress(self, fraction: float) -> None:
        pass

    def decline(self, reason: str) -> None:
        self.declined.append(reason)


def case_of(photographs: Sequence[NDArray[np.uint8]], case_id: str = "photographs") -> Case:
    """A case whose views are these pixels, rows x columns x 3."""
    views = tuple(
        View(
            sop_instance_uid=UID(f"2.25.{number + 1}"),
            sop_class_uid=DERMOSCOPIC,
            rows=pixels.shape[0],
            columns=pixels.shape[1],
            source=Pixels(pixels),
            number=number + 1,
        )
        for number, pixels in enumerate(photographs)
    )
    series = Series(
        study_instance_uid=UID("2.25.100001"),
        series_instance_uid=UID("2.25.100002"),
        patient=Patient(patient_id=""),
        modality="DMS",
        views=views,
    )
    return Case(id=case_id, revision=1, series=series)
