# SPDX-License-Identifier: Apache-2.0

"""Delivering notices: each to each receiver, with retries, until it is there or gives up.

After ``notify``. A notice and its deliveries are written in the transaction of the edge;
this only carries them out. It never makes a notice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from opx.core.base.time import MINUTE, SECOND, Ms
from opx.core.notify.notice import Delivery, DeliveryStatus, Notice
from opx.engine import journal
from opx.engine.beats.parts import ACTOR, Parts
from opx.engine.ports import Receiver, Where, WriteTx
from opx.errors import OpxError

MOST_TRIES = 20
FIRST_WAIT: Ms = SECOND
LONGEST_WAIT: Ms = 5 * MINUTE


async def deliver_due(parts: Parts, receivers: Mapping[str, Receiver]) -> int:
    """Try every delivery that is due; return how many were."""
    now = parts.clock.now()
    due = await parts.store.read(
        lambda tx: tx.find(
            Delivery,
            Where("status", "eq", DeliveryStatus.PENDING),
            Where("due_at", "le", now),
            order="due_at",
            limit=100,
        )
    )
    for delivery in due:
        await _deliver(parts, delivery, receivers.get(delivery.receiver))
    return len(due)


async def _deliver(parts: Parts, delivery: Delivery, receiver: Receiver | None) -> None:
    notice = await parts.store.read(lambda tx: tx.get(Notice, delivery.notice))
    error: OpxError | None = None
    if receiver is None or notice is None:
        error = OpxError(f"there is no receiver {delivery.receiver!r} any more")
    else:
        try:
            await receiver.deliver(notice)
        except OpxError as failure:
            error = failure
    tried = after_try(delivery, error, parts.clock.now())
    await parts.store.write(lambda tx: _keep(tx, tried, notice))


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


def _keep(tx: WriteTx, delivery: Delivery, notice: Notice | None) -> None:
    tx.save(delivery)
    if delivery.status is not DeliveryStatus.PENDING and notice is not None:
        tx.append(
            journal.entry(
                notice.at,
                notice.incident,
                f"notice.{delivery.status}",
                ACTOR,
                notice=notice.id,
                receiver=delivery.receiver,
                tries=delivery.tries,
                error=delivery.error,
            )
        )
