"""The node with its algorithms as Devices."""

from __future__ import annotations

from collections.abc import Iterator

from dermanode import __version__
from dermanode.domain import Algorithm
from dermanode.domain.codes import ARTIFICIAL_INTELLIGENCE
from dermanode.messages import results
from dermanode.messages.fhir import terms
from dermanode.messages.fhir.telling import Telling, algorithm_name
from dermanode.messages.fhir.terms import Json, Named


def devices(telling: Telling) -> Iterator[tuple[Named, Json]]:
    """The node first; then each algorithm that served the case, once."""
    yield telling.node, _node(telling)
    seen: set[Named] = set()
    for _, algorithm in results.algorithms(telling.outcome):
        named = algorithm_name(algorithm)
        if named not in seen:
            seen.add(named)
            yield named, _device(algorithm, named, telling)


def _node(telling: Telling) -> Json:
    return terms.told(
        "Device",
        identifier=[telling.node.identifier],
        status="active",
        manufacturer="DermaNode",
        deviceName=[{"name": "DermaNode", "type": "user-friendly-name"}],
        type=terms.concept(ARTIFICIAL_INTELLIGENCE),
        version=[{"component": terms.own_identifier("dermanode"), "value": __version__}],
        note=terms.notes(telling.outcome.research_use),
    )


def _device(algorithm: Algorithm, named: Named, telling: Telling) -> Json:
    component = terms.own_identifier(algorithm.name, algorithm.manufacturer)
    versions = [{"component": component, "value": terms.words(algorithm.version) or "unknown"}]
    for what, value in (("Model bundle", algorithm.bundle), ("SHA-256 of the weights", algorithm.weights_digest)):
        if said := terms.words(value):
            versions.append({"type": {"text": what}, "value": said})
    return terms.told(
        "Device",
        identifier=[named.identifier],
        status="active",
        manufacturer=terms.words(algorithm.manufacturer),
        deviceName=[{"name": terms.words(algorithm.name) or "unnamed algorithm", "type": "user-friendly-name"}],
        type=terms.concept(algorithm.family),
        version=versions,
        parent=telling.node.reference,
        note=terms.notes(telling.outcome.research_use),
    )
