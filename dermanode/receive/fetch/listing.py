"""What a source has of what is asked for. Its answers are held against the question: a PACS may match more than was meant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pydicom import Dataset

from dermanode.domain.identifiers import UID
from dermanode.errors import IdentifierError, SourceRefused
from dermanode.ledger.fetch_query import FetchQuery, StudyDates
from dermanode.receive.incoming import Belonging
from dermanode.receive.searcher import Searcher
from dermanode.receive.wanted import WantedModalities

MOST_STUDIES = 1000
"""A question that matches more is a mistake, or to be asked in parts."""


@dataclass(frozen=True, slots=True)
class SeriesOrder:
    """One series that is to be fetched."""

    study_instance_uid: UID
    series_instance_uid: UID
    patient_id: str | None
    """As the source says it; None where it says none."""
    issuer_of_patient_id: str | None
    """The one that was asked for; None where none was."""
    instances: Mapping[UID, str]
    """SOP Class UIDs by SOP Instance UID; '' where the source does not say the class."""
    stated: int | None
    """Its Number of Series Related Instances."""

    @property
    def objects(self) -> int:
        """How many it has, by whichever of its own counts is larger."""
        return max(self.stated or 0, len(self.instances))

    @property
    def belonging(self) -> Belonging:
        return Belonging(self.study_instance_uid, self.series_instance_uid, self.patient_id, self.issuer_of_patient_id)


@dataclass(slots=True)
class Listing:
    """The orders, and what was left out and why."""

    orders: list[SeriesOrder] = field(default_factory=list)
    unwanted: Counter[str] = field(default_factory=Counter)
    """Series by modality that no pipeline wants."""
    foreign: Counter[str] = field(default_factory=Counter)
    """Studies that were answered though they do not match, by what does not."""


def list_series(searcher: Searcher, query: FetchQuery, wanted: WantedModalities) -> Listing:
    """Raises `SourceUnavailable`, and `SourceRefused` where too much matches."""
    listing = Listing()
    for study in _studies(searcher, query, listing):
        if not wanted.has_any(_texts(study, "ModalitiesInStudy")):
            listing.unwanted.update(filter(None, _texts(study, "ModalitiesInStudy")))
            continue
        for order in _orders(searcher, study, query, wanted, listing):
            listing.orders.append(order)
    return listing


def _studies(searcher: Searcher, query: FetchQuery, listing: Listing) -> list[Dataset]:
    study = str(query.study_instance_uid or "") or _study_of_series(searcher, query)
    if study is None:
        return []
    matching = {
        "StudyInstanceUID": study,
        "PatientID": query.patient_id,
        "IssuerOfPatientID": query.issuer_of_patient_id,
        "AccessionNumber": query.accession_number,
        "StudyDate": query.study_dates.dicom if query.study_dates else "",
    }
    found: dict[str, Dataset] = {}
    for answer in searcher.studies({keyword: value for keyword, value in matching.items() if value}):
        problem = _mismatch(answer, query, study)
        if problem:
            listing.foreign[problem] += 1
        else:
            found[_text(answer, "StudyInstanceUID")] = answer
    if len(found) > MOST_STUDIES:
        raise SourceRefused(
            searcher.name, f"{len(found)} studies match, and more than {MOST_STUDIES} are not fetched at once: ask for less"
        )
    return list(found.values())


def _study_of_series(searcher: Searcher, query: FetchQuery) -> str | None:
    """'' where no series is asked for; None where the source does not know the series."""
    if query.series_instance_uid is None:
        return ""
    answers = searcher.series("", {"SeriesInstanceUID": query.series_instance_uid})
    return next((_text(one, "StudyInstanceUID") for one in answers if _is_series(one, query.series_instance_uid)), None) or None


def _mismatch(answer: Dataset, query: FetchQuery, study: str) -> str | None:
    """What does not match, in words. What the answer does not say does not match either: PS3.4 C.6.2.1 wants it said."""
    if not _is_uid(answer, "StudyInstanceUID") or (study and _text(answer, "StudyInstanceUID") != study):
        return "the study"
    if query.patient_id and _text(answer, "PatientID") != query.patient_id:
        return "the patient id"
    if query.issuer_of_patient_id and _text(answer, "IssuerOfPatientID") != query.issuer_of_patient_id:
        return "the issuer of the patient id"
    if query.accession_number and _text(answer, "AccessionNumber") != query.accession_number:
        return "the accession number"
    if query.study_dates and not _is_within(_text(answer, "StudyDate"), query.study_dates):
        return "the study date"
    return None


def _orders(searcher: Searcher, study: Dataset, query: FetchQuery, wanted: WantedModalities, listing: Listing) -> Iterator[SeriesOrder]:
    study_uid = _text(study, "StudyInstanceUID")
    matching = {"SeriesInstanceUID": str(query.series_instance_uid)} if query.series_instance_uid else {}
    seen: set[str] = set()
    for answer in searcher.series(study_uid, matching):
        uid = _text(answer, "SeriesInstanceUID")
        is_asked = _text(answer, "StudyInstanceUID") in ("", study_uid) and uid == (query.series_instance_uid or uid)
        if uid in seen or not is_asked or not _is_uid(answer, "SeriesInstanceUID"):
            continue
        seen.add(uid)
        modality = _text(answer, "Modality")
        if not wanted.has(modality):
            listing.unwanted[modality] += 1
            continue
        number = _text(answer, "NumberOfSeriesRelatedInstances")
        yield SeriesOrder(
            study_instance_uid=UID(study_uid),
            series_instance_uid=UID(uid),
            patient_id=_text(study, "PatientID") or None,
            issuer_of_patient_id=query.issuer_of_patient_id or None,
            instances={
                UID(_text(one, "SOPInstanceUID")): _text(one, "SOPClassUID")
                for one in searcher.instances(study_uid, uid)
                if _is_uid(one, "SOPInstanceUID") and _text(one, "SeriesInstanceUID") in ("", uid)
            },
            stated=int(number) if number.isdigit() else None,
        )


def _is_series(answer: Dataset, uid: UID) -> bool:
    return _text(answer, "SeriesInstanceUID") == uid and _is_uid(answer, "StudyInstanceUID")


def _is_within(text: str, dates: StudyDates) -> bool:
    try:
        return dates.has(datetime.strptime(text, "%Y%m%d").date())
    except ValueError:
        return False


def _is_uid(answer: Dataset, keyword: str) -> bool:
    try:
        UID(_text(answer, keyword))
    except IdentifierError:
        return False
    return True


def _text(answer: Dataset, keyword: str) -> str:
    return str(answer.get(keyword) or "").strip()


def _texts(answer: Dataset, keyword: str) -> list[str]:
    found = answer.get(keyword) or ()
    return [found.strip()] if isinstance(found, str) else [str(one).strip() for one in found]
