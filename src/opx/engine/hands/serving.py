# SPDX-License-Identifier: Apache-2.0

"""``hands``: does what ``brain`` signed, and writes what came of it.

After ``act``, before ``verify``. Targets are served side by side, one target strictly in
order. It trusts nothing but the signature and its own look at the store: expiry, epoch,
halt, lease and decision are checked again in the transaction that claims the order, so no
step starts after a halt was acknowledged. An order that says it is claimed is believed no
more than another. It writes claims and results, never derived
state. After a crash, and where no answer came, it looks before anything is repeated. One
order that goes wrong, however it does, never takes another with it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from opx.core.act import steps
from opx.core.act.run import OrderRecord, OrderStatus, Run, StepOrder
from opx.core.base.time import SECOND, Ms
from opx.core.decide import scopes, targets
from opx.core.decide.case import Lease, Mode
from opx.core.decide.decision import Answered, Decision
from opx.core.ingest import masking
from opx.engine import journal
from opx.engine.hands import saying
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

T = TypeVar("T")

ACTOR = "hands"
AT_ONCE = 8
"""Targets that are served at the same time: one slow step does not hold up the others."""
LOOK_AGAIN: Ms = SECOND
MOST_OUTPUT = 2_000
"""Characters of what a step came to."""
LEAVE_WITHIN: Ms = 10 * SECOND
"""How long a stop waits for what is under way; the successor looks at what it cuts short."""
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
        """Finish what a predecessor left behind and serve orders, until ``stop``."""
        lanes: dict[str, asyncio.Task[None]] = {}
        try:
            while not stop.is_set():
                await self._staff(lanes)
                await self.store.changed(within=SECOND)
            if lanes:
                await asyncio.wait(lanes.values(), timeout=LEAVE_WITHIN / SECOND)
        finally:
            for lane in lanes.values():
                lane.cancel()
            await asyncio.gather(*lanes.values(), return_exceptions=True)

    async def _staff(self, lanes: dict[str, asyncio.Task[None]]) -> None:
        """Give each target with an order and without a lane its oldest one. What is CLAIMED
        and in nobody's lane was left behind."""
        for place in [place for place, lane in lanes.items() if lane.done()]:
            lanes.pop(place).result()
        left, ready = await self.store.read(
            lambda tx: (_orders(tx, OrderStatus.CLAIMED), _orders(tx, OrderStatus.READY))
        )
        for record in left + ready:
            place = targets.canonical(record.order.target)
            if place not in lanes and len(lanes) < AT_ONCE:
                lanes[place] = asyncio.create_task(self._serve(record))

    async def _serve(self, record: OrderRecord) -> None:
        """Bring one order to its end. What nobody foresaw becomes its result."""
        try:
            if not self.verifier.genuine(steps.message(record.order), record.signature):
                await self._end(record, OrderStatus.REFUSED, "its signature is not brain's")
            elif record.status is OrderStatus.CLAIMED:
                await self._resume(record)
            else:
                await self._perform(record)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others are served
            why = repr(error)
            await self._kept(lambda tx: _save_failure(tx, record.id, why, self.clock.now()))

    async def _perform(self, record: OrderRecord) -> None:
        action = self.actions.get(record.order.action)
        if action is None:
            why = f"no action {record.order.action!r}"
            await self._end(record, OrderStatus.REFUSED, why)
        else:
            await self._begin(record, action)

    async def _begin(
        self, record: OrderRecord, action: Action, before: dict[str, str] | None = None
    ) -> None:
        """Claim the order and do it, unless its target cannot be seen or is opx itself.
        ``before``: what a predecessor saw, with which the effect is compared later."""
        seen = await self._before(record, action)
        if seen is None:
            return
        if seen.get("pid") in self.own_pids():
            await self._end(record, OrderStatus.REFUSED, "the target is opx itself")
            return
        claimed = await self._claim(record, seen if before is None else before)
        if claimed is not None:
            await self._apply(claimed, action)

    async def _before(self, record: OrderRecord, action: Action) -> dict[str, str] | None:
        """The target before anything is done to it. What cannot be seen is looked at again
        for as long as the order may begin; then it has failed, unbegun."""
        while True:
            try:
                return await _observed(action, record.order)
            except OpxError as error:
                if self.clock.now() + LOOK_AGAIN >= record.order.expires_at:
                    await self._end(record, OrderStatus.FAILED, f"cannot be observed: {error}")
                    return None
            await self.clock.sleep(LOOK_AGAIN)

    async def _claim(self, record: OrderRecord, before: dict[str, str]) -> OrderRecord | None:
        """Take the order, or refuse it, in one transaction with the checks."""

        def claim(tx: WriteTx) -> OrderRecord | None:
            now = self.clock.now()
            if record.order.expires_at <= now:
                _save_end(tx, record, OrderStatus.EXPIRED, "nobody began it in time", now)
                return None
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

        return await self._kept(claim)

    async def _apply(self, record: OrderRecord, action: Action) -> None:
        order = record.order
        self.failpoint("claimed")
        try:
            async with saying.listening(lambda lines: self._said(record, lines)) as say:
                async with asyncio.timeout(order.timeout / SECOND):
                    output = await action.apply(order.target, order.inputs, order.id, say)
        except TimeoutError:
            await self._look(record, action, f"no end within {order.timeout} ms")
            return
        except Unavailable as error:
            await self._look(record, action, str(error))
            return
        except OpxError as error:
            await self._end(record, OrderStatus.FAILED, str(error))
            return
        except Exception as error:  # noqa: BLE001 - nobody foresaw it: it may have happened
            await self._look(record, action, repr(error))
            return
        self.failpoint("applied")
        await self._end(record, OrderStatus.DONE, output)

    async def _said(self, record: OrderRecord, lines: list[str]) -> None:
        """Journal what a step says. A journal that does not take it holds up no step: the
        result is what counts, and is kept or the step is looked for."""

        def append(tx: WriteTx) -> None:
            now, subject = self.clock.now(), _subject(tx, record)
            said = {"order": record.id, "run": record.run, "step": record.order.step}
            tx.append(journal.entry(now, subject, "order.said", ACTOR, lines=lines, **said))

        with contextlib.suppress(Exception):
            await self.store.write(append)

    async def _resume(self, record: OrderRecord) -> None:
        """A predecessor died holding this order: look whether its effect is there."""
        action = self.actions.get(record.order.action)
        if action is None:
            await self._end(record, OrderStatus.UNKNOWN, "its action is not registered any more")
            return
        known = await self._effect(record, action)
        if known is EffectKnown.NO and record.order.expires_at > self.clock.now():
            await self._begin(record, action, record.before)
        elif known is EffectKnown.NO:
            await self._end(record, OrderStatus.FAILED, "interrupted before it took effect")
        else:
            await self._settle(record, known, "found after an interruption")

    async def _look(self, record: OrderRecord, action: Action, why: str) -> None:
        await self._settle(record, await self._effect(record, action), why)

    async def _effect(self, record: OrderRecord, action: Action) -> EffectKnown:
        """Whether the effect is there; unknown when the target cannot be seen, or what is seen
        there cannot be compared."""
        try:
            return action.happened(record.before, await _observed(action, record.order))
        except Exception:  # noqa: BLE001 - whatever stands in the way, nobody can tell
            return EffectKnown.UNKNOWN

    async def _settle(self, record: OrderRecord, known: EffectKnown, why: str) -> None:
        status = {
            EffectKnown.YES: OrderStatus.DONE,
            EffectKnown.NO: OrderStatus.FAILED,
            EffectKnown.UNKNOWN: OrderStatus.UNKNOWN,
        }[known]
        await self._end(record, status, why)

    async def _end(self, record: OrderRecord, status: OrderStatus, output: str) -> None:
        await self._kept(lambda tx: _save_end(tx, record, status, output, self.clock.now()))

    async def _kept(self, change: Callable[[WriteTx], T]) -> T | None:
        """What ``change`` returns, once the store has it: one that does not answer is asked
        again until it does. None: somebody else was first."""
        while True:
            try:
                return await self.store.write(change)
            except Conflict:
                return None
            except Unavailable:
                await self.clock.sleep(LOOK_AGAIN)


