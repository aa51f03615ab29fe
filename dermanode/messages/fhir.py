"""FHIR R4: a case as one transaction bundle.

At most eight entries, since servers limit conditional transactions: Device, BodyStructure, three Observations (assessment,
measurements, stages: a component for each part), RiskAssessment, DiagnosticReport and Provenance. Patient, imaging study and order
are referred to by identifier. All but Provenance are created only where their identifier is not there yet; Provenance, which has
no identifier, is put under an id of its own: a bundle that is sent twice leaves one of each.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from fhir.resources.R4B.bodystructure import BodyStructure
from fhir.resources.R4B.bundle import Bundle, BundleEntry, BundleEntryRequest
from fhir.resources.R4B.codeableconcept import CodeableConcept
from fhir.resources.R4B.device import Device, DeviceDeviceName, DeviceVersion
from fhir.resources.R4B.diagnosticreport import DiagnosticReport
from fhir.resources.R4B.identifier import Identifier
from fhir.resources.R4B.observation import Observation, ObservationComponent
from fhir.resources.R4B.provenance import Provenance, ProvenanceAgent, ProvenanceEntity
from fhir.resources.R4B.range import Range
from fhir.resources.R4B.reference import Reference
from fhir.resources.R4B.resource import Resource
from fhir.resources.R4B.riskassessment import RiskAssessment, RiskAssessmentPrediction
from pydantic import ValidationError

from dermanode import __version__
from dermanode.dicom import concepts
from dermanode.domain import Case, Code, Measurement, Outcome, Series, StageStatus
from dermanode.domain.codes import ARTIFICIAL_INTELLIGENCE, DERMOSCOPIC_PHOTOGRAPHY, MALIGNANT, NO_UNITS, SKIN_LESION, private
from dermanode.errors import EncodingError
from dermanode.messages import fhir_terms as terms
from dermanode.messages import results

MOST_ENTRIES = 8

MEASUREMENTS = private("MEASUREMENTS", "Measurements of the lesion")
ASSESSMENT = private("ASSESSMENT", "Assessment of the lesion by an algorithm")

_SIDES = {
    "R": Code("24028007", "SCT", "Right"),
    "L": Code("7771000", "SCT", "Left"),
    "B": Code("51440002", "SCT", "Right and left"),
}


def encode_bundle(case: Case, outcome: Outcome, *, made_at: datetime) -> bytes:
    """The transaction bundle as JSON, every status preliminary; a failed case is told as such.

    The identifiers are the same for every repetition of what a case says, and others when a new run of the case says something else.
    Raises `EncodingError`.
    """
    try:
        bundle = _Writer(case, results.trustworthy(outcome), made_at).bundle()
    except ValidationError as error:
        raise EncodingError(f"Case {case.id} cannot be told in FHIR: {error}") from error
    content: str = bundle.model_dump_json(exclude_none=True)
    return content.encode()


class _Writer:
    """What all resources of one case share: whom they are of, what they refer to, what they are called."""

    def __init__(self, case: Case, outcome: Outcome, made_at: datetime) -> None:
        self.case, self.outcome, self.made_at = case, outcome, made_at
        self.fingerprint = results.fingerprint(case, outcome)
        self.subject = terms.patient(case.series.patient)
        self.study = terms.study(case.series.study_instance_uid)
        self.observed_at = terms.moment(case.series.acquired_at)
        self.device_name = terms.digest("device", __version__, *(f"{s} {a.name} {a.version}" for s, a in results.algorithms(outcome)))
        self.lesion_name = terms.digest("lesion", *_lesion_parts(case.series))

    def bundle(self) -> Bundle:
        observations = {"assessment": self._assessment(), "measurements": self._measurements(), "stages": self._stages()}
        risk = self._risk()
        made = [*observations, *(["risk"] if risk else []), "report"]
        entries = [
            self._create(self._device(), self._urn("device", self.device_name)),
            self._create(self._lesion(), self._urn("lesion", self.lesion_name)),
            *(self._create(observation, self._urn(part)) for part, observation in observations.items()),
            *([self._create(risk, self._urn("risk"))] if risk else []),
            self._create(self._report(tuple(observations)), self._urn("report")),
            self._put(self._provenance(made), self._urn("provenance")),
        ]
        return Bundle(type="transaction", entry=entries)

    def _urn(self, part: str, name: str | None = None) -> str:
        return terms.urn(part, name or self.fingerprint)

    def _refer(self, part: str, name: str | None = None) -> Reference:
        return Reference(reference=self._urn(part, name))

    def _identifier(self, part: str) -> Identifier:
        return terms.identifier(terms.digest(part, self.fingerprint))

    @property
    def _device_reference(self) -> Reference:
        return self._refer("device", self.device_name)

    @property
    def _lesion_reference(self) -> Reference:
        return self._refer("lesion", self.lesion_name)

    @staticmethod
    def _create(resource: Resource, urn: str) -> BundleEntry:
        kind, own = resource.get_resource_type(), resource.identifier[0]
        once = BundleEntryRequest(method="POST", url=kind, ifNoneExist=f"identifier={own.system}|{own.value}")
        return BundleEntry(fullUrl=urn, resource=resource, request=once)

    @staticmethod
    def _put(resource: Resource, urn: str) -> BundleEntry:
        resource.id = urn.removeprefix("urn:uuid:")
        return BundleEntry(
            fullUrl=urn, resource=resource, request=BundleEntryRequest(method="PUT", url=f"{resource.get_resource_type()}/{resource.id}")
        )

    def _device(self) -> Device:
        """The node with the algorithms that served this case: another combination is another device."""
        versions = [DeviceVersion(value=__version__, component=terms.identifier("dermanode"))]
        for stage, algorithm in results.algorithms(self.outcome):
            component = terms.identifier(f"{stage}:{algorithm.name}", algorithm.manufacturer)
            version = terms.words(algorithm.version) or "unknown"
            versions.append(DeviceVersion(type=terms.concept(results.stage_concept(stage)), component=component, value=version))
        return Device(
            identifier=[terms.identifier(self.device_name)],
            status="active",
            manufacturer="DermaNode",
            deviceName=[DeviceDeviceName(name="DermaNode", type="user-friendly-name")],
            type=terms.concept(ARTIFICIAL_INTELLIGENCE),
            version=versions,
            note=terms.notes(self.outcome.research_use),
        )

    def _lesion(self) -> BodyStructure:
        series = self.case.series
        names = [terms.identifier(self.lesion_name)]
        if series.tracking_uid:
            names.append(Identifier(system=terms.DICOM_UID, value=f"urn:oid:{series.tracking_uid}"))
        side = _SIDES.get(series.laterality)
        return BodyStructure(
            identifier=names,
            active=True,
            morphology=terms.concept(SKIN_LESION),
            location=terms.concept(series.body_site) if series.body_site else None,
            locationQualifier=[terms.concept(side)] if side else None,
            description=terms.words(series.tracking_id),
            patient=self.subject,
        )

    def _observation(
        self,
        part: str,
        code: Code,
        *,
        value: CodeableConcept | None = None,
        words: str | None = None,
        components: list[ObservationComponent],
        notes: list[str],
    ) -> Observation:
        site = self.case.series.body_site
        has_nothing = value is None and words is None and not components
        return Observation(
            identifier=[self._identifier(part)],
            status="preliminary",
            category=[terms.term("observation-category", "imaging")],
            code=terms.concept(code),
            subject=self.subject,
            focus=[self._lesion_reference],
            effectiveDateTime=self.observed_at,
            issued=self.made_at,
            valueCodeableConcept=value,
            valueString=terms.words(words),
            dataAbsentReason=terms.term("data-absent-reason", "not-performed", results.headline(self.outcome)) if has_nothing else None,
            note=terms.notes(*notes, self.outcome.research_use),
            bodySite=terms.concept(site) if site else None,
            device=self._device_reference,
            derivedFrom=[self.study],
            component=components or None,
        )

    def _assessment(self) -> Observation:
        found, risk = self.outcome.classification, self.outcome.risk
        components = []
        for share in (*found.diagnosis, *found.groups) if found else ():
            code = terms.concept(results.probability_concept(share))
            components.append(ObservationComponent(code=code, valueQuantity=terms.quantity(share.probability, NO_UNITS)))
        if risk:
            components.append(
                ObservationComponent(code=terms.concept(concepts.RISK_SCORE), valueQuantity=terms.quantity(risk.score, NO_UNITS))
            )
            components.append(
                ObservationComponent(code=terms.concept(concepts.RISK_LEVEL), valueString=terms.words(risk.level) or "unnamed")
            )
        notes = list(found.remarks) if found else ["The lesion was not classified. " + results.headline(self.outcome)]
        if found and not found.is_in_domain:
            notes.insert(0, "The images are unlike those the model was trained on: do not rely on these probabilities.")
        value = terms.concept(found.top.concept) if found else None
        return self._observation("assessment", ASSESSMENT, value=value, components=components, notes=notes)

    def _measurements(self) -> Observation:
        found = (*results.measurements(self.outcome), *results.changes(self.outcome))
        components = [component for measurement in found for component in _measured(measurement)]
        absent = results.unmeasured(self.outcome)
        for key, reason in absent:
            why = terms.term("data-absent-reason", "not-performed", reason)
            components.append(ObservationComponent(code=terms.concept(private(key, key)), dataAbsentReason=why))
        notes = [f"{m.key}: {interval}" for m in found if (interval := results.interval(m))]
        alerts = list(self.outcome.progression.alerts) if self.outcome.progression else []
        return self._observation("measurements", MEASUREMENTS, components=components, notes=[*alerts, *notes])

    def _stages(self) -> Observation:
        headline = results.headline(self.outcome)
        unread = [f"{uid} could not be read: {reason}" for uid, reason in self.outcome.unreadable]
        return self._observation("stages", results.ANALYSIS, words=headline, components=list(self._stage_components()), notes=unread)

    def _stage_components(self) -> Iterator[ObservationComponent]:
        missing = {gap.stage: gap for gap in results.gaps(self.outcome)}
        for report in self.outcome.reports:
            code = terms.concept(results.stage_concept(report.stage))
            if report.status is StageStatus.PERFORMED:
                who = f"performed by {report.plugin} {report.plugin_version or ''}".rstrip()
                yield ObservationComponent(code=code, valueString=terms.words(who))
            else:
                gap = missing[report.stage]
                why = terms.term("data-absent-reason", "error" if gap.is_failure else "not-performed", gap.words)
                yield ObservationComponent(code=code, dataAbsentReason=why)

    def _risk(self) -> RiskAssessment | None:
        """The level beside the probability of malignancy. The score is no probability: it stands in the rationale and the assessment."""
        risk, classes = self.outcome.risk, self.outcome.classification
        if not risk:
            return None
        parts = "; ".join(map(results.part_in_words, results.risk_parts(self.outcome)))
        left_out = "".join(f"; left out: {name} ({reason})" for name, reason in risk.missing)
        rationale = f"Risk {risk.level}, score {risk.score:.3f}: {parts}{left_out}"
        malignant = classes.group("MALIGNANT") if classes else None
        # Servers read the invariant ras-2 so that a prediction without a probability breaks it: without one, the risk is told in words
        prediction = malignant is not None and RiskAssessmentPrediction(
            outcome=terms.concept(MALIGNANT),
            probabilityDecimal=results.decimal(malignant),
            qualitativeRisk=_level(risk.level),
            rationale=terms.words(rationale),
        )
        return RiskAssessment(
            extension=list(terms.risk_extensions(risk.score, results.risk_parts(self.outcome), risk.missing)),
            identifier=[self._identifier("risk")],
            status="preliminary",
            subject=self.subject,
            occurrenceDateTime=self.observed_at,
            performer=self._device_reference,
            basis=[self._refer("assessment"), self._refer("measurements"), self.study],
            prediction=[prediction] if prediction else None,
            mitigation=terms.words(risk.recommendation),
            note=terms.notes(rationale, *risk.remarks, self.outcome.research_use),
        )

    def _report(self, parts: tuple[str, ...]) -> DiagnosticReport:
        accession = terms.words(self.case.series.accession_number)
        order = Identifier(type=terms.term("v2-0203", "ACSN"), value=accession) if accession else None
        return DiagnosticReport(
            identifier=[self._identifier("report"), terms.identifier(self.case.id)],
            basedOn=[Reference(type="ServiceRequest", identifier=order)] if order else None,
            status="preliminary",
            category=[terms.term("v2-0074", "OTH")],
            code=terms.concept(DERMOSCOPIC_PHOTOGRAPHY),
            subject=self.subject,
            effectiveDateTime=self.observed_at,
            issued=self.made_at,
            performer=None,  # an algorithm is no performer in R4: see Observation.device and Provenance
            result=[self._refer(part) for part in parts],
            imagingStudy=[self.study],
            conclusion=terms.words(_conclusion(self.outcome)),
        )

    def _provenance(self, parts: list[str]) -> Provenance:
        return Provenance(
            target=[self._refer(part) for part in parts],
            recorded=self.made_at,
            agent=[ProvenanceAgent(type=terms.term("provenance-participant-type", "assembler"), who=self._device_reference)],
            entity=[ProvenanceEntity(role="source", what=self.study)],
        )


def _measured(measurement: Measurement) -> Iterator[ObservationComponent]:
    """The number, and its interval as a range beside it: a reference range would say what is normal, which nobody has established."""
    yield ObservationComponent(code=terms.measured_concept(measurement), valueQuantity=terms.quantity(measurement.value, measurement.unit))
    if ends := results.ends(measurement):
        low, high = (terms.quantity(end, measurement.unit) for end in ends)
        yield ObservationComponent(code=terms.concept(results.interval_concept(measurement)), valueRange=Range(low=low, high=high))


def _level(level: str) -> CodeableConcept:
    """The level in HL7's words where it has them, else in the plugin's."""
    return (
        terms.term("risk-probability", level, level)
        if level in ("low", "moderate", "high")
        else terms.concept(concepts.RISK_LEVEL, text=level)
    )


def _lesion_parts(series: Series) -> tuple[str, ...]:
    """What names a lesion across visits, never across patients; a series of nobody, or of no named lesion, is a lesion of its own."""
    whose = (series.patient.issuer, series.patient.patient_id)
    if not series.patient.patient_id:
        return (*whose, series.series_instance_uid)
    if series.tracking_uid:
        return (*whose, series.tracking_uid)
    if series.tracking_id:
        return (*whose, series.tracking_id, series.body_site.value if series.body_site else "")
    return (*whose, series.series_instance_uid)


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
