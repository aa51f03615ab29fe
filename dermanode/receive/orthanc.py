"""Watches an Orthanc for stable series and fetches them: nothing has to be configured in Orthanc but a user."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import structlog
from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pyorthanc import Orthanc

from dermanode.config import OrthancWatch, Pipeline, Settings
from dermanode.errors import SpoolError
from dermanode.ledger.records import SeriesKey
from dermanode.receive.intake import OUT_OF_RESOURCES, SUCCESS, Caller, Intake, StoreRequest

log = structlog.get_logger(__name__)

_PAGE = 100
_LONGEST_WAIT_S = 60.0


class OrthancWatcher:
    """A thread that follows `/changes`. Where it stands is kept in the data folder, so a restart misses nothing and repeats little."""

    def __init__(
        self,
        name: str,
        watch: OrthancWatch,
        intake: Intake,
        settings: Settings,
        pipelines: Sequence[Pipeline],
        *,
        on_fetched: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_fetched` is called after each series. The intake must be open while the watcher runs."""
        self.name = f"Orthanc {name}"
        self._watch, self._intake, self._on_fetched = watch, intake, on_fetched
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
                except (httpx.HTTPError, SpoolError, OSError) as error:
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
        caller = Caller(f"{self.name} {series_id}", self.name.upper()[:16], self._called_ae, self._watch.url)
        fetched = sum(self._store(orthanc.get_instances_id_file(instance), caller) for instance in series["Instances"])
        self._stable.add(tags["SeriesInstanceUID"])
        log.info("series_fetched", orthanc=self.name, objects=fetched)
        self._on_fetched()
        return fetched

    def _store(self, content: Any, caller: Caller) -> bool:
        """Takes the data set in as C-STORE would, under our own file head, so that the same object by either road has the same digest.

        False for a file that is no DICOM. Raises `SpoolError` when there is no room: the series is fetched again later.
        """
        try:
            meta = dcmread(BytesIO(content), specific_tags=["SOPClassUID"], stop_before_pixels=True).file_meta
            request = StoreRequest(str(meta.MediaStorageSOPClassUID), str(meta.MediaStorageSOPInstanceUID), str(meta.TransferSyntaxUID))
            # PS3.10 7.1: the group length stands first, and counts from behind itself.
            start = 144 + int(struct.unpack_from("<I", content, 140)[0])
        except (AttributeError, InvalidDicomError, struct.error) as error:
            log.warning("instance_not_fetched", orthanc=self.name, error=f"it is no DICOM file ({error})")
            return False
        reception = self._intake.begin(request, caller)
        reception.write([memoryview(content)[start:]])
        answer = reception.finish()
        if answer.status == OUT_OF_RESOURCES:
            raise SpoolError(f"An object of {self.name} could not be stored: {answer.comment}.")
        return answer.status == SUCCESS

    def _last(self) -> int:
        return int(self._place.read_text()) if self._place.exists() else 0

    def _remember(self, last: int) -> None:
        scratch = Path(f"{self._place}.new")
        scratch.write_text(str(last))
        scratch.replace(self._place)
