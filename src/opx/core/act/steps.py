# SPDX-License-Identifier: Apache-2.0

"""What a run does next, from what its orders came to so far.

After decide, before verify. The orders are the truth: their ids are derived from (run,
phase, step, try), so whoever asks again after a crash gets the same order, not a second
one. A step that fails for good is followed by undoing the completed ones, newest first.
It must never give an order for a run that has ended, nor go on past an unknown effect.

An order may begin until ``expires_at`` and then runs for at most its ``timeout``; an order
that nobody claimed by then never began, one that nobody answered after that is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from opx.core.act.run import ENDED, OrderRecord, OrderStatus, Run, RunStatus, StepOrder
from opx.core.base import canonical, ids
from opx.core.base.time import SECOND, Ms
from opx.core.decide.decision import Decision, Reason
from opx.core.decide.runbooks import REFERENCE, Proposal, Runbook, Step
from opx.errors import BadInput

CLAIM_WITHIN: Ms = 30 * SECOND
"""How long an order may begin after it was given."""
STEP, UNDO = "step", "undo"
_ACTS = frozenset({RunStatus.ACTING, RunStatus.ROLLING_BACK})


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveOrder:
    """Sign and issue ``order``: try number ``attempt``, from 0, of step ``index``.

    ``undo``: it is one of the rollback, and ``index`` counts within what is undone."""

    order: StepOrder
    index: int
    attempt: int
    undo: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Await:
    """An order is on its way; by ``until`` it must have come to something."""

    until: Ms


@dataclass(frozen=True, slots=True)
class Verify:
    """All steps are done: whether it helped is for ``verify`` to say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """It goes no further. ``status`` is one of ``ENDED``."""

    status: RunStatus
    reason: str


Move: TypeAlias = GiveOrder | Await | Verify | Stop


@dataclass(frozen=True, slots=True)
class _Desk:
    """What the walk over the steps looks at."""

    run: Run
    orders: Mapping[str, OrderRecord]
    now: Ms
    epoch: int


@dataclass(frozen=True, slots=True)
class _Failed:
    """A step is out of tries. ``began``: at least one of them was started."""

    step: str
    began: bool


def next_move(
    run: Run, runbook: Runbook | None, orders: Sequence[OrderRecord], now: Ms, epoch: int
) -> Move:
    """What is next. ``orders``: all that were given for this run, in any order."""
    if run.status in ENDED:
        return Stop(status=run.status, reason=run.reason)
    if run.status is RunStatus.VERIFYING:
        return Verify()
    if run.status not in _ACTS or run.decision is None:
        return Stop(status=RunStatus.REFUSED, reason="no decision allows it to act")
    if runbook is None or runbook.hash != run.proposal.runbook_hash:
        return Stop(status=RunStatus.REFUSED, reason="its runbook was changed since it was decided")
    if any(record.order.epoch != epoch for record in orders):
        return Stop(status=RunStatus.INCONCLUSIVE, reason="it was begun in an earlier epoch")
    desk = _Desk(run, {record.id: record for record in orders}, now, epoch)
    return _forward(desk, runbook)


def _forward(desk: _Desk, runbook: Runbook) -> Move:
    for index, step in enumerate(runbook.steps):
        came = _try(desk, step, index, STEP)
        if isinstance(came, _Failed):
            return _back(desk, runbook, index, came)
        if came is not None:
            return came
    return Verify()


def _back(desk: _Desk, runbook: Runbook, completed: int, failed: _Failed) -> Move:
    """Undo the first ``completed`` steps, the newest of them first; then stop."""
    undoing = {step.id: step for step in runbook.rollback}
    done = [step for step in reversed(runbook.steps[:completed]) if step.undo]
    for index, step in enumerate(done):
        came = _try(desk, undoing[step.undo], index, UNDO)
        if isinstance(came, _Failed):
            return Stop(
                status=RunStatus.INCONCLUSIVE,
                reason=f"step {failed.step} failed, and so did undoing {step.id}",
            )
        if came is not None:
            return came
    undone = ", what came before it is undone" if done else ""
    if failed.began:
        return Stop(status=RunStatus.NO_EFFECT, reason=f"step {failed.step} failed{undone}")
    return Stop(
        status=RunStatus.REFUSED, reason=f"nobody carried out step {failed.step} in time{undone}"
    )


