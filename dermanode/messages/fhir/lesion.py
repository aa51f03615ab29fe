"""The lesion as a BodyStructure, which all its visits share; and, in R5, its outlines as an ImagingSelection."""

from __future__ import annotations

from dermanode.domain import Code
from dermanode.domain.codes import SKIN, SKIN_LESION
from dermanode.messages.fhir import terms
from dermanode.messages.fhir.telling import Telling
from dermanode.messages.fhir.terms import Json, Named

SIDES = {
    "R": Code("24028007", "SCT", "Right"),
    "L": Code("7771000", "SCT", "Left"),
    "B": Code("51440002", "SCT", "Right and left"),
}

OF_INTEREST = Code("113000", "DCM", "Of Interest")


def lesion(telling: Telling) -> Json:
    series = telling.case.series
    identifiers = [telling.lesion.identifier]
    if series.tracking_uid:
        identifiers.append({"system": terms.DICOM_UID, "value": f"urn:oid:{series.tracking_uid}"})
    side = SIDES.get(series.laterality)
    return terms.told(
        "BodyStructure",
        identifier=identifiers,
        active=True,
        morphology=terms.concept(SKIN_LESION),
        location=telling.site or terms.concept(SKIN),
        locationQualifier=[terms.concept(side)] if side else None,
        description=terms.words(series.tracking_id),
        patient=telling.subject,
    )


def outlines_name(telling: Telling) -> Named | None:
    """What the outlines are called; None where no view has one."""
    return telling.part("ImagingSelection", "outlines") if _instances(telling) else None


def outlines(telling: Telling) -> Json | None:
    """Each view with its outline, as R5 has it; None where no view has one."""
    named = outlines_name(telling)
    if named is None:
        return None
    series = telling.case.series
    return terms.told(
        "ImagingSelection",
        identifier=[named.identifier],
        status="available",
        subject=telling.subject,
        issued=telling.made_at,
        performer=[{"actor": telling.device("segment").reference}],
        code=terms.concept(OF_INTEREST, text=f"Outlines of the lesion, found by an algorithm. {telling.outcome.research_use}"),
        studyUid=str(series.study_instance_uid),
        seriesUid=str(series.series_instance_uid),
        derivedFrom=[telling.study],
        bodySite={"reference": telling.lesion.reference},
        instance=_instances(telling),
    )


def _instances(telling: Telling) -> list[Json]:
    classes = {view.sop_instance_uid: view.sop_class_uid for view in telling.case.series.views}
    return [
        {
            "uid": str(view.sop_instance_uid),
            "sopClass": {"system": "urn:ietf:rfc:3986", "code": f"urn:oid:{classes[view.sop_instance_uid]}"},
            "imageRegion2D": [{"regionType": "polyline", "coordinate": _coordinates(outline)} for outline in view.outlines],
        }
        for view in telling.outcome.views
        if view.outlines and view.sop_instance_uid in classes
    ]


def _coordinates(outline: tuple[tuple[float, float], ...]) -> list[float]:
    """(column, row) pairs of the closed line; the first pixel reaches from 0 to 1, as in DICOM (R5, ImagingSelection)."""
    return [round(end + 0.5, 3) for point in (*outline, outline[0]) for end in point]
