"""Following the changes of a real Orthanc: what is broken, emptied or late there."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from pydicom import Dataset

from dermanode.config import OrthancWatch, Retry, Settings
from dermanode.domain.identifiers import UID
from dermanode.ledger.records import SeriesKey
from dermanode.receive.orthanc import OrthancWatcher
from dermanode.receive.orthanc_client import orthanc_client
from dermanode.testing.fetching import DERMOSCOPY, FetchingNode, fetching_node
from dermanode.testing.real_pacs import ORTHANC, RealPacs, running_orthanc
from dermanode.testing.worked_cases import photograph

pytestmark = [pytest.mark.integration, pytest.mark.skipif(ORTHANC is None, reason="Debian's package orthanc is not installed")]


def series(name: str, count: int = 2, **changes: object) -> list[Dataset]:
    made = [photograph(number, 24, 32, study=f"watched {name}") for number in range(1, count + 1)]
    for one in made:
        for keyword, value in changes.items():
            setattr(one, keyword, value)
    return made


def uids(*parts: list[Dataset]) -> list[str]:
    return sorted(str(one.SOPInstanceUID) for part in parts for one in part)


def key(instances: list[Dataset]) -> SeriesKey:
    return SeriesKey(UID(instances[0].StudyInstanceUID), UID(instances[0].SeriesInstanceUID), "P-4711", "CLINIC")


AT_ONCE = Retry(attempts=2, first_s=0.01, longest_s=0.01)


@dataclass
class Watch:
    """An Orthanc, and a node that looks at its changes when it is told to."""

    orthanc: RealPacs
    node: FetchingNode
    data: Path
    said: list[tuple[str, str]] = field(default_factory=list)

    def watcher(self, retry: Retry = AT_ONCE) -> OrthancWatcher:
        """As after a start of the node."""
        settings = Settings.model_validate({"node": {"data_dir": str(self.data)}})
        return OrthancWatcher(
            "clinic",
            OrthancWatch(url=self.orthanc.url),
            self.node.scp.intake,
            self.node.ledger.holdings,
            settings,
            [DERMOSCOPY],
            tell=lambda kind, words: self.said.append((kind, words)),
            retry=retry,
        )

    def stable(self, instances: list[Dataset]) -> None:
        """Waits until Orthanc has called the series stable since it was last complete there."""
        wanted = self.orthanc.lookup(str(instances[0].SeriesInstanceUID))
        last = max(one["Seq"] for one in self._changes() if one["ChangeType"] == "NewInstance")
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if any(one["ChangeType"] == "StableSeries" and one["ID"] == wanted and one["Seq"] > last for one in self._changes()):
                return
            time.sleep(0.1)
        raise AssertionError("Orthanc does not call the series stable")

    def step(self, watcher: OrthancWatcher) -> int:
        with orthanc_client(OrthancWatch(url=self.orthanc.url)) as client:
            return watcher.step(client)

    def _changes(self) -> list[dict[str, object]]:
        return list(httpx.get(f"{self.orthanc.url}/changes?limit=1000").json()["Changes"])


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealPacs]:
    # Without a cache, a file that is taken away is missed.
    with running_orthanc(tmp_path_factory.mktemp("orthanc"), MaximumStorageCacheSize=0) as running:
        yield running


@pytest.fixture
def watch(orthanc: RealPacs, tmp_path: Path) -> Iterator[Watch]:
    """A node that has followed the changes up to now."""
    with fetching_node(tmp_path / "node", {}) as node:
        last = httpx.get(f"{orthanc.url}/changes?last").json()["Last"]
        (tmp_path / "node" / "orthanc-clinic.last").write_text(str(last))
        yield Watch(orthanc, node, tmp_path / "node")


def test_what_became_stable_is_fetched_once_over_a_restart_too(watch: Watch) -> None:
    photographs, others = series("photographs", 3), series("others", 1, Modality="DX")
    watch.orthanc.upload([*others, *photographs])
    watch.stable(photographs)
    watcher = watch.watcher()
    assert watch.step(watcher) == 3
    assert watch.node.uids() == uids(photographs)
    assert watcher.is_stable(key(photographs))
    assert watch.step(watcher) == 0
    assert watch.step(watch.watcher()) == 0
    assert [one.duplicates for one in watch.node.stored()] == [0, 0, 0]


def test_a_late_image_takes_the_series_out_of_the_stable_ones_until_it_is_here(watch: Watch) -> None:
    photographs = series("late", 3)
    watch.orthanc.upload(photographs[:2])
    watch.stable(photographs)
    watcher = watch.watcher()
    watch.step(watcher)
    watch.orthanc.upload(photographs[2:])
    watch.stable(photographs)
    assert watch.step(watcher) == 1
    assert watcher.is_stable(key(photographs))


def test_an_orthanc_that_was_emptied_is_followed_from_its_start_again(watch: Watch, tmp_path: Path) -> None:
    before = series("before", 1)
    watch.orthanc.upload(before)
    watch.stable(before)
    watch.step(watch.watcher())
    with running_orthanc(tmp_path / "emptied") as watch.orthanc:
        anew = series("after", 1)
        watch.orthanc.upload(anew)
        watch.stable(anew)
        assert watch.step(watch.watcher()) == 1
        assert set(uids(anew)) < set(watch.node.uids())
        assert [kind for kind, _ in watch.said] == ["orthanc_was_reset"]


def test_another_orthanc_that_counts_further_is_noticed_by_what_its_changes_are_about(watch: Watch) -> None:
    photographs = series("found", 1)
    watch.orthanc.upload(photographs)
    watch.stable(photographs)
    place = {"last": 3, "resource": "another", "broken": {}}  # a change of that number there, about something else
    (watch.data / "orthanc-clinic.last").write_text(json.dumps(place))
    assert watch.step(watch.watcher()) >= 1
    assert set(uids(photographs)) <= set(watch.node.uids())
    assert [kind for kind, _ in watch.said] == ["orthanc_was_reset"]


def test_the_place_that_the_first_version_kept_is_understood(watch: Watch) -> None:
    photographs = series("known", 1)
    watch.orthanc.upload(photographs)
    watch.stable(photographs)
    last = httpx.get(f"{watch.orthanc.url}/changes?last").json()["Last"]
    (watch.data / "orthanc-clinic.last").write_text(str(last))
    assert watch.step(watch.watcher()) == 0
    assert watch.said == []


def test_a_broken_series_holds_up_nobody_is_tried_again_and_given_up_aloud(watch: Watch) -> None:
    broken, sound = series("broken", 2), series("sound", 2)
    watch.orthanc.upload(broken)
    watch.stable(broken)
    lose_a_file(watch.orthanc, broken[0])
    watch.orthanc.upload(sound)
    watch.stable(sound)
    watcher = watch.watcher()
    watch.step(watcher)
    assert set(uids(sound)) < set(watch.node.uids())
    assert uids(broken[1:])[0] in watch.node.uids()
    assert not watcher.is_stable(key(broken))
    time.sleep(0.02)
    watch.step(watcher)
    assert [kind for kind, _ in watch.said] == ["series_not_fetched"]
    assert json.loads((watch.data / "orthanc-clinic.last").read_text())["broken"] == {}


def test_a_broken_series_that_is_mended_comes_after_a_restart(watch: Watch) -> None:
    broken = series("mended", 2)
    watch.orthanc.upload(broken)
    watch.stable(broken)
    lost = lose_a_file(watch.orthanc, broken[0])
    watch.step(watch.watcher(Retry(attempts=5)))
    lost.rename(lost.with_suffix(""))
    assert watch.step(watch.watcher()) == 1
    assert watch.node.uids() == uids(broken)


def test_a_series_that_was_deleted_meanwhile_is_passed_over(watch: Watch) -> None:
    gone, left = series("gone", 1), series("left", 1)
    watch.orthanc.upload(gone)
    watch.stable(gone)
    watch.orthanc.upload(left)
    watch.stable(left)
    watcher = watch.watcher()
    with orthanc_client(OrthancWatch(url=watch.orthanc.url)) as client:
        told = client.get_changes(params={"since": json.loads((watch.data / "orthanc-clinic.last").read_text()), "limit": 100})
        httpx.delete(f"{watch.orthanc.url}/series/{watch.orthanc.lookup(str(gone[0].SeriesInstanceUID))}").raise_for_status()
        client.get_changes = lambda params=None: told if params and "since" in params else {"Last": told["Last"]}
        assert watcher.step(client) == 1
    assert watch.node.uids() == uids(left)


def lose_a_file(orthanc: RealPacs, instance: Dataset) -> Path:
    """Takes an instance's file away from under Orthanc; where it is now."""
    uuid = httpx.get(f"{orthanc.url}/instances/{orthanc.lookup(str(instance.SOPInstanceUID))}/attachments/dicom/info").json()["Uuid"]
    file = orthanc.log.parent / "storage" / uuid[:2] / uuid[2:4] / uuid
    return file.rename(file.with_suffix(".lost"))
