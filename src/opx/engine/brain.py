# SPDX-License-Identifier: Apache-2.0

"""``brain``: keeps the three beats going, and everything that has to happen by itself.

The only writer of derived state. A handful of loops, each of which does one thing, backs
off when it fails and starts over from what the store says: taking in the log, asking
probes, carrying out commands, sweeping for work that is due, delivering notices, and
housekeeping. It never touches a target: ``hands`` does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from opx.core.act.run import ENDED, Run, RunStatus
from opx.core.base.time import DAY, HOUR, MINUTE, SECOND, Ms
from opx.core.decide import scopes
from opx.core.decide.case import Breaker, Grant, Mode
from opx.core.decide.decision import Reason
from opx.core.incident.incident import Incident, Status
from opx.core.incident.keeping import Keep
from opx.engine import documents, queries
from opx.engine.beats import forget
from opx.engine.beats.case import Knowledge
from opx.engine.beats.deliveries import Deliveries
from opx.engine.beats.forget import Place
from opx.engine.beats.parts import ACTOR, AT_ONCE, RESPOND, RUN, Parts
from opx.engine.beats.respond import Respond
from opx.engine.beats.runs import Runs
from opx.engine.beats.sense import Sense
from opx.engine.journal import replay
from opx.engine.people import commands
from opx.engine.ports import (
    ReadTx,
    Receiver,
    Segment,
    StoredDocument,
    Tail,
    Telemetry,
    Where,
    WriteTx,
)
from opx.errors import OpxError

GATHER: Ms = 50
"""How long the log is left alone after it was read: what comes meanwhile is one commit."""
FLUSH_EVERY: Ms = 2 * SECOND
TIDY_EVERY: Ms = 2 * SECOND
SAVE_EVERY: Ms = 10 * SECOND
SWEEP_EVERY: Ms = SECOND
BACK_OFF_LEAST: Ms = 100
BACK_OFF_MOST: Ms = 5 * SECOND
FORGET_EVERY: Ms = SECOND
"""While there is more to forget; then once an hour."""
LEAVE_WITHIN: Ms = 10 * SECOND
OVERDUE: Ms = 2 * SECOND
"""A run this long past due has lost its wake-up: the sweep wakes it again, once a minute."""
UNANSWERED: Ms = MINUTE
"""So has an incident that nobody has explained for so long. In a storm the wake-ups queue."""
MOST_WOKEN = 400
"""Incidents that one commit wakes again: after a storm there are tens of thousands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failing:
    """A loop that fails: ``since`` when without a success in between, and the last ``error``."""

    since: Ms
    error: str


