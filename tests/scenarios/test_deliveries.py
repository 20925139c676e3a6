# SPDX-License-Identifier: Apache-2.0
"""A notice reaches its receiver once, however often it takes; or it is given up, and said so."""

from __future__ import annotations

from opx.core.base.time import HOUR, MINUTE, SECOND
from opx.core.notify.notice import Delivery, DeliveryStatus
from opx.engine.beats import deliveries
from opx.errors import Refused, Unavailable

NOW = 1_767_225_600_000
NEW = Delivery(
    id="d", notice="n", receiver="hook", status=DeliveryStatus.PENDING, tries=0, due_at=NOW
)


def test_what_arrived_is_not_sent_again() -> None:
    """Delivered is the end of it."""
    after = deliveries.after_try(NEW, None, NOW)

    assert (after.status, after.due_at, after.tries) == (DeliveryStatus.DELIVERED, None, 1)


def test_a_receiver_that_is_down_is_tried_again_ever_later() -> None:
    """One second, doubling, at most five minutes, for about an hour; then it is given up."""
    delivery, now, waits = NEW, NOW, []
    while delivery.status is DeliveryStatus.PENDING:
        delivery = deliveries.after_try(delivery, Unavailable("down"), now)
        if delivery.due_at is not None:
            waits.append(delivery.due_at - now)
            now = delivery.due_at

    assert waits[:4] == [SECOND, 2 * SECOND, 4 * SECOND, 8 * SECOND]
    assert max(waits) == 5 * MINUTE
    assert HOUR - 5 * MINUTE < sum(waits) < HOUR + 5 * MINUTE
    assert delivery.status is DeliveryStatus.GAVE_UP
    assert delivery.error == "down"


def test_a_receiver_that_refuses_is_not_asked_twice() -> None:
    """An error that trying again cannot help ends it at once."""
    after = deliveries.after_try(NEW, Refused("no such hook"), NOW)

    assert (after.status, after.due_at, after.error) == (
        DeliveryStatus.GAVE_UP,
        None,
        "no such hook",
    )
