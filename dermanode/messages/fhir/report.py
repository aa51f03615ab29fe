"""The DiagnosticReport that holds a case together, and the Provenance of each of its revisions."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Sequence

from dermanode.domain import Outcome
from dermanode.domain.codes import DERMOSCOPIC_PHOTOGRAPHY
from dermanode.messages import results
from dermanode.messages.fhir import terms
from dermanode.messages.fhir.observations import PARTS, observation_name
from dermanode.messages.fhir.telling import Telling, algorithm_name
from dermanode.messages.fhir.terms import Json, Named


def report_name(telling: Telling) -> Named:
    return telling.part("DiagnosticReport", "report")


def report(telling: Telling, pdf: bytes | None) -> Json:
    """`pdf` is the report for people, carried along where there is one."""
    return terms.told(
        "DiagnosticReport",
        extension=[telling.revision],
        identifier=[report_name(telling).identifier, terms.own_identifier(telling.case.id)],
        basedOn=terms.orders(telling.case.order, telling.case.series),
        status=telling.status,
        category=[terms.term("v2-0074", "OTH")],
        code=terms.concept(DERMOSCOPIC_PHOTOGRAPHY),
        subject=telling.subject,
        effectiveDateTime=telling.observed_at,
        issued=telling.made_at,
        performer=telling.performers,
        result=[observation_name(telling, part).reference for part in PARTS],
        imagingStudy=[telling.study],
        conclusion=terms.words(_conclusion(telling.outcome)),
        presentedForm=[_attached(pdf, telling)] if pdf else None,
    )


def _attached(pdf: bytes, telling: Telling) -> Json:
    encoded = base64.b64encode(pdf).decode()
    return {"contentType": "application/pdf", "data": encoded, "title": "Report for people", "creation": telling.made_at}


def provenance(telling: Telling, targets: Sequence[Named]) -> Json:
    """Who made this revision of those resources, and of what. It has no identifier: its id is the same for every repetition."""
    told = f"{telling.origin}\x1f{telling.case.series.series_instance_uid}\x1f{telling.case.revision}"
    node = telling.node.reference
    owner = next(iter(telling.performers), None)
    algorithms = dict.fromkeys(algorithm_name(algorithm) for _, algorithm in results.algorithms(telling.outcome))
    agents = [
        terms.filled(type=terms.term("provenance-participant-type", "assembler"), who=node, onBehalfOf=owner),
        *({"type": terms.term("provenance-participant-type", "performer"), "who": named.reference} for named in algorithms),
    ]
    return terms.told(
        "Provenance",
        id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"provenance\x1f{told}")),
        target=[named.reference for named in targets],
        recorded=telling.made_at,
        activity=terms.term("v3-DataOperation", "UPDATE" if telling.case.is_correction else "CREATE"),
        agent=agents,
        entity=[{"role": "source", "what": telling.study}],
    )


def _conclusion(outcome: Outcome) -> str:
    sentences = [results.headline(outcome)]
    if outcome.classification:
        top = outcome.classification.top
        sentences.append(f"Most probable class: {top.concept.meaning} ({top.probability:.0%}).")
        if not outcome.classification.is_in_domain:
            sentences.append("The images are unlike those the model was trained on: do not rely on this.")
    if outcome.risk:
        sentences.append(f"Risk: {outcome.risk.level} (score {outcome.risk.score:.2f}).")
    sentences.append(outcome.research_use)
    return " ".join(sentences)