def _try(desk: _Desk, step: Step, index: int, phase: str) -> Move | _Failed | None:
    """The tries of one step: None when one is done, else what to do or that none is left."""
    began = False
    for attempt in range(step.retries + 1):
        id = order_id(desk.run.id, phase, step.id, attempt)
        record = desk.orders.get(id)
        if record is None:
            given = order(desk.run, step, id, desk.now, desk.epoch)
            return GiveOrder(order=given, index=index, attempt=attempt, undo=phase == UNDO)
        if record.status is OrderStatus.DONE:
            return None
        pending = _pending(record, desk.now)
        if pending is not None:
            return pending
        began = began or record.status is OrderStatus.FAILED
    return _Failed(step.id, began)


def _pending(record: OrderRecord, now: Ms) -> Move | None:
    """What an order that is not done means; None when trying again is right."""
    given, status = record.order, record.status
    if status is OrderStatus.READY and now < given.expires_at:
        return Await(until=given.expires_at)
    if status is OrderStatus.CLAIMED:
        answered_by = given.expires_at + given.timeout
        if now < answered_by:
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
        return Stop(
            status=RunStatus.REFUSED, reason=f"step {given.step} was refused: {record.output}"
        )
    return None


def order_id(run: str, phase: str, step: str, attempt: int) -> str:
    """The same try of the same step has the same id, whoever asks and however often."""
    return ids.derived("order", run, phase, step, attempt)


def order(run: Run, step: Step, id: str, now: Ms, epoch: int) -> StepOrder:
    """The order for one try of ``step``. ``BadInput`` when an input has no value."""
    return StepOrder(
        id=id,
        run=run.id,
        step=step.id,
        action=step.uses,
        target=run.proposal.target,
        inputs={name: fill(text, run.proposal.inputs) for name, text in step.inputs.items()},
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


def fill(template: str, inputs: Mapping[str, str | int | bool]) -> str:
    """``template`` with its inputs filled in, once: what comes from an input is never read
    as a template. ``BadInput`` when one has no value."""
    for name in REFERENCE.findall(template):
        if name not in inputs:
            raise BadInput(f"the input {name!r} has no value")
    return REFERENCE.sub(lambda found: _text(inputs[found[1]]), template)


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


def acted_at(orders: Iterable[OrderRecord]) -> Ms | None:
    """When an order of the run was last begun; None: nothing was ever done."""
    begun = (record.claimed_at for record in orders if record.claimed_at is not None)
    return max(begun, default=None)


def render(runbook: Runbook, proposal: Proposal) -> list[str]:
    """What a run of it would do, a line each, touching nothing. ``BadInput`` as ``fill``."""
    lines = [f"{runbook.name}: {runbook.purpose}", f"on {proposal.target or 'no target'}"]
    for number, step in enumerate(runbook.steps, 1):
        lines.append(f"{number}. {_line(step, proposal)}")
    check = runbook.verify
    asked = check.probe.address if check.probe else "the service's health probe"
    lines.append(
        f"verify: {check.passes} of {check.of} answers of {asked} are yes, within {check.within} ms"
    )
    undoing = {step.id: step for step in runbook.rollback}
    lines += [
        f"undo {step.id}: {_line(undoing[step.undo], proposal)}"
        for step in reversed(runbook.steps)
        if step.undo
    ]
    if runbook.irreversible:
        lines.append(f"cannot be undone: {runbook.irreversible}")
    return lines


def _line(step: Step, proposal: Proposal) -> str:
    given = "".join(f" {name}={fill(text, proposal.inputs)}" for name, text in step.inputs.items())
    tries = f", up to {step.retries + 1} tries" if step.retries else ""
    return f"{step.id}: {step.uses}{given} (at most {step.timeout} ms{tries})"
