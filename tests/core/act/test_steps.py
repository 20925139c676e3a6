# SPDX-License-Identifier: Apache-2.0

"""What is next, for what the orders came to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from opx.core.act import steps
from opx.core.act.run import ENDED, OrderRecord, OrderStatus, Run, RunStatus
from opx.core.act.steps import Await, GiveOrder, Move, Stop, TakeBack, Verify
from opx.core.decide.decision import Answered, Decision, GuardResult, Reason
from opx.core.decide.runbooks import Proposal, Runbook
from opx.errors import BadInput

NOW = 1_767_225_600_000
EPOCH = 4

READY, CLAIMED, DONE = OrderStatus.READY, OrderStatus.CLAIMED, OrderStatus.DONE
FAILED, UNKNOWN, REFUSED = OrderStatus.FAILED, OrderStatus.UNKNOWN, OrderStatus.REFUSED
EXPIRED = OrderStatus.EXPIRED


def record(move: Move, status: OrderStatus, output: str = "") -> OrderRecord:
    assert isinstance(move, GiveOrder)
    claimed = None if status in (READY, REFUSED, EXPIRED) else NOW + 5
    return OrderRecord(
        id=move.order.id,
        run="run-1",
        order=move.order,
        signature="00",
        status=status,
        claimed_at=claimed,
        output=output,
    )


def history(run: Run, runbook: Runbook, *statuses: OrderStatus) -> list[OrderRecord]:
    """The orders of a run as they were given, one after the other, and came to this."""
    orders: list[OrderRecord] = []
    for status in statuses:
        orders.append(record(steps.next_move(run, runbook, orders, NOW, EPOCH), status))
    return orders


def after(run: Run, runbook: Runbook, *statuses: OrderStatus, now: int = NOW) -> Move:
    return steps.next_move(run, runbook, history(run, runbook, *statuses), now, EPOCH)


def given(move: Move) -> tuple[str, int, bool]:
    assert isinstance(move, GiveOrder)
    return move.order.step, move.attempt, move.undo


def test_the_first_order(run: Run, runbook: Runbook) -> None:
    """The first step's order carries all that hands needs, filled in and bound to the plan."""
    move = steps.next_move(run, runbook, [], NOW, EPOCH)
    assert isinstance(move, GiveOrder)
    order = move.order
    assert (order.run, order.step, order.action) == ("run-1", "drain", "queue.drain")
    assert order.target == "http://127.0.0.1:9001#orders"
    assert order.inputs == {"queue": "jobs"}
    assert (order.timeout, order.plan) == (30_000, run.proposal.plan)
    assert (order.decision, order.epoch) == ("decision-1", EPOCH)
    assert (order.issued_at, order.expires_at) == (NOW, NOW + 30_000)


def test_the_same_order_however_often_asked(run: Run, runbook: Runbook) -> None:
    """Asked again later, with nothing recorded, the try has the id it had."""
    first = steps.next_move(run, runbook, [], NOW, EPOCH)
    again = steps.next_move(run, runbook, [], NOW + 9_000, EPOCH)
    assert isinstance(first, GiveOrder)
    assert isinstance(again, GiveOrder)
    assert first.order.id == again.order.id == steps.order_id("run-1", "step", "drain", 0)


def test_every_try_has_its_own_id() -> None:
    """Another run, phase, step or try is another order."""
    ids = {
        steps.order_id(*identity)
        for identity in [
            ("run-1", "step", "a", 0),
            ("run-2", "step", "a", 0),
            ("run-1", "undo", "a", 0),
            ("run-1", "step", "b", 0),
            ("run-1", "step", "a", 1),
        ]
    }
    assert len(ids) == 5


def test_step_after_step(run: Run, runbook: Runbook) -> None:
    """Each step follows the one that is done; after the last comes verification."""
    assert given(after(run, runbook)) == ("drain", 0, False)
    assert given(after(run, runbook, DONE)) == ("pause", 0, False)
    assert given(after(run, runbook, DONE, DONE)) == ("restart", 0, False)
    assert after(run, runbook, DONE, DONE, DONE) == Verify()


