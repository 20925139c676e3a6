# SPDX-License-Identifier: Apache-2.0

"""A notice reaches its receiver once, however often it takes; or it is given up, and said so."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from opx.adapters.durable.inline import InlineWorkflows
from opx.core.base.time import HOUR, MINUTE, SECOND, Ms
from opx.core.ingest.signals import Severity
from opx.core.notify.notice import Delivery, DeliveryStatus, Edge, Notice
from opx.engine.beats import deliveries
from opx.engine.beats.case import Knowledge
from opx.engine.beats.deliveries import Deliveries
from opx.engine.beats.parts import Parts
from opx.engine.ports import Entry, Receiver
from opx.errors import Refused, Unavailable
from opx.testing import virtual
from opx.testing.memory import MemoryStore
from opx.testing.world import FakeProber, FakeReceiver, PlainSigner

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


def notice(number: int, at: Ms) -> Notice:
    return Notice(
        id=f"n{number:03}",
        incident="i",
        edge=Edge.OPENED,
        severity=Severity.SEV3,
        title="t",
        text="t",
        at=at,
    )


@dataclass
class Hanging:
    """A receiver that takes the connection and never answers."""

    name: str = "hanging"
    tries: list[tuple[Ms, str]] = field(default_factory=list)

    async def deliver(self, notice: Notice) -> None:
        self.tries.append((round(asyncio.get_running_loop().time() * SECOND), notice.id))
        await asyncio.Event().wait()


@dataclass
class Post:
    """The deliveries of ``receivers`` on a store of their own, a turn ten times a second."""

    receivers: Mapping[str, Receiver]
    store: MemoryStore = field(default_factory=MemoryStore)
    clock: virtual.LoopClock = field(default_factory=virtual.LoopClock)
    told: int = 0

    def __post_init__(self) -> None:
        self.parts = Parts(
            store=self.store,
            clock=self.clock,
            prober=FakeProber(self.clock),
            workflows=InlineWorkflows(self.store, self.clock),
            signer=PlainSigner(),
            knowledge=Knowledge(),
            receivers=tuple(self.receivers),
        )
        self.deliveries = Deliveries(self.parts, self.receivers)

    async def tell(self, count: int) -> None:
        """Notices, a millisecond apart."""
        for _ in range(count):
            self.told += 1
            one = notice(self.told, self.clock.now())
            await self.store.write(lambda tx, one=one: self.parts.tell(tx, one))
            await self.clock.sleep(1)

    async def work(self, span: Ms, every: Ms = 100) -> None:
        until = self.clock.now() + span
        while self.clock.now() < until:
            await self.deliveries.turn()
            await self.clock.sleep(every)

    async def pending(self) -> list[Delivery]:
        rows = await self.store.read(lambda tx: tx.find(Delivery))
        return [row for row in rows if row.status is DeliveryStatus.PENDING]


def test_a_receiver_that_hangs_holds_up_nobody() -> None:
    """Three hundred notices to one that hangs and two that do not: these have all of theirs
    within a second, the later ones too, in order; the other is given ten seconds a notice."""

    async def main() -> None:
        hanging, quick, other = Hanging(), FakeReceiver(name="a"), FakeReceiver(name="z")
        post = Post({"hanging": hanging, "a": quick, "z": other})
        await post.tell(300)
        await post.work(1_000)
        assert [one.id for one in quick.got] == [f"n{number:03}" for number in range(1, 301)]
        await post.work(4_000)
        await post.tell(1)
        await post.work(1_000)
        assert quick.got == other.got
        assert quick.got[-1].id == "n301"
        assert len(hanging.tries) == 1
        await post.work(20_000)
        assert [at for at, _ in hanging.tries] == [300, 10_300, 20_300]
        assert len({id for _, id in hanging.tries}) == 3
        await post.deliveries.close()

    virtual.run(main())


def test_leaving_does_not_wait_for_what_hangs() -> None:
    """Two seconds after brain is told to stop the hanging delivery is left as it was: due."""

    async def main() -> tuple[Ms, list[Delivery]]:
        post = Post({"hanging": Hanging()})
        await post.tell(1)
        await post.work(200)
        left = post.clock.now()
        await post.deliveries.close()
        return post.clock.now() - left, await post.pending()

    took, pending = virtual.run(main())
    assert took == 2_000
    assert [(one.tries, one.status) for one in pending] == [(0, DeliveryStatus.PENDING)]


def test_a_crash_between_a_delivery_and_its_record_repeats_the_notice_with_its_id() -> None:
    """Who is told twice can know it: both carry the same id; and there is no third time."""

    class Dying(FakeReceiver):
        async def deliver(self, notice: Notice) -> None:
            await super().deliver(notice)
            if self.tries == 1:
                await asyncio.Event().wait()  # told, and brain dies before it is written down

    async def main() -> list[str]:
        receiver = Dying(name="fake")
        post = Post({"fake": receiver})
        await post.tell(1)
        await post.deliveries.turn()
        await post.clock.sleep(10)
        for lane in post.deliveries.lanes.values():
            lane.cancel()
        post.deliveries = Deliveries(post.parts, post.receivers)
        await post.work(5_000)
        return [one.id for one in receiver.got]

    assert virtual.run(main()) == ["n001", "n001"]


def test_what_nobody_foresaw_of_a_receiver_is_a_failed_try() -> None:
    """It is tried again ever later, like any other, complained of, and given up in the end."""

    async def main() -> tuple[int, list[Delivery], list[str]]:
        receiver, complaints = FakeReceiver(name="fake"), list[str]()
        receiver.failures.extend([ValueError("no JSON")] * 100)
        post = Post({"fake": receiver})
        post.deliveries.complain = lambda loop, error: complaints.append(loop)
        await post.tell(1)
        await post.work(3 * HOUR, every=SECOND)
        return receiver.tries, await post.store.read(lambda tx: tx.find(Delivery)), complaints

    tries, [given_up], complaints = virtual.run(main())
    assert (tries, given_up.tries) == (deliveries.MOST_TRIES, deliveries.MOST_TRIES)
    assert given_up.status is DeliveryStatus.GAVE_UP
    assert given_up.error == "ValueError('no JSON')"
    assert complaints == ["deliveries"] * deliveries.MOST_TRIES


def test_a_delivery_is_journalled_when_it_was_made() -> None:
    """Not when the notice was: a page that came after an hour must say so."""

    async def main() -> tuple[Ms, list[Entry]]:
        receiver = FakeReceiver(name="fake")
        receiver.failures.extend([Unavailable("down")] * 2)
        post = Post({"fake": receiver})
        begun = post.clock.now()
        await post.tell(1)
        await post.work(10_000)
        return begun, await post.store.read(lambda tx: tx.find(Entry))

    begun, entries = virtual.run(main())
    delivered = [entry for entry in entries if entry.kind == "notice.delivered"]
    assert [entry.body["tries"] for entry in delivered] == [3]
    assert delivered[0].at >= begun + 3_000
