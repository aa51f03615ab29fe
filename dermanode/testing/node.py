"""A whole node on free ports of this machine, for tests that want the real thing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dermanode.app import Node
from dermanode.config import DimseDestination, Pipeline, Settings, load_pipelines, load_settings
from dermanode.ledger.records import CaseRecord, CaseState, DeliveryState


@contextmanager
def running_node(
    config: Path, data: Path, *, deliver: Sequence[str] = (), expected_views: int | None = None, **overrides: Mapping[str, Any]
) -> Iterator[Node]:
    """The node of a configuration file, with its data in `data` and on ports that the system chooses.

    `overrides` replace whole keys of a section: `complete={"quiet_s": 1}`. `deliver` and `expected_views` are set in every pipeline.
    """
    read = load_settings(config)
    settings = with_data(read, data, **overrides)
    shipped = load_pipelines(read, config.parent)
    pipelines = [pipeline.model_copy(update={"deliver": tuple(deliver), "expected_views": expected_views}) for pipeline in shipped]
    with started(settings, pipelines, config.parent) as node:
        yield node


@contextmanager
def started(settings: Settings, pipelines: Sequence[Pipeline], folder: Path) -> Iterator[Node]:
    """The node of these settings, from `start` to `stop`."""
    node = Node(settings, pipelines, folder)
    node.start()
    try:
        yield node
    finally:
        node.stop()


def receiver_of(node: Node) -> DimseDestination:
    """Where to send for it to arrive at this node."""
    return DimseDestination(type="dimse", ae_title=node.settings.node.ae_title, host="127.0.0.1", port=node.dicom_port)


def wait_for_case(node: Node, search: str, timeout_s: float = 120.0) -> CaseRecord:
    """The newest case found by a UID or patient, once it has ended and its deliveries are done. Raises `TimeoutError`."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = node.ledger.cases.list(1, 0, search=search)
        if found and found[0].state in (CaseState.FINISHED, CaseState.FAILED):
            deliveries = node.ledger.deliveries.of_case(found[0].id)
            if all(delivery.state.is_acknowledged or delivery.state is DeliveryState.DEAD for delivery in deliveries):
                return found[0]
        time.sleep(0.05)
    raise TimeoutError(
        f"No case of {search} had ended after {timeout_s:g} s: {node.ledger.objects.counts()}, {node.ledger.cases.counts()}."
    )


def with_data(settings: Settings, data: Path, **overrides: Mapping[str, Any]) -> Settings:
    """The settings with their data in `data`, on ports that the system chooses, without destinations, and with the overrides."""
    content = settings.model_dump(mode="json")
    content["node"]["data_dir"] = str(data)
    content["receive"].update(host="127.0.0.1", port=0, minimum_free_mib=0)
    content["web"].update(host="127.0.0.1", port=0)
    content["destinations"] = {}
    for section, values in overrides.items():
        content[section].update(values)
    return Settings.model_validate(content)