def test_orders_in_any_order(run: Run, runbook: Runbook) -> None:
    """The order in which the store returns orders does not matter."""
    orders = history(run, runbook, DONE, DONE, FAILED)
    move = steps.next_move(run, runbook, orders[::-1], NOW, EPOCH)
    assert given(move) == ("restart", 1, False)


def test_a_failed_step_is_tried_again(run: Run, runbook: Runbook) -> None:
    """One retry after a failure, and its success counts."""
    assert given(after(run, runbook, DONE, DONE, FAILED)) == ("restart", 1, False)
    assert after(run, runbook, DONE, DONE, FAILED, DONE) == Verify()


class TestRollback:
    """A step that fails for good is followed by undoing what was done."""

    def test_newest_first(self, run: Run, runbook: Runbook) -> None:
        """The completed steps are undone in reverse; then the run is over, without effect."""
        failed = (DONE, DONE, FAILED, FAILED)
        assert given(after(run, runbook, *failed)) == ("resume", 0, True)
        assert given(after(run, runbook, *failed, DONE)) == ("fill", 0, True)
        assert after(run, runbook, *failed, DONE, DONE) == Stop(
            status=RunStatus.NO_EFFECT,
            reason="step restart failed, what came before it is undone",
        )

    def test_only_what_was_completed(self, run: Run, runbook: Runbook) -> None:
        """A step that was never done is not undone."""
        assert given(after(run, runbook, DONE, FAILED)) == ("fill", 0, True)

    def test_an_undo_is_retried_too(self, run: Run, runbook: Runbook) -> None:
        """A failed rollback step has its own retries."""
        assert given(after(run, runbook, DONE, FAILED, FAILED)) == ("fill", 1, True)

    def test_an_undo_that_fails(self, run: Run, runbook: Runbook) -> None:
        """When undoing fails nobody knows what is left: a person must look."""
        assert after(run, runbook, DONE, FAILED, FAILED, FAILED) == Stop(
            status=RunStatus.INCONCLUSIVE, reason="step pause failed, and so did undoing drain"
        )

    def test_nothing_to_undo(self, run: Run, runbook: Runbook) -> None:
        """When the first step fails there is nothing to take back."""
        assert after(run, runbook, FAILED) == Stop(
            status=RunStatus.NO_EFFECT, reason="step drain failed"
        )

    def test_undo_orders_are_filled_in(self, run: Run, runbook: Runbook) -> None:
        """A rollback order has its inputs like any other."""
        move = after(run, runbook, DONE, FAILED)
        assert isinstance(move, GiveOrder)
        assert (move.order.action, move.order.inputs) == ("queue.fill", {"queue": "q-jobs"})


