# SPDX-License-Identifier: Apache-2.0
"""hands trusts a signature and its own look at the store, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from opx.core.act import steps
from opx.core.act.run import OrderRecord, OrderStatus, Run, RunStatus, StepOrder
from opx.core.correlate.episode import Group
from opx.core.decide.case import Automation, Lease, Mode
from opx.core.decide.decision import Answered, Decision
from opx.core.decide.runbooks import Proposal
from opx.engine.hands import EPOCH, Hands
from opx.engine.ports import Saved, WriteTx
from opx.errors import Refused, Unavailable
from opx.testing import virtual
from opx.testing.memory import MemoryStore
from opx.testing.world import FakeAction, PlainSigner

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
LEASE = Lease(id=TARGET, run="run", expires_at=NOW + 60_000)


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

    async def main() -> OrderRecord:
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
        return kept

    return virtual.run(main())


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
        (signed(replace(ORDER, expires_at=NOW)), lambda tx: None, "expired"),
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


def test_what_cannot_be_seen_is_not_touched() -> None:
    """Without an observation before, nobody could tell later: the order fails unbegun."""
    action = FakeAction(hidden={TARGET})

    assert serve(signed(ORDER), action).status is OrderStatus.FAILED
    assert action.effects == {}


@pytest.mark.parametrize("error", [Refused("no such program"), Unavailable("no answer")])
def test_a_failure_is_told(error: Exception) -> None:
    """What the action says is in the result."""
    action = FakeAction()
    action.failures.append(error)  # type: ignore[arg-type]

    ended = serve(signed(ORDER), action)

    assert (ended.status, ended.output) == (OrderStatus.FAILED, str(error))


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


def test_opx_is_never_its_own_target() -> None:
    """A target whose process is one of opx's own is refused, whatever its name."""

    class Seen(FakeAction):
        async def observe(self, target: str) -> dict[str, str]:
            return {"effects": "0", "pid": "42"}

    action = Seen()

    ended = serve(signed(ORDER), action, own_pids=frozenset({"42"}))

    assert (ended.status, ended.output) == (OrderStatus.REFUSED, "the target is opx itself")
    assert action.effects == {}
