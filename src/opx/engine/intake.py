# SPDX-License-Identifier: Apache-2.0

"""Telemetry's way in: one request's bytes to one acknowledged batch in the log.

The ingest routes call ``take``; a wire's parser makes items, the core's checks refuse some
of them, and what is left goes into the write-ahead log together with the refused ones
(the quarantine), in one append. Returning from ``take`` means it is on disk. It must never
acknowledge what was not appended, nor let one bad item cost its neighbours.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from opx.core.base import ids
from opx.core.base.time import MINUTE, Ms
from opx.core.ingest import checks, quota
from opx.core.ingest.checks import Reason, Refusal
from opx.core.ingest.mapping import MappingRule
from opx.core.ingest.quota import Bucket, Quota
from opx.core.ingest.services import Catalogue
from opx.core.ingest.signals import ACCEPTED, MetricBatch, Rejected, Series
from opx.core.ingest.unmapped import Book
from opx.engine.ports import Appender, Batch, Clock
from opx.errors import Unavailable

MAX_REPORTED = 100
"""How many refused items of one request are named and quarantined; the rest are counted."""
LARGE = 32 << 10
"""A body of more bytes is read in a thread, so that nobody waits for it: some take seconds."""
METRICS = "metrics"
"""The one wire that brings points."""
REFUSED_FOR: Ms = MINUTE
"""How long a batch that the log refused speaks for those that nobody dares to send."""
_MAX_CALLERS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """What a parser knows besides the body. ``services``: the sender's scope, empty = any."""

    now: Ms
    mapping: MappingRule = field(default_factory=MappingRule)
    services: frozenset[str] = frozenset()


@dataclass(slots=True, kw_only=True)
class Parsed:
    """One body: what was taken, and what was not. Their numbers add up to the items in it."""

    batch: Batch
    accepted: int
    refusals: list[Refusal] = field(default_factory=list)


Parser: TypeAlias = Callable[[bytes, Incoming], Parsed]
"""``BadInput`` when the body as a whole cannot be read, ``TooLarge`` when it holds too much."""


class SeriesBook(Protocol):
    """What numbers the series (``opx.adapters.wires.metrics.SeriesIndex``)."""

    def kept(self, series: Sequence[Series]) -> None:
        """These are on disk now. Until then they travel in every batch that uses them."""
        ...

    def came(self, points: MetricBatch, at: Ms) -> None:
        """These points were kept at ``at``."""
        ...

    def unmapped(self) -> list[tuple[Series, int, Ms]]:
        """The series that are nobody's, of which points came since this was last asked: how
        many, and when the last; the newest at the end."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """``body``: bytes, before and after decompression. ``unfinished``: bytes of bodies that were
    not taken in yet, of each caller and of all. ``quota``: of each caller."""

    body: int = 4 << 20
    unfinished: int = 16 << 20
    all_unfinished: int = 64 << 20
    quota: Quota = field(default_factory=Quota)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of one request. ``refusals``: the first ``MAX_REPORTED`` of ``rejected``."""

    accepted: int
    rejected: int
    refusals: tuple[Refusal, ...]


@dataclass(slots=True, kw_only=True)
class Intake:
    """``wires``: a parser by wire, which two threads may call at once. ``counts``: items by (wire,
    ``accepted`` or the reason)."""

    appender: Appender
    clock: Clock
    catalogue: Callable[[], Catalogue]
    index: SeriesBook
    wires: Mapping[str, Parser]
    limits: Limits = field(default_factory=Limits)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    _buckets: dict[str, Bucket] = field(default_factory=dict)
    _unmapped: Book = field(init=False)
    _refused_at: Ms | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self._unmapped = Book(since=self.clock.now())

    def admit(self, caller: str) -> Ms:
        """0 to go on, or how many ms ``caller`` must wait: its own limit, not our backlog."""
        if len(self._buckets) >= _MAX_CALLERS and caller not in self._buckets:
            self._buckets.clear()
        bucket, wait = quota.take(self._buckets.get(caller), self.clock.now(), self.limits.quota)
        self._buckets[caller] = bucket
        return wait

    async def take(self, wire: str, body: bytes, source: str, services: frozenset[str]) -> Receipt:
        """Keep one body of ``wire``, sent by ``source``. ``BadInput`` when it cannot be
        read, ``Unavailable`` when it cannot be kept: then nothing of it was."""
        now = self.clock.now()
        if len(body) > LARGE:
            async with self._turn:  # one at a time, since each has the interpreter for itself
                parsed, batch = await asyncio.to_thread(
                    self._judged, wire, body, now, source, services
                )
        else:
            parsed, batch = self._judged(wire, body, now, source, services)
        if batch.items or batch.points is not None:
            await self._append(batch)
            self.kept(wire, batch, now)
        self._count(wire, parsed)
        return Receipt(
            accepted=parsed.accepted,
            rejected=len(parsed.refusals),
            refusals=tuple(parsed.refusals[:MAX_REPORTED]),
        )

    def _judged(
        self, wire: str, body: bytes, now: Ms, source: str, services: frozenset[str]
    ) -> tuple[Parsed, Batch]:
        """What is in a body, and what the log keeps of it. In any thread."""
        parsed = self.read(wire, body, now, services)
        batch = parsed.batch
        if parsed.refusals:
            refused = self._quarantined(parsed.refusals, wire, now, source)
            batch = Batch(series=batch.series, points=batch.points, items=(*batch.items, *refused))
        return parsed, batch

    def read(self, wire: str, body: bytes, now: Ms, services: frozenset[str]) -> Parsed:
        """What ``wire`` makes of a body now. ``BadInput`` when it cannot be read."""
        mapping = self.catalogue().mapping
        return self.wires[wire](body, Incoming(now=now, mapping=mapping, services=services))

    def kept(self, wire: str, batch: Batch, now: Ms) -> None:
        """This is on disk, came by ``wire``, and was taken at ``now``."""
        if batch.series:
            self.index.kept(batch.series)
        for item in batch.items:
            self._unmapped.item(wire, item, now)
        if batch.points is not None:
            self.index.came(batch.points, now)

    def keeping(self) -> bool:
        """False once the log refused a batch, until it takes one or ``REFUSED_FOR`` has passed."""
        refused = self._refused_at
        return refused is None or self.clock.now() - refused >= REFUSED_FOR

    async def _append(self, batch: Batch) -> None:
        try:
            await self.appender.append(batch)
        except Unavailable:
            self._refused_at = self.clock.now()
            raise
        self._refused_at = None

    def unmapped(self) -> Book:
        """What came and is nobody's."""
        for series, count, at in self.index.unmapped():
            self._unmapped.series(METRICS, series, count, at)
        return self._unmapped

    def _quarantined(
        self, refusals: list[Refusal], wire: str, now: Ms, source: str
    ) -> list[Rejected]:
        shown = refusals[:MAX_REPORTED]
        more = len(refusals) - len(shown)
        if more:
            rest = f"{more} more items of the same request"
            shown.append(
                Refusal(index=len(shown), reason=Reason.AND_MORE, detail=rest, item=rest.encode())
            )
        return [
            checks.rejected(
                refusal,
                id=ids.uuid7(now, self.clock.entropy(10)),
                at=now,
                wire=wire,
                source=source,
            )
            for refusal in shown
        ]

    def _count(self, wire: str, parsed: Parsed) -> None:
        self.counts[wire, ACCEPTED] += parsed.accepted
        for refusal in parsed.refusals:
            self.counts[wire, refusal.reason.value] += 1
