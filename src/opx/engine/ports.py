# SPDX-License-Identifier: Apache-2.0

"""What the engine needs of the world: its ports, and the few records that are its own.

The imperative shell is written against these protocols only; ``opx.app`` picks the
adapters, ``opx.testing`` ships a fake for each, and one contract suite runs on both.
No vendor's type crosses them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol, TypeVar

from opx.core.base.metrics import MetricAnswer, MetricQuery
from opx.core.base.reads import Answer, Probe
from opx.core.base.time import Ms
from opx.core.decide.actions import ActionSpec
from opx.core.ingest.signals import Item, MetricBatch, Series
from opx.core.notify.notice import Notice

R = TypeVar("R")
T = TypeVar("T")


class Clock(Protocol):
    """The only source of time and randomness."""

    def now(self) -> Ms: ...
    async def sleep(self, span: Ms) -> None: ...
    def entropy(self, size: int) -> bytes: ...


# ---------------------------------------------------------------- operational store


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the journal. ``seq`` 0 until it is stored; then its place, from 1.

    ``subject``: what it is about (an incident's id, ``automation``, ``access``, ...).
    ``kind``: what happened, past tense with dots (``incident.opened``). ``actor``: who did it.
    """

    seq: int = 0
    at: Ms
    subject: str
    kind: str
    actor: str
    body: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """The journal's hash chain: ``hash`` covers ``previous`` and entries first..last."""

    id: str
    first: int
    last: int
    previous: str
    hash: str
    at: Ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A named position in the write-ahead log, with state that belongs to exactly it."""

    id: str
    seq: int
    state: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDocument:
    """A document as applied. ``id``: ``Kind/name``, of a service ``Service/environment/name``.
    ``text``: its YAML."""

    id: str
    kind: str
    name: str
    hash: str
    text: str
    source: str
    applied_by: str
    applied_at: Ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What a person asked ``brain`` to do: a row written by ``front``, done once."""

    id: str
    kind: str
    subject: str
    actor: str
    at: Ms
    body: dict[str, Any] = field(default_factory=dict)
    done_at: Ms | None = None
    error: str = ""
    version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """An API token. ``id``: SHA-256 of the secret, which is nowhere kept.

    ``roles``: names of ``opx.core.decide.roles``. ``services``: what it may ingest for,
    empty = any. ``single_use``: a login link. ``parent``: the token that a session or a link
    was opened with; it is in force only while that one is.
    """

    id: str
    name: str
    roles: tuple[str, ...]
    created_at: Ms
    expires_at: Ms | None = None
    services: tuple[str, ...] = ()
    single_use: bool = False
    parent: str = ""
    revoked_at: Ms | None = None
    version: int = 1


Op = Literal["eq", "in", "lt", "le", "gt", "ge", "null", "not_null"]


@dataclass(frozen=True, slots=True)
class Where:
    field: str
    op: Op
    value: object = None


class ReadTx(Protocol):
    """A consistent view. Rows are the frozen records of the core and of this module."""

    def get(self, kind: type[R], id: str) -> R | None: ...
    def find(
        self, kind: type[R], *where: Where, order: str = "", limit: int | None = None
    ) -> list[R]:
        """Every row that fits, or the first ``limit`` of them. ``order``: a field, ``-field``
        for descending. Only indexed fields may be named."""
        ...

    def count(self, kind: type, *where: Where) -> int:
        """How many rows fit, without reading them."""
        ...


class WriteTx(ReadTx, Protocol):
    """One transaction. Everything in it happens, or nothing does."""

    def add(self, *rows: object) -> int:
        """Insert the rows whose id is new; return how many were. For facts that repeat."""
        ...

    def save(self, *rows: object) -> None:
        """Compare and set: version 1 must be new, version n must replace n-1.
        ``Conflict`` otherwise, and the transaction is undone."""
        ...

    def set(self, *rows: object) -> None:
        """Insert or replace. Only for records with a single writer."""
        ...

    def drop(self, kind: type, *where: Where) -> int:
        """Forget the rows that fit; how many they were. At least one condition; the journal
        and its seals are never forgotten (``ValueError``)."""
        ...

    def append(self, *entries: Entry) -> None:
        """Add to the journal. It has no update and no delete."""
        ...


class Store(Protocol):
    """The operational store. ``fn`` is synchronous and runs in a thread of the store's own."""

    async def read(self, fn: Callable[[ReadTx], T]) -> T: ...
    async def write(self, fn: Callable[[WriteTx], T]) -> T: ...
    async def changed(self, within: Ms) -> bool:
        """Wait until any process has committed, or ``within`` has passed: which of them."""
        ...

    async def close(self) -> None: ...


# ---------------------------------------------------------------- write-ahead log


@dataclass(slots=True, kw_only=True)
class Batch:
    """What one request brings: appended whole or not at all."""

    series: tuple[Series, ...] = ()
    points: MetricBatch | None = None
    items: tuple[Item, ...] = ()


@dataclass(slots=True, kw_only=True)
class Chunk:
    """What one commit of the log holds. ``at``: when it was appended."""

    seq: int
    at: Ms
    series: tuple[Series, ...]
    points: MetricBatch | None
    items: tuple[Item, ...]


