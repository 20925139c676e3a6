# SPDX-License-Identifier: Apache-2.0


"""opx's own metrics, as Prometheus text: what was taken in, and what the process uses."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from opx import __version__
from opx.engine.intake import Intake


class Exposition:
    """Called for each scrape. It counts nothing itself."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def __call__(self) -> bytes:
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        items = CounterMetricFamily(
            "opx_ingest_items",
            "Items by wire and by what became of them.",
            labels=("wire", "outcome"),
        )
        for (wire, outcome), count in sorted(self._intake.counts.items()):
            items.add_metric((wire, outcome), count)
        yield items
        build = GaugeMetricFamily("opx_build_info", "The running version.", labels=("version",))
        build.add_metric((__version__,), 1)
        yield build
