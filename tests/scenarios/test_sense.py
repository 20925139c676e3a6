# SPDX-License-Identifier: Apache-2.0

"""The sense beat alone, on the shipped fakes: asking probes, and the laws of a restart."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.detect.ruled.kit import rule

from opx.adapters.durable.inline import InlineWorkflows
from opx.core.base import ids
from opx.core.base.reads import Answer, Probe, ProbeKind, ProbeRead
from opx.core.base.time import MINUTE, SECOND, Ms
from opx.core.correlate.episode import Episode
from opx.core.detect.finding import ClearReason, Finding, FindingState
from opx.core.detect.metrics.odd import Odd
from opx.core.detect.rules import DetectionRule
from opx.core.incident.incident import Incident, Status
from opx.core.ingest.services import Catalogue, Health, Service
from opx.core.ingest.signals import (
    Alert,
    Event,
    Identity,
    LogLevel,
    LogLine,
    MetricBatch,
    Series,
    Severity,
    StoredEvent,
    Tick,
)
from opx.core.notify.notice import Notice
from opx.engine.beats.case import Knowledge
from opx.engine.beats.parts import Parts
from opx.engine.beats.sense import Sense, memory, probing
from opx.engine.ports import Batch, Clock, Entry, Saved, Where
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

    def start(self, telemetry: MemoryTelemetry | None = None) -> None:
        """``telemetry``: what was flushed of it, if anything was."""
        self.telemetry = telemetry or MemoryTelemetry()
        self.parts = Parts(
            store=self.store,
            clock=self.clock,
            prober=self.prober,
            workflows=InlineWorkflows(self.store, self.clock),
            signer=PlainSigner(),
            knowledge=self.knowledge,
        )
        self.sense = Sense(self.parts, self.log, self.telemetry)

    def teach(self, **known: Any) -> None:
        self.knowledge = replace(self.knowledge, **known)
        self.parts.knowledge = self.knowledge

    async def know_streams(self) -> None:
        """As if the metric detector had seen ``WATCHED`` for long."""
        await self.keep_metrics(known_streams())

    async def keep_metrics(self, state: dict[str, Any], seq: int = 0) -> None:
        row = Saved(id=memory.METRICS, seq=seq, state=state)
        await self.store.write(lambda tx: tx.set(row))

    async def places(self) -> dict[str, int]:
        """How far in the log each row of state is."""
        return {one.id: one.seq for one in await self.find(Saved)}

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


def test_the_first_probe_of_all_is_asked_soon() -> None:
    """While nobody has one it is looked four times a second, and once somebody has it is asked
    a quarter of a second later at most."""

    async def main() -> None:
        house = House(virtual.LoopClock(), Knowledge())
        house.prober.inner.say("s0:1", True)
        looks, due = 0, house.sense.due

        async def looked() -> list[ProbeRead]:
            nonlocal looks
            looks += 1
            return await due()

        house.sense.due = looked  # type: ignore[method-assign]
        task = asyncio.create_task(asking(house, 20 * SECOND))
        await house.clock.sleep(10 * SECOND)
        assert 0 < looks <= 41
        house.teach(catalogue=catalogue(1))
        await house.clock.sleep(260)
        assert house.prober.inner.asked["s0:1"] == 1
        await task
        assert house.prober.inner.asked["s0:1"] >= 9

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


def high(limit: float) -> DetectionRule:
    said = {"metric": "m", "stat": "max", "window": "10s", "above": limit}
    return rule("threshold", said, "high")


LOW = rule("threshold", {"metric": "m", "stat": "max", "window": "10s", "above": 0}, "low")
SHARE = rule(
    "ratio",
    {
        "part": {"metric": "m", "labels": {"n": "0"}},
        "whole": {"metric": "m"},
        "window": "10s",
        "above": 0.4,
        "atLeast": 1,
    },
    "share",
)
GONE = rule("absence", {"metric": "m", "after": "2s"}, "gone")
NOISE = rule("logs", {"level": "warn", "window": "1s", "above": 1, "atLeast": 2}, "noise")
STOPPED = rule(
    "event",
    {
        "type": "stopped",
        "when": ["event.data.number != 3"],
        "clears": {"type": "started"},
        "expires": "2m",
    },
    "stopped",
)
RULES = [
    (),
    (high(1.0), GONE, NOISE),
    (high(2.0), SHARE, STOPPED),
    (high(2.0), LOW, SHARE, GONE, NOISE, STOPPED),
]
SERIES = [
    Series(sid=sid, metric="m", labels={"n": str(sid)}, identity=Identity("prod", "orders"))
    for sid in (0, 1)
]
WATCHED = [
    Series(sid=sid, metric="w", labels={"n": str(sid)}, identity=Identity("prod", "orders"))
    for sid in (2, 3)
]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["alert", "resolve", "event", "start", "points", "points", "lines", "rules", "tick"]
            + ["odd"] * 4
        ),
        st.sampled_from([0, 0, 1, SECOND, SECOND, 10 * SECOND, MINUTE, 5 * MINUTE, 16 * MINUTE]),
        st.integers(0, 3),
        st.sampled_from(["", "", "save", "leave", "crash", "crash"]),
    ),
    min_size=1,
    max_size=25,
)


@cache
def known_streams() -> dict[str, Any]:
    """The metric detector's state when it has seen 1,000 points of each of ``WATCHED``, about
    100."""
    odd, rng = Odd(), np.random.default_rng(1)
    sid = np.tile(np.array([2, 3], np.int32), 1_000)
    at = ManualClock().now() - 3_000 * SECOND + np.arange(1_000).repeat(2) * SECOND
    odd.take(MetricBatch(sid=sid, at=at, value=rng.uniform(95, 105, 2_000)), {}, 0)
    odd.tick({}, 0)
    return {"time": ManualClock().now(), "odd": odd.save()}


def block(number: int, now: Ms) -> Batch:
    """Eight points of one of ``WATCHED`` until now, a second apart, at twice the level if the
    number is odd, and a tick."""
    points = MetricBatch(
        sid=np.full(8, 2 + number // 2, np.int32),
        at=now - np.arange(7, -1, -1) * SECOND,
        value=np.arange(8) / 8 + (200.0 if number % 2 else 100.0),
    )
    return Batch(series=tuple(WATCHED), points=points, items=(Tick(now),))


def batch(what: str, number: int, now: Ms) -> Batch:
    whose = Identity("prod", "orders" if number % 2 else "store")
    if what in ("event", "start"):
        told = Event(
            id=str(number) + what,
            source="/a",
            type="started" if what == "start" else "stopped",
            subject="i-1",
            identity=whose,
            severity=Severity.SEV2 if number % 2 else None,
            at=now,
            received_at=now,
            data={"number": number},
        )
        return Batch(items=(told,))
    if what == "points":
        points = MetricBatch(
            sid=np.array([0, 1], np.int32),
            at=np.array([now, now], np.int64),
            value=np.array([number, number % 2], np.float64),
        )
        return Batch(series=tuple(SERIES), points=points)
    if what == "odd":
        return block(number, now)
    if what == "lines":
        line = LogLine(identity=whose, at=now, received_at=now, level=LogLevel.ERROR, message="no")
        return Batch(items=(line,) * number)
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
    await house.know_streams()
    for what, wait, number, accident in steps:
        await clock.advance(wait)
        if what == "rules":
            house.teach(rules=RULES[number])
        else:
            await house.log.append(batch(what, number, clock.now()))
        if accidents and accident == "save":
            await house.sense.save_detectors()
        if accidents and accident == "leave":
            await house.sense.save_detectors(leaving=True)
        if accidents and accident in ("leave", "crash"):
            house.start()
        await house.sense.take()
    return {kind: await house.find(kind) for kind in (Finding, Episode, Incident, Notice, Entry)}


@settings(max_examples=150)
@given(steps=STEPS)
def test_brain_may_die_at_any_commit_and_nothing_is_different(
    steps: list[tuple[str, Ms, int, str]],
) -> None:
    """Alerts, events, points, streams that leave, lines and changed rules; findings, episodes,
    incidents, notices and the whole journal are the same, wherever the detectors' state was
    last saved."""
    steady = virtual.run(lived(steps, accidents=False))
    restarted = virtual.run(lived(steps, accidents=True))

    assert restarted == steady


@settings(max_examples=100)
@given(steps=STEPS)
def test_a_backlog_is_found_to_be_what_it_would_have_been_found_to_be_at_once(
    steps: list[tuple[str, Ms, int, str]],
) -> None:
    """Taken in commit by commit or all in one: the same findings."""

    async def found(at_once: bool) -> list[Any]:
        clock = ManualClock()
        house = House(clock, Knowledge(rules=RULES[3]))
        await house.know_streams()
        for what, wait, number, _ in steps:
            await clock.advance(wait)
            await house.log.append(batch("tick" if what == "rules" else what, number, clock.now()))
            if at_once:
                await house.sense.take()
        await house.sense.take()
        return sorted(await house.find(Finding), key=lambda one: one.id)

    assert virtual.run(found(False)) == virtual.run(found(True))


def test_rules_that_changed_while_brain_was_down_withdraw_what_the_old_ones_had_open() -> None:
    """And what the old rule had found by then, as the log since the last save is replayed,
    is not found again under the new one."""

    async def main() -> list[tuple[str, FindingState, ClearReason | None]]:
        clock = ManualClock()
        house = House(clock, Knowledge(rules=(high(1.0),)))
        for value in (3, 3, 3):
            await house.log.append(batch("points", value, clock.now()))
            await house.sense.take()
            await clock.advance(10 * SECOND)
        [saved] = [one for one in await house.find(Saved) if one.id == "detectors"]
        assert saved.seq == 1  # all that follows is replayed

        house.teach(rules=(high(2.0),))
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


async def odd_edges(house: House, numbers: list[int], **dies: bool) -> list[Any]:
    """Take in a block after the other, ten seconds apart; what is kept of the metrics then."""
    for number in numbers:
        assert isinstance(house.clock, ManualClock)
        await house.clock.advance(10 * SECOND)
        await house.log.append(block(number, house.clock.now()))
        if dies:
            await house.sense.save_detectors()
            await house.telemetry.flush()
            house.start(house.telemetry)
        await house.sense.take()
    found = [one for one in await house.find(Finding) if one.rule == "metric-odd"]
    return sorted(found, key=lambda one: one.at)


def test_a_stream_that_leaves_is_found_and_is_over_when_it_is_back() -> None:
    """Two blocks at twice the level and two at the old one, and brain dies before each of them,
    everything saved but the metrics: one finding with an end, as when it lives."""

    async def main(**dies: bool) -> list[Any]:
        house = House(ManualClock(), Knowledge())
        await house.know_streams()
        return await odd_edges(house, [1, 1, 0, 0], **dies)

    steady, restarted = virtual.run(main()), virtual.run(main(dies=True))

    assert [one.cleared for one in steady] == [ClearReason.RESOLVED]
    assert restarted == steady


def test_a_backlog_of_many_points_is_kept_in_portions() -> None:
    """Three commits of the log with 20,000 points each, taken in at once: a commit of the store
    after the second, which made them enough, and one after the third."""

    async def main() -> int:
        clock = ManualClock()
        house = House(clock, Knowledge())
        passed: list[str] = []
        house.parts.failpoint = passed.append
        for _ in range(3):
            points = MetricBatch(
                sid=np.full(20_000, 2, np.int32),
                at=np.full(20_000, clock.now(), np.int64),
                value=np.ones(20_000),
            )
            await house.log.append(Batch(series=tuple(WATCHED), points=points))
        assert await house.sense.take()  # so many: there may be more
        assert not await house.sense.take()
        assert (await house.places())["sense"] == 3
        return passed.count("committed")

    assert virtual.run(main()) == 2


def test_a_stream_that_stays_away_keeps_its_finding_open() -> None:
    """Its row in the store expires a quarter of an hour and a minute after the newest block."""

    async def main() -> tuple[list[Any], Ms]:
        house = House(ManualClock(), Knowledge())
        await house.know_streams()
        return await odd_edges(house, [1, 1]), house.clock.now()

    [found], now = virtual.run(main())

    assert (found.state, found.expires_at) == (FindingState.FIRING, now + 16 * MINUTE)


def test_the_metrics_are_saved_seldom_and_the_log_is_kept_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At the first save, after five minutes, after so many points, and when brain leaves; in
    between the others are saved, and the log is needed from where the metrics were."""

    async def main() -> None:
        clock = ManualClock()
        house = House(clock, Knowledge())

        async def saved(wait: Ms, leaving: bool = False) -> tuple[int, int, int]:
            await clock.advance(wait)
            await house.log.append(block(0, clock.now()))
            await house.sense.take()
            needed = await house.sense.save_detectors(leaving)
            places = await house.places()
            return places["detectors"], places["metrics"], needed

        assert await saved(SECOND) == (1, 1, 1)
        assert await saved(10 * SECOND) == (2, 1, 1)
        house.start()
        assert await saved(289 * SECOND) == (3, 1, 1)
        assert await saved(SECOND) == (4, 4, 4)
        assert await saved(SECOND) == (5, 4, 4)
        assert await saved(SECOND, leaving=True) == (6, 6, 6)
        monkeypatch.setattr(memory, "METRICS_POINTS", 24)
        assert await saved(SECOND) == (7, 6, 6)
        house.start()
        assert await saved(SECOND) == (8, 6, 6)
        assert await saved(SECOND) == (9, 9, 9)

    virtual.run(main())


