"""Which road leads to a destination."""

from __future__ import annotations

from typing import assert_never

from dermanode.config import Destination as DestinationSettings
from dermanode.config import DicomwebDestination, DimseDestination, FhirDestination, FolderDestination, MllpDestination, Node
from dermanode.deliver.destination import Destination
from dermanode.deliver.dicomweb import Dicomweb
from dermanode.deliver.dimse import Dimse
from dermanode.deliver.fhir import Fhir
from dermanode.deliver.folder import Folder
from dermanode.deliver.mllp import Mllp


def road_to(name: str, settings: DestinationSettings, node: Node) -> Destination:
    """The destination of that name, ready to deliver to; nothing is opened yet."""
    match settings:
        case DimseDestination():
            return Dimse(name, settings, node.ae_title)
        case DicomwebDestination():
            return Dicomweb(name, settings)
        case FolderDestination():
            return Folder(name, settings)
        case MllpDestination():
            return Mllp(name, settings)
        case FhirDestination():
            return Fhir(name, settings)
    assert_never(settings)
