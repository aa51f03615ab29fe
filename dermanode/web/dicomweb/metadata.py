"""The whole header of an object as DICOM JSON, long values by reference (PS3.18 10.4.1.1.2 and F.2.6)."""

from __future__ import annotations

from typing import Any

from dermanode.dicom.elements import Elements, Raw
from dermanode.dicom.scan import PixelElement, Scan, scanned
from dermanode.web.dicomweb.attributes import CHARSET
from dermanode.web.dicomweb.json_model import Model, attribute, model_of, name_of
from dermanode.web.dicomweb.problem import Problem
from dermanode.web.dicomweb.shelf import Volume


class _Everything(frozenset[int]):
    """Every tag is wanted."""

    def __contains__(self, _tag: object) -> bool:
        return True

    def __or__(self, _more: Any) -> _Everything:
        return self


EVERYTHING = _Everything()


def metadata(volume: Volume, root: str) -> Model:
    """The header of an object; `root` is the service's URL. What is no value of its VR is left out. Raises `UnreadableObject`."""
    with scanned(volume.path, EVERYTHING) as scan:
        return model_of_scan(scan, f"{root}{volume.place}/bulkdata")


def model_of_scan(scan: Scan, uri: str) -> Model:
    """The model of a header, its long values and its pixels below that URI; '' leaves them out."""
    model = model_of(scan.elements, scan.elements.raw, uri)
    model[name_of(CHARSET)] = attribute("CS", ["ISO_IR 192"])  # JSON is UTF-8
    if scan.pixels is not None and uri:
        tag, vr = pixel_element(scan.pixels)
        model[name_of(tag)] = {"vr": vr, "BulkDataURI": f"{uri}/{name_of(tag)}"}
    return dict(sorted(model.items()))


def pixel_element(pixels: PixelElement) -> tuple[int, str]:
    """Tag and VR of the pixels; an implicit transfer syntax does not tell floats from doubles, whose tags differ."""
    if pixels.is_integer:
        return 0x7FE00010, pixels.vr or "OW"
    return (0x7FE00009, "OD") if pixels.vr == "OD" else (0x7FE00008, "OF")


def element_at(elements: Elements, path: str) -> tuple[Elements, int, Raw]:
    """Where a reference such as `00660002/0/00660011/0/00660016` leads to. Raises `Problem` 404."""
    steps = path.split("/")
    here = elements
    try:
        for step, number in zip(steps[:-1:2], steps[1:-1:2], strict=True):
            here = here.items(int(step, 16))[int(number)]
        tag = int(steps[-1], 16)
        return here, tag, here.raw[tag]
    except (KeyError, IndexError, ValueError) as error:
        raise Problem(404, f"The object has no {path[:80]!r}.") from error
