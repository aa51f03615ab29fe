"""Cases built of arrays, for the tests of stages."""

from __future__ import annotations

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
