"""What all resources of one case share: whom they are of, what they refer to, what they are called."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property

from dermanode import __version__
from dermanode.domain import Algorithm, Case, Outcome, Series
from dermanode.messages import results
from dermanode.messages.fhir import terms
from dermanode.messages.fhir.terms import Json, Named


@dataclass(frozen=True)
class Telling:
    """One revision of a case, on its way into FHIR."""

    case: Case
    outcome: Outcome
    """With trustworthy numbers only."""
    made_at: datetime
    institution: str
    """Whose node it is; may be empty."""

    @cached_property
    def subject(self) -> Json:
        return terms.patient(self.case.series.patient)

    @cached_property
    def study(self) -> Json:
        return terms.study(self.case.series.study_instance_uid)

    @property
    def observed_at(self) -> datetime | date | None:
        return terms.moment(self.case.series.acquired_at)

    @property
    def status(self) -> str:
        """Of the report, its observations and its risk: preliminary until a person has looked at it; amended when told once more."""
        return "amended" if self.case.is_correction else "preliminary"

    @property
    def revision(self) -> Json:
        return {"url": terms.REVISION, "valuePositiveInt": max(1, self.case.revision)}

    @property
    def performers(self) -> list[Json]:
        """The institution; an algorithm is no performer of a report or an observation: see their device and the Provenance."""
        name = terms.words(self.institution)
        return [{"type": "Organization", "display": name}] if name else []

    @property
    def site(self) -> Json | None:
        """Where on the body the lesion is."""
        site = self.case.series.body_site
        return terms.concept(site) if site else None

    @property
    def origin(self) -> str:
        """What all revisions of a case have in common. Not the series' UID alone: a device may give it to two patients."""
        return self.case.origin or self.case.id

    def part(self, kind: str, part: str) -> Named:
        """A resource that each revision writes anew: there is one of it for a series, and its history on the server."""
        return Named(kind, terms.digest(part, self.case.series.series_instance_uid, self.origin))

    @cached_property
    def lesion(self) -> Named:
        return Named("BodyStructure", terms.digest("lesion", *_lesion_parts(self.case.series)))

    @property
    def node(self) -> Named:
        """This version of the node as a device."""
        return Named("Device", terms.digest("node", __version__))

    def device(self, stage: str) -> Named:
        """The algorithm that performed a stage; the node where none did."""
        found = next((algorithm for name, algorithm in results.algorithms(self.outcome) if name == stage), None)
        return algorithm_name(found) if found else self.node


def algorithm_name(algorithm: Algorithm) -> Named:
    """An algorithm as a device: another version, or the same one trained anew, is another."""
    parts = (algorithm.manufacturer, algorithm.name, algorithm.version, algorithm.bundle or "", algorithm.weights_digest or "")
    return Named("Device", terms.digest("algorithm", *parts))


def _lesion_parts(series: Series) -> tuple[str, ...]:
    """What names a lesion across visits, never across patients; a series of nobody, or of no named lesion, is a lesion of its own."""
    whose = (series.patient.issuer, series.patient.patient_id)
    if not series.patient.patient_id:
        return (*whose, series.series_instance_uid)
    if series.tracking_uid:
        return (*whose, series.tracking_uid)
    if series.tracking_id:
        # Left and right are two lesions: a body structure is created once, and says which it is.
        side = (series.laterality,) if series.laterality in ("L", "R") else ()
        return (*whose, series.tracking_id, series.body_site.value if series.body_site else "", *side)
    return (*whose, series.series_instance_uid)
