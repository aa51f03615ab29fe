"""Who can be asked for a patient's reports: a PACS by C-FIND and C-GET (PS3.4 C.4) or by DICOMweb, an Orthanc by its REST interface."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import httpx
from pydicom import Dataset
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind, StudyRootQueryRetrieveInformationModelGet

from dermanode.config import DicomwebSource, OrthancWatch, Source
from dermanode.config.tls import towards
from dermanode.deliver.answers import undisturbed
from dermanode.dicom.read_report import REPORT_CLASSES
from dermanode.domain.identifiers import AETitle
from dermanode.errors import SourceUnavailable
from dermanode.receive.dicomweb_peer import DicomwebPeer, DicomwebSession
from dermanode.receive.orthanc_client import orthanc_client
from dermanode.receive.source import without_delay

TOO_SLOW = "it was too slow"
MOST_REPORT_BYTES = 32 << 20
"""A Structured Report has some 100 KB."""
_PENDING = (0xFF00, 0xFF01)


class ReportSource(Protocol):
    """One place that may hold reports."""

    @property
    def name(self) -> str:
        """As the settings call it."""
        ...

    def reports(self, patient_id: str, deadline: float) -> Generator[bytes, None, None]:
        """The patient's Structured Reports as DICOM files, the latest first, as far as the place can tell.

        What comes may be of other patients too: a Patient ID can read like a wildcard, and issuers are not asked for. Ends at
        `deadline`, on `time.monotonic()`, give or take one answer. Raises `SourceUnavailable`.
        """
        ...


class DimseReports:
    """A PACS, by C-FIND for studies, their SR series and their instances, and by C-GET, over one association that we open."""

    def __init__(self, name: str, source: Source, own_title: AETitle) -> None:
        self.name = name
        self._source, self._own_title = source, own_title

    def reports(self, patient_id: str, deadline: float) -> Generator[bytes, None, None]:
        if self._source.retrieve == "move":  # what came to our listener would be a delivery like any other, and be kept
            raise SourceUnavailable(self.name, "it is set to `retrieve: move`, and reports are read only by C-GET or DICOMweb")
        came: list[bytes] = []

        def keep(event: evt.Event) -> int:
            came.append(event.encoded_dataset())
            return 0x0000

        missing = 0
        with self._association(deadline, keep) as association:
            for study in self._studies(association, patient_id, deadline):
                for series in self._series(association, study, deadline):
                    for instance in self._instances(association, study, series, deadline):
                        self._get(association, study, series, instance, deadline)
                        missing += not came
                        yield from came
                        came.clear()
        if missing:
            raise SourceUnavailable(self.name, f"it has {missing} reports more, but did not give them")

    @contextmanager
    def _association(self, deadline: float, keep: Any) -> Iterator[Association]:
        entity = AE(ae_title=str(self._own_title))
        left_s = max(0.1, deadline - time.monotonic())
        entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = left_s
        models = (StudyRootQueryRetrieveInformationModelFind, StudyRootQueryRetrieveInformationModelGet)
        association = entity.associate(
            self._source.host,
            self._source.port,
            contexts=[build_context(uid) for uid in (*models, *REPORT_CLASSES)],
            ae_title=str(self._source.ae_title),
            # PS3.4 C.5.3: who gets by C-GET is the SCP of the storage that follows.
            ext_neg=[build_role(uid, scp_role=True) for uid in REPORT_CLASSES],
            evt_handlers=[(evt.EVT_CONN_OPEN, without_delay), (evt.EVT_CONN_OPEN, undisturbed), (evt.EVT_C_STORE, keep)],
            tls_args=towards(self._source.host, self._source.tls),
        )
        if not association.is_established:
            raise SourceUnavailable(self.name, "it rejects us" if association.is_rejected else "it does not answer")
        try:
            accepted = {context.abstract_syntax for context in association.accepted_contexts}
            missing = [name for uid, name in zip(models, ("search (C-FIND)", "retrieval (C-GET)"), strict=True) if uid not in accepted]
            if missing:
                raise SourceUnavailable(self.name, f"it offers no {' and no '.join(missing)}")
            yield association
        finally:
            if time.monotonic() < deadline:
                association.release()
            else:
                association.abort(block=False)

    def _studies(self, association: Association, patient_id: str, deadline: float) -> list[Dataset]:
        """Of exactly this Patient ID, as far as the answer says; the latest first."""
        query = _query("STUDY", StudyInstanceUID="", StudyDate="", StudyTime="", ModalitiesInStudy="SR", PatientID=patient_id)
        found = self._find(association, query, deadline)
        return _latest_first((one for one in found if _may_be(one, "PatientID", patient_id) and _has_reports(one)), "Study")

    def _series(self, association: Association, study: Dataset, deadline: float) -> list[Dataset]:
        query = _query("SERIES", StudyInstanceUID=study.StudyInstanceUID, SeriesInstanceUID="", Modality="SR", SeriesDate="", SeriesTime="")
        found = self._find(association, query, deadline)
        return _latest_first((one for one in found if "SeriesInstanceUID" in one and _may_be(one, "Modality", "SR")), "Series")

    def _instances(self, association: Association, study: Dataset, series: Dataset, deadline: float) -> list[Dataset]:
        query = _query(
            "IMAGE",
            StudyInstanceUID=study.StudyInstanceUID,
            SeriesInstanceUID=series.SeriesInstanceUID,
            SOPInstanceUID="",
            SOPClassUID="",
        )
        found = self._find(association, query, deadline)
        return [one for one in found if "SOPInstanceUID" in one and str(one.get("SOPClassUID") or "") in (*REPORT_CLASSES, "")]

    def _find(self, association: Association, query: Dataset, deadline: float) -> list[Dataset]:
        found: list[Dataset] = []
        for status, identifier in self._answers(association.send_c_find, association, query, StudyRootQueryRetrieveInformationModelFind):
            if status in _PENDING:
                found += [identifier] if identifier is not None else []
            elif status != 0x0000:
                raise SourceUnavailable(self.name, f"it refuses the search (status 0x{status:04X})")
            if time.monotonic() >= deadline:
                raise SourceUnavailable(self.name, TOO_SLOW)
        return [one for one in found if "StudyInstanceUID" in one]

    def _get(self, association: Association, study: Dataset, series: Dataset, instance: Dataset, deadline: float) -> None:
        """One instance, into the handler. One that it has and does not give must not cost the others."""
        query = _query(
            "IMAGE",
            StudyInstanceUID=study.StudyInstanceUID,
            SeriesInstanceUID=series.SeriesInstanceUID,
            SOPInstanceUID=instance.SOPInstanceUID,
        )
        for _ in self._answers(association.send_c_get, association, query, StudyRootQueryRetrieveInformationModelGet):
            if time.monotonic() >= deadline:
                raise SourceUnavailable(self.name, TOO_SLOW)

    def _answers(self, send: Any, association: Association, query: Dataset, model: str) -> Iterator[tuple[int, Dataset | None]]:
        if not association.is_established:
            raise SourceUnavailable(self.name, "the association was lost")
        for answer, identifier in send(query, model):
            if "Status" not in answer:
                raise SourceUnavailable(self.name, "it stopped answering")
            yield int(answer.Status), identifier


class DicomwebReports:
    """A PACS, by QIDO-RS for studies, their SR series and their instances, and by WADO-RS."""

    def __init__(self, name: str, source: DicomwebSource) -> None:
        self.name = name
        self._peer = DicomwebPeer(name, source)

    def reports(self, patient_id: str, deadline: float) -> Generator[bytes, None, None]:
        with self._peer.session(deadline - time.monotonic()) as session:
            for study in self._studies(session, patient_id):
                uid = str(study.StudyInstanceUID)
                for series in self._series(session, uid):
                    for path in self._paths(session, uid, str(series.SeriesInstanceUID)):
                        if time.monotonic() >= deadline:
                            raise SourceUnavailable(self.name, TOO_SLOW)
                        files = _Files()
                        session.retrieve(path, files)
                        yield from files.contents

    def _studies(self, session: DicomwebSession, patient_id: str) -> list[Dataset]:
        """Of exactly this Patient ID, as far as the answer says; the latest first."""
        found = session.studies({"PatientID": patient_id, "ModalitiesInStudy": "SR"})
        return _latest_first((one for one in found if _may_be(one, "PatientID", patient_id) and _has_reports(one)), "Study")

    def _series(self, session: DicomwebSession, study: str) -> list[Dataset]:
        return [one for one in session.series(study, {"Modality": "SR"}) if _may_be(one, "Modality", "SR")]

    def _paths(self, session: DicomwebSession, study: str, series: str) -> list[str]:
        found = [one for one in session.instances(study, series) if str(one.get("SOPClassUID") or "") in (*REPORT_CLASSES, "")]
        return [f"/studies/{study}/series/{series}/instances/{one.SOPInstanceUID}" for one in found]


class _Files:
    """The parts of an answer, in memory: reports are small, and those that are not are not read."""

    def __init__(self) -> None:
        self.contents: list[bytes] = []
        self._content = bytearray()

    def begin(self, content_type: str) -> None:
        self._content = bytearray()

    def write(self, data: memoryview) -> None:
        if len(self._content) < MOST_REPORT_BYTES:
            self._content += data

    def end(self) -> None:
        if len(self._content) < MOST_REPORT_BYTES:
            self.contents.append(bytes(self._content))


class OrthancReports:
    """An Orthanc, by `/tools/find`."""

    def __init__(self, name: str, watch: OrthancWatch) -> None:
        self.name = name
        self._watch = watch

    def reports(self, patient_id: str, deadline: float) -> Generator[bytes, None, None]:
        left_s = max(0.1, deadline - time.monotonic())
        query = {"Level": "Series", "Expand": True, "CaseSensitive": True, "Query": {"PatientID": patient_id, "Modality": "SR"}}
        try:
            with orthanc_client(self._watch, left_s) as orthanc:
                found: Any = orthanc.post_tools_find(json=query)
                for series in sorted(found, key=_series_moment, reverse=True):
                    for instance in series["Instances"]:
                        if time.monotonic() >= deadline:
                            raise SourceUnavailable(self.name, TOO_SLOW)
                        content = orthanc.get_instances_id_file(instance)
                        if isinstance(content, bytes):
                            yield content
        except httpx.HTTPStatusError as error:
            raise SourceUnavailable(self.name, f"it answers HTTP {error.response.status_code}") from error
        except httpx.TimeoutException as error:
            raise SourceUnavailable(self.name, TOO_SLOW) from error
        except httpx.HTTPError as error:
            raise SourceUnavailable(self.name, f"it does not answer ({type(error).__name__})") from error


def _query(level: str, **keys: str) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = level
    if not all(value.isascii() for value in keys.values()):
        query.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in keys.items():
        setattr(query, keyword, value)
    return query


def _may_be(answer: Dataset, keyword: str, wanted: str) -> bool:
    """The answer says so, or does not say it at all; a wildcard in what was asked for matches more than was meant."""
    said = str(answer.get(keyword) or "").strip()
    return said in ("", wanted)


def _has_reports(study: Dataset) -> bool:
    said = study.get("ModalitiesInStudy") or ()
    modalities = [said] if isinstance(said, str) else list(said)
    return not modalities or "SR" in modalities


def _latest_first(found: Iterator[Dataset], of: str) -> list[Dataset]:
    return sorted(found, key=lambda one: (str(one.get(f"{of}Date") or ""), str(one.get(f"{of}Time") or "")), reverse=True)


def _series_moment(series: Any) -> tuple[str, str]:
    tags = series.get("MainDicomTags", {})
    return tags.get("SeriesDate", ""), tags.get("SeriesTime", "")