class TestDidNotHelp:
    """A verdict that it did not help is followed by undoing what was done, and by no other try."""

    @pytest.fixture
    def judged(self, run: Run) -> Run:
        return steps.rolling_back(replace(run, verify_from=NOW), NOW)

    @staticmethod
    def undone(judged: Run, runbook: Runbook, *statuses: OrderStatus) -> Move:
        """What follows when all three steps were done and the undo orders came to this."""
        orders = history(replace(judged, status=RunStatus.ACTING), runbook, DONE, DONE, DONE)
        for status in statuses:
            orders.append(record(steps.next_move(judged, runbook, orders, NOW, EPOCH), status))
        return steps.next_move(judged, runbook, orders, NOW, EPOCH)

    def test_newest_first(self, judged: Run, runbook: Runbook) -> None:
        """Then it is over, and says so; the step that needs no undoing is left alone."""
        assert given(self.undone(judged, runbook)) == ("resume", 0, True)
        assert given(self.undone(judged, runbook, DONE)) == ("fill", 0, True)
        assert self.undone(judged, runbook, DONE, DONE) == Stop(
            status=RunStatus.NO_EFFECT, reason="it did not help and is undone"
        )

    def test_only_what_was_completed(self, judged: Run, runbook: Runbook) -> None:
        """A step that was given up for a verification is neither tried again nor undone."""
        acting = replace(judged, status=RunStatus.ACTING)
        orders = history(acting, runbook, DONE, DONE, FAILED)
        assert [(step.id, undo.id) for step, undo in steps.to_undo(runbook, orders)] == [
            ("pause", "resume"),
            ("drain", "fill"),
        ]
        assert given(steps.next_move(judged, runbook, orders, NOW, EPOCH)) == ("resume", 0, True)

    @pytest.mark.parametrize(
        ("came", "reason"),
        [
            ((FAILED,), "undoing pause failed"),
            ((DONE, FAILED, FAILED), "undoing drain failed"),
            ((UNKNOWN,), "whether step resume took effect is unknown: "),
            ((REFUSED,), "step resume was refused: "),
        ],
    )
    def test_an_undo_that_fails(
        self, judged: Run, runbook: Runbook, came: tuple[OrderStatus, ...], reason: str
    ) -> None:
        """Then nobody knows what is left."""
        assert self.undone(judged, runbook, *came) == Stop(
            status=RunStatus.INCONCLUSIVE, reason=reason
        )

    def test_a_run_that_is_verified_is_not_one(self, run: Run, judged: Run) -> None:
        """Nor is one that goes back because a step failed."""
        assert steps.judged(judged)
        assert not steps.judged(replace(judged, status=RunStatus.VERIFYING))
        assert not steps.judged(replace(run, status=RunStatus.ROLLING_BACK))
        assert judged.version == run.version + 1


class TestPending:
    """An order on its way is waited for, but not for ever."""

    def test_ready(self, run: Run, runbook: Runbook) -> None:
        """Until it expires somebody may still claim it."""
        assert after(run, runbook, READY, now=NOW + 29_999) == Await(until=NOW + 30_000)

    def test_never_claimed(self, run: Run, runbook: Runbook) -> None:
        """An order that expired unclaimed is taken back before anything else is done."""
        move = after(run, runbook, DONE, READY, now=NOW + 30_000)
        assert move == TakeBack(id=steps.order_id("run-1", "step", "pause", 0))

    @pytest.mark.parametrize("times", [1, 2])
    def test_expired(self, run: Run, runbook: Runbook, times: int) -> None:
        """What never began costs no try: another order, with an id of its own."""
        expired = (EXPIRED,) * times
        assert given(after(run, runbook, *expired)) == ("drain", times, False)
        assert after(run, runbook, *expired, FAILED) == Stop(
            status=RunStatus.NO_EFFECT, reason="step drain failed"
        )
        assert given(after(run, runbook, DONE, DONE, *expired, FAILED)) == (
            "restart",
            times + 1,
            False,
        )

    def test_expired_again_and_again(self, run: Run, runbook: Runbook) -> None:
        """While nobody begins any, another is given ever more rarely: two at once, then after
        half a minute, one, two, four and, from then on, five; each costs no try."""
        orders: list[OrderRecord] = []
        now, pauses = NOW, []
        for attempt in range(9):
            move = steps.next_move(run, runbook, orders, now, EPOCH)
            if isinstance(move, Await):
                pauses.append(move.until - now)
                now = move.until
                move = steps.next_move(run, runbook, orders, now, EPOCH)
            assert given(move) == ("drain", attempt, False)
            orders.append(record(move, EXPIRED))
            now = orders[-1].order.expires_at
        assert pauses == [30_000, 60_000, 120_000, 240_000, 300_000, 300_000]

    def test_claimed(self, run: Run, runbook: Runbook) -> None:
        """A claimed order has until its expiry to begin, then its timeout to end, and ten
        seconds for a look at what came of it."""
        assert after(run, runbook, DONE, CLAIMED, now=NOW + 49_999) == Await(until=NOW + 50_000)

    def test_claimed_and_never_answered(self, run: Run, runbook: Runbook) -> None:
        """After that its effect is unknown, and it is not repeated."""
        assert after(run, runbook, DONE, CLAIMED, now=NOW + 50_000) == Stop(
            status=RunStatus.INCONCLUSIVE, reason="step pause was begun and never answered"
        )


