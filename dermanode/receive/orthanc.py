"""Watches an Orthanc for stable series and fetches them: nothing has to be configured in Orthanc but a user."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import structlog
from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pyorthanc import Orthanc

from dermanode.config import OrthancWatch, Pipeline, Settings
from dermanode.domain.identifiers import UID
from dermanode.errors import IdentifierError, LedgerError, UnreadableObject
from dermanode.ledger.ledger import Ledger
from dermanode.ledger.records import Arrival, SeriesKey
from dermanode.ledger.spool import Spool, SpooledFile
from dermanode.receive.part10 import file_head

log = structlog.get_logger(__name__)

_PAGE = 100
_LONGEST_WAIT_S = 60.0


class OrthancWatcher:
    """A thread that follows `/changes`. Where it stands is kept in the data folder, so a restart misses nothing and repeats little."""

    def __init__(
        self,
        name: str,
        watch: OrthancWatch,
        spool: Spool,
        ledger: Ledger,
        settings: Settings,
        pipelines: Sequence[Pipeline],
        *,
        on_stored: Callable[[], None] = lambda: None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.name = f"Orthanc {name}"
        self._watch, self._spool, self._ledger, self._on_stored, self._clock = watch, spool, ledger, on_stored, clock
        self._called_ae = str(settings.node.ae_title)
        # A pipeline without modalities may want any; then every stable series is fetched.
        wanted = [set(pipeline.match.modalities) for pipeline in pipelines]
        self._modalities = set[str]().union(*wanted) if all(wanted) else None
        self._place = settings.node.data_dir / f"orthanc-{name}.last"
        self._stable: set[str] = set()
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"orthanc-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._is_stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def is_stable(self, key: SeriesKey) -> bool:
        """Orthanc has called the series stable, and every one of its objects was fetched."""
        return key.series_instance_uid in self._stable

    def step(self, orthanc: Orthanc) -> int:
        """Reads the changes since the last step and fetches what became stable; how many objects came. Raises `httpx.HTTPError`."""
        fetched = 0
        is_done = False
        while not is_done and not self._is_stopping.is_set():
            page: Any = orthanc.get_changes(params={"since": self._last(), "limit": _PAGE})
            for change in page["Changes"]:
                if change["ChangeType"] == "StableSeries":
                    fetched += self._fetch(orthanc, change["ID"])
            self._remember(page["Last"])
            is_done = page["Done"]
        return fetched

    def _run(self) -> None:
        wait_s = self._watch.poll_s
        with Orthanc(self._watch.url, self._watch.username or None, self._watch.password or None) as orthanc:
            while not self._is_stopping.wait(wait_s):
                try:
                    self.step(orthanc)
                    wait_s = self._watch.poll_s
                except (httpx.HTTPError, LedgerError, OSError) as error:
                    wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
                    log.warning("orthanc_not_read", orthanc=self.name, error=f"{type(error).__name__}: {error}", next_try_s=wait_s)

    def _fetch(self, orthanc: Orthanc, series_id: str) -> int:
        try:
            series: Any = orthanc.get_series_id(series_id)
        except httpx.HTTPStatusError as error:
            if error.response.status_code == 404:  # deleted since
                return 0
            raise
        tags = series["MainDicomTags"]
        if self._modalities is not None and tags.get("Modality") not in self._modalities:
            return 0
        arrivals = list(self._store(orthanc, series["Instances"], association=f"{self.name} {series_id}"))
        if not arrivals:
            return 0
        self._spool.sync_folders(SpooledFile(a.digest, a.size_bytes, a.path) for a in arrivals)
        self._ledger.objects.record(arrivals)
        self._stable.add(tags["SeriesInstanceUID"])
        log.info("series_fetched", orthanc=self.name, objects=len(arrivals))
        self._on_stored()
        return len(arrivals)

    def _store(self, orthanc: Orthanc, instances: Sequence[str], association: str) -> Iterator[Arrival]:
        for instance in instances:
            content: Any = orthanc.get_instances_id_file(instance)
            try:
                yield self._spooled(bytes(content), association)
            except UnreadableObject as error:
                log.warning("instance_not_fetched", orthanc=self.name, instance=instance, error=str(error))

    def _spooled(self, content: bytes, association: str) -> Arrival:
        """Writes the data set under our own file head, so that the same object by C-STORE has the same digest."""
        try:
            meta = dcmread(BytesIO(content), specific_tags=["SOPClassUID"], stop_before_pixels=True).file_meta
            sop_class, instance, syntax = (
                UID(meta.MediaStorageSOPClassUID),
                UID(meta.MediaStorageSOPInstanceUID),
                UID(meta.TransferSyntaxUID),
            )
            # PS3.10 7.1: the group length stands first, and counts from behind itself.
            start = 144 + int(struct.unpack_from("<I", content, 140)[0])
        except (AttributeError, IdentifierError, InvalidDicomError, struct.error) as error:
            raise UnreadableObject(association, f"Orthanc gave a file without valid meta information ({error})") from error
        file = self._spool.create()
        try:
            file.write([file_head(sop_class, instance, syntax), memoryview(content)[start:]])
        except OSError:
            file.discard()
            raise
        sealed = file.seal()
        return Arrival(
            sop_instance_uid=instance,
            sop_class_uid=sop_class,
            transfer_syntax_uid=syntax,
            digest=sealed.digest,
            size_bytes=sealed.size_bytes,
            path=sealed.path,
            association=association,
            calling_ae=self.name.upper()[:16],
            called_ae=self._called_ae,
            source_address=self._watch.url,
            received_at=self._clock(),
        )

    def _last(self) -> int:
        return int(self._place.read_text()) if self._place.exists() else 0

    def _remember(self, last: int) -> None:
        scratch = Path(f"{self._place}.new")
        scratch.write_text(str(last))
        scratch.replace(self._place)
