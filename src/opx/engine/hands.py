# SPDX-License-Identifier: Apache-2.0

"""``hands``: does what ``brain`` signed, one step at a time, and writes what came of it.

After ``act``, before ``verify``. It trusts nothing but the signature and its own look at
the store: expiry, epoch, halt, lease and decision are checked again in the transaction
that claims the order, so no step starts after a halt was acknowledged. It writes claims
and results, never derived state. After a crash it looks before it repeats.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from opx.core.act import steps
from opx.core.act.run import OrderRecord, OrderStatus, Run
from opx.core.base.time import SECOND, Ms
from opx.core.decide import scopes
from opx.core.decide.case import Lease, Mode
from opx.core.decide.decision import Answered, Decision
from opx.engine import journal
from opx.engine.ports import (
    Action,
    Clock,
    EffectKnown,
    ReadTx,
    Saved,
    Store,
    Verifier,
    Where,
    WriteTx,
)
from opx.errors import Conflict, OpxError, Unavailable

ACTOR = "hands"
MANY_MODES = 100_000
"""More scopes than anybody has: a halt must never be one that was not read."""
EPOCH = "epoch"
"""The ``Saved`` row that holds the current epoch; a restore begins a new one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """``name``: of this process, so that its claims can be told from its predecessor's.
    ``own_pids``: opx's own processes, which are never a target. ``failpoint`` is called by
    name where a crash would hurt most; tests die there."""

    store: Store
    clock: Clock
    verifier: Verifier
    actions: Mapping[str, Action]
    name: str
    own_pids: Callable[[], frozenset[str]] = frozenset
    failpoint: Callable[[str], None] = lambda _: None

    async def run(self, stop: asyncio.Event) -> None:
        """Finish what a predecessor left behind, then serve orders until ``stop``."""
        for record in await self._orders(OrderStatus.CLAIMED):
            await self._resume(record)
        while not stop.is_set():
            for record in await self._orders(OrderStatus.READY):
                await self._perform(record)
            await self.store.changed(within=SECOND)

    async def _orders(self, status: OrderStatus) -> list[OrderRecord]:
        return await self.store.read(
            lambda tx: tx.find(OrderRecord, Where("status", "eq", status), order="order.issued_at")
        )

    async def _perform(self, record: OrderRecord) -> None:
        order = record.order
        action = self.actions.get(order.action)
        if not self.verifier.genuine(steps.message(order), record.signature):
            return await self._end(record, OrderStatus.REFUSED, "its signature is not brain's")
        if action is None:
            return await self._end(record, OrderStatus.REFUSED, f"no action {order.action!r}")
        try:
            before = await action.observe(order.target)
        except OpxError as error:
            return await self._end(record, OrderStatus.FAILED, f"cannot be observed: {error}")
        if before.get("pid") in self.own_pids():
            return await self._end(record, OrderStatus.REFUSED, "the target is opx itself")
        claimed = await self._claim(record, before)
        if claimed is not None:
            await self._apply(claimed, action)
        return None

    async def _claim(self, record: OrderRecord, before: dict[str, str]) -> OrderRecord | None:
        """Take the order, or refuse it, in one transaction with the checks."""

        def claim(tx: WriteTx) -> OrderRecord | None:
            now = self.clock.now()
            refusal = _objection(tx, record, now)
            if refusal:
                _save_end(tx, record, OrderStatus.REFUSED, refusal, now)
                return None
            claimed = replace(
                record,
                status=OrderStatus.CLAIMED,
                claimed_by=self.name,
                claimed_at=now,
                before=before,
                version=record.version + 1,
            )
            tx.save(claimed)
            return claimed

        try:
            return await self.store.write(claim)
        except Conflict:
            return None

    async def _apply(self, record: OrderRecord, action: Action) -> None:
        order = record.order
        self.failpoint("claimed")
        try:
            async with asyncio.timeout(order.timeout / SECOND):
                output = await action.apply(order.target, order.inputs, order.id)
        except TimeoutError:
            await self._look(record, action, f"no end within {order.timeout} ms")
            return
        except OpxError as error:
            await self._end(record, OrderStatus.FAILED, str(error))
            return
        self.failpoint("applied")
        await self._end(record, OrderStatus.DONE, output)

    async def _resume(self, record: OrderRecord) -> None:
        """A predecessor died holding this order: look whether its effect is there."""
        action = self.actions.get(record.order.action)
        if action is None:
            await self._end(record, OrderStatus.UNKNOWN, "its action is not registered any more")
            return
        known = await self._effect(record, action)
        if known is EffectKnown.NO and record.order.expires_at > self.clock.now():
            claimed = await self._claim(record, record.before)
            if claimed is not None:
                await self._apply(claimed, action)
        elif known is EffectKnown.NO:
            await self._end(record, OrderStatus.FAILED, "interrupted before it took effect")
        else:
            await self._settle(record, known, "found after an interruption")

    async def _look(self, record: OrderRecord, action: Action, why: str) -> None:
        await self._settle(record, await self._effect(record, action), why)

    async def _effect(self, record: OrderRecord, action: Action) -> EffectKnown:
        try:
            return action.happened(record.before, await action.observe(record.order.target))
        except Unavailable:
            return EffectKnown.UNKNOWN

    async def _settle(self, record: OrderRecord, known: EffectKnown, why: str) -> None:
        status = {
            EffectKnown.YES: OrderStatus.DONE,
            EffectKnown.NO: OrderStatus.FAILED,
            EffectKnown.UNKNOWN: OrderStatus.UNKNOWN,
        }[known]
        await self._end(record, status, why)

    async def _end(self, record: OrderRecord, status: OrderStatus, output: str) -> None:
        try:
            await self.store.write(
                lambda tx: _save_end(tx, record, status, output, self.clock.now())
            )
        except Conflict:
            return


def _save_end(tx: WriteTx, record: OrderRecord, status: OrderStatus, output: str, now: Ms) -> None:
    ended = replace(
        record, status=status, output=output[:2_000], ended_at=now, version=record.version + 1
    )
    tx.save(ended)
    tx.append(
        journal.entry(
            now,
            _subject(tx, record),
            "order.ended",
            ACTOR,
            order=record.id,
            run=record.run,
            step=record.order.step,
            status=status,
            output=ended.output,
        )
    )


def _subject(tx: ReadTx, record: OrderRecord) -> str:
    """The incident an order belongs to: its timeline is where people look."""
    decision = tx.get(Decision, record.order.decision)
    return decision.incident if decision else record.run


def _objection(tx: ReadTx, record: OrderRecord, now: Ms) -> str:
    """Why this order may not start now; empty when it may."""
    order = record.order
    if order.expires_at <= now:
        return "it has expired"
    epoch = tx.get(Saved, EPOCH)
    if epoch is None or epoch.seq != order.epoch:
        return "it was issued in another epoch"
    decision = tx.get(Decision, order.decision)
    if decision is None or decision.answer is not Answered.ALLOW or decision.plan != order.plan:
        return "no decision allows it"
    lease = tx.get(Lease, order.target)
    if lease is None or lease.run != order.run or lease.expires_at <= now:
        return "its run does not hold the lease on the target"
    run = tx.get(Run, order.run)
    if run is None:
        return "its run is not known"
    scope = scopes.halting(tx.find(Mode, limit=MANY_MODES), run.proposal)
    return f"automation is halted ({scope})" if scope else ""
