# SPDX-License-Identifier: Apache-2.0

"""The sense beat: from the log to findings, episodes and incidents, in one commit.

The first beat. It reads the write-ahead log in order and asks the health probes that are
due; what the detectors and the correlator derive is committed together with the position
in the log, so a crash repeats nothing and loses nothing. When a commit fails, its memory
is thrown away and rebuilt from the store: memory is never ahead of what is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from opx.core.base.reads import Answer, ProbeRead
from opx.core.base.time import SECOND, Ms
from opx.core.correlate import stage as correlate
from opx.core.correlate.episode import Episode
from opx.core.detect import alerts, events, probes, thresholds
from opx.core.detect.finding import Finding, FindingKind, FindingState
from opx.core.incident import gate, lifecycle
from opx.core.incident.incident import Incident, PromotionVerdict, Status
from opx.core.incident.lifecycle import Change
from opx.core.ingest.signals import Alert, Event, Rejected
from opx.core.notify import edges
from opx.engine import journal
from opx.engine.beats import probing
from opx.engine.beats.memory import EVENT_RECEIVED, MOST_CHUNKS, Memory, load
from opx.engine.beats.parts import ACTOR, Parts
from opx.engine.beats.respond import change
from opx.engine.ports import Chunk, Tail, Telemetry, Where, WriteTx

AGAIN: Ms = SECOND
"""An open incident that keeps growing is responded to this often, however fast it grows."""
MOST_ASKED = 1_000
"""Incidents that one question to the store names."""


@dataclass(slots=True, kw_only=True)
class Derived:
    """What one step made of its input, on its way into one commit."""

    now: Ms
    findings: list[Finding] = field(default_factory=list)
    refreshed: list[Finding] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    new_rules: bool = False


class Sense:
    """One instance in ``brain``. ``take`` and ``probe`` may run in different tasks."""

    def __init__(self, parts: Parts, tail: Tail, telemetry: Telemetry) -> None:
        self._parts = parts
        self._tail = tail
        self._telemetry = telemetry
        self._memory: Memory | None = None
        self._turn = asyncio.Lock()
        self.taking: Ms | None = None
        """When the oldest commit of the log that was read and is not kept was appended."""

    async def take(self) -> int:
        """Take in what the log has; return how many of its commits that was."""
        async with self._turn:
            memory = await self._remembered()
            chunks = self._tail.read(memory.seq, MOST_CHUNKS)
            if not chunks:
                return 0
            self._memory = None  # what follows changes it; only a commit makes it true
            self.taking = chunks[0].at
            await self._commit(memory, self._detect(memory, chunks), chunks[-1].seq)
            self.taking = None
            return len(chunks)

    async def probe(self, stop: asyncio.Event) -> None:
        """Ask the health probes as they fall due, until ``stop``."""
        await probing.run(self._parts, self, stop)

    async def due(self) -> list[ProbeRead]:
        """The health probes to be asked now."""
        catalogue = self._parts.knowledge.catalogue
        async with self._turn:
            memory = await self._remembered()
            now = self._parts.clock.now()
            if memory.probes.catalogue is not catalogue:
                self._memory = None
                await self._found(memory, probes.bind(memory.probes, catalogue, now), now)
            return probes.needs(memory.probes, now)

    async def hear(self, answers: Sequence[tuple[ProbeRead, Answer]]) -> None:
        """Take in what health probes have answered."""
        async with self._turn:
            memory = await self._remembered()
            self._memory = None
            await self._found(memory, probes.step(memory.probes, answers), self._parts.clock.now())

    async def _found(self, memory: Memory, findings: list[Finding], now: Ms) -> None:
        """Keep what was found without the log; mostly it is nothing."""
        if findings:
            await self._commit(memory, Derived(now=now, findings=findings), memory.seq)
        self._memory = memory

    async def save_detectors(self) -> int:
        """Keep the detectors' state with its place in the log; return that place."""
        async with self._turn:
            memory = await self._remembered()
            if memory.saved_at != memory.seq:
                saved = memory.detectors(memory.seq)
                await self._parts.store.write(lambda tx: tx.set(saved))
                memory.saved_at = memory.seq
            return memory.seq

    async def _remembered(self) -> Memory:
        if self._memory is None:
            self._memory = await load(self._parts, self._tail, self._telemetry)
        return self._memory

    def _detect(self, memory: Memory, chunks: Sequence[Chunk]) -> Derived:
        """Every detector over every chunk, in order."""
        derived = Derived(now=chunks[-1].at)
        rules = self._parts.knowledge.rules
        if not thresholds.in_force(memory.thresholds, rules):
            derived.findings += thresholds.bind(memory.thresholds, rules, chunks[0].at)
            derived.new_rules = True
        for chunk in chunks:
            memory.learn(chunk)
            self._telemetry.add(chunk.seq, chunk.series, chunk.points)
            told = [item for item in chunk.items if isinstance(item, Alert)]
            happened = [item for item in chunk.items if isinstance(item, Event)]
            derived.rejected += [item for item in chunk.items if isinstance(item, Rejected)]
            derived.events += happened
            derived.findings += alerts.step(memory.alerts, told, chunk.at)
            derived.findings += events.step(memory.events, happened, chunk.at)
            derived.findings += thresholds.step(
                memory.thresholds, memory.series, chunk.points, chunk.at
            )
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
        if derived.new_rules:
            memory.saved_at = seq
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
        _list(tx, derived, correlated)
        known = _incidents(tx, episodes.values())
        opened = []
        for episode in episodes.values():
            fresh = correlated.members.get(episode.id, [])
            incident = known.get(episode.id)
            if incident is None:
                opened += self._promoted(tx, episode, fresh, now)
            elif incident.status not in (Status.RESOLVED, Status.CLOSED):
                self._extend(tx, memory, incident, episode, fresh, now)
        self._open(tx, opened, episodes, now)
        tx.set(memory.position(seq))
        if derived.new_rules:  # a replay works by the rules that were in force
            tx.set(memory.detectors(seq))

    def _extend(
        self,
        tx: WriteTx,
        memory: Memory,
        incident: Incident,
        episode: Episode,
        fresh: list[Finding],
        now: Ms,
    ) -> None:
        """Extend or resolve the incident of an episode that changed."""
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
            self._parts.respond_to(tx, [relapsed])
        elif attached.status is Status.OPEN and _new_symptom(fresh):
            self._respond_again(tx, memory, attached, now)

    def _respond_again(self, tx: WriteTx, memory: Memory, incident: Incident, now: Ms) -> None:
        """At once, or a while after the last time; not at all if that is still to come."""
        last = memory.responses.get(incident.id, 0)
        if last <= now:
            due = memory.responses[incident.id] = max(now, last + AGAIN)
            self._parts.respond_to(tx, [incident], due)

    def _promoted(
        self, tx: WriteTx, episode: Episode, fresh: list[Finding], now: Ms
    ) -> list[Incident]:
        """The incident that an episode without one becomes, journaled; or none."""
        promotion = gate.promote(episode, None, now)
        if promotion.verdict is not PromotionVerdict.OPEN:
            return []
        worst = min(fresh, key=lambda finding: finding.severity, default=None)
        title = worst.summary if worst is not None else "evidence of trouble"
        previous = Incident.id_of(episode.previous) if episode.previous else None
        incident = lifecycle.opened(episode, promotion, title, previous, now)
        tx.append(
            journal.entry(
                now, incident.id, "incident.opened", ACTOR, promotion=promotion, incident=incident
            )
        )
        self._attached(tx, incident, fresh, now)
        return [incident]

    def _open(
        self, tx: WriteTx, opened: list[Incident], episodes: dict[str, Episode], now: Ms
    ) -> None:
        """All the new ones at one go: a storm opens them by the thousand."""
        tx.save(*opened)
        for first in range(0, len(opened), MOST_ASKED):
            some = opened[first : first + MOST_ASKED]
            self._parts.tell(tx, *(edges.opened(incident, now) for incident in some))
        # a backlog may hold the beginning and the end of one
        over = [one for one in opened if episodes[one.episode].ended_at is not None]
        for incident in over:
            resolved = change(tx, incident, Change.EPISODE_ENDED, now)
            self._parts.tell(tx, edges.resolved(resolved, now))
        going_on = [one for one in opened if episodes[one.episode].ended_at is None]
        self._parts.respond_to(tx, going_on)

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


def _list(tx: WriteTx, derived: Derived, correlated: correlate.Correlated) -> None:
    """Journal the events, and what was told and changed nothing."""
    for event in derived.events:
        subject = event.identity.service or "events"
        tx.append(journal.entry(event.received_at, subject, EVENT_RECEIVED, "front", event=event))
    for finding, reason in correlated.suppressed:
        tx.append(
            journal.entry(
                derived.now,
                finding.identity.service or "findings",
                journal.SUPPRESSED,
                ACTOR,
                finding=finding.id,
                rule=finding.rule,
                reason=reason,
            )
        )


def _incidents(tx: WriteTx, episodes: Iterable[Episode]) -> dict[str, Incident]:
    """Those that the episodes have, by episode; one that was never kept has none."""
    kept = [episode.id for episode in episodes if episode.version > 1]
    found: dict[str, Incident] = {}
    for first in range(0, len(kept), MOST_ASKED):
        some = kept[first : first + MOST_ASKED]
        for incident in tx.find(Incident, Where("episode", "in", some)):
            found[incident.episode] = incident
    return found


def _new_symptom(fresh: list[Finding]) -> bool:
    return any(
        finding.kind is FindingKind.SYMPTOM and finding.state is FindingState.FIRING
        for finding in fresh
    )
