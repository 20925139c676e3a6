# SPDX-License-Identifier: Apache-2.0
"""hands trusts a signature and its own look at the store, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar, TypeVar

import pytest

from opx.core.act import steps
from opx.core.act.run import OrderRecord, OrderStatus, Run, RunStatus, StepOrder
from opx.core.correlate.episode import Group
from opx.core.decide import targets
from opx.core.decide.case import Automation, Lease, Mode
from opx.core.decide.decision import Answered, Decision
from opx.core.decide.runbooks import Proposal
from opx.engine.hands import EPOCH, Hands
from opx.engine.ports import EffectKnown, Entry, Saved, Say, Where, WriteTx, silent
from opx.errors import Failed, Refused, Unavailable
from opx.testing import virtual
from opx.testing.memory import MemoryStore
from opx.testing.world import FakeAction, PlainSigner

T = TypeVar("T")

NOW = virtual.START
TARGET = "http://127.0.0.1:2#orders"
PROPOSAL = Proposal(
    runbook="restart-process",
    runbook_hash="h",
    inputs={},
    target=TARGET,
    environment="shop",
    service="orders",
)
RUN = Run(
    id="run",
    incident="incident",
    group=Group("shop", "orders"),
    number=1,
    status=RunStatus.ACTING,
    proposal=PROPOSAL,
    created_at=NOW,
    due_at=NOW,
)
ORDER = StepOrder(
    id="order",
    run="run",
    step="restart",
    action="process.restart",
    target=TARGET,
    inputs={},
    timeout=5_000,
    plan=PROPOSAL.plan,
    decision="decision",
    epoch=1,
    issued_at=NOW,
    expires_at=NOW + 30_000,
)
DECISION = Decision(
    id="decision",
    incident="incident",
    run="run",
    answer=Answered.ALLOW,
    results=(),
    plan=PROPOSAL.plan,
    at=NOW,
)
RUNNING = Mode(id="all", automation=Automation.RUNNING, by="opx", reason="", at=NOW)
LEASE = Lease(id="loopback:2#orders", run="run", expires_at=NOW + 60_000)


def signed(order: StepOrder, **changes: object) -> OrderRecord:
    record = OrderRecord(
        id=order.id,
        run=order.run,
        order=order,
        signature=PlainSigner().sign(steps.message(order)),
    )
    return replace(record, **changes)  # type: ignore[arg-type]


def serve(
    record: OrderRecord,
    action: FakeAction,
    world: Callable[[WriteTx], None] = lambda _: None,
    own_pids: frozenset[str] = frozenset(),
) -> OrderRecord:
    """What became of ``record`` in a world where all is well but for ``world``."""

    return watched(record, action, world, own_pids)[0]


def watched(
    record: OrderRecord,
    action: FakeAction,
    world: Callable[[WriteTx], None] = lambda _: None,
    own_pids: frozenset[str] = frozenset(),
) -> tuple[OrderRecord, list[str]]:
    """What became of it, and what it said meanwhile."""

    async def main() -> tuple[OrderRecord, list[str]]:
        store, clock = MemoryStore(), virtual.LoopClock()
        await store.write(lambda tx: tx.save(RUN, RUNNING, LEASE))
        await store.write(lambda tx: tx.set(Saved(id=EPOCH, seq=1)))
        await store.write(lambda tx: tx.add(DECISION))
        await store.write(world)
        await store.write(lambda tx: tx.set(record))
        stop = asyncio.Event()
        hands = Hands(
            store=store,
            clock=clock,
            verifier=PlainSigner(),
            actions={"process.restart": action},
            name="hands",
            own_pids=lambda: own_pids,
        )
        serving = asyncio.create_task(hands.run(stop))
        await clock.sleep(10_000)
        stop.set()
        await serving
        kept = await store.read(lambda tx: tx.get(OrderRecord, record.id))
        assert kept is not None
        said = await store.read(lambda tx: tx.find(Entry, Where("kind", "eq", "order.said")))
        return kept, [line for entry in said for line in entry.body["lines"]]

    return virtual.run(main())


def test_what_a_step_says_is_on_the_timeline() -> None:
    """Its lines stand in the journal of the incident, before its result."""
    _, said = watched(signed(ORDER), FakeAction())
    assert said == ["process.restart http://127.0.0.1:2#orders"]


def test_a_good_order_is_done_once() -> None:
    """Signed, allowed, leased and in time."""
    action = FakeAction()

    ended = serve(signed(ORDER), action)

    assert (ended.status, action.effects[TARGET]) == (OrderStatus.DONE, 1)
    assert action.keys[TARGET] == ["order"]
    assert ended.before == {"effects": "0"}


HALTED = replace(RUNNING, id="service/shop/orders", automation=Automation.HALTED)


@pytest.mark.parametrize(
    ("record", "world", "word"),
    [
        (signed(ORDER, signature="00"), lambda tx: None, "signature"),
        (signed(replace(ORDER, action="shell.run")), lambda tx: None, "no action"),
        (signed(replace(ORDER, epoch=2)), lambda tx: None, "epoch"),
        (signed(replace(ORDER, decision="another")), lambda tx: None, "decision"),
        (signed(replace(ORDER, plan="another")), lambda tx: None, "decision"),
        (signed(ORDER), lambda tx: tx.set(replace(DECISION, answer=Answered.ASK)), "decision"),
        (signed(ORDER), lambda tx: tx.set(replace(LEASE, run="other")), "lease"),
        (signed(ORDER), lambda tx: tx.set(replace(LEASE, expires_at=NOW)), "lease"),
        (signed(ORDER), lambda tx: tx.set(HALTED), "halted (service/shop/orders)"),
        (signed(replace(ORDER, run="nobody")), lambda tx: None, "lease"),
    ],
)
def test_anything_else_is_refused_and_nothing_is_touched(
    record: OrderRecord, world: Callable[[WriteTx], None], word: str
) -> None:
    """Each check that fails names itself, and no effect takes place."""
    action = FakeAction()

    ended = serve(record, action, world)

    assert ended.status is OrderStatus.REFUSED
    assert word in ended.output
    assert action.effects == {}


def test_a_signed_order_changed_afterwards_is_refused() -> None:
    """The signature covers every field."""
    good = signed(ORDER)

    ended = serve(
        replace(good, order=replace(ORDER, target="http://127.0.0.1:2#other")), FakeAction()
    )

    assert ended.status is OrderStatus.REFUSED


def test_an_order_that_nobody_began_in_time_never_begins() -> None:
    """It is EXPIRED, which says that nothing was done and that another may be given."""
    action = FakeAction()

    ended = serve(signed(replace(ORDER, expires_at=NOW)), action)

    assert (ended.status, ended.claimed_at, action.effects) == (OrderStatus.EXPIRED, None, {})


def test_what_was_taken_back_is_not_begun() -> None:
    """An order that brain has made EXPIRED is nobody's any more."""
    action = FakeAction()

    ended = serve(signed(ORDER, status=OrderStatus.EXPIRED, version=2), action)

    assert (ended.status, ended.version, action.effects) == (OrderStatus.EXPIRED, 2, {})


