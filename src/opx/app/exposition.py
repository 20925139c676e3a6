# SPDX-License-Identifier: Apache-2.0

"""opx's own metrics, as Prometheus text: what was taken in, how its parts are, what is open.

What is in the store is counted there, by index and at most once a second, so that a scrape
costs little however much there is. It must never read what it counts.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from opx import __version__
from opx.adapters.link import BrainClient
from opx.core.act.run import ENDED, OrderRecord, OrderStatus, Run
from opx.core.base.time import SECOND
from opx.core.incident.incident import Incident
from opx.core.ingest.signals import Rejected, Severity
from opx.core.notify.notice import Delivery, DeliveryStatus
from opx.engine import queries
from opx.engine.beats.health import BrainState
from opx.engine.intake import Intake
from opx.engine.ports import ReadTx, Store, Where
from opx.errors import Damaged, Unavailable

RESTARTS = "restarts.json"
"""The watcher's count, in the data folder."""
FRESH_S = 1.0
ROLES = ("front", "brain", "hands")

Counts = Mapping[str, float]


class Exposition:
    """Called for each scrape. It counts nothing itself."""

    def __init__(
        self,
        *,
        intake: Intake,
        store: Store,
        brain: BrainClient,
        hands_alive: Callable[[], bool],
        data: Path,
    ) -> None:
        self._intake = intake
        self._store = store
        self._brain = brain
        self._hands_alive = hands_alive
        self._data = data
        self._asking = asyncio.Lock()
        self._until = 0.0
        self._text = b""
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    async def __call__(self) -> bytes:
        async with self._asking:
            loop = asyncio.get_running_loop()
            if loop.time() >= self._until:
                registry = CollectorRegistry()
                registry.register(_Families([*self._own(), *await self._parts()]))
                self._text = generate_latest(registry) + generate_latest(self._registry)
                self._until = loop.time() + FRESH_S
            return self._text

    def _own(self) -> Iterator[Metric]:
        items = CounterMetricFamily(
            "opx_ingest_items",
            "Items by wire and by what became of them.",
            labels=("wire", "outcome"),
        )
        for (wire, outcome), count in sorted(self._intake.counts.items()):
            items.add_metric((wire, outcome), count)
        yield items
        yield _gauge("opx_build_info", "The running version.", "version", {__version__: 1})
        told = "Times a process was started again, since opx up began."
        yield _counter("opx_process_restarts", told, "role", self._restarts())

    async def _parts(self) -> list[Metric]:
        """What brain says, and what the store counts; left out when it does not answer."""
        brain = await self._brain.state()
        up = {"front": 1, "brain": int(brain is not None), "hands": int(self._hands_alive())}
        found: list[Metric] = [_gauge("opx_process_up", "1: it is there.", "role", up)]
        found += _brain(brain) if brain else []
        try:
            found += await self._store.read(_stored)
            found.append(GaugeMetricFamily("opx_store_up", "1: it can be read.", value=1))
        except (Unavailable, Damaged):
            found.append(GaugeMetricFamily("opx_store_up", "1: it can be read.", value=0))
        return found

    def _restarts(self) -> Counts:
        try:
            counted = json.loads((self._data / RESTARTS).read_text())
            return {role: int(counted[role]) for role in ROLES}
        except (OSError, ValueError, KeyError, TypeError):  # started without a watcher
            return {}


class _Families:
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def _brain(state: BrainState) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "opx_brain_lag_seconds",
        "How long the oldest commit of the log that is not taken in has waited.",
        value=state.lag / SECOND,
    )
    failing = {name: int(loop.since is not None) for name, loop in state.loops.items()}
    yield _gauge("opx_brain_loop_failing", "1: it fails now.", "loop", failing)
    failures = {name: loop.failures for name, loop in state.loops.items()}
    yield _counter("opx_brain_loop_failures", "Since brain was started.", "loop", failures)


def _stored(tx: ReadTx) -> list[Metric]:
    active = Where("status", "in", queries.ACTIVE)
    open_ = {
        f"sev{one.value}": tx.count(Incident, active, Where("severity", "eq", one))
        for one in Severity
    }
    runs = {one.value: tx.count(Run, Where("status", "eq", one)) for one in sorted(ENDED)}
    orders = {one.value: tx.count(OrderRecord, Where("status", "eq", one)) for one in OrderStatus}
    lost = tx.count(Delivery, Where("status", "eq", DeliveryStatus.GAVE_UP))
    running = int(queries.automation(tx)["automation"] == "running")
    return [
        _gauge("opx_incidents_open", "Incidents nobody has resolved.", "severity", open_),
        _gauge("opx_runs_ended", "Repairs that are kept, by how they ended.", "status", runs),
        _gauge("opx_orders", "Steps ordered of hands that are kept.", "status", orders),
        GaugeMetricFamily("opx_notices_given_up", "Deliveries that gave up.", value=lost),
        GaugeMetricFamily(
            "opx_quarantine_items", "Refused items that are kept.", value=tx.count(Rejected)
        ),
        GaugeMetricFamily("opx_automation_running", "0: all is halted.", value=running),
    ]


def _gauge(name: str, help: str, label: str, values: Counts) -> Metric:
    family = GaugeMetricFamily(name, help, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family


def _counter(name: str, help: str, label: str, values: Counts) -> Metric:
    family = CounterMetricFamily(name, help, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family
