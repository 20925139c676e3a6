# SPDX-License-Identifier: Apache-2.0

"""What a run does next, from what its orders came to so far.

After decide, before verify. The orders are the truth: their ids are derived from (run,
phase, step, attempt), so whoever asks again after a crash gets the same order, not a
second one. A step that fails for good, and a verdict that it did not help, are followed by
undoing the completed steps, newest first. It must never give an order for a run that has ended,
nor go on past an unknown effect.

An order may begin until ``expires_at`` and then runs for at most its ``timeout``. One that
nobody claimed by then is taken back: it never began, costs no try, and another is given; after
the first few of them ever more rarely. One that was begun and that nobody answers is unknown.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from opx.core.act.run import AT_WORK, ENDED, OrderRecord, OrderStatus, Run, RunStatus, StepOrder
from opx.core.base import canonical, ids
from opx.core.base.time import MINUTE, SECOND, Ms
from opx.core.decide.decision import Decision, Reason
from opx.core.decide.runbooks import REFERENCE, Proposal, Runbook, Step
from opx.errors import BadInput

CLAIM_WITHIN: Ms = 30 * SECOND
"""How long an order may begin after it was given."""
UNCLAIMED = 2
"""So many orders that nobody began are followed by another at once."""
AWAY_MOST: Ms = 5 * MINUTE
"""Then the pauses between them get longer, up to this: hands may be away for days."""
LOOK_WITHIN: Ms = 10 * SECOND
"""How long looking at a target may take, before an order is begun and after it."""
STEP, UNDO = "step", "undo"


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveOrder:
    """Sign and issue ``order``: the one numbered ``attempt``, from 0, of step ``index``.

    ``undo``: it is one of the rollback, and ``index`` counts within what is undone."""

    order: StepOrder
    index: int
    attempt: int
    undo: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Await:
    """An order is on its way, and by ``until`` it must have come to something; or hands is away,
    and it is not worth giving one before ``until``."""

    until: Ms


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeBack:
    """Nobody has claimed the order ``id``: make it EXPIRED, so that nobody can, and ask again."""

    id: str


@dataclass(frozen=True, slots=True)
class Verify:
    """All steps are done: whether it helped is for ``verify`` to say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """It goes no further. ``status`` is one of ``ENDED``."""

    status: RunStatus
    reason: str


Would: TypeAlias = Callable[[str, str, dict[str, str]], str]
"""What an action (its name) would do to a target, with these inputs, in its own words."""
Move: TypeAlias = GiveOrder | Await | TakeBack | Verify | Stop


@dataclass(frozen=True, slots=True)
class _Desk:
    """What the walk over the steps looks at."""

    run: Run
    orders: Mapping[str, OrderRecord]
    now: Ms
    epoch: int


@dataclass(frozen=True, slots=True)
class _Failed:
    """A step is out of tries. ``began``: at least one of them was started. ``said``: by the
    last of them."""

    step: str
    began: bool
    said: str


def next_move(
    run: Run, runbook: Runbook | None, orders: Sequence[OrderRecord], now: Ms, epoch: int
) -> Move:
    """What is next. ``orders``: all that were given for this run, in any order."""
    if run.status in ENDED:
        return Stop(status=run.status, reason=run.reason)
    if run.status is RunStatus.VERIFYING:
        return Verify()
    if run.status not in AT_WORK or run.decision is None:
        return Stop(status=RunStatus.REFUSED, reason="no decision allows it to act")
    if any(record.order.epoch != epoch for record in orders):
        return Stop(status=RunStatus.INCONCLUSIVE, reason="it was begun in an earlier epoch")
    desk = _Desk(run, {record.id: record for record in orders}, now, epoch)
    if runbook is None or runbook.hash != run.proposal.runbook_hash:
        return _changed(desk)
    return _back(desk, runbook) if judged(run) else _forward(desk, runbook)


def _changed(desk: _Desk) -> Move:
    """Its runbook is no longer what was decided about: what is on its way ends first."""
    for record in desk.orders.values():
        if record.status is OrderStatus.READY:
            return TakeBack(id=record.id)
        pending = _pending(desk, record)
        if pending is not None:
            return pending
    return refused(desk.orders.values(), "its runbook was changed since it was decided")


def refused(orders: Iterable[OrderRecord], reason: str) -> Stop:
    """It may not go on. Once anything was begun nobody knows what that came to."""
    begun = acted_at(orders) is not None
    return Stop(status=RunStatus.INCONCLUSIVE if begun else RunStatus.REFUSED, reason=reason)


