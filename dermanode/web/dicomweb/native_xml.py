"""The Native DICOM Model (PS3.19 A.1), as far as answers to STOW-RS need it."""

from __future__ import annotations

from xml.etree import ElementTree

from pydicom.datadict import keyword_for_tag

from dermanode.web.dicomweb.json_model import Model


def to_xml(model: Model) -> bytes:
    """The same as XML; sequences of texts and numbers, without names of persons and binary values."""
    root = ElementTree.Element("NativeDicomModel", {"xml:space": "preserve"})
    _fill(root, model)
    content: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return content


def _fill(parent: ElementTree.Element, model: Model) -> None:
    for name, attribute in model.items():
        element = ElementTree.SubElement(
            parent, "DicomAttribute", {"tag": name, "vr": attribute["vr"], "keyword": keyword_for_tag(int(name, 16))}
        )
        for number, value in enumerate(attribute.get("Value", ()), start=1):
            if attribute["vr"] == "SQ":
                _fill(ElementTree.SubElement(element, "Item", {"number": str(number)}), value)
            else:
                ElementTree.SubElement(element, "Value", {"number": str(number)}).text = str(value)