@pytest.mark.parametrize("before", [(), (DONE,), (DONE, DONE), (DONE, FAILED)])
def test_an_unknown_effect_ends_it(
    run: Run, runbook: Runbook, before: tuple[OrderStatus, ...]
) -> None:
    """Whatever came before, an effect that cannot be observed is never repeated or built on."""
    move = after(run, runbook, *before, UNKNOWN)
    assert isinstance(move, Stop)
    assert move.status is RunStatus.INCONCLUSIVE


@pytest.mark.parametrize(
    ("before", "status"),
    [
        ((), RunStatus.REFUSED),
        ((EXPIRED, EXPIRED), RunStatus.REFUSED),
        ((DONE,), RunStatus.INCONCLUSIVE),
        ((DONE, EXPIRED), RunStatus.INCONCLUSIVE),
    ],
)
def test_a_refused_order_ends_it(
    run: Run, runbook: Runbook, before: tuple[OrderStatus, ...], status: RunStatus
) -> None:
    """What hands refuses is not tried again, and its words are kept; once anything was begun
    nobody knows what that came to."""
    orders = history(run, runbook, *before)
    move = steps.next_move(run, runbook, orders, NOW, EPOCH)
    orders.append(record(move, REFUSED, "automation is halted"))
    step = "pause" if DONE in before else "drain"
    assert steps.next_move(run, runbook, orders, NOW, EPOCH) == Stop(
        status=status, reason=f"step {step} was refused: automation is halted"
    )


def test_a_step_that_could_not_be_begun_is_refused(run: Run, runbook: Runbook) -> None:
    """What failed before it was claimed did nothing, and says nothing about the runbook."""
    unseen = record(steps.next_move(run, runbook, [], NOW, EPOCH), FAILED, "cannot be observed")
    move = steps.next_move(run, runbook, [replace(unseen, claimed_at=None)], NOW, EPOCH)
    assert move == Stop(
        status=RunStatus.REFUSED, reason="step drain could not be begun: cannot be observed"
    )


@pytest.mark.parametrize("status", sorted(ENDED))
def test_an_ended_run_stays_ended(run: Run, runbook: Runbook, status: RunStatus) -> None:
    """No order is given after the end, whatever the orders say."""
    ended = replace(run, status=status, reason="as it was", ended_at=NOW)
    assert steps.next_move(ended, runbook, [], NOW, EPOCH) == Stop(
        status=status, reason="as it was"
    )


def test_a_verifying_run_gives_no_orders(run: Run, runbook: Runbook) -> None:
    """While it is verified nothing is done."""
    verifying = replace(run, status=RunStatus.VERIFYING)
    assert steps.next_move(verifying, runbook, [], NOW, EPOCH) == Verify()


@pytest.mark.parametrize(
    "changes",
    [
        {"status": RunStatus.PROPOSED},
        {"status": RunStatus.WAITING},
        {"decision": None},
    ],
)
def test_without_a_decision_nothing_is_done(
    run: Run, runbook: Runbook, changes: dict[str, object]
) -> None:
    """A run that no decision allowed to act gives no order."""
    move = steps.next_move(replace(run, **changes), runbook, [], NOW, EPOCH)
    assert isinstance(move, Stop)
    assert (move.status, move.reason) == (RunStatus.REFUSED, "no decision allows it to act")


