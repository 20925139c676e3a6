# SPDX-License-Identifier: Apache-2.0

"""``brain``: keeps the three beats going, and everything that has to happen by itself.

The only writer of derived state. A handful of loops, each of which does one thing, backs
off when it fails and starts over from what the store says: taking in the log, asking
probes, carrying out commands, sweeping for work that is due, delivering notices, and
housekeeping. It never touches a target: ``hands`` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from opx.core.act.run import ENDED, Run, RunStatus
from opx.core.base.time import DAY, HOUR, SECOND, Ms
from opx.core.decide import scopes
from opx.core.decide.case import Breaker, Grant, Mode
from opx.core.decide.decision import Reason
from opx.core.incident.incident import Incident, Status
from opx.engine import commands
from opx.engine.beats import deliveries
from opx.engine.beats.case import Knowledge
from opx.engine.beats.parts import RESPOND, RUN, Parts
from opx.engine.beats.respond import Respond
from opx.engine.beats.runs import Runs
from opx.engine.beats.sense import MOST_CHUNKS, Sense
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

POLL: Ms = 50
"""How long a loop that found nothing waits before it looks at the log again."""
FLUSH_EVERY: Ms = 2 * SECOND
SAVE_EVERY: Ms = 10 * SECOND
SWEEP_EVERY: Ms = SECOND
PROBE_EVERY: Ms = 50
BACK_OFF_MOST: Ms = 5 * SECOND
EVERY = 100_000
"""Documents or scopes: more than anybody has."""
NEWEST = 50
MANY = 10_000
"""Open incidents a sweep looks at: usually the newest, all when people changed a thing."""
OVERDUE: Ms = 2 * SECOND
"""A run this long past due has lost its wake-up: the sweep wakes it again."""


@dataclass(slots=True, kw_only=True)
class Brain:
    """``reload`` binds the documents in force; ``seal`` extends the journal's hash chain;
    ``complain`` is told of every failure a loop backs off from."""

    parts: Parts
    tail: Tail
    telemetry: Telemetry
    receivers: Mapping[str, Receiver]
    reload: Callable[[list[StoredDocument]], Knowledge]
    seal: Callable[[], Awaitable[None]]
    complain: Callable[[str, Exception], None]
    sense: Sense = field(init=False)
    runs: Runs = field(init=False)
    _documents: tuple[tuple[str, str], ...] = field(init=False, default=())
    _said: tuple[object, ...] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.sense = Sense(self.parts, self.tail, self.telemetry)
        self.runs = Runs(self.parts)

    def segments(self) -> dict[str, Segment]:
        """What the workflows may run, by kind."""
        return {RESPOND: Respond(self.parts).segment, RUN: self.runs.segment}

    async def run(self, stop: asyncio.Event) -> None:
        """Run all loops until ``stop``; then flush and leave."""
        await self._learn_documents()
        await self.parts.workflows.open(self.segments())
        loops = {
            "sense": self._sense,
            "probe": self._probe,
            "commands": self._commands,
            "sweep": self._sweep,
            "deliveries": self._deliver,
            "seal": self._seal,
            "flush": self._flush,
            "detectors": self._save,
            "purge": self._purge,
        }
        async with asyncio.TaskGroup() as group:
            for name, loop in loops.items():
                group.create_task(self._forever(name, loop, stop))
        await self.parts.workflows.close()
        await self.telemetry.close()

    async def _forever(
        self, name: str, once: Callable[[], Awaitable[Ms]], stop: asyncio.Event
    ) -> None:
        """Do ``once`` again and again; it says how long to wait. A failure backs off."""
        back_off: Ms = 100
        while not stop.is_set():
            try:
                wait = await once()
                back_off = 100
            except Exception as error:  # noqa: BLE001 - the worker loop backs off and goes on
                self.complain(name, error)
                wait, back_off = back_off, min(back_off * 2, BACK_OFF_MOST)
            if wait:
                await _pause(stop, wait)

    async def _sense(self) -> Ms:
        return 0 if await self.sense.take() == MOST_CHUNKS else POLL

    async def _probe(self) -> Ms:
        await self.sense.probe()
        return PROBE_EVERY

    async def _commands(self) -> Ms:
        await commands.execute_waiting(self.parts)
        await self.parts.store.changed(within=SECOND)
        return 0

    async def _deliver(self) -> Ms:
        await deliveries.deliver_due(self.parts, self.receivers)
        await self.parts.store.changed(within=SECOND)
        return 0

    async def _seal(self) -> Ms:
        await self.seal()
        return SECOND

    async def _flush(self) -> Ms:
        await self.telemetry.flush()
        self.parts.failpoint("flushed")
        return FLUSH_EVERY

    async def _save(self) -> Ms:
        kept = await self.sense.save_detectors()
        self.parts.failpoint("saved")
        self.tail.drop(min(kept, self.telemetry.committed()))
        return SAVE_EVERY

    async def _sweep(self) -> Ms:
        """Notice changed documents and modes, and wake what has lost its wake-up."""
        await self._learn_documents()
        known = await self.parts.store.read(_what_people_said)
        changed = self._said is not None and known != self._said
        overdue, idle = await self.parts.store.read(lambda tx: self._due(tx, changed))
        if overdue or idle:
            await self.parts.store.write(lambda tx: self._wake(tx, overdue, idle))
        self._said = known
        return SWEEP_EVERY

    def _due(self, tx: ReadTx, changed: bool) -> tuple[list[Run], list[Incident]]:
        """The runs that are overdue, and the incidents that nobody has looked at, or that may
        be answered otherwise now: a halt is over, or people have ``changed`` what they said."""
        now = self.parts.clock.now()
        late = tx.find(Run, Where("due_at", "le", now - OVERDUE))
        overdue = [r for r in late if r.status not in ENDED and r.id not in self.runs.active]
        status = Where("status", "eq", Status.OPEN)
        modes = tx.find(Mode, limit=EVERY)
        most = MANY if changed or self._said is None else NEWEST
        idle = [
            incident
            for incident in tx.find(Incident, status, order="-opened_at", limit=most)
            if (incident.insight is None and incident.updated_at <= now - OVERDUE)
            or (not incident.runs and changed)
            or (incident.runs and _worth_asking_again(tx, incident, modes, changed))
        ]
        return overdue, idle

    def _wake(self, tx: WriteTx, overdue: list[Run], idle: list[Incident]) -> None:
        now = self.parts.clock.now()
        for run in overdue:
            self.parts.wake(tx, f"{RUN}/{run.id}/{run.version}/{now}", RUN, run=run.id)
        for incident in idle:
            self.parts.wake(tx, f"{RESPOND}/{incident.id}/{now}", RESPOND, incident=incident.id)

    async def _purge(self) -> Ms:
        """Finished wake-ups are of no use to anybody after a day."""
        await self.parts.workflows.purge(self.parts.clock.now() - DAY)
        return HOUR

    async def _learn_documents(self) -> None:
        documents = await self.parts.store.read(lambda tx: tx.find(StoredDocument, limit=EVERY))
        known = tuple((document.id, document.hash) for document in documents)
        if known != self._documents:
            self.parts.knowledge = self.reload(documents)
            self._documents = known


def _what_people_said(tx: ReadTx) -> tuple[object, ...]:
    """Everything that only people change and that a guard looks at, by version."""
    grants = tuple((grant.id, grant.version) for grant in tx.find(Grant, limit=EVERY))
    closed = [one for one in tx.find(Breaker, limit=EVERY) if one.opened_at is None]
    breakers = tuple((one.id, one.version) for one in closed)
    modes = tuple((mode.id, mode.version) for mode in tx.find(Mode, limit=EVERY))
    documents = tuple((one.id, one.hash) for one in tx.find(StoredDocument, limit=EVERY))
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
    try:
        await asyncio.wait_for(stop.wait(), span / SECOND)
    except TimeoutError:
        return
