# SPDX-License-Identifier: Apache-2.0

"""The sense beat: from the log to findings, episodes and incidents, in one commit.

The first beat. It reads the write-ahead log in order and asks the health probes that are
due; what the detectors and the correlator derive is committed together with the position
in the log, so a crash repeats nothing and loses nothing. When a commit fails, its memory
is thrown away and rebuilt from the store: memory is never ahead of what is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from opx.core.base.time import SECOND, Ms
from opx.core.correlate import stage as correlate
from opx.core.correlate.episode import Episode
from opx.core.detect import alerts, events, probes, thresholds
from opx.core.detect.finding import Finding, FindingKind, FindingState
from opx.core.incident import gate, lifecycle
from opx.core.incident.incident import Incident, PromotionVerdict, Status
from opx.core.incident.lifecycle import Change
from opx.core.ingest.signals import Alert, Event, Rejected, Series
from opx.core.notify import edges
from opx.engine import journal
from opx.engine.beats.parts import ACTOR, Parts
from opx.engine.beats.respond import change
from opx.engine.ports import Chunk, ReadTx, Saved, Tail, Telemetry, Where, WriteTx

POSITION = "sense"
DETECTORS = "detectors"
MOST_ROWS = 10_000_000
MOST_CHUNKS = 256
"""Commits of the log that one commit of the store takes in."""
AGAIN: Ms = SECOND
"""An open incident that keeps growing is responded to this often, however fast it grows."""


@dataclass(slots=True, kw_only=True)
class Memory:
    """Everything the beat remembers between commits; ``load`` rebuilds it."""

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


@dataclass(slots=True, kw_only=True)
class Derived:
    """What one step made of its input, on its way into one commit."""

    now: Ms
    findings: list[Finding] = field(default_factory=list)
    refreshed: list[Finding] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


class Sense:
    """One instance in ``brain``. ``take`` and ``probe`` may be called from different tasks."""

    def __init__(self, parts: Parts, tail: Tail, telemetry: Telemetry) -> None:
        self._parts = parts
        self._tail = tail
        self._telemetry = telemetry
        self._memory: Memory | None = None
        self._turn = asyncio.Lock()
        self.lag_ms: Ms = 0

    async def take(self) -> int:
        """Take in what the log has; return how many of its commits that was."""
        async with self._turn:
            memory = await self._remembered()
            chunks = self._tail.read(memory.seq, MOST_CHUNKS)
            if not chunks:
                return 0
            self._memory = None  # what follows changes it; only a commit makes it true
            await self._commit(memory, self._detect(memory, chunks), chunks[-1].seq)
            self.lag_ms = max(0, self._parts.clock.now() - chunks[-1].at)
            return len(chunks)

    async def probe(self) -> None:
        """Ask the health probes that are due and take in their answers."""
        catalogue = self._parts.knowledge.catalogue
        async with self._turn:
            memory = await self._remembered()
            reads = probes.needs(memory.probes, catalogue, self._parts.clock.now())
        if not reads:
            return
        answers = await self._parts.ask(reads)
        async with self._turn:
            memory = await self._remembered()
            now = self._parts.clock.now()
            self._memory = None
            found = probes.step(memory.probes, catalogue, answers, now)
            if found:
                await self._commit(memory, Derived(now=now, findings=found), memory.seq)
            self._memory = memory

    async def save_detectors(self) -> int:
        """Keep the detectors' state with its place in the log; return that place."""
        async with self._turn:
            memory = await self._remembered()
            if memory.saved_at != memory.seq:
                state = thresholds.save(memory.thresholds)
                saved = Saved(id=DETECTORS, seq=memory.seq, state=state)
                await self._parts.store.write(lambda tx: tx.set(saved))
                memory.saved_at = memory.seq
            return memory.seq

    async def _remembered(self) -> Memory:
        if self._memory is None:
            self._memory = await self._load()
        return self._memory

    async def _load(self) -> Memory:
        """Rebuild the memory: open findings and episodes, detectors, then the log since."""

        recently = self._parts.clock.now() - correlate.REMEMBERED

        def read(tx: ReadTx) -> tuple[Saved | None, Saved | None, list[Finding], list[Episode]]:
            firing = Where("state", "eq", FindingState.FIRING)
            live = tx.find(Episode, Where("ended_at", "null"), limit=MOST_ROWS)
            ended = tx.find(Episode, Where("ended_at", "ge", recently), limit=MOST_ROWS)
            return (
                tx.get(Saved, POSITION),
                tx.get(Saved, DETECTORS),
                tx.find(Finding, firing, limit=MOST_ROWS),
                live + ended,
            )

        position, detectors, findings, episodes = await self._parts.store.read(read)
        memory = Memory(
            seq=position.seq if position else 0,
            saved_at=detectors.seq if detectors else 0,
            alerts=alerts.AlertState.load(findings),
            events=events.EventState.load(findings),
            probes=probes.ProbeState.load(findings),
            thresholds=thresholds.load(detectors.state if detectors else {}),
            groups=correlate.SenseState.load(episodes, findings),
            series={one.sid: one for one in self._tail.series()},
        )
        self._replay(memory)
        return memory

    def _replay(self, memory: Memory) -> None:
        """Feed detectors and telemetry what they had not kept; its findings are known."""
        telemetry_at = self._telemetry.committed()
        after = min(memory.saved_at, telemetry_at, memory.seq)
        while after < memory.seq:
            chunks = self._tail.read(after, MOST_CHUNKS)
            chunks = [chunk for chunk in chunks if chunk.seq <= memory.seq]
            if not chunks:
                break
            for chunk in chunks:
                self._learn_series(memory, chunk)
                if chunk.seq > telemetry_at:
                    self._telemetry.add(chunk.seq, chunk.series, chunk.points)
                if chunk.seq > memory.saved_at:
                    self._threshold(memory, chunk)
            after = chunks[-1].seq

    def _learn_series(self, memory: Memory, chunk: Chunk) -> None:
        for series in chunk.series:
            memory.series[series.sid] = series

    def _threshold(self, memory: Memory, chunk: Chunk) -> list[Finding]:
        rules = self._parts.knowledge.rules
        return thresholds.step(memory.thresholds, rules, memory.series, chunk.points, chunk.at)

    def _detect(self, memory: Memory, chunks: Sequence[Chunk]) -> Derived:
        """Every detector over every chunk, in order."""
        derived = Derived(now=chunks[-1].at)
        for chunk in chunks:
            self._learn_series(memory, chunk)
            self._telemetry.add(chunk.seq, chunk.series, chunk.points)
            told = [item for item in chunk.items if isinstance(item, Alert)]
            happened = [item for item in chunk.items if isinstance(item, Event)]
            derived.rejected += [item for item in chunk.items if isinstance(item, Rejected)]
            derived.events += happened
            derived.findings += alerts.step(memory.alerts, told, chunk.at)
            derived.findings += events.step(memory.events, happened, chunk.at)
            derived.findings += self._threshold(memory, chunk)
        derived.refreshed = alerts.refreshed(memory.alerts) + events.refreshed(memory.events)
        return derived

    async def _commit(self, memory: Memory, derived: Derived, seq: int) -> None:
        """Correlate and keep everything with the position; on failure forget the memory."""
        correlated = correlate.step(memory.groups, derived.findings, derived.now)
        correlated.episodes += correlate.tick(memory.groups, derived.now)
        self._parts.failpoint("derived")
        await self._parts.store.write(lambda tx: self._keep(tx, memory, derived, correlated, seq))
        self._parts.failpoint("committed")
        memory.seq = seq
        self._memory = memory

    def _keep(
        self,
        tx: WriteTx,
        memory: Memory,
        derived: Derived,
        correlated: correlate.Correlated,
        seq: int,
    ) -> None:
        now = derived.now
        episodes = {episode.id: episode for episode in correlated.episodes}
        # What began and was told again in one commit is in both: the newer state stands last.
        tx.set(*correlated.findings, *derived.refreshed, *episodes.values())
        tx.add(*derived.rejected)
        for event in derived.events:
            subject = event.identity.service or "events"
            tx.append(
                journal.entry(event.received_at, subject, "event.received", "front", event=event)
            )
        for finding, reason in correlated.suppressed:
            tx.append(
                journal.entry(
                    now,
                    finding.identity.service or "findings",
                    "finding.suppressed",
                    ACTOR,
                    finding=finding.id,
                    rule=finding.rule,
                    reason=reason,
                )
            )
        for episode in episodes.values():
            fresh = correlated.members.get(episode.id, [])
            self._tell_incident(tx, memory, episode, fresh, now)
        tx.set(Saved(id=POSITION, seq=seq))

    def _tell_incident(
        self, tx: WriteTx, memory: Memory, episode: Episode, fresh: list[Finding], now: Ms
    ) -> None:
        """Open, extend or resolve the incident of an episode that changed."""
        incident = tx.get(Incident, Incident.id_of(episode.id))
        if incident is None:
            self._promote(tx, episode, fresh, now)
            return
        if incident.status in (Status.RESOLVED, Status.CLOSED):
            return
        attached = lifecycle.attach(incident, episode, now)
        if attached != incident:
            tx.save(attached)
        self._attached(tx, attached, fresh, now)
        if episode.ended_at is not None:
            memory.responses.pop(attached.id, None)
            resolved = change(tx, attached, Change.EPISODE_ENDED, now)
            self._parts.tell(tx, edges.resolved(resolved, now))
        elif attached.status is Status.MITIGATED and _new_symptom(fresh):
            relapsed = change(tx, attached, Change.RELAPSED, now)
            self._parts.respond_to(tx, relapsed.id, relapsed.version)
        elif attached.status is Status.OPEN and _new_symptom(fresh):
            self._respond_again(tx, memory, attached, now)

    def _respond_again(self, tx: WriteTx, memory: Memory, incident: Incident, now: Ms) -> None:
        """At once, or a while after the last time; not at all if that is still to come."""
        last = memory.responses.get(incident.id, 0)
        if last <= now:
            due = memory.responses[incident.id] = max(now, last + AGAIN)
            self._parts.respond_to(tx, incident.id, incident.version, due)

    def _promote(self, tx: WriteTx, episode: Episode, fresh: list[Finding], now: Ms) -> None:
        promotion = gate.promote(episode, None, now)
        if promotion.verdict is not PromotionVerdict.OPEN:
            return
        worst = min(fresh, key=lambda finding: finding.severity, default=None)
        title = worst.summary if worst is not None else "evidence of trouble"
        previous = Incident.id_of(episode.previous) if episode.previous else None
        incident = lifecycle.opened(episode, promotion, title, previous, now)
        tx.save(incident)
        tx.append(
            journal.entry(
                now, incident.id, "incident.opened", ACTOR, promotion=promotion, incident=incident
            )
        )
        self._attached(tx, incident, fresh, now)
        self._parts.tell(tx, edges.opened(incident, now))
        if episode.ended_at is None:
            self._parts.respond_to(tx, incident.id, incident.version)
        else:  # a backlog that held its beginning and its end
            self._parts.tell(
                tx, edges.resolved(change(tx, incident, Change.EPISODE_ENDED, now), now)
            )

    def _attached(self, tx: WriteTx, incident: Incident, fresh: list[Finding], now: Ms) -> None:
        """One timeline line for the findings of one commit, however many there are."""
        if not fresh:
            return
        first = fresh[0]
        tx.append(
            journal.entry(
                now,
                incident.id,
                "findings.attached",
                ACTOR,
                count=len(fresh),
                firing=sum(finding.state is FindingState.FIRING for finding in fresh),
                cleared=sum(finding.state is FindingState.CLEARED for finding in fresh),
                first=first,
            )
        )


def _new_symptom(fresh: list[Finding]) -> bool:
    return any(
        finding.kind is FindingKind.SYMPTOM and finding.state is FindingState.FIRING
        for finding in fresh
    )
