# SPDX-License-Identifier: Apache-2.0

"""What the sense beat remembers between two commits, and how it is rebuilt.

Before ``sense``, which alone changes it. Everything in it follows from the store and the
log: open findings and episodes, the events of late, the detectors' state as it was last
saved, and the log since. It must never be ahead of what is kept.

What is known of metric streams is tens of megabytes, what is expected of them included, so it
is a row of its own and written seldom; its place in the log lies behind the others', and it
alone is replayed from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from opx.core.base.time import MINUTE, Ms
from opx.core.correlate import stage as correlate
from opx.core.correlate.episode import Episode
from opx.core.correlate.silences import Held
from opx.core.detect import alerts, events, flow, probes
from opx.core.detect.finding import Finding, FindingState
from opx.core.detect.flow import Flow
from opx.core.detect.metrics.odd import Odd
from opx.core.detect.predict.ahead import Ahead
from opx.core.detect.predict.prediction import Happened, Prediction
from opx.core.ingest.services import Catalogue
from opx.core.ingest.signals import Event, LogLine, Series, StoredEvent, Tick
from opx.engine import journal
from opx.engine.beats import happened
from opx.engine.beats.parts import ACTOR, DETECTORS, POSITION, Parts
from opx.engine.ports import (
    Chunk,
    ReadTx,
    Saved,
    Tail,
    Telemetry,
    Where,
    WriteTx,
)
from opx.errors import Damaged

T = TypeVar("T")

METRICS = "metrics"
BEGUN_ANEW = "detector.begun_anew"
EVENT_RECEIVED = "event.received"
MOST_CHUNKS = 256
"""Commits of the log that one commit of the store takes in."""
METRICS_POINTS = 5_000_000
"""Points after which the metrics are saved again. A restart scores what came since, some
2,500,000 a second: two seconds."""
METRICS_EVERY: Ms = 5 * MINUTE
"""Or after so long, when fewer come: until then the log has to be kept."""


@dataclass(slots=True, kw_only=True)
class Memory:
    """``seq``: how far into the log; ``saved_at``: where the detectors were last saved, but for
    the metrics; ``metrics_at``: where those were, with how many points and when. ``catalogue``:
    the one whose limits hold."""

    seq: int = 0
    saved_at: int = 0
    metrics_at: int = 0
    metrics_points: int = 0
    metrics_time: Ms = 0
    alerts: alerts.AlertState = field(default_factory=alerts.AlertState)
    events: events.EventState = field(default_factory=events.EventState)
    probes: probes.ProbeState = field(default_factory=probes.ProbeState)
    catalogue: Catalogue | None = None
    flow: Flow = field(default_factory=Flow)
    held: Held = field(default_factory=Held)
    groups: correlate.SenseState = field(default_factory=correlate.SenseState)
    series: dict[int, Series] = field(default_factory=dict)
    responses: dict[str, Ms] = field(default_factory=dict)
    """When each growing incident is responded to next, or was last."""

    def learn(self, chunk: Chunk) -> None:
        self.series.update((series.sid, series) for series in chunk.series)

    def tell_limits(self, catalogue: Catalogue) -> None:
        """Predict by these services' limits. Where they are others than before, what is known of
        the metrics is to be saved soon, so that a replay works by them."""
        if catalogue is self.catalogue:
            return
        self.catalogue = catalogue
        limits = {place: one.limits for place, one in catalogue.services.items() if one.limits}
        if self.flow.ahead.tell_limits(limits, self.series.values()):
            self.metrics_time = 0

    def foresee(
        self, chunk: Chunk, events: Sequence[Event], items: Sequence[LogLine | Tick]
    ) -> list[Prediction]:
        """What is to come, by this chunk and what happened before it."""
        self.flow.ahead.happened(*happened.changes_in(events))
        return self.flow.ahead.take(chunk.points, items, self.series, chunk.at)

    def position(self, seq: int) -> Saved:
        """Where the log is taken up again, with what belongs to exactly there."""
        state = {
            "ended": alerts.save(self.alerts),
            "events": events.save(self.events),
            "held": self.held.save(),
        }
        return Saved(id=POSITION, seq=seq, state=state)

    def detectors(self, seq: int) -> Saved:
        """The state that is too large to be written with every commit."""
        return Saved(id=DETECTORS, seq=seq, state=flow.save(self.flow))

    def metrics(self, now: Ms) -> Saved:
        """The state that is too large to be written with that one."""
        odd, ahead = self.flow.metrics.save(), self.flow.ahead.save()
        state = {"time": now, "odd": odd, "ahead": ahead}
        return Saved(id=METRICS, seq=self.seq, state=state)

    def metrics_due(self, now: Ms) -> bool:
        """Whether the metrics are to be saved again; also when the clock was put back."""
        if self.flow.metrics.taken - self.metrics_points >= METRICS_POINTS:
            return True
        return not 0 <= now - self.metrics_time < METRICS_EVERY

    def metrics_saved(self, now: Ms) -> None:
        self.metrics_at, self.metrics_time = self.seq, now
        self.metrics_points = self.flow.metrics.taken

    @property
    def needed(self) -> int:
        """Through here the log has been saved by every detector."""
        return min(self.saved_at, self.metrics_at)


async def load(parts: Parts, tail: Tail, telemetry: Telemetry) -> Memory:
    """Rebuild the memory, and give telemetry what it had not kept."""
    now = parts.clock.now()
    memory, findings = await parts.store.read(lambda tx: _stored(tx, now - correlate.REMEMBERED))
    memory.series = {one.sid: one for one in tail.series()}
    await _metrics(memory, parts, now)
    await _replay(memory, tail, telemetry)
    flow.missed(memory.flow, findings)
    is_open = Where("withdrawn", "null")
    memory.flow.ahead.missed(await parts.store.read(lambda tx: tx.find(Prediction, is_open)))
    return memory


async def _metrics(memory: Memory, parts: Parts, now: Ms) -> None:
    """Take up what is known of metric streams, and what happened since."""
    metrics = await parts.store.read(lambda tx: tx.get(Saved, METRICS)) or Saved(id=METRICS, seq=0)
    lost: dict[str, str] = {}
    memory.flow.metrics = _taken_up(Odd.load, metrics, "odd", lost)
    memory.flow.ahead = _taken_up(Ahead.load, metrics, "ahead", lost)
    if lost:
        state = {name: kept for name, kept in metrics.state.items() if name not in lost}
        metrics = Saved(id=METRICS, seq=metrics.seq, state=state)
        reason = "; ".join(lost.values())
        await parts.store.write(lambda tx: _begin_anew(tx, metrics, reason, now))
    memory.metrics_at = metrics.seq
    time = metrics.state.get("time")
    memory.metrics_time = time if isinstance(time, int) else 0
    memory.metrics_points = memory.flow.metrics.taken
    if "ahead" not in metrics.state:  # what was saved goes by the limits it was saved with
        memory.tell_limits(parts.knowledge.catalogue)
    since = memory.flow.ahead.heard or memory.metrics_time
    memory.flow.ahead.happened(*await parts.store.read(lambda tx: _happened(tx, since)))


def _taken_up(
    load: Callable[[Mapping[str, Any]], T], metrics: Saved, name: str, lost: dict[str, str]
) -> T:
    try:
        return load(metrics.state.get(name, {}))
    except Damaged as error:
        lost[name] = str(error)
        return load({})


def _happened(tx: ReadTx, since: Ms) -> list[Happened]:
    """What is in no log; what is in it comes by itself."""
    return [*happened.failures(tx, since), *happened.acts(tx, since)]


def _begin_anew(tx: WriteTx, metrics: Saved, reason: str, now: Ms) -> None:
    """What is known of metric streams is lost, and that is said, once."""
    tx.set(metrics)
    tx.append(journal.entry(now, METRICS, BEGUN_ANEW, ACTOR, reason=reason))


def _stored(tx: ReadTx, recently: Ms) -> tuple[Memory, list[Finding]]:
    position = tx.get(Saved, POSITION) or Saved(id=POSITION, seq=0)
    detectors = tx.get(Saved, DETECTORS) or Saved(id=DETECTORS, seq=0)
    findings = tx.find(Finding, Where("state", "eq", FindingState.FIRING))
    live = tx.find(Episode, Where("ended_at", "null"))
    ended = tx.find(Episode, Where("ended_at", "ge", recently))
    held = Held.load(position.state.get("held", {}), findings)
    heard = [finding for finding in findings if finding.id not in held.findings]
    memory = Memory(
        seq=position.seq,
        saved_at=detectors.seq,
        alerts=alerts.AlertState.load(findings, position.state.get("ended")),
        events=events.EventState.load(findings, _events(tx), position.state.get("events", ())),
        probes=probes.ProbeState.load(findings),
        flow=flow.load(detectors.state),
        held=held,
        groups=correlate.SenseState.load(live + ended, heard),
    )
    return memory, findings


def _events(tx: ReadTx) -> list[Event]:
    """The events of late, oldest first: as many as their detector remembers."""
    last = tx.find(StoredEvent, order="-event.received_at", limit=1)
    if not last:
        return []
    late = Where("event.received_at", "gt", last[0].event.received_at - events.REMEMBERED)
    order, most = "-event.received_at", events.MOST_REMEMBERED
    return [one.event for one in reversed(tx.find(StoredEvent, late, order=order, limit=most))]


async def _replay(memory: Memory, tail: Tail, telemetry: Telemetry) -> None:
    """Feed detectors and telemetry what they had not kept, each from its own place. The rules
    are those in force when it was first taken in, so its findings are known."""
    telemetry_at = telemetry.committed()
    after = min(memory.needed, telemetry_at, memory.seq)
    while after < memory.seq:
        chunks = [chunk for chunk in tail.read(after, MOST_CHUNKS) if chunk.seq <= memory.seq]
        if not chunks:
            break
        for chunk in chunks:
            memory.learn(chunk)
            if chunk.seq > telemetry_at:
                telemetry.add(chunk.seq, chunk.series, chunk.points)
            items = [item for item in chunk.items if isinstance(item, LogLine | Tick)]
            told = [item for item in chunk.items if isinstance(item, Event)]
            brought = memory.flow, memory.series, chunk.points, items, chunk.at
            if chunk.seq > memory.saved_at:
                flow.ruled(*brought)
            if chunk.seq > memory.metrics_at:
                flow.odd(*brought)
                memory.foresee(chunk, told, items)
            await asyncio.sleep(0)  # all may take seconds, and the heart has to beat
        after = chunks[-1].seq