@pytest.mark.parametrize("damaged", [{"odd": {"form": 0}}, {"odd": "?", "time": "?"}])
def test_a_damaged_state_of_the_metrics_begins_anew_and_that_is_said_once(
    damaged: dict[str, Any],
) -> None:
    """Its open finding is withdrawn, the journal has one entry however often brain starts, and
    brain goes on."""

    async def main() -> tuple[list[Any], list[Any]]:
        house = House(ManualClock(), Knowledge())
        await house.know_streams()
        assert len(await odd_edges(house, [1])) == 1
        await house.keep_metrics(damaged, seq=1)

        for _ in range(3):
            house.start()
            found = await odd_edges(house, [1])
        await house.sense.save_detectors()
        return found, [one for one in await house.find(Entry) if one.kind == memory.BEGUN_ANEW]

    [found], said = virtual.run(main())

    assert found.cleared is ClearReason.WITHDRAWN
    assert len(said) == 1


def test_an_older_opx_has_left_no_state_of_the_metrics() -> None:
    """The log that is still there is looked at; what that finds nobody was told of, so it is not
    told to be over either."""

    async def main() -> list[Any]:
        house = House(ManualClock(), Knowledge())
        for number in [0] * 120 + [1]:
            await odd_edges(house, [number])
        await house.store.write(
            lambda tx: tx.drop(Finding, Where("state", "eq", FindingState.FIRING))
        )
        house.start()
        return await odd_edges(house, [0, 0, 0])

    assert virtual.run(main()) == []