@dataclass(slots=True, kw_only=True)
class Brain:
    """``reload`` binds the documents in force; ``seal`` extends the journal's hash chain;
    ``complain`` is told of every failure a loop backs off from; ``failing``: those loops that
    fail now, by name; ``turns``: how many each loop has ended, well or not; ``keep``: for how
    long what is over stays."""

    parts: Parts
    tail: Tail
    telemetry: Telemetry
    receivers: Mapping[str, Receiver]
    reload: Callable[[list[StoredDocument]], Knowledge]
    seal: Callable[[], Awaitable[None]]
    complain: Callable[[str, Exception], None]
    keep: Keep = field(default_factory=Keep)
    failing: dict[str, Failing] = field(init=False, default_factory=dict)
    turns: dict[str, int] = field(init=False, default_factory=dict)
    sense: Sense = field(init=False)
    runs: Runs = field(init=False)
    deliveries: Deliveries = field(init=False)
    _documents: tuple[tuple[str, str], ...] = field(init=False, default=())
    _said: tuple[object, ...] | None = field(init=False, default=None)
    _journal: int = field(init=False, default=-1)
    _look_at: Ms = field(init=False, default=0)
    _place: Place = field(init=False, default=Place())
    _back_off: dict[str, Ms] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.parts.telemetry = self.telemetry
        self.sense = Sense(self.parts, self.tail, self.telemetry)
        self.runs = Runs(self.parts)
        self.deliveries = Deliveries(self.parts, self.receivers, self.complain)

    def segments(self) -> dict[str, Segment]:
        """What the workflows may run, by kind."""
        return {RESPOND: Respond(self.parts).segment, RUN: self.runs.segment}

    async def run(self, stop: asyncio.Event) -> None:
        """Run all loops until ``stop``; then keep what was taken in, if the disk takes it
        within ``LEAVE_WITHIN``, and leave."""
        await self._learn_documents()
        await self.parts.workflows.open(self.segments())
        loops = {
            "sense": self._sense,
            "probe": lambda: self._probe(stop),
            "commands": self._commands,
            "sweep": self._sweep,
            "deliveries": self._deliver,
            "seal": self._seal,
            "flush": self._flush,
            "tidy": self._tidy,
            "detectors": self._save,
            "purge": self._purge,
            "forget": self._forget,
        }
        try:
            async with asyncio.TaskGroup() as group:
                for name, loop in loops.items():
                    group.create_task(self._forever(name, loop, stop))
        finally:
            await self.deliveries.close()
        await self._leave()
        await self.parts.workflows.close()
        await self.telemetry.close()

    def lag(self) -> Ms:
        """How long the oldest commit of the log that is not taken in has waited, as far as
        that was read; 0 when there is none."""
        at = self.sense.taking
        return 0 if at is None else max(0, self.parts.clock.now() - at)

    async def _leave(self) -> None:
        """A start is shorter the less of the log has to be read again; nothing depends on it."""
        try:
            async with asyncio.timeout(LEAVE_WITHIN / SECOND):
                await self._flush()
                await self._save(leaving=True)
        except (OpxError, TimeoutError) as error:
            self.complain("leave", error)

    async def _forever(
        self, name: str, once: Callable[[], Awaitable[Ms]], stop: asyncio.Event
    ) -> None:
        """Do ``once`` again and again; it says how long to wait. A failure backs off."""
        while not stop.is_set():
            try:
                wait = await once()
                self._well(name)
            except Exception as error:  # noqa: BLE001 - the worker loop backs off and goes on
                self.complain(name, error)
                now = self.parts.clock.now()
                since = self.failing[name].since if name in self.failing else now
                self.failing[name] = Failing(since=since, error=str(error) or repr(error))
                wait = self._back_off.get(name, BACK_OFF_LEAST)
                self._back_off[name] = min(wait * 2, BACK_OFF_MOST)
            self.turns[name] = self.turns.get(name, 0) + 1
            if wait:
                await _pause(stop, wait)

    def _well(self, name: str) -> None:
        """The loop ``name`` works: it fails no more, and its next failure is a first one."""
        self.failing.pop(name, None)
        self._back_off.pop(name, None)

    async def _sense(self) -> Ms:
        await self.tail.changed(within=SECOND)
        return 0 if await self.sense.take() else GATHER

    async def _probe(self, stop: asyncio.Event) -> Ms:
        """One turn lasts until ``stop`` or a failure, so it says in between that all is well."""
        await self.sense.probe(stop, lambda: self._well("probe"))
        return 0

    async def _commands(self) -> Ms:
        await commands.execute_waiting(self.parts, self.complain)
        await self.parts.store.changed(within=SECOND)
        return 0

    async def _deliver(self) -> Ms:
        await self.deliveries.turn()
        await self.parts.store.changed(within=SECOND)
        return 0

    async def _seal(self) -> Ms:
        await self.seal()
        return SECOND

    async def _flush(self) -> Ms:
        await self.telemetry.flush()
        self.parts.failpoint("flushed")
        return FLUSH_EVERY

    async def _tidy(self) -> Ms:
        """Beside the flushes: upkeep takes as long as it takes, and nothing waits for it."""
        return GATHER if await self.telemetry.tidy() else TIDY_EVERY

    async def _save(self, leaving: bool = False) -> Ms:
        kept = await self.sense.save_detectors(leaving)
        self.parts.failpoint("saved")
        self.tail.drop(min(kept, self.telemetry.committed()))
        return SAVE_EVERY

    async def _sweep(self) -> Ms:
        """Notice changed documents and modes, and wake what has lost its wake-up. Whatever
        people change is in the journal: where that has not grown there is nothing to read."""
        newest, overdue = await self.parts.store.read(
            lambda tx: (queries.newest(tx), self._overdue(tx))
        )
        known = self._said
        if newest != self._journal:
            await self._learn_documents()
            known = await self.parts.store.read(_what_people_said)
        changed = known != self._said
        idle: list[Incident] = []
        now = self.parts.clock.now()
        if changed or now >= self._look_at:
            first = self._said is None
            idle = await self.parts.store.read(lambda tx: self._idle(tx, first, changed))
        if overdue:
            await self.parts.store.write(lambda tx: self._go_on(tx, overdue, now))
        for begin in range(0, len(idle), MOST_WOKEN):  # between two of them others may write
            some = idle[begin : begin + MOST_WOKEN]
            await self.parts.store.write(lambda tx, some=some: self._wake(tx, some, now))  # type: ignore[misc]
        if changed or now >= self._look_at:
            self._look_at = now + UNANSWERED
        self._said, self._journal = known, newest
        return SWEEP_EVERY

    def _overdue(self, tx: ReadTx) -> list[Run]:
        late = tx.find(Run, Where("due_at", "le", self.parts.clock.now() - OVERDUE))
        return [r for r in late if r.status not in ENDED and r.id not in self.runs.active]

    def _idle(self, tx: ReadTx, first: bool, changed: bool) -> list[Incident]:
        """The open incidents that nobody has looked at (``first``: since brain started, so
        that all of them may have lost their wake-up), or that may be answered otherwise now:
        a halt is over, or people have ``changed`` what they said."""
        changed = changed and not first
        lost = self.parts.clock.now() - (OVERDUE if first else UNANSWERED)
        modes = tx.find(Mode)
        return [
            incident
            for incident in tx.find(Incident, Where("status", "eq", Status.OPEN))
            if (incident.insight is None and incident.updated_at <= lost)
            or (not incident.runs and changed)
            or (incident.runs and _worth_asking_again(tx, incident, modes, changed))
        ]

    def _go_on(self, tx: WriteTx, overdue: list[Run], now: Ms) -> None:
        for run in overdue:
            again = f"{RUN}/{run.id}/{run.version}/{now // UNANSWERED}"
            self.parts.wake(tx, again, RUN, run=run.id)

    def _wake(self, tx: WriteTx, idle: Sequence[Incident], now: Ms) -> None:
        # One by one, so that one that cannot be answered keeps no other waiting.
        size = 1 if len(idle) <= AT_ONCE else AT_ONCE
        for first in range(0, len(idle), size):
            some = [incident.id for incident in idle[first : first + size]]
            self.parts.wake(tx, f"{RESPOND}/{some[0]}/{now}", RESPOND, incident=" ".join(some))

    async def _purge(self) -> Ms:
        """Finished wake-ups are of no use to anybody after a day."""
        await self.parts.workflows.purge(self.parts.clock.now() - DAY)
        return HOUR

    async def _forget(self) -> Ms:
        """Let go of what has long been over, a piece at a time."""
        next_ = await forget.turn(self.parts, self.telemetry, self.keep, self._place)
        self._place = next_ or Place()
        return FORGET_EVERY if next_ else HOUR

    async def _learn_documents(self) -> None:
        stored = await self.parts.store.read(lambda tx: tx.find(StoredDocument))
        known = tuple((document.id, document.hash) for document in stored)
        if known != self._documents:
            knowledge = self.parts.knowledge = self.reload(stored)
            self.parts.documents = replay.digest(stored)
            if knowledge.problems:
                now = self.parts.clock.now()
                await self.parts.store.write(
                    lambda tx: documents.report(tx, knowledge.problems, ACTOR, now)
                )
            self._documents = known


