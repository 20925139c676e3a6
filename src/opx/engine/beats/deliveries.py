# SPDX-License-Identifier: Apache-2.0

"""Delivering notices: each to each receiver, with retries, until it is there or gives up.

After ``notify``. A notice and its deliveries are written in the transaction of the edge;
this only carries them out, receivers side by side, each in the order in which its notices
fell due. A crash between a delivery and its record repeats that notice, once, with the
same id. It never makes a notice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from opx.core.base.time import MINUTE, SECOND, Ms
from opx.core.notify.notice import Delivery, DeliveryStatus, Notice
from opx.engine import journal
from opx.engine.beats.parts import ACTOR, Parts
from opx.engine.ports import Receiver, Where, WriteTx
from opx.errors import OpxError, Unavailable

MOST_TRIES = 20
FIRST_WAIT: Ms = SECOND
LONGEST_WAIT: Ms = 5 * MINUTE
TRY_WITHIN: Ms = 10 * SECOND
"""A receiver that has not answered by then has failed."""
AT_ONCE = 8
"""Receivers that are served at the same time."""
IN_A_ROW = 100
"""Notices a receiver is sent before it lets others take its place."""
LEAVE_WITHIN: Ms = 2 * SECOND


@dataclass(slots=True)
class Deliveries:
    """One instance in ``brain``. ``complain`` is told of what no receiver should raise;
    ``lanes``: a task for each receiver that is being served."""

    parts: Parts
    receivers: Mapping[str, Receiver]
    complain: Callable[[str, Exception], None] = lambda *_: None
    lanes: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    async def turn(self) -> None:
        """Begin what is due at receivers that are not being served; never wait for one."""
        for name in [name for name, lane in self.lanes.items() if lane.done()]:
            self.lanes.pop(name).result()
        if self.receivers and self.lanes.keys() >= self.receivers.keys():
            return
        for name, due in (await self._due()).items():
            if name not in self.lanes and len(self.lanes) < AT_ONCE:
                self.lanes[name] = asyncio.create_task(self._serve(due[:IN_A_ROW]))

    async def close(self) -> None:
        """Wait a moment for what is under way, then leave it: it is tried again."""
        if self.lanes:
            await asyncio.wait(self.lanes.values(), timeout=LEAVE_WITHIN / SECOND)
        for lane in self.lanes.values():
            lane.cancel()
        await asyncio.gather(*self.lanes.values(), return_exceptions=True)

    async def _due(self) -> dict[str, list[Delivery]]:
        """By receiver, oldest first. While some are being served theirs may be all that a page
        holds, so it is not paged then."""
        pending = Where("status", "eq", DeliveryStatus.PENDING)
        past = Where("due_at", "le", self.parts.clock.now())
        most = None if self.lanes else IN_A_ROW
        found = await self.parts.store.read(
            lambda tx: tx.find(Delivery, pending, past, order="due_at", limit=most)
        )
        due: dict[str, list[Delivery]] = {}
        for delivery in found:
            due.setdefault(delivery.receiver, []).append(delivery)
        return due

    async def _serve(self, due: list[Delivery]) -> None:
        for delivery in due:
            await self._deliver(delivery)

    async def _deliver(self, delivery: Delivery) -> None:
        notice = await self.parts.store.read(lambda tx: tx.get(Notice, delivery.notice))
        error = await self._tried(notice, delivery.receiver)
        now = self.parts.clock.now()
        tried = after_try(delivery, error, now)
        await self.parts.store.write(lambda tx: _keep(tx, tried, notice, now))

    async def _tried(self, notice: Notice | None, name: str) -> OpxError | None:
        receiver = self.receivers.get(name)
        if receiver is None or notice is None:
            return OpxError(f"there is no receiver {name!r} any more")
        try:
            async with asyncio.timeout(TRY_WITHIN / SECOND):
                await receiver.deliver(notice)
        except TimeoutError:
            return Unavailable(f"{name} did not answer within {TRY_WITHIN} ms")
        except OpxError as failure:
            return failure
        except Exception as error:  # noqa: BLE001 - or it would be tried for ever, and at once
            self.complain("deliveries", error)
            return Unavailable(repr(error))
        return None


def after_try(delivery: Delivery, error: OpxError | None, now: Ms) -> Delivery:
    """After one more try: delivered, due again (1 s doubling to 5 min), or given up."""
    tries = delivery.tries + 1
    if error is None:
        status, due_at = DeliveryStatus.DELIVERED, None
    elif error.retryable and tries < MOST_TRIES:
        wait = min(FIRST_WAIT * 2 ** (tries - 1), LONGEST_WAIT)
        status, due_at = DeliveryStatus.PENDING, now + wait
    else:
        status, due_at = DeliveryStatus.GAVE_UP, None
    return replace(
        delivery,
        status=status,
        tries=tries,
        due_at=due_at,
        error=str(error) if error else "",
        version=delivery.version + 1,
    )


def _keep(tx: WriteTx, delivery: Delivery, notice: Notice | None, now: Ms) -> None:
    tx.save(delivery)
    if delivery.status is not DeliveryStatus.PENDING and notice is not None:
        tx.append(
            journal.entry(
                now,
                notice.about,
                f"notice.{delivery.status}",
                ACTOR,
                notice=notice.id,
                receiver=delivery.receiver,
                tries=delivery.tries,
                error=delivery.error,
            )
        )