# ---------------------------------------------------------------- what is found


def many(at: Ms, sids: range, known: list[Series]) -> Batch:
    """One point of each, and a tick of the clock."""
    if not sids:
        return Batch(items=(Tick(at),))
    count = len(sids)
    points = MetricBatch(
        sid=np.array(sids, np.int32),
        at=np.full(count, at, np.int64),
        value=np.ones(count, np.float64),
    )
    return Batch(series=tuple(known), points=points, items=(Tick(at),))


def lines(at: Ms, count: int) -> Batch:
    one = LogLine(
        identity=Identity("prod", "orders"),
        at=at,
        received_at=at,
        level=LogLevel.ERROR,
        message="connection refused",
    )
    return Batch(items=(one,) * count)


def test_a_burst_of_errors_is_found_once_after_the_warm_up_and_never_during_it() -> None:
    """Ten a minute, with five times as many in the fifth minute, which is learned, and in the
    twentieth, which is found. It is over with the minute after."""

    async def main() -> list[Any]:
        clock = ManualClock()
        said = {"level": "error", "window": "1m", "above": 3, "atLeast": 10}
        house = House(clock, Knowledge(rules=(rule("logs", said, "noise"),)))
        await clock.advance(MINUTE - clock.now() % MINUTE)
        for minute in range(25):
            for _ in range(6):
                count = 50 if minute in (5, 20) else 10
                if clock.now() % MINUTE == 0:
                    await house.log.append(lines(clock.now(), count))
                await house.log.append(Batch(items=(Tick(clock.now()),)))
                await house.sense.take()
                await clock.advance(10 * SECOND)
        return [*await house.find(Finding), *await house.find(Incident)]

    [finding] = virtual.run(main())

    assert (finding.rule, finding.cleared) == ("logs/noise", ClearReason.RESOLVED)
    assert finding.evidence["value"] == 10  # of the minute that cleared it