class TestChangedRunbook:
    """What was decided about is what is done: with another text, or none, it stops."""

    @pytest.fixture(params=["gone", "changed"])
    def other(self, request: pytest.FixtureRequest, runbook: Runbook) -> Runbook | None:
        return None if request.param == "gone" else replace(runbook, hash="hash-2")

    def test_before_anything(self, run: Run, other: Runbook | None) -> None:
        """A run that has begun nothing is refused."""
        move = steps.next_move(run, other, [], NOW, EPOCH)
        assert isinstance(move, Stop)
        assert move.status is RunStatus.REFUSED

    def test_on_its_way(self, run: Run, runbook: Runbook, other: Runbook | None) -> None:
        """What nobody has claimed is taken back at once; what was claimed comes to its end
        first, and then it is not known what has been done."""
        ready, claimed, done = (
            history(run, runbook, DONE, status) for status in (READY, CLAIMED, DONE)
        )
        assert steps.next_move(run, other, ready, NOW, EPOCH) == TakeBack(id=ready[1].id)
        assert steps.next_move(run, other, claimed, NOW, EPOCH) == Await(until=NOW + 50_000)
        assert steps.next_move(run, other, done, NOW, EPOCH) == Stop(
            status=RunStatus.INCONCLUSIVE, reason="its runbook was changed since it was decided"
        )


def test_another_epoch_ends_it(run: Run, runbook: Runbook) -> None:
    """After a restore a run from before does not go on by itself."""
    orders = history(run, runbook, DONE)
    assert steps.next_move(run, runbook, orders, NOW, EPOCH + 1) == Stop(
        status=RunStatus.INCONCLUSIVE, reason="it was begun in an earlier epoch"
    )


class TestRecords:
    """The run's own record of its orders."""

    @staticmethod
    def decision(*reasons: Reason) -> Decision:
        results = tuple(
            GuardResult(guard="g", answer=Answered.ALLOW, reason=reason) for reason in reasons
        )
        return Decision(
            id="decision-2",
            incident="incident-1",
            run="run-1",
            answer=Answered.ALLOW,
            results=results,
            plan="",
            at=NOW,
        )

    def test_acting_and_ordered_are_one_version(self, run: Run, runbook: Runbook) -> None:
        """From proposed to its first order a run is saved once, one version on."""
        proposed = replace(run, status=RunStatus.PROPOSED, decision=None)
        acting = steps.acting(proposed, self.decision(Reason.OK), NOW)
        move = steps.next_move(acting, runbook, [], NOW, EPOCH)
        assert isinstance(move, GiveOrder)
        assert move.order.decision == "decision-2"
        ordered = steps.ordered(acting, move, NOW)
        assert (ordered.status, ordered.step, ordered.tries) == (RunStatus.ACTING, 0, 1)
        assert (ordered.acted_at, ordered.due_at) == (NOW, NOW + 30_000)
        assert ordered.version == proposed.version + 1
        assert ordered.probation is False

    def test_probation_is_kept(self, run: Run) -> None:
        """A run let act on probation is one until its end."""
        acting = steps.acting(run, self.decision(Reason.OK, Reason.ON_PROBATION), NOW)
        assert acting.probation is True
        assert steps.acting(acting, self.decision(Reason.OK), NOW).probation is True

    def test_rolling_back(self, run: Run, runbook: Runbook) -> None:
        """The first undo order makes it ROLLING_BACK, and a later decision keeps it so."""
        move = after(run, runbook, DONE, FAILED)
        assert isinstance(move, GiveOrder)
        back = steps.ordered(run, move, NOW)
        assert back.status is RunStatus.ROLLING_BACK
        assert steps.acting(back, self.decision(), NOW).status is RunStatus.ROLLING_BACK
        assert given(after(back, runbook, DONE, FAILED, FAILED)) == ("fill", 1, True)

    def test_acted_at(self, run: Run, runbook: Runbook) -> None:
        """Only orders that somebody began count as acting."""
        assert steps.acted_at([]) is None
        assert steps.acted_at(history(run, runbook, READY)) is None
        assert steps.acted_at(history(run, runbook, DONE, READY)) == NOW + 5


def test_how_long_a_run_waits_for_its_guards(run: Run, runbook: Runbook) -> None:
    """From when it began, all its tries' time: drain, pause, two of restart, two of fill and
    resume, each with 30 s to begin and 10 s for a look. Before that, as long as they say."""
    allowance = (70 + 50 + 2 * 70 + 2 * 70 + 70) * 1_000
    assert steps.gives_up_at(runbook, []) is None
    assert steps.gives_up_at(runbook, history(run, runbook, EXPIRED, READY)) is None
    orders = history(run, runbook, EXPIRED, DONE, READY)
    assert steps.gives_up_at(runbook, orders) == NOW + 5 + allowance