def _forward(desk: _Desk, runbook: Runbook) -> Move:
    for index, step in enumerate(runbook.steps):
        came = _try(desk, step, index, STEP)
        if isinstance(came, _Failed):
            return _back(desk, runbook, came)
        if came is not None:
            return came
    return Verify()


def judged(run: Run) -> bool:
    """Whether it was verified and did not help: it is being undone, and that verdict stands."""
    return run.status is RunStatus.ROLLING_BACK and run.verify_from is not None


def to_undo(runbook: Runbook, orders: Iterable[OrderRecord]) -> list[tuple[Step, Step]]:
    """The completed steps that can be undone, the newest of them first, each with every rollback
    step that is to be done for it."""
    done = {record.order.step for record in orders if record.status is OrderStatus.DONE}
    return [pair for pair in _undoing(runbook) if pair[0].id in done]


def _undoing(runbook: Runbook) -> list[tuple[Step, Step]]:
    named = {step.id: step for step in runbook.rollback}
    return [(step, named[one]) for step in reversed(runbook.steps) for one in step.undo]


def _back(desk: _Desk, runbook: Runbook, failed: _Failed | None = None) -> Move:
    """Undo what is completed; then stop. ``failed`` None: it is because nothing helped."""
    done = to_undo(runbook, desk.orders.values())
    for index, (step, undo) in enumerate(done):
        came = _try(desk, undo, index, UNDO)
        if isinstance(came, _Failed):
            both = f"step {failed.step} failed, and so did undoing {step.id}" if failed else ""
            why = both or f"undoing {step.id} failed"
            return Stop(status=RunStatus.INCONCLUSIVE, reason=why)
        if came is not None:
            return came
    if failed is None:
        return Stop(status=RunStatus.NO_EFFECT, reason="it did not help and is undone")
    undone = ", what came before it is undone" if done else ""
    if failed.began:
        return Stop(status=RunStatus.NO_EFFECT, reason=f"step {failed.step} failed{undone}")
    why = f"step {failed.step} could not be begun{undone}: {failed.said}"
    return refused(desk.orders.values(), why)


def _try(desk: _Desk, step: Step, index: int, phase: str) -> Move | _Failed | None:
    """The tries of one step: None when one is done, else what to do or that none is left."""
    failed: list[OrderRecord] = []
    expired: list[OrderRecord] = []
    for attempt in itertools.count():
        id = order_id(desk.run.id, phase, step.id, attempt)
        record = desk.orders.get(id)
        if record is None:
            break
        if record.status is OrderStatus.DONE:
            return None
        pending = _pending(desk, record)
        if pending is not None:
            return pending
        (failed if record.status is OrderStatus.FAILED else expired).append(record)
    if len(failed) > step.retries:
        return _Failed(step.id, acted_at(failed) is not None, failed[-1].output)
    until = next_try(expired)
    if desk.now < until:
        return Await(until=until)
    given = order(desk.run, step, id, desk.now, desk.epoch)
    return GiveOrder(order=given, index=index, attempt=attempt, undo=phase == UNDO)


def _pending(desk: _Desk, record: OrderRecord) -> Move | None:
    """What an order that is not done means; None when another may be given."""
    given, status = record.order, record.status
    if status is OrderStatus.READY:
        waiting = desk.now < given.expires_at
        return Await(until=given.expires_at) if waiting else TakeBack(id=record.id)
    if status is OrderStatus.CLAIMED:
        answered_by = ends_by(given)
        if desk.now < answered_by:
            return Await(until=answered_by)
        return Stop(
            status=RunStatus.INCONCLUSIVE, reason=f"step {given.step} was begun and never answered"
        )
    if status is OrderStatus.UNKNOWN:
        return Stop(
            status=RunStatus.INCONCLUSIVE,
            reason=f"whether step {given.step} took effect is unknown: {record.output}",
        )
    if status is OrderStatus.REFUSED:
        why = f"step {given.step} was refused: {record.output}"
        return refused(desk.orders.values(), why)
    return None


def next_try(expired: Sequence[OrderRecord]) -> Ms:
    """When another order is given after these, oldest first, that nobody began."""
    late = len(expired) - UNCLAIMED
    if late <= 0:
        return 0
    pause = min(CLAIM_WITHIN << min(late - 1, 10), AWAY_MOST)
    return expired[-1].order.expires_at + pause


def ends_by(order: StepOrder) -> Ms:
    """When an order must have come to something: begun as late as it may be, with a look
    at what it came to."""
    return order.expires_at + order.timeout + LOOK_WITHIN