def test_events_within_the_time_of_the_first_are_linked_and_a_more_severe_one_passes() -> None:
    """Stopped three times in two minutes: one finding, one incident, three events kept. Then it
    is gone for good, which is worse: another finding, the same incident, now SEV1."""

    async def main() -> tuple[list[Any], list[Any], list[Any]]:
        clock = ManualClock()
        stopped = rule("event", {"type": "stopped", "expires": "5m"}, "stopped")
        gone = rule("event", {"type": "gone", "expires": "5m"}, "gone", severity="sev1")
        house = House(clock, Knowledge(rules=(stopped, gone)))
        for number, kind in enumerate(("stopped", "stopped", "stopped", "gone")):
            [told] = batch("event", 0, clock.now()).items
            assert isinstance(told, Event)
            await house.log.append(Batch(items=(replace(told, id=str(number), type=kind),)))
            await house.sense.take()
            await clock.advance(MINUTE)
        events = await house.find(StoredEvent)
        return await house.find(Finding), await house.find(Incident), events

    findings, [incident], events = virtual.run(main())

    assert sorted(one.rule for one in findings) == ["event/gone", "event/stopped"]
    assert {one.state for one in findings} == {FindingState.FIRING}
    assert incident.severity is Severity.SEV1
    assert len(events) == 4


