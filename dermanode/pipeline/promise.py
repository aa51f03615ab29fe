"""What a finding must keep besides its type, so that no later stage and no encoder trips over it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermanode.domain import UID, Case, CleanViews, Finding, HeatMaps, Segmentation, Surface
from dermanode.errors import WrongFinding
from dermanode.hookspecs import STAGES


def check(finding: object, *, stage: str, plugin: str, case: Case) -> Finding:
    """The finding, when it keeps the promise of its stage. Raises `WrongFinding`.

    A vendor's own stage promises any `Finding`. Numbers must be finite, views must be the case's own, masks must have the size of
    their view, and heat must be from 0 to 1.
    """
    expected = STAGES.get(stage, Finding)
    if not isinstance(finding, expected):
        raise WrongFinding(plugin, stage, _with_article(expected.__name__), _with_article(type(finding).__name__))
    try:
        for path, number in _numbers(finding, expected.__name__):
            if not math.isfinite(number):
                raise WrongFinding(plugin, stage, "finite numbers", f"{path} = {number}")
        _check_views(finding, stage, plugin, case)
        if isinstance(finding, Surface):
            _check_surface(finding, plugin)
    except (TypeError, AttributeError, ValueError) as error:  # a field that is not what its annotation says
        raise WrongFinding(plugin, stage, f"a whole {expected.__name__}", f"one with a field of another type ({error})") from error
    return finding


def _with_article(name: str) -> str:
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def _numbers(value: Any, path: str) -> Iterator[tuple[str, float]]:
    """Every number in the fields of a dataclass and in its tuples; arrays are not walked."""
    if isinstance(value, (float, np.floating)):
        yield path, float(value)
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _numbers(item, f"{path}[{index}]")
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _numbers(getattr(value, field.name), f"{path}.{field.name}")


def _check_views(finding: Finding, stage: str, plugin: str, case: Case) -> None:
    views = {view.sop_instance_uid: view for view in case.series.views}
    named = _named_views(finding)
    for uid in named:
        if uid not in views:
            raise WrongFinding(plugin, stage, "views of the case", f"the view {uid}, which is none of them")
    if isinstance(finding, Segmentation):
        for mask in finding.masks:
            view = views[mask.sop_instance_uid]
            if mask.mask.shape != (view.rows, view.columns) or mask.mask.dtype != np.bool_:
                expected = f"bool masks of {view.rows} x {view.columns}, as the view"
                raise WrongFinding(plugin, stage, expected, f"{mask.mask.dtype} of {' x '.join(map(str, mask.mask.shape))}")
            if mask.probability is not None:
                _check_grid("probability", mask.probability.values, mask.probability.to_source, stage, plugin)
    if isinstance(finding, HeatMaps):
        if len(set(named)) != len(named):
            raise WrongFinding(plugin, stage, "one map a view", f"{len(named)} for {len(set(named))} views")
        for heat_map in finding.maps:
            _check_grid("heat", heat_map.heat, heat_map.to_source, stage, plugin)


def _named_views(finding: Finding) -> list[UID]:
    match finding:
        case CleanViews():
            return [view.sop_instance_uid for view in finding.views]
        case Segmentation():
            return [mask.sop_instance_uid for mask in finding.masks]
        case HeatMaps():
            return [heat_map.sop_instance_uid for heat_map in finding.maps]
    return []


def _check_grid(what: str, values: NDArray[np.float32], matrix: NDArray[np.float64], stage: str, plugin: str) -> None:
    if values.ndim != 2 or not values.size or not np.issubdtype(values.dtype, np.floating):
        raise WrongFinding(plugin, stage, f"{what} as rows x columns of numbers", f"{values.dtype} of {' x '.join(map(str, values.shape))}")
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
        raise WrongFinding(plugin, stage, f"{what} from 0 to 1", f"from {values.min()} to {values.max()}")
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or np.linalg.matrix_rank(matrix) < 3:
        raise WrongFinding(plugin, stage, "a matrix to source pixels that can be inverted", f"{matrix.tolist()}")


def _check_surface(surface: Surface, plugin: str) -> None:
    count = len(surface.vertices)
    for name, array in (("normals", surface.normals), ("colours", surface.colours)):
        if array.shape != (count, 3):
            raise WrongFinding(plugin, surface.stage, f"{name} for each of {count} vertices", f"{name} of shape {array.shape}")
    if surface.faces.size and not (surface.faces.min() >= 0 and surface.faces.max() < count):
        raise WrongFinding(plugin, surface.stage, f"faces over {count} vertices", f"vertex {surface.faces.max()}")
    if not (np.isfinite(surface.vertices).all() and np.isfinite(surface.normals).all()):
        raise WrongFinding(plugin, surface.stage, "finite vertices and normals", "others")