def _orders(tx: ReadTx, status: OrderStatus) -> list[OrderRecord]:
    return tx.find(OrderRecord, Where("status", "eq", status), order="order.issued_at")


async def _observed(action: Action, order: StepOrder) -> dict[str, str]:
    """The target of ``order`` now. ``OpxError`` when it cannot be seen, or not in time."""
    try:
        async with asyncio.timeout(steps.LOOK_WITHIN / SECOND):
            return await action.observe(order.target, order.inputs)
    except TimeoutError as error:
        raise Unavailable(f"the target was not seen within {steps.LOOK_WITHIN} ms") from error


def _save_end(tx: WriteTx, record: OrderRecord, status: OrderStatus, output: str, now: Ms) -> None:
    ended = replace(
        record,
        status=status,
        output=masking.text(output)[:MOST_OUTPUT],
        ended_at=now,
        version=record.version + 1,
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


def _save_failure(tx: WriteTx, id: str, why: str, now: Ms) -> None:
    """The order was not brought to its end: it is unknown what it came to, unless it was never
    begun."""
    record = tx.get(OrderRecord, id)
    if record is not None and record.status is OrderStatus.CLAIMED:
        _save_end(tx, record, OrderStatus.UNKNOWN, why, now)
    elif record is not None and record.status is OrderStatus.READY:
        _save_end(tx, record, OrderStatus.FAILED, why, now)


def _subject(tx: ReadTx, record: OrderRecord) -> str:
    """The incident an order belongs to: its timeline is where people look."""
    decision = tx.get(Decision, record.order.decision)
    return decision.incident if decision else record.run


def _objection(tx: ReadTx, record: OrderRecord, now: Ms) -> str:
    """Why this order may not start now; empty when it may."""
    order = record.order
    epoch = tx.get(Saved, EPOCH)
    if epoch is None or epoch.seq != order.epoch:
        return "it was issued in another epoch"
    decision = tx.get(Decision, order.decision)
    if decision is None or decision.answer is not Answered.ALLOW or decision.plan != order.plan:
        return "no decision allows it"
    lease = tx.get(Lease, targets.canonical(order.target))
    if lease is None or lease.run != order.run or lease.expires_at <= now:
        return "its run does not hold the lease on the target"
    run = tx.get(Run, order.run)
    if run is None:
        return "its run is not known"
    scope = scopes.halting(tx.find(Mode), run.proposal)
    return f"automation is halted ({scope})" if scope else ""