def test_when_the_telemetry_is_lost_that_is_the_only_incident() -> None:
    """Four services under an absence rule that opens one by itself; all are silent for five
    minutes, and brain is killed again and again. Afterwards they come again, and the log was
    not written for an hour: nothing more is found."""

    async def main() -> tuple[list[Any], list[Any]]:
        clock = ManualClock()
        known = [
            Series(sid=sid, metric="m", labels={"n": str(sid)}, identity=Identity("prod", name))
            for sid, name in enumerate(name for name in "abcd" for _ in range(5))
        ]
        gone = rule("absence", {"metric": "m", "after": "15s"}, "gone", kind="symptom")
        house = House(clock, Knowledge(rules=(gone,)))
        for second in range(12 * 60):
            if second == 11 * 60:
                await clock.advance(60 * MINUTE)
            lost = 180 < second <= 480
            turn = range(20) if second % 10 == 0 and not lost else range(0)
            await house.log.append(many(clock.now(), turn, known))
            await house.sense.take()
            if second == 400:
                [kept] = await house.find(Finding)
                assert (kept.state, kept.evidence["withheld"]) == (FindingState.FIRING, 20)
            if second % 17 == 0:
                await house.sense.save_detectors()
            if second % 23 == 0:
                house.start()
            await clock.advance(SECOND)
        return await house.find(Finding), await house.find(Incident)

    [finding], [incident] = virtual.run(main())

    assert (finding.rule, finding.cleared) == ("observer", ClearReason.RESOLVED)
    assert finding.evidence["withheld"] == 20
    assert (incident.group.environment, incident.group.service) == ("opx", "observer")
    assert (incident.severity, incident.status) == (Severity.SEV3, Status.RESOLVED)
