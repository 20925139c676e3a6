# SPDX-License-Identifier: Apache-2.0

"""The world of one scenario: the real ``brain`` and ``hands`` amid the shipped fakes.

Beneath ``scenario``, which tells what happens in it. Time is virtual. Metrics flow once a
second, as somebody said they do. It must never look inside opx.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from opx.core.base.time import MINUTE, SECOND, Ms
from opx.core.decide.actions import ActionSpec, Blast, Undo
from opx.core.decide.case import Automation, Autonomy, Grant, Mode, probe_of
from opx.core.ingest import identity
from opx.core.ingest.signals import MetricBatch, Series, Tick
from opx.engine import journal
from opx.engine.beats.case import Knowledge
from opx.engine.beats.parts import Parts
from opx.engine.brain import Brain
from opx.engine.hands import EPOCH, Hands
from opx.engine.ports import Batch, Clock, Saved, Store, Workflows, WriteTx
from opx.testing import virtual
from opx.testing.memory import MemoryLog, MemoryStore, MemoryTelemetry
from opx.testing.world import FakeAction, FakeProber, FakeReceiver, PlainSigner

OTHERS = ("file.restore", "release.rollback")
"""What may be done besides a restart; it takes effect and cures nothing by itself."""


class ServedWorkflows(Workflows, Protocol):
    """Workflows that run in the caller's loop."""

    async def serve(self, stop: asyncio.Event) -> None: ...


@dataclass(slots=True)
class Stream:
    """One series that flows: its ``value`` each second; a counter ``grows`` first."""

    series: Series
    value: float = 0.0
    grows: float = 0.0