def test_what_cannot_be_seen_is_not_touched() -> None:
    """Without an observation before, nobody could tell later: the order fails unbegun."""
    action = FakeAction(hidden={TARGET})

    ended = serve(signed(replace(ORDER, expires_at=NOW + 5_000)), action)

    assert (ended.status, ended.claimed_at) == (OrderStatus.FAILED, None)
    assert action.effects == {}


def test_what_can_be_seen_again_in_time_is_done() -> None:
    """A supervisor that is away for a moment costs no try."""

    class Away(FakeAction):
        looks = 0

        async def observe(self, target: str, inputs: dict[str, str]) -> dict[str, str]:
            self.looks += 1
            if self.looks < 4:
                raise Unavailable("away")
            return await super().observe(target, inputs)

    action = Away()

    assert serve(signed(ORDER), action).status is OrderStatus.DONE
    assert action.effects == {TARGET: 1}


@pytest.mark.parametrize("error", [Refused("no such program"), Failed("did not stay up")])
def test_a_failure_is_told(error: Exception) -> None:
    """What the action says is in the result, and nobody looks whether it is so."""
    action = FakeAction()
    action.lost.append(error)  # type: ignore[arg-type]

    ended = serve(signed(ORDER), action)

    assert (ended.status, ended.output) == (OrderStatus.FAILED, str(error))


