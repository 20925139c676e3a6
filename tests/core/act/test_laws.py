# SPDX-License-Identifier: Apache-2.0

"""Laws of the walk: it ends, gives nothing twice, and never acts after its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from opx.core.act import steps
from opx.core.act.run import ENDED, OrderRecord, OrderStatus, Run, RunStatus
from opx.core.act.steps import Await, GiveOrder, Stop, TakeBack, Verify
from opx.core.decide.runbooks import Check, Runbook, Step

NOW = 1_767_225_600_000

BEGUN = {OrderStatus.CLAIMED, OrderStatus.DONE, OrderStatus.FAILED, OrderStatus.UNKNOWN}
outcomes = st.lists(st.sampled_from(OrderStatus), max_size=80)


@st.composite
def runbooks(draw: st.DrawFn) -> Runbook:
    """Up to four steps, any of them with retries and a way back, of one step or of two."""
    count = draw(st.integers(1, 4))
    retries = st.integers(0, 2)
    parts = draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    undo = [tuple(f"u{n}.{part}" for part in range(parts[n])) for n in range(count)]
    main = tuple(
        Step(id=f"s{n}", uses="a", retries=draw(retries), undo=undo[n]) for n in range(count)
    )
    back = tuple(Step(id=one, uses="b", retries=draw(retries)) for each in undo for one in each)
    return Runbook(
        name="any",
        hash="hash-1",
        purpose="p",
        when=(),
        inputs={},
        steps=main,
        rollback=back,
        verify=Check(),
    )


def walk(
    run: Run, runbook: Runbook, coming: list[OrderStatus], before: Sequence[OrderRecord] = ()
) -> tuple[list[OrderRecord], object]:
    """Drive a run: each order comes to the next of ``coming``, DONE when that is used up; time
    passes when it waits, and what is READY then is taken back. Returns the orders given, after
    those given ``before``, and the last move."""
    orders = list(before)
    now = NOW
    for _ in range(400):
        move = steps.next_move(run, runbook, orders, now, 1)
        if isinstance(move, Await):
            assert move.until > now
            now = move.until
        elif isinstance(move, TakeBack):
            orders = [
                replace(order, status=OrderStatus.EXPIRED) if order.id == move.id else order
                for order in orders
            ]
        elif isinstance(move, GiveOrder):
            nth = len(orders) - len(before)
            status = coming[nth] if nth < len(coming) else OrderStatus.DONE
            run = steps.ordered(run, move, now)
            orders.append(
                OrderRecord(
                    id=move.order.id,
                    run=run.id,
                    order=move.order,
                    signature="",
                    status=status,
                    claimed_at=now if status in BEGUN else None,
                )
            )
        else:
            return orders, move
    raise AssertionError("the walk does not end")


def acting(run: Run, runbook: Runbook) -> Run:
    return replace(run, proposal=replace(run.proposal, runbook_hash=runbook.hash))


@given(runbook=runbooks(), coming=outcomes)
def test_it_ends_and_gives_no_order_twice(
    run: Run, runbook: Runbook, coming: list[OrderStatus]
) -> None:
    """Whatever orders come to, the walk ends, within its tries and what never began, with
    every order given once."""
    orders, last = walk(acting(run, runbook), runbook, coming)
    assert isinstance(last, Verify | Stop)
    assert not isinstance(last, Stop) or last.status in ENDED
    tries = sum(step.retries + 1 for step in (*runbook.steps, *runbook.rollback))
    assert len({order.id for order in orders}) == len(orders)
    assert sum(order.status is not OrderStatus.EXPIRED for order in orders) <= tries


@given(runbook=runbooks(), coming=outcomes)
def test_nothing_follows_an_unknown_or_refused_order(
    run: Run, runbook: Runbook, coming: list[OrderStatus]
) -> None:
    """An effect that is unknown, unanswered or refused is the last thing a run does."""
    orders, _ = walk(acting(run, runbook), runbook, coming)
    final = {OrderStatus.UNKNOWN, OrderStatus.REFUSED, OrderStatus.CLAIMED}
    assert all(order.status not in final for order in orders[:-1])


@given(runbook=runbooks(), coming=outcomes)
def test_verified_only_when_every_step_is_done(
    run: Run, runbook: Runbook, coming: list[OrderStatus]
) -> None:
    """Verification begins exactly when each step has an order that is done."""
    orders, last = walk(acting(run, runbook), runbook, coming)
    done = {order.order.step for order in orders if order.status is OrderStatus.DONE}
    assert isinstance(last, Verify) == {step.id for step in runbook.steps}.issubset(done)


@given(runbook=runbooks(), coming=outcomes)
def test_refused_is_what_has_begun_nothing(
    run: Run, runbook: Runbook, coming: list[OrderStatus]
) -> None:
    """A run that ends REFUSED has begun no order: whatever was begun is counted."""
    orders, last = walk(acting(run, runbook), runbook, coming)
    refused = isinstance(last, Stop) and last.status is RunStatus.REFUSED
    assert not refused or steps.acted_at(orders) is None


@given(runbook=runbooks(), coming=outcomes)
def test_undoing_is_the_way_back(run: Run, runbook: Runbook, coming: list[OrderStatus]) -> None:
    """Undo orders come after all others, newest step first, what undoes it in its order, and
    only for steps that are done."""
    orders, _ = walk(acting(run, runbook), runbook, coming)
    names = [order.order.step for order in orders]
    undone = [name for name in names if name.startswith("u")]
    assert names[len(names) - len(undone) :] == undone
    assert undone == sorted(undone, key=lambda name: (-int(name[1]), name))
    done = {order.order.step for order in orders if order.status is OrderStatus.DONE}
    assert {f"s{name[1]}" for name in undone} <= done


@given(runbook=runbooks(), coming=outcomes)
def test_what_did_not_help_is_undone(run: Run, runbook: Runbook, coming: list[OrderStatus]) -> None:
    """After all steps and a verdict: only undo orders, of each step that has one, and the end is
    NO_EFFECT exactly when all of them are done."""
    steps_done, _ = walk(acting(run, runbook), runbook, [])
    judged = steps.rolling_back(replace(acting(run, runbook), verify_from=NOW), NOW)
    orders, last = walk(judged, runbook, coming, steps_done)
    undone = orders[len(steps_done) :]
    done = {order.order.step for order in undone if order.status is OrderStatus.DONE}
    assert {order.order.step for order in undone} <= {step.id for step in runbook.rollback}
    assert len({order.id for order in orders}) == len(orders)
    assert isinstance(last, Stop)
    whole = done == {step.id for step in runbook.rollback}
    assert last.status is (RunStatus.NO_EFFECT if whole else RunStatus.INCONCLUSIVE)


@given(
    runbook=runbooks(),
    coming=outcomes,
    status=st.sampled_from(sorted(ENDED)),
    later=st.integers(0, 10**9),
)
def test_no_order_after_the_end(
    run: Run, runbook: Runbook, coming: list[OrderStatus], status: RunStatus, later: int
) -> None:
    """However far it had come, an ended run gives no order, now or later."""
    orders, _ = walk(acting(run, runbook), runbook, coming)
    ended = replace(acting(run, runbook), status=status, reason="over")
    for known in range(len(orders) + 1):
        move = steps.next_move(ended, runbook, orders[:known], NOW + later, 1)
        assert move == Stop(status=status, reason="over")


@given(runbook=runbooks(), coming=outcomes)
def test_replay_is_identical(run: Run, runbook: Runbook, coming: list[OrderStatus]) -> None:
    """The same outcomes give the same orders and the same end."""
    assert walk(acting(run, runbook), runbook, coming) == walk(
        acting(run, runbook), runbook, coming
    )