@dataclass(slots=True, kw_only=True)
class Town:
    """The world of one scenario: real engine, fake surroundings."""

    knowledge: Knowledge
    workflows: Callable[[Store, Clock], ServedWorkflows]
    clock: Clock = field(default_factory=virtual.LoopClock)
    store: MemoryStore = field(init=False)
    log: MemoryLog = field(init=False)
    prober: FakeProber = field(init=False)
    action: FakeAction = field(default_factory=FakeAction)
    receiver: FakeReceiver = field(default_factory=FakeReceiver)
    failures: list[str] = field(default_factory=list)
    others: dict[str, FakeAction] = field(default_factory=dict)
    stubborn: set[str] = field(default_factory=set)
    streams: dict[str, Stream] = field(default_factory=dict)
    sent: int = 0
    named: int = 0
    flows: ServedWorkflows = field(init=False)
    _brain: list[asyncio.Task[None]] = field(default_factory=list)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.store = MemoryStore()
        self.log = MemoryLog(self.clock)
        self.prober = FakeProber(self.clock)
        self.action.then = self._repaired
        self.others = {name: FakeAction(spec=_spec(name)) for name in OTHERS}
        for service in self.knowledge.catalogue.services.values():
            self.health(service.name, "yes")

    async def begin(self, grants: list[Mapping[str, Any]]) -> None:
        now = self.clock.now()
        running = Mode(id="all", automation=Automation.RUNNING, by="test", reason="", at=now)
        given = [_grant(each, self.knowledge, now) for each in grants]
        await self.store.write(lambda tx: tx.save(running, *given))
        await self.store.write(lambda tx: tx.set(Saved(id=EPOCH, seq=1)))
        self.start_brain()

    def start_brain(self) -> None:
        """A new ``brain`` and its workflows, on whatever the store holds."""
        flows = self.flows = self.workflows(self.store, self.clock)
        parts = Parts(
            store=self.store,
            clock=self.clock,
            prober=self.prober,
            workflows=flows,
            signer=PlainSigner(),
            knowledge=self.knowledge,
            receivers=(self.receiver.name,),
        )
        brain = Brain(
            parts=parts,
            tail=self.log,
            telemetry=MemoryTelemetry(),
            receivers={self.receiver.name: self.receiver},
            reload=lambda _: self.knowledge,
            seal=_nothing,
            complain=lambda name, error: self.failures.append(f"{name}: {error!r}"),
        )
        self._brain = [
            asyncio.create_task(brain.run(self._stop)),
            asyncio.create_task(flows.serve(self._stop)),
        ]

    async def crash_brain(self) -> None:
        """End brain and everything it is in the middle of, and start another."""
        for task in self._brain:
            task.cancel()
        await asyncio.gather(*self._brain, return_exceptions=True)
        await self.flows.close()
        self.start_brain()

    async def hands(self) -> None:
        hands = Hands(
            store=self.store,
            clock=self.clock,
            verifier=PlainSigner(),
            actions={self.action.spec.name: self.action, **self.others},
            name="hands",
        )
        await hands.run(self._stop)

    async def ticks(self) -> None:
        while not self._stop.is_set():
            await self.log.append(self._second())
            await self.clock.sleep(SECOND)

    def _second(self) -> Batch:
        """The clock, and one point of each series that flows."""
        now, flowing = self.clock.now(), list(self.streams.values())
        for stream in flowing:
            stream.value += stream.grows
        points = MetricBatch(
            sid=np.array([one.series.sid for one in flowing], np.int32),
            at=np.full(len(flowing), now, np.int64),
            value=np.array([one.value for one in flowing], np.float64),
        )
        series = tuple(one.series for one in flowing)
        return Batch(series=series, points=points if flowing else None, items=(Tick(now),))

    def flow(self, name: str, told: Mapping[str, Any] | None) -> None:
        """Let the series called ``name`` flow with a ``value``, or as a counter that ``grows``
        so much a second; None: no longer. Its ``metric`` and ``labels`` are told once."""
        if told is None:
            del self.streams[name]
            return
        if "metric" in told:
            labels = {key: str(value) for key, value in told.get("labels", {}).items()}
            whose = identity.resolve(labels, self.knowledge.catalogue.mapping)
            self.named += 1
            self.streams[name] = Stream(
                Series(sid=self.named, metric=str(told["metric"]), labels=labels, identity=whose)
            )
        stream = self.streams[name]
        stream.value = float(told.get("value", stream.value))
        stream.grows = float(told.get("grows", 0.0))

    async def switch(self, scope: str, to: Automation) -> None:
        """A person halts or resumes ``scope``."""
        now, by = self.clock.now(), "a person"

        def write(tx: WriteTx) -> None:
            known = tx.get(Mode, scope)
            version = known.version + 1 if known else 1
            tx.save(Mode(id=scope, automation=to, by=by, reason="", at=now, version=version))
            tx.append(journal.entry(now, "automation", f"automation.{to}", by, scope=scope))

        await self.store.write(write)

    def stop(self) -> None:
        self._stop.set()

    async def end(self, *others: asyncio.Future[Any]) -> None:
        """Stop, and see the end of brain's tasks and of these ``others``."""
        self.stop()
        for task in (*others, *self._brain):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def health(self, name: str, state: str) -> None:
        """``yes``, ``no`` (nobody listens) or ``hung`` (no answer in time)."""
        for service in self.knowledge.catalogue.services.values():
            if service.name == name and service.health is not None:
                probe = service.health.probe
                detail = {"yes": "", "no": "connection refused", "hung": "timed out"}[state]
                after = probe.timeout if state == "hung" else 0
                self.prober.say(probe.address, state == "yes", detail=detail, after=after)

    def _repaired(self, target: str) -> None:
        for service in self.knowledge.catalogue.services.values():
            if service.target == target and service.name not in self.stubborn:
                self.health(service.name, "yes")


def _spec(name: str) -> ActionSpec:
    inputs = ("path", "source", "root", "to")
    return ActionSpec(name=name, undo=Undo.ROLLBACK, blast=Blast.SERVICE, optional=inputs)


async def _nothing() -> None:
    return None


def _grant(told: Mapping[str, Any], knowledge: Knowledge, now: Ms) -> Grant:
    """For the runbook and the target that are known, as a person would be granting it."""
    runbook = knowledge.runbook(str(told["runbook"]))
    service = knowledge.service(str(told["environment"]), str(told["service"]))
    return Grant(
        id=f"{told['runbook']}|{told['environment']}|{told['service']}",
        runbook_hash=runbook.hash if runbook else "",
        target=service.target if service else "",
        probe=probe_of(service),
        parameters=runbook.takes(service.parameters) if runbook and service else {},
        autonomy=Autonomy[str(told["autonomy"]).upper()],
        by="a person",
        at=now,
        probation=bool(told.get("probation", False)),
        expires_at=now + 24 * 60 * MINUTE,
    )