@pytest.mark.parametrize(
    ("lost", "seen", "expected"),
    [
        (False, True, OrderStatus.FAILED),  # it did not happen
        (True, True, OrderStatus.DONE),  # it happened, and only the answer was lost
        (True, False, OrderStatus.UNKNOWN),  # nobody can tell: a person must look
    ],
)
def test_no_answer_is_looked_into(lost: bool, seen: bool, expected: OrderStatus) -> None:
    """A connection that drops says nothing about what was done: the target does."""
    action = FakeAction()
    (action.lost if lost else action.failures).append(Unavailable("the connection dropped"))
    if not seen:
        action.then = action.hidden.add

    ended = serve(signed(ORDER), action)

    assert (ended.status, action.effects[TARGET]) == (expected, int(lost))
    assert ended.output == "the connection dropped"


@pytest.mark.parametrize(
    ("before", "expected", "effects"),
    [
        ({"effects": "0"}, OrderStatus.DONE, 1),  # not there yet: done now
        ({"effects": "-1"}, OrderStatus.DONE, 0),  # there already: not again
        ({"effects": "1"}, OrderStatus.UNKNOWN, 0),  # neither: a person must look
    ],
)
def test_a_successor_looks_before_it_repeats(
    before: dict[str, str], expected: OrderStatus, effects: int
) -> None:
    """An order that a dead predecessor held is done, found done, or unknown."""
    action = FakeAction()
    held = signed(
        ORDER, status=OrderStatus.CLAIMED, claimed_by="hands/1", claimed_at=NOW, before=before
    )

    ended = serve(held, action)

    assert (ended.status, action.effects[TARGET]) == (expected, effects)


@pytest.mark.parametrize(
    "forged",
    [signed(ORDER, signature="00"), replace(signed(ORDER), order=replace(ORDER, timeout=9_000))],
)
def test_a_claim_is_no_signature(forged: OrderRecord) -> None:
    """An order that says a predecessor held it, but that brain did not sign as it stands, is
    refused; its target is not even looked at."""
    looks: list[str] = []

    class Watched(FakeAction):
        async def observe(self, target: str, inputs: dict[str, str]) -> dict[str, str]:
            looks.append(target)
            return await super().observe(target, inputs)

    action = Watched()
    held = replace(forged, status=OrderStatus.CLAIMED, claimed_at=NOW, before={"effects": "0"})

    ended = serve(held, action)

    assert (ended.status, ended.output) == (OrderStatus.REFUSED, "its signature is not brain's")
    assert (action.effects, looks) == ({}, [])


@pytest.mark.parametrize("status", [OrderStatus.READY, OrderStatus.CLAIMED])
def test_opx_is_never_its_own_target(status: OrderStatus) -> None:
    """A target whose process is one of opx's own is refused, whatever its name, and whoever is
    said to have begun."""

    class Seen(FakeAction):
        async def observe(self, target: str, inputs: dict[str, str]) -> dict[str, str]:
            return {"effects": "0", "pid": "42"}

    action = Seen()
    order = signed(ORDER, status=status, before={"effects": "0"})

    ended = serve(order, action, own_pids=frozenset({"42"}))

    assert (ended.status, ended.output) == (OrderStatus.REFUSED, "the target is opx itself")
    assert action.effects == {}


