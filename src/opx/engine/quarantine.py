# SPDX-License-Identifier: Apache-2.0

"""The quarantine opened again: an item that was refused goes through its wire once more.

A verb of ``front``, for when a rule, a scope or opx itself has changed since. The item is
taken now and whole, or it stays. What was taken is marked in the very batch that takes it,
so the log knows of it as soon as it has it; ``brain`` marks the kept row by that, and so
does this. Whenever it is not certain that the rows tell all that the log holds (after a
start, or when something broke off in between), ``brain`` is first let read the log to its
end. So an item is never lost, and never taken twice.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

from opx.core.base.time import SECOND, Ms
from opx.core.ingest.checks import Reason
from opx.core.ingest.signals import ACCEPTED, Rejected, Tick
from opx.engine import journal, queries
from opx.engine.access import Principal
from opx.engine.beats.parts import POSITION
from opx.engine.intake import Intake, Parsed
from opx.engine.ports import Batch, Saved, Store, WriteTx
from opx.errors import BadInput, Refused, Unavailable

SUBJECT = "quarantine"
PATIENCE: Ms = 5 * SECOND
"""How long somebody waits for ``brain`` to come to the end of the log."""
LOOK_AGAIN: Ms = 250
_LOST = "\ufffd"
"""What stands for bytes that are no text; an item with it is another one than was sent."""


@dataclass(slots=True, kw_only=True)
class Quarantine:
    """One in ``front``. ``_certain``: the kept rows tell all that was ever taken of them."""

    intake: Intake
    store: Store
    _certain: bool = False
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def find(self, id: str) -> Rejected:
        """The item with this id, or the only one whose id begins so."""
        return await self.store.read(lambda tx: queries.find_one(tx, Rejected, id))

    async def replay(self, by: Principal, id: str) -> Rejected:
        """Send it through its wire once more, for ``by`` and with no more than their scope;
        return it as it is kept now. What was taken before stays as it is."""
        async with self._turn:
            if not self._certain:
                await self._let_brain_read()
                self._certain = True
            item = await self.find(id)
            if item.result == ACCEPTED:
                return item
            now = self.intake.clock.now()
            parsed = self._read(item, now, by.services)
            result = _result(parsed)
            marked = replace(item, replayed_at=now, replayed_by=by.name, result=result)
            if parsed is not None and result == ACCEPTED:
                self._certain = False  # until the row says so, too
                await self._take(parsed, marked, now)
            await self.store.write(lambda tx: _mark(tx, marked))
            self._certain = True
            return marked

    def _read(self, item: Rejected, now: Ms, services: frozenset[str]) -> Parsed | None:
        """None when it cannot be read, which is so of what was cut."""
        if item.reason == Reason.AND_MORE or item.wire not in self.intake.wires:
            raise Refused("of this, nothing was kept that could be sent again")
        if _LOST in item.item:
            raise Refused("some of its bytes were no text and are lost: send it anew")
        try:
            return self.intake.read(item.wire, item.item.encode(), now, services)
        except BadInput:
            return None

    async def _take(self, parsed: Parsed, marked: Rejected, now: Ms) -> None:
        batch = parsed.batch
        whole = Batch(series=batch.series, points=batch.points, items=(*batch.items, marked))
        await self.intake.appender.append(whole)
        self.intake.kept(marked.wire, whole, now)
        self.intake.counts[marked.wire, ACCEPTED] += parsed.accepted

    async def _let_brain_read(self) -> None:
        """``Unavailable`` unless ``brain`` soon has all that is in the log now."""
        clock = self.intake.clock
        end = await self.intake.appender.append(Batch(items=(Tick(clock.now()),)))
        waited: Ms = 0
        while True:
            taken = await self.store.read(lambda tx: tx.get(Saved, POSITION))
            if taken is not None and taken.seq >= end:
                return
            if waited >= PATIENCE:
                raise Unavailable("brain has not read the log to its end: nothing was replayed")
            before = clock.now()
            changed = await self.store.changed(LOOK_AGAIN)
            waited += max(1, clock.now() - before) if changed else LOOK_AGAIN


def _result(parsed: Parsed | None) -> str:
    if parsed is None:
        return Reason.MALFORMED.value
    if parsed.refusals:
        return parsed.refusals[0].reason.value
    return ACCEPTED if parsed.accepted else Reason.MALFORMED.value


def _mark(tx: WriteTx, marked: Rejected) -> None:
    tx.set(marked)
    tx.append(
        journal.entry(
            marked.replayed_at or 0,
            SUBJECT,
            "item.replayed",
            marked.replayed_by,
            id=marked.id,
            wire=marked.wire,
            reason=marked.reason,
            result=marked.result,
        )
    )
