"""The shelf: every object that can be given out, with its series and its file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from dermanode.dicom.elements import Elements
from dermanode.domain.identifiers import UID
from dermanode.errors import IdentifierError, UnreadableObject
from dermanode.ledger.served import Served, ServedObject, Wanted
from dermanode.web.dicomweb.attributes import SERIES_UID
from dermanode.web.dicomweb.headers import Head, Headers
from dermanode.web.dicomweb.problem import Problem

log = structlog.get_logger(__name__)

_STUDIES_AT_ONCE = 50
"""Studies in one statement."""


@dataclass(frozen=True, slots=True)
class Volume:
    """One object on the shelf."""

    study: UID
    series: UID
    instance: UID
    sop_class: UID
    patient_id: str
    """By the hospital's last word, where patients were merged: the file keeps what it came with."""
    path: Path
    tag: str
    """The entity tag of its contents: the digest."""
    size_bytes: int
    read: Callable[[frozenset[int]], Head]
    """Its header, with further attributes where they are named. Raises `UnreadableObject`."""

    @property
    def elements(self) -> Elements:
        """What queries usually ask for. Raises `UnreadableObject`."""
        return self.read(frozenset()).elements

    @property
    def place(self) -> str:
        """Its path below the service's root."""
        return f"/studies/{self.study}/series/{self.series}/instances/{self.instance}"


class Shelf:
    """Finds objects by study, series and instance."""

    def __init__(self, served: Served, spool_dir: Path, results_dir: Path, headers: Headers) -> None:
        self._served, self._spool_dir, self._results_dir, self._headers = served, spool_dir, results_dir, headers

    def find(self, study: str, series: str | None = None, instance: str | None = None) -> tuple[Volume, ...]:
        """Those of that study, series or instance. Raises `Problem` 404 where there is none, 400 for what is no UID."""
        uids = [_uid(text) for text in (study, series, instance) if text is not None]
        found = tuple(
            volume
            for volume in self._volumes(self._served.of_studies(uids[:1], uids[-1] if instance is not None else None)[uids[0]])
            if (series is None or volume.series == uids[1]) and (instance is None or volume.instance == uids[-1])
        )
        if not found:
            what = "instance" if instance is not None else "series" if series is not None else "study"
            raise Problem(404, f"The node holds no {what} {uids[-1]}, or does not give it out.")
        return found

    def studies(self, wanted: Wanted) -> Iterator[tuple[Volume, ...]]:
        """The studies that may fit, those with the newest objects first, as they are asked for."""
        offset = 0
        while page := self._served.studies(wanted, _STUDIES_AT_ONCE, offset):
            offset += len(page)
            of_studies = self._served.of_studies(page)
            for study in page:
                if volumes := self._volumes(of_studies[study]):
                    yield volumes

    def _volumes(self, served: Sequence[ServedObject]) -> tuple[Volume, ...]:
        return tuple(volume for one in served if (volume := self._volume(one)) is not None)

    def _volume(self, served: ServedObject) -> Volume | None:
        path = (self._results_dir if served.is_result else self._spool_dir) / served.path

        def read(more: frozenset[int]) -> Head:
            return self._headers.read(path, served.digest, more)

        series = served.series_instance_uid
        if series is None:
            try:
                series = read(frozenset()).elements.uid(SERIES_UID)
            except UnreadableObject as error:
                log.warning("result_not_served", sop_instance_uid=str(served.sop_instance_uid), reason=error.reason)
            if series is None:
                return None
        return Volume(
            served.study_instance_uid,
            series,
            served.sop_instance_uid,
            served.sop_class_uid,
            served.patient_id,
            path,
            str(served.digest),
            served.size_bytes,
            read,
        )


def _uid(text: str) -> UID:
    try:
        return UID(text)
    except IdentifierError as error:
        raise Problem(400, f"{text[:80]!r} is no UID.") from error