def _what_people_said(tx: ReadTx) -> tuple[object, ...]:
    """Everything that only people change and that a guard looks at, by version."""
    grants = tuple((grant.id, grant.version) for grant in tx.find(Grant))
    closed = [one for one in tx.find(Breaker) if one.opened_at is None]
    breakers = tuple((one.id, one.version) for one in closed)
    modes = tuple((mode.id, mode.version) for mode in tx.find(Mode))
    documents = tuple((one.id, one.hash) for one in tx.find(StoredDocument))
    return grants, breakers, modes, documents


def _worth_asking_again(
    tx: ReadTx, incident: Incident, modes: Sequence[Mode], changed: bool
) -> bool:
    """Whether its newest run did not help or was refused for what is otherwise now. A
    person's no stays one."""
    found = tx.find(Run, Where("incident", "eq", incident.id), order="-number", limit=1)
    return any(
        (run.status is RunStatus.NO_EFFECT and changed)
        or (
            run.status is RunStatus.REFUSED
            and scopes.halting(modes, run.proposal) is None
            and (Reason.HALTED in run.reason or (changed and Reason.REJECTED not in run.reason))
        )
        for run in found
    )


async def _pause(stop: asyncio.Event, span: Ms) -> None:
    with contextlib.suppress(TimeoutError):  # not wait_for, which makes a task each time
        async with asyncio.timeout(span / SECOND):
            await stop.wait()