class TestFill:
    """Inputs are data."""

    def test_types(self, run: Run) -> None:
        """Numbers and truth values are written as in YAML."""
        given = replace(run.proposal, inputs={"a": 3, "b": True, "c": "x"})
        assert steps.fill("${{inputs.a}}/${{ inputs.b }}/${{  inputs.c  }}", given) == "3/true/x"

    def test_once(self, run: Run) -> None:
        """What an input holds is never read as a template."""
        given = replace(run.proposal, inputs={"a": "${{ inputs.b }}", "b": "secret"})
        assert steps.fill("${{ inputs.a }}", given) == "${{ inputs.b }}"

    def test_no_value(self, run: Run) -> None:
        """A missing input is an error, not an empty text."""
        given = replace(run.proposal, inputs={"a": "1"}, parameters={"c": "2"})
        for name in ("inputs.b", "inputs.c", "service.a"):
            with pytest.raises(BadInput, match=f"{name} has no value"):
                steps.fill(f"${{{{ {name} }}}}", given)

    def test_parameters(self, run: Run) -> None:
        """A parameter of the service is filled in beside an input of the same name, and what
        it holds is never read as a template."""
        given = replace(
            run.proposal, inputs={"a": "1"}, parameters={"a": "2", "b": "${{ inputs.a }}"}
        )
        assert steps.fill("${{ inputs.a }}${{ service.a }}", given) == "12"
        assert steps.fill("${{ service.b }}", given) == "${{ inputs.a }}"


def test_the_message_is_the_whole_order(run: Run, runbook: Runbook) -> None:
    """Whatever of the order is changed, other bytes would have been signed."""
    move = steps.next_move(run, runbook, [], NOW, EPOCH)
    assert isinstance(move, GiveOrder)
    order = move.order
    signed = steps.message(order)
    assert signed == steps.message(replace(order))
    assert json.loads(signed)["target"] == "http://127.0.0.1:9001#orders"
    assert all(steps.message(other) != signed for other in _tampered(order))


def _tampered(order: steps.StepOrder) -> Iterator[steps.StepOrder]:
    for name in order.__slots__:
        value = getattr(order, name)
        if isinstance(value, dict):
            yield replace(order, **{name: {"queue": "other"}})
        else:
            yield replace(order, **{name: value + (1 if isinstance(value, int) else "x")})


def would(action: str, target: str, inputs: dict[str, str]) -> str:
    return f"would do {action} to {target or 'nobody'} with {len(inputs)}"


def test_render(run: Run, runbook: Runbook) -> None:
    """A dry run names every step as it would be done, in the action's own words too, the check
    and the way back."""
    on = "http://127.0.0.1:9001#orders"
    assert steps.render(runbook, run.proposal, would) == [
        "move: Move the load away and restart",
        f"on {on}",
        f"1. drain: queue.drain queue=jobs (at most 30000 ms): would do queue.drain to {on} with 1",
        f"2. pause: queue.pause (at most 10000 ms): would do queue.pause to {on} with 0",
        "3. restart: process.restart (at most 30000 ms, up to 2 tries): "
        f"would do process.restart to {on} with 0",
        "verify: 2 of 3 answers of the service's health probe are yes, within 10000 ms",
        "undo pause: resume: queue.resume (at most 30000 ms): "
        f"would do queue.resume to {on} with 0",
        "undo drain: fill: queue.fill queue=q-jobs (at most 30000 ms, up to 2 tries): "
        f"would do queue.fill to {on} with 1",
    ]


def test_render_says_what_cannot_be_undone(runbook: Runbook, run: Run) -> None:
    """The reason why there is no way back is the last line."""
    book = replace(runbook, irreversible="the jobs are gone")
    target: Proposal = replace(run.proposal, target="")
    lines = steps.render(book, target, would)
    assert lines[1] == "on no target"
    assert lines[-1] == "cannot be undone: the jobs are gone"
