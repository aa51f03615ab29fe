"""Numbers for Prometheus, counted from the ledger when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dermanode.ledger.ledger import Ledger


class LedgerCollector(Collector):
    """The counts by state of objects, cases, commitments, procedure steps and each destination's deliveries, and the suspended plugins."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def collect(self) -> Iterator[Metric]:
        for name, words, counts in (
            ("objects", "Accepted objects by state", self._ledger.objects.counts()),
            ("cases", "Cases by state", self._ledger.cases.counts()),
            ("commitments", "Requests for storage commitment by state", self._ledger.commitments.counts()),
            ("steps", "Claimed procedure steps by state", self._ledger.steps.counts()),
        ):
            gauge = GaugeMetricFamily(f"dermanode_{name}", words, labels=["state"])
            for state, count in counts.items():
                gauge.add_metric([str(state)], count)
            yield gauge
        deliveries = GaugeMetricFamily("dermanode_deliveries", "Deliveries by destination and state", labels=["destination", "state"])
        for destination, sent in self._ledger.deliveries.counts_by_destination().items():
            for delivery_state, count in sent.items():
                deliveries.add_metric([destination, delivery_state.value], count)
        yield deliveries
        messages = GaugeMetricFamily("dermanode_hl7_messages", "HL7 messages of the last 30 days", labels=["kind", "answer"])
        for (kind, answer), count in self._ledger.messages.counts().items():
            messages.add_metric([kind, answer], count)
        yield messages
        suspended = GaugeMetricFamily("dermanode_plugins_suspended", "Plugins that failed too often and are not asked")
        suspended.add_metric([], len(self._ledger.plugins.suspended()))
        yield suspended


def metrics_text(ledger: Ledger) -> bytes:
    """The metrics in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(LedgerCollector(ledger))
    return generate_latest(registry)