class Street:
    """Many targets, all of one run that holds every lease; ``hands`` serves them until ``stop``."""

    def __init__(self, action: FakeAction) -> None:
        self.store, self.clock, self.action = MemoryStore(), virtual.LoopClock(), action
        self.stop = asyncio.Event()

    async def open(self) -> None:
        await self.store.write(lambda tx: tx.save(RUN, RUNNING))
        await self.store.write(lambda tx: tx.set(Saved(id=EPOCH, seq=1)))
        await self.store.write(lambda tx: tx.add(DECISION))

    async def give(self, id: str, target: str) -> None:
        """An order for ``target``, whose lease is held."""
        now = self.clock.now()
        order = replace(
            ORDER, id=id, target=target, issued_at=now, expires_at=now + 30_000, timeout=60_000
        )
        lease = replace(LEASE, id=targets.canonical(target), expires_at=NOW + 600_000)
        await self.store.write(lambda tx: tx.set(signed(order), lease))

    async def serve(self) -> None:
        hands = Hands(
            store=self.store,
            clock=self.clock,
            verifier=PlainSigner(),
            actions={"process.restart": self.action},
            name="hands",
        )
        await hands.run(self.stop)

    async def orders(self) -> dict[str, OrderRecord]:
        found = await self.store.read(lambda tx: tx.find(OrderRecord))
        return {record.id: record for record in found}


def place(number: int) -> str:
    return f"http://127.0.0.1:2#p{number}"


def test_a_slow_step_holds_up_nobody_else() -> None:
    """While one target takes a minute, forty others are served; not one expires."""

    async def main() -> dict[str, OrderRecord]:
        street = Street(FakeAction(slow={place(0): 59_000}))
        await street.open()
        for number in range(41):
            await street.give(f"o{number}", place(number))
        serving = asyncio.create_task(street.serve())
        await street.clock.sleep(20_000)
        early = await street.orders()
        assert early.pop("o0").status is OrderStatus.CLAIMED
        assert {record.status for record in early.values()} == {OrderStatus.DONE}
        await street.clock.sleep(50_000)
        street.stop.set()
        await serving
        return await street.orders()

    orders = virtual.run(main())
    assert orders["o0"].status is OrderStatus.DONE


def test_at_most_eight_at_once_and_one_target_in_order() -> None:
    """Of ten targets that take a second each, and one that has three orders under three of
    its names, never more than eight are at work, and never two on one target."""

    class Watched(FakeAction):
        at_work: ClassVar[list[str]] = []
        most = 0

        async def apply(
            self, target: str, inputs: dict[str, str], key: str, say: Say = silent
        ) -> str:
            name = targets.canonical(target)
            assert name not in self.at_work
            self.at_work.append(name)
            self.most = max(self.most, len(self.at_work))
            await asyncio.sleep(1)
            self.at_work.remove(name)
            return await super().apply(target, inputs, key, say)

    async def main() -> tuple[Watched, dict[str, OrderRecord]]:
        action = Watched()
        street = Street(action)
        await street.open()
        names = ("http://127.0.0.1:2#one", "http://localhost:2/#one", "http://[::1]:2#group:one")
        for number, name in enumerate(names):
            await street.give(f"same{number}", name)
            await street.clock.sleep(1)
        for number in range(10):
            await street.give(f"o{number}", place(number))
        serving = asyncio.create_task(street.serve())
        await street.clock.sleep(10_000)
        street.stop.set()
        await serving
        return action, await street.orders()

    action, orders = virtual.run(main())
    assert {record.status for record in orders.values()} == {OrderStatus.DONE}
    assert action.most == 8
    same = [orders[f"same{number}"] for number in range(3)]
    begun = [record.claimed_at or 0 for record in same]
    assert begun[0] + 1_000 <= begun[1] <= begun[2] - 1_000


def test_a_stop_waits_for_what_is_nearly_done_and_leaves_the_rest_to_the_successor() -> None:
    """What ends within ten seconds is finished; what does not stays CLAIMED, and is looked at
    by the next hands before it is repeated."""

    async def main() -> tuple[dict[str, OrderRecord], dict[str, OrderRecord], FakeAction]:
        action = FakeAction(slow={place(0): 5_000, place(1): 50_000})
        street = Street(action)
        await street.open()
        await street.give("quick", place(0))
        await street.give("slow", place(1))
        serving = asyncio.create_task(street.serve())
        await street.clock.sleep(1_000)
        street.stop.set()
        await serving
        left = await street.orders()
        street.stop, action.slow = asyncio.Event(), {}
        again = asyncio.create_task(street.serve())
        await street.clock.sleep(5_000)
        street.stop.set()
        await again
        return left, await street.orders(), action

    left, later, action = virtual.run(main())
    assert (left["quick"].status, left["slow"].status) == (OrderStatus.DONE, OrderStatus.CLAIMED)
    assert later["slow"].status is OrderStatus.DONE
    assert action.effects == {place(0): 1, place(1): 1}


