# SPDX-License-Identifier: Apache-2.0

"""What the sense beat remembers between two commits, and how it is rebuilt.

Before ``sense``, which alone changes it. Everything in it follows from the store and the
log: open findings and episodes, the events of late, the detectors' state as it was last
saved, and the log since. It must never be ahead of what is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from opx.core.base.time import Ms
from opx.core.correlate import stage as correlate
from opx.core.correlate.episode import Episode
from opx.core.detect import alerts, events, probes, thresholds
from opx.core.detect.finding import Finding, FindingState
from opx.core.ingest.signals import Series
from opx.engine.beats.parts import Parts
from opx.engine.ports import Chunk, Entry, ReadTx, Saved, Tail, Telemetry, Where

POSITION = "sense"
DETECTORS = "detectors"
EVENT_RECEIVED = "event.received"
MOST_CHUNKS = 256
"""Commits of the log that one commit of the store takes in."""
PAGE = 1_000


@dataclass(slots=True, kw_only=True)
class Memory:
    """``seq``: how far into the log; ``saved_at``: where the detectors were last saved."""

    seq: int = 0
    saved_at: int = 0
    alerts: alerts.AlertState = field(default_factory=alerts.AlertState)
    events: events.EventState = field(default_factory=events.EventState)
    probes: probes.ProbeState = field(default_factory=probes.ProbeState)
    thresholds: thresholds.ThresholdState = field(default_factory=thresholds.ThresholdState)
    groups: correlate.SenseState = field(default_factory=correlate.SenseState)
    series: dict[int, Series] = field(default_factory=dict)
    responses: dict[str, Ms] = field(default_factory=dict)
    """When each growing incident is responded to next, or was last."""

    def learn(self, chunk: Chunk) -> None:
        self.series.update((series.sid, series) for series in chunk.series)

    def position(self, seq: int) -> Saved:
        """Where the log is taken up again, with what belongs to exactly there."""
        return Saved(id=POSITION, seq=seq, state={"ended": alerts.save(self.alerts)})

    def detectors(self, seq: int) -> Saved:
        """The state that is too large to be written with every commit."""
        return Saved(id=DETECTORS, seq=seq, state=thresholds.save(self.thresholds))


async def load(parts: Parts, tail: Tail, telemetry: Telemetry) -> Memory:
    """Rebuild the memory, and give telemetry what it had not kept."""
    recently = parts.clock.now() - correlate.REMEMBERED
    memory, findings = await parts.store.read(lambda tx: _stored(tx, recently))
    memory.series = {one.sid: one for one in tail.series()}
    _replay(memory, tail, telemetry)
    thresholds.missed(memory.thresholds, findings)
    return memory


def _stored(tx: ReadTx, recently: Ms) -> tuple[Memory, list[Finding]]:
    position = tx.get(Saved, POSITION) or Saved(id=POSITION, seq=0)
    detectors = tx.get(Saved, DETECTORS) or Saved(id=DETECTORS, seq=0)
    findings = tx.find(Finding, Where("state", "eq", FindingState.FIRING))
    live = tx.find(Episode, Where("ended_at", "null"))
    ended = tx.find(Episode, Where("ended_at", "ge", recently))
    memory = Memory(
        seq=position.seq,
        saved_at=detectors.seq,
        alerts=alerts.AlertState.load(findings, position.state.get("ended")),
        events=events.EventState.load(findings, _events(tx)),
        probes=probes.ProbeState.load(findings),
        thresholds=thresholds.load(detectors.state),
        groups=correlate.SenseState.load(live + ended, findings),
    )
    return memory, findings


def _events(tx: ReadTx) -> list[dict[str, Any]]:
    """The events of late, oldest first: as many as their detector remembers. From the end of
    the journal, page by page: it may be long."""
    kind = Where("kind", "eq", EVENT_RECEIVED)
    found: list[Entry] = []
    while len(found) < events.MOST_REMEMBERED:
        older = [Where("seq", "lt", found[-1].seq)] if found else []
        page = tx.find(Entry, kind, *older, order="-seq", limit=PAGE)
        since = (found or page)[0].at - events.REMEMBERED if page else 0
        fresh = [entry for entry in page if entry.at > since]
        found += fresh
        if len(fresh) < PAGE:
            break
    return [entry.body["event"] for entry in reversed(found)]


def _replay(memory: Memory, tail: Tail, telemetry: Telemetry) -> None:
    """Feed detectors and telemetry what they had not kept. The rules are those in force when
    it was first taken in, so its findings are known."""
    telemetry_at = telemetry.committed()
    after = min(memory.saved_at, telemetry_at, memory.seq)
    while after < memory.seq:
        chunks = [chunk for chunk in tail.read(after, MOST_CHUNKS) if chunk.seq <= memory.seq]
        if not chunks:
            break
        for chunk in chunks:
            memory.learn(chunk)
            if chunk.seq > telemetry_at:
                telemetry.add(chunk.seq, chunk.series, chunk.points)
            if chunk.seq > memory.saved_at:
                thresholds.step(memory.thresholds, memory.series, chunk.points, chunk.at)
        after = chunks[-1].seq
