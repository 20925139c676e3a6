# SPDX-License-Identifier: Apache-2.0

"""The sense beat: from the log to findings, episodes and incidents, in one commit.

The first beat. It reads the write-ahead log in order and asks the health probes that are
due; what the detectors and the correlator derive is committed together with the position
in the log, so a crash repeats nothing and loses nothing. When a commit fails, its memory
is thrown away and rebuilt from the store: memory is never ahead of what is kept.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from opx.core.base.reads import Answer, ProbeRead
from opx.core.base.time import Ms
from opx.core.correlate import stage as correlate
from opx.core.correlate.episode import Ruling
from opx.core.correlate.silences import Silence, apply
from opx.core.detect import alerts, events, flow, probes
from opx.core.detect.finding import Finding
from opx.core.ingest.signals import Alert, Event, Item, LogLine, Rejected, Tick
from opx.engine.beats.parts import Parts
from opx.engine.beats.sense import probing
from opx.engine.beats.sense.keeping import Derived, Keeping
from opx.engine.beats.sense.memory import MOST_CHUNKS, Memory, load
from opx.engine.ports import Chunk, ReadTx, Tail, Telemetry, Where

MOST_POINTS = 32_768
"""Points after which a commit of the store is made: in seconds, even if one stream brings all of
them, each of which waits for the one before. Between commits others have their turn."""
MOST_EDGES = 32_768
"""Findings after which it is made too: each may begin or end an incident."""
MUCH = 16_384
"""Points and items after which the log is looked at again at once: it fills faster than it is
taken in, if it does, and a pause would be lost."""


class Sense:
    """One instance in ``brain``. ``take`` and ``probe`` may run in different tasks."""

    def __init__(self, parts: Parts, tail: Tail, telemetry: Telemetry) -> None:
        self._parts = parts
        self._keeping = Keeping(parts)
        self._tail = tail
        self._telemetry = telemetry
        self._memory: Memory | None = None
        self._turn = asyncio.Lock()
        self.taking: Ms | None = None
        """When the oldest commit of the log that was read and is not kept was appended."""

    async def take(self) -> bool:
        """Take in what the log has, a bounded piece of it; whether there may be more by now."""
        async with self._turn:
            memory = await self._remembered()
            chunks = self._tail.read(memory.seq, MOST_CHUNKS)
            rest = deque(chunks)
            while rest:
                self._memory = None  # what follows changes it; only a commit makes it true
                self.taking = rest[0].at
                await self._commit(memory, *await self._detect(memory, rest))
            self.taking = None
            return len(chunks) == MOST_CHUNKS or sum(map(_weight, chunks)) >= MUCH

    async def probe(self, stop: asyncio.Event, well: Callable[[], None] = lambda: None) -> None:
        """Ask the health probes as they fall due, until ``stop``; ``well`` is told when that
        works."""
        await probing.run(self._parts, self, stop, well)

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

    async def save_detectors(self, leaving: bool = False) -> int:
        """Keep the detectors' state with its place in the log, that of the metrics when it is
        due or when brain is ``leaving``; return the place before which nobody needs the log."""
        async with self._turn:
            memory, now = await self._remembered(), self._parts.clock.now()
            if memory.saved_at != memory.seq:
                saved = memory.detectors(memory.seq)
                await self._parts.store.write(lambda tx: tx.set(saved))
                memory.saved_at = memory.seq
            if memory.metrics_at != memory.seq and (leaving or memory.metrics_due(now)):
                # made in the store's thread: it is tens of megabytes
                await self._parts.store.write(lambda tx: tx.set(memory.metrics(now)))
                memory.metrics_saved(now)
            return memory.needed

    async def _remembered(self) -> Memory:
        if self._memory is None:
            self._memory = await load(self._parts, self._tail, self._telemetry)
        return self._memory

    async def _detect(self, memory: Memory, rest: deque[Chunk]) -> tuple[Derived, int]:
        """Every detector over as many chunks as make a commit, which are taken off ``rest``, and
        the seq of the last. Between two the heart may beat."""
        derived, points, seq = Derived(now=rest[0].at), 0, 0
        self._bind(memory, derived, rest[0].at)
        memory.flow.ahead.happened(*self._parts.acted())
        while rest and points < MOST_POINTS and len(derived.findings) < MOST_EDGES:
            chunk = rest.popleft()
            derived.now, seq, points = chunk.at, chunk.seq, points + _points(chunk)
            memory.learn(chunk)
            self._telemetry.add(chunk.seq, chunk.series, chunk.points)
            told, happened, flowing = _sorted(chunk.items, derived.rejected)
            derived.events += happened
            derived.findings += alerts.step(memory.alerts, told, chunk.at)
            derived.findings += events.step(memory.events, happened, chunk.at)
            derived.findings += flow.step(
                memory.flow, memory.series, chunk.points, flowing, chunk.at
            )
            derived.predictions += memory.foresee(chunk, happened, flowing)
            await asyncio.sleep(0)
        derived.refreshed = [
            *alerts.refreshed(memory.alerts),
            *events.refreshed(memory.events),
            *flow.refreshed(memory.flow),
        ]
        return derived, seq

    def _bind(self, memory: Memory, derived: Derived, now: Ms) -> None:
        """Take up the detection rules and the limits in force, if they are others than before."""
        memory.tell_limits(self._parts.knowledge.catalogue)
        rules = self._parts.knowledge.rules
        if not events.in_force(memory.events, rules):
            derived.findings += events.bind(memory.events, rules, now)
        if not flow.in_force(memory.flow, rules):
            derived.findings += flow.bind(memory.flow, rules, now)
            derived.new_rules = True

    async def _commit(self, memory: Memory, derived: Derived, seq: int) -> None:
        """Correlate and keep everything with the position; on failure forget the memory."""
        topology, now = self._parts.knowledge.topology, derived.now
        silences, derived.rulings = await self._parts.store.read(lambda tx: _said(tx, now))
        heard = apply(memory.held, derived.findings, silences, now, memory.groups.open)
        derived.held = heard.held
        correlated = correlate.step(memory.groups, heard.passed, now, topology, derived.rulings)
        correlated.episodes += correlate.tick(memory.groups, now)
        self._parts.failpoint("derived")
        await self._parts.store.write(
            lambda tx: self._keeping.keep(tx, memory, derived, correlated, seq)
        )
        self._parts.failpoint("committed")
        memory.seq = seq
        if derived.new_rules:
            memory.saved_at = seq
        self._memory = memory


def _points(chunk: Chunk) -> int:
    return 0 if chunk.points is None else len(chunk.points)


def _weight(chunk: Chunk) -> int:
    return _points(chunk) + len(chunk.items)


def _said(tx: ReadTx, now: Ms) -> tuple[list[Silence], list[Ruling]]:
    """What people said that counts now."""
    return tx.find(Silence, Where("ends_at", "gt", now)), tx.find(Ruling)


def _sorted(
    items: Iterable[Item], rejected: list[Rejected]
) -> tuple[list[Alert], list[Event], list[LogLine | Tick]]:
    """What each kind of detector looks at, in order; what was refused goes to ``rejected``."""
    told: list[Alert] = []
    happened: list[Event] = []
    flowing: list[LogLine | Tick] = []
    for item in items:
        if isinstance(item, Alert):
            told.append(item)
        elif isinstance(item, Event):
            happened.append(item)
        elif isinstance(item, Rejected):
            rejected.append(item)
        else:
            flowing.append(item)
    return told, happened, flowing