def gives_up_at(runbook: Runbook, orders: Iterable[OrderRecord]) -> Ms | None:
    """Until when a run waits for guards that deny it for now: as long after it began as all
    its tries may take. None: it has begun nothing, and waits for as long as they say."""
    begun = [record.claimed_at for record in orders if record.claimed_at is not None]
    tries = sum(
        (step.retries + 1) * (CLAIM_WITHIN + step.timeout + LOOK_WITHIN)
        for step in (*runbook.steps, *runbook.rollback)
    )
    return min(begun) + tries if begun else None


def order_id(run: str, phase: str, step: str, attempt: int) -> str:
    """The same order of the same step has the same id, whoever asks and however often."""
    return ids.derived("order", run, phase, step, attempt)


def order(run: Run, step: Step, id: str, now: Ms, epoch: int) -> StepOrder:
    """The order ``id`` for ``step``. ``BadInput`` when an input has no value."""
    return StepOrder(
        id=id,
        run=run.id,
        step=step.id,
        action=step.uses,
        target=run.proposal.target,
        inputs=_filled(step, run.proposal),
        timeout=step.timeout,
        plan=run.proposal.plan,
        decision=run.decision or "",
        epoch=epoch,
        issued_at=now,
        expires_at=now + CLAIM_WITHIN,
    )


def message(order: StepOrder) -> bytes:
    """The bytes that are signed."""
    return canonical.dumps(order)


def fill(template: str, proposal: Proposal) -> str:
    """``template`` with its inputs and parameters filled in, once: what comes from one is
    never read as a template. ``BadInput`` when one has no value."""
    known: Mapping[str, Mapping[str, str | int | bool]] = {
        "inputs": proposal.inputs,
        "service": proposal.parameters,
    }
    for source, name in REFERENCE.findall(template):
        if name not in known[source]:
            raise BadInput(f"{source}.{name} has no value")
    return REFERENCE.sub(lambda found: _text(known[found[1]][found[2]]), template)


def _filled(step: Step, proposal: Proposal) -> dict[str, str]:
    return {name: fill(text, proposal) for name, text in step.inputs.items()}


def _text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def acting(run: Run, decision: Decision, now: Ms) -> Run:
    """The run as ``decision`` (an ALLOW) lets it act; ``ordered`` makes the version to save."""
    probation = any(result.reason is Reason.ON_PROBATION for result in decision.results)
    back = run.status is RunStatus.ROLLING_BACK
    return replace(
        run,
        status=run.status if back else RunStatus.ACTING,
        decision=decision.id,
        probation=run.probation or probation,
        held_since=None,
        due_at=now,
    )


def ordered(run: Run, move: GiveOrder, now: Ms) -> Run:
    """The run once ``move`` is given, one version on."""
    return replace(
        run,
        status=RunStatus.ROLLING_BACK if move.undo else RunStatus.ACTING,
        step=move.index,
        tries=move.attempt + 1,
        acted_at=now,
        due_at=move.order.expires_at,
        version=run.version + 1,
    )


def rolling_back(run: Run, now: Ms) -> Run:
    """The run once it is known that it did not help: what it did is undone from now on."""
    return replace(run, status=RunStatus.ROLLING_BACK, tries=0, due_at=now, version=run.version + 1)


def acted_at(orders: Iterable[OrderRecord]) -> Ms | None:
    """When an order of the run was last begun; None: nothing was ever done."""
    begun = (record.claimed_at for record in orders if record.claimed_at is not None)
    return max(begun, default=None)


def render(runbook: Runbook, proposal: Proposal, would: Would) -> list[str]:
    """What a run of it would do, a line each, touching nothing. ``BadInput`` as ``fill``."""

    def line(step: Step) -> str:
        filled = _filled(step, proposal)
        given = "".join(f" {name}={text}" for name, text in filled.items())
        tries = f", up to {step.retries + 1} tries" if step.retries else ""
        said = would(step.uses, proposal.target, filled)
        return f"{step.id}: {step.uses}{given} (at most {step.timeout} ms{tries}): {said}"

    lines = [f"{runbook.name}: {runbook.purpose}", f"on {proposal.target or 'no target'}"]
    for number, step in enumerate(runbook.steps, 1):
        lines.append(f"{number}. {line(step)}")
    check = runbook.verify
    asked = check.probe.address if check.probe else "the service's health probe"
    lines.append(
        f"verify: {check.passes} of {check.of} answers of {asked} are yes, within {check.within} ms"
    )
    lines += [f"undo {step.id}: {line(undo)}" for step, undo in _undoing(runbook)]
    if runbook.irreversible:
        lines.append(f"cannot be undone: {runbook.irreversible}")
    return lines