class Appender(Protocol):
    """``front``'s end of the log."""

    async def append(self, batch: Batch) -> int:
        """Return the commit's seq once it is on disk. ``Unavailable`` when the disk is
        full or too much is waiting: then nothing of it was kept."""
        ...

    def series(self) -> Sequence[Series]:
        """Every series known to the log, by sid."""
        ...

    async def close(self) -> None: ...


class Tail(Protocol):
    """``brain``'s end of the log."""

    def read(self, after: int, limit: int) -> list[Chunk]:
        """At most ``limit`` commits that follow ``after``, oldest first, and no more than can be
        taken in within a second or so; [] when none yet."""
        ...

    async def changed(self, within: Ms) -> None:
        """Wait for news, for ``within`` at most: not at all after a ``read`` that found some, nor
        when there has been some since."""
        ...

    def series(self) -> Sequence[Series]:
        """Every series defined so far, by sid: also in commits that are dropped."""
        ...

    def drop(self, through: int) -> None:
        """Segments that end at or before ``through`` are needed no more."""
        ...


# ---------------------------------------------------------------- telemetry


class Telemetry(Protocol):
    def add(self, seq: int, series: Sequence[Series], points: MetricBatch | None) -> None:
        """Into the in-memory tail; readable at once."""
        ...

    async def flush(self) -> int:
        """Move the tail to disk; return the seq through which everything is there."""
        ...

    def committed(self) -> int: ...
    async def query(self, query: MetricQuery) -> MetricAnswer:
        """``TooLarge`` when it asks for more than is read at once."""
        ...

    async def tidy(self) -> bool:
        """One piece of upkeep: what is on disk becomes fewer files, sorted and rolled up, and
        reads the same. Whether there is more to do at once."""
        ...

    async def forget(self, before: Ms) -> int:
        """Forget the days on disk that were over by ``before``; how many they were."""
        ...

    async def close(self) -> None: ...


# ---------------------------------------------------------------- the world outside


class Prober(Protocol):
    async def ask(self, key: str, probe: Probe) -> Answer:
        """Never raises: what could not be asked is ``ok=None`` with a ``detail``."""
        ...


class EffectKnown(StrEnum):
    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


Say = Callable[[str], None]
"""Tells people a line while a step is at work."""


def silent(line: str) -> None:
    """A ``Say`` that nobody listens to."""


class Action(Protocol):
    """One registered type of action: everything ``hands`` can do to the world."""

    spec: ActionSpec

    async def observe(self, target: str, inputs: dict[str, str]) -> dict[str, str]:
        """What ``apply`` would change, now: enough to tell later whether the effect happened.
        A process is observed with its ``pid``: hands refuses opx's own by it.
        ``Unavailable`` when it cannot be seen."""
        ...

    def happened(self, before: dict[str, str], now: dict[str, str]) -> EffectKnown:
        """Whether this action's effect lies between two observations."""
        ...

    async def apply(self, target: str, inputs: dict[str, str], key: str, say: Say = silent) -> str:
        """Do it, saying how far it is; return a line for the timeline. ``Unavailable``: no
        answer, so it may have happened and is looked for; any other ``OpxError``: it certainly
        did not work."""
        ...

    def dry_run(self, target: str, inputs: dict[str, str]) -> str:
        """What ``apply`` would do, in one line, touching nothing."""
        ...


class Receiver(Protocol):
    name: str

    async def deliver(self, notice: Notice) -> None:
        """``Unavailable`` when trying again can help, another ``OpxError`` when not. A crash
        may repeat a notice: its id must reach whoever is told, so that it can be dropped."""
        ...


class Signer(Protocol):
    def sign(self, message: bytes) -> str: ...


class Verifier(Protocol):
    def genuine(self, message: bytes, signature: str) -> bool: ...


# ---------------------------------------------------------------- durable work


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRequest:
    """One segment to run: ``kind`` names the function. Starting the same id twice is once."""

    id: str
    kind: str
    args: dict[str, str] = field(default_factory=dict)
    not_before: Ms | None = None


class SegmentState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingWork:
    """A ``StartRequest`` kept as a row, for workflows that have no engine of their own.

    ``not_before``: when it is due. ``attempts``: how often it has failed.
    """

    id: str
    kind: str
    args: dict[str, str]
    not_before: Ms
    state: SegmentState = SegmentState.WAITING
    attempts: int = 0
    ended_at: Ms | None = None
    version: int = 1


Segment = Callable[[StartRequest], Awaitable[None]]
"""Re-reads the domain state first and may be run again after a crash."""


class Workflows(Protocol):
    """Durable wake-ups. The journal is the truth: losing all of these loses nothing,
    because a sweep starts a segment for every run that is due."""

    async def open(self, segments: dict[str, Segment]) -> None: ...
    def start(self, request: StartRequest, tx: WriteTx) -> None:
        """In the transaction that decided it."""
        ...

    async def state(self, id: str) -> SegmentState | None: ...
    async def purge(self, before: Ms) -> int: ...
    async def close(self) -> None: ...
