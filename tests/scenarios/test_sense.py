# SPDX-License-Identifier: Apache-2.0

"""The sense beat alone, on the shipped fakes: asking probes, and the laws of a restart."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from opx.adapters.durable.inline import InlineWorkflows
from opx.core.base import ids
from opx.core.base.reads import Answer, Probe, ProbeKind, Stat
from opx.core.base.time import MINUTE, SECOND, Ms
from opx.core.correlate.episode import Episode
from opx.core.detect.finding import ClearReason, Finding, FindingState
from opx.core.detect.rules import Side, ThresholdRule
from opx.core.incident.incident import Incident, Status
from opx.core.ingest.services import Catalogue, Health, Service
from opx.core.ingest.signals import Alert, Event, Identity, MetricBatch, Series, Severity, Tick
from opx.core.notify.notice import Notice
from opx.engine.beats import probing
from opx.engine.beats.case import Knowledge
from opx.engine.beats.parts import Parts
from opx.engine.beats.sense import Sense
from opx.engine.ports import Batch, Clock, Entry, Saved
from opx.testing import virtual
from opx.testing.memory import ManualClock, MemoryLog, MemoryStore, MemoryTelemetry
from opx.testing.world import FakeProber, PlainSigner


@dataclass
class Counting:
    """A ``FakeProber`` that knows how many questions are under way, of whom."""

    inner: FakeProber
    now: Counter[str] = field(default_factory=Counter)
    most: int = 0

    async def ask(self, key: str, probe: Probe) -> Answer:
        self.now[key] += 1
        assert self.now[key] == 1, f"{key} is asked twice at once"
        self.most = max(self.most, self.now.total())
        try:
            return await self.inner.ask(key, probe)
        finally:
            self.now[key] -= 1


class House:
    """A store, a log and a prober; ``sense`` is replaced when brain is started again."""

    def __init__(self, clock: Clock, knowledge: Knowledge) -> None:
        self.clock, self.store, self.log = clock, MemoryStore(), MemoryLog(clock)
        self.prober = Counting(FakeProber(clock))
        self.knowledge = knowledge
        self.start()

    def start(self) -> None:
        self.parts = Parts(
            store=self.store,
            clock=self.clock,
            prober=self.prober,
            workflows=InlineWorkflows(self.store, self.clock),
            signer=PlainSigner(),
            knowledge=self.knowledge,
        )
        self.sense = Sense(self.parts, self.log, MemoryTelemetry())

    def teach(self, **known: Any) -> None:
        self.knowledge = replace(self.knowledge, **known)
        self.parts.knowledge = self.knowledge

    async def find(self, kind: type) -> list[Any]:
        return await self.store.read(lambda tx: tx.find(kind))


# ---------------------------------------------------------------- probes


def catalogue(count: int, timeout: Ms = SECOND) -> Catalogue:
    """Services ``s0``, ``s1``, ... in ``prod``; ``s0`` is given up on after ``timeout``."""
    services = {}
    for number in range(count):
        probe = Probe(
            kind=ProbeKind.TCP, address=f"s{number}:1", timeout=SECOND if number else timeout
        )
        services["prod", f"s{number}"] = Service(
            name=f"s{number}", environment="prod", health=Health(probe=probe)
        )
    return Catalogue(services=services)


async def asking(house: House, span: Ms) -> None:
    """Let the probes be asked for ``span``; afterwards nothing is under way any more."""
    stop, before = asyncio.Event(), asyncio.all_tasks()
    task = asyncio.create_task(house.sense.probe(stop))
    await house.clock.sleep(span)
    stop.set()
    await task
    assert house.prober.now.total() == 0
    assert asyncio.all_tasks() <= before


def test_one_slow_probe_delays_no_other() -> None:
    """While one service keeps its whole minute, another that dies is found within two
    seconds, and the slow one is not asked again before it has answered."""

    async def main() -> None:
        house = House(virtual.LoopClock(), Knowledge(catalogue=catalogue(2, timeout=MINUTE)))
        house.prober.inner.say("s0:1", False, detail="timed out", after=MINUTE)
        house.prober.inner.say("s1:1", True)
        task = asyncio.create_task(asking(house, 90 * SECOND))
        await house.clock.sleep(10 * SECOND)
        house.prober.inner.say("s1:1", False, detail="connection refused")
        await house.clock.sleep(2 * SECOND)

        assert [one.stream for one in await house.find(Finding)] == ["prod/s1"]
        assert house.prober.inner.asked["s0:1"] == 1
        await task
        assert house.prober.inner.asked["s0:1"] == 2

    virtual.run(main())


def test_there_is_a_bound_to_how_many_are_asked_at_once() -> None:
    """A thousand services that take half a second each: never more than the bound under way,
    which is room for 4,650 questions in ten seconds, and everybody had four turns."""

    async def main() -> None:
        house = House(virtual.LoopClock(), Knowledge(catalogue=catalogue(1000)))
        for number in range(1000):
            house.prober.inner.say(f"s{number}:1", True, after=SECOND // 2)
        await asking(house, 10 * SECOND)

        assert house.prober.most == probing.AT_ONCE
        assert len(house.prober.inner.asked) == 1000
        assert min(house.prober.inner.asked.values()) >= 4

    virtual.run(main())


def test_a_service_that_is_withdrawn_while_it_is_ill_ends_its_incident() -> None:
    """Its finding is cleared as withdrawn, and five quiet minutes later it is resolved."""

    async def main() -> None:
        house = House(virtual.LoopClock(), Knowledge(catalogue=catalogue(1)))
        house.prober.inner.say("s0:1", False, detail="connection refused")
        await asking(house, 5 * SECOND)
        assert [one.state for one in await house.find(Finding)] == [FindingState.FIRING]

        house.teach(catalogue=Catalogue())
        await asking(house, SECOND)
        assert [one.cleared for one in await house.find(Finding)] == [ClearReason.WITHDRAWN]
        await house.clock.sleep(5 * MINUTE)
        await house.log.append(Batch(items=(Tick(house.clock.now()),)))
        await house.sense.take()
        assert [one.status for one in await house.find(Incident)] == [Status.RESOLVED]

    virtual.run(main())


# ---------------------------------------------------------------- restarts


def rule(name: str, limit: float, stat: Stat = Stat.MAX) -> ThresholdRule:
    return ThresholdRule(
        name=name,
        hash=f"{name}{limit}",
        metric="m",
        stat=stat,
        window=10 * SECOND,
        side=Side.ABOVE,
        limit=limit,
        severity=Severity.SEV3,
        justification="a law",
    )


RULES = [(), (rule("high", 1.0),), (rule("high", 2.0),), (rule("high", 2.0), rule("low", 0.0))]
SERIES = Series(sid=0, metric="m", labels={}, identity=Identity("prod", "orders"))
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["alert", "resolve", "event", "points", "points", "rules", "tick"]),
        st.sampled_from([0, 0, 1, SECOND, 10 * SECOND, MINUTE, 5 * MINUTE, 16 * MINUTE]),
        st.integers(0, 3),
        st.sampled_from(["", "", "save", "crash", "crash"]),
    ),
    min_size=1,
    max_size=25,
)


def batch(what: str, number: int, now: Ms) -> Batch:
    whose = Identity("prod", "orders" if number % 2 else "store")
    if what == "event":
        told = Event(
            id=str(number),
            source="/a",
            type="stopped",
            subject="i-1",
            identity=whose,
            severity=Severity.SEV2,
            at=now,
            received_at=now,
        )
        return Batch(items=(told,))
    if what == "points":
        points = MetricBatch(
            sid=np.array([0], np.int32),
            at=np.array([now], np.int64),
            value=np.array([float(number)], np.float64),
        )
        return Batch(series=(SERIES,), points=points)
    if what == "tick":
        return Batch(items=(Tick(now),))
    alert = Alert(
        fingerprint=ids.derived("alert", number),
        identity=whose,
        severity=Severity.SEV3,
        labels={"alertname": str(number)},
        starts_at=now,
        ends_at=now if what == "resolve" else now + 5 * MINUTE,
        received_at=now,
    )
    return Batch(items=(alert,))


async def lived(steps: list[tuple[str, Ms, int, str]], accidents: bool) -> dict[type, list[Any]]:
    """Everything that is kept after these steps; without ``accidents`` nothing is saved
    before its time and brain never dies."""
    clock = ManualClock()
    house = House(clock, Knowledge())
    for what, wait, number, accident in steps:
        await clock.advance(wait)
        if what == "rules":
            house.teach(rules=RULES[number])
        else:
            await house.log.append(batch(what, number, clock.now()))
        if accidents and accident == "save":
            await house.sense.save_detectors()
        if accidents and accident == "crash":
            house.start()
        await house.sense.take()
    return {kind: await house.find(kind) for kind in (Finding, Episode, Incident, Notice, Entry)}


@settings(max_examples=150, deadline=None)
@given(steps=STEPS)
def test_brain_may_die_at_any_commit_and_nothing_is_different(
    steps: list[tuple[str, Ms, int, str]],
) -> None:
    """Alerts, events, points and changed rules; findings, episodes, incidents, notices and the
    whole journal are the same, wherever the detectors' state was last saved."""
    steady = virtual.run(lived(steps, accidents=False))
    restarted = virtual.run(lived(steps, accidents=True))

    assert restarted == steady


def test_rules_that_changed_while_brain_was_down_withdraw_what_the_old_ones_had_open() -> None:
    """And what the old rule had found by then, as the log since the last save is replayed,
    is not found again under the new one."""

    async def main() -> list[tuple[str, FindingState, ClearReason | None]]:
        clock = ManualClock()
        house = House(clock, Knowledge(rules=(rule("high", 1.0),)))
        for value in (3, 3, 3):
            await house.log.append(batch("points", value, clock.now()))
            await house.sense.take()
            await clock.advance(10 * SECOND)
        [saved] = [one for one in await house.find(Saved) if one.id == "detectors"]
        assert saved.seq == 1  # all that follows is replayed

        house.teach(rules=(rule("high", 2.0),))
        house.start()
        for value in (3, 3):
            await house.log.append(batch("points", value, clock.now()))
            await house.sense.take()
            await clock.advance(10 * SECOND)
        found = sorted(await house.find(Finding), key=lambda one: one.at)
        return [(one.id, one.state, one.cleared) for one in found]

    found = virtual.run(main())

    assert [one[1:] for one in found] == [
        (FindingState.CLEARED, ClearReason.WITHDRAWN),
        (FindingState.FIRING, None),
    ]