class Mistaken(FakeAction):
    """An action whose methods, those in ``wrong``, raise what no action was to raise."""

    wrong: frozenset[str] = frozenset()

    async def observe(self, target: str, inputs: dict[str, str]) -> dict[str, str]:
        self._mistake("observe", target)
        return await super().observe(target, inputs)

    def happened(self, before: dict[str, str], now: dict[str, str]) -> EffectKnown:
        self._mistake("happened", place(0))
        return super().happened(before, now)

    async def apply(self, target: str, inputs: dict[str, str], key: str, say: Say = silent) -> str:
        self._mistake("apply", target)
        return await super().apply(target, inputs, key, say)

    def _mistake(self, method: str, target: str) -> None:
        if method in self.wrong and target == place(0):
            raise IndexError("a mistake of the action's")


@pytest.mark.parametrize(
    ("wrong", "expected", "begun"),
    [
        ({"observe"}, OrderStatus.FAILED, False),
        ({"apply"}, OrderStatus.FAILED, True),  # looked for, and not there
        ({"apply", "happened"}, OrderStatus.UNKNOWN, True),
    ],
)
def test_a_mistake_of_an_action_ends_its_own_order_only(
    wrong: set[str], expected: OrderStatus, begun: bool
) -> None:
    """It is the result of the order it was made on; what is under way elsewhere goes on, and
    what is given later is served."""

    async def main() -> dict[str, OrderRecord]:
        action = Mistaken(slow={place(1): 8_000})
        action.wrong = frozenset(wrong)
        street = Street(action)
        await street.open()
        await street.give("wrong", place(0))
        await street.give("slow", place(1))
        serving = asyncio.create_task(street.serve())
        await street.clock.sleep(5_000)
        await street.give("later", place(2))
        await street.clock.sleep(5_000)
        street.stop.set()
        await serving
        return await street.orders()

    orders = virtual.run(main())
    failed = orders.pop("wrong")
    assert (failed.status, failed.claimed_at is not None) == (expected, begun)
    assert failed.output == 'IndexError("a mistake of the action\'s")'
    assert {record.status for record in orders.values()} == {OrderStatus.DONE}


def test_a_predecessors_order_that_cannot_be_compared_is_unknown_and_ends_nobody() -> None:
    """What was seen before makes no sense: a person must look, and hands serves on."""
    held = signed(
        ORDER, status=OrderStatus.CLAIMED, claimed_by="hands/1", claimed_at=NOW, before={}
    )

    ended = serve(held, FakeAction())

    assert (ended.status, ended.output) == (OrderStatus.UNKNOWN, "found after an interruption")


class Away(MemoryStore):
    """A store that takes no writes while it is ``away``."""

    away = False

    async def write(self, fn: Callable[[WriteTx], T]) -> T:
        if self.away:
            raise Unavailable("the disk is full")
        return await super().write(fn)


@pytest.mark.parametrize("after", [0, 500])
def test_a_store_that_is_away_for_a_moment_costs_nothing(after: int) -> None:
    """Whether it is away when the order is claimed, or when the result is to be kept: the step
    is done once, and the store has its result when it is back."""

    async def main() -> tuple[dict[str, OrderRecord], FakeAction]:
        action = FakeAction(slow={TARGET: 1_000})
        street = Street(action)
        store = street.store = Away()
        await street.open()
        await street.give("order", TARGET)
        store.away = after == 0
        serving = asyncio.create_task(street.serve())
        await street.clock.sleep(after)
        store.away = True
        await street.clock.sleep(5_000)
        store.away = False
        await street.clock.sleep(5_000)
        street.stop.set()
        await serving
        return await street.orders(), action

    orders, action = virtual.run(main())
    assert (orders["order"].status, orders["order"].version) == (OrderStatus.DONE, 3)
    assert action.effects == {TARGET: 1}
