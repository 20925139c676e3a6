# SPDX-License-Identifier: Apache-2.0

"""One segment of a run: go on from where the store says it is, as far as possible.

Joins the respond and settle beats. Every commit is a compare-and-set on the run's version,
so two segments of one run cannot both go on; the one that comes second stops.
"""

from __future__ import annotations

from dataclasses import replace

from opx.core.act import steps
from opx.core.act.run import (
    AT_WORK,
    ENDED,
    UNDECIDED,
    OrderRecord,
    OrderStatus,
    Run,
    RunStatus,
)
from opx.core.base.time import SECOND, Ms
from opx.core.decide.case import Approval
from opx.core.incident.incident import Incident
from opx.core.notify import edges
from opx.core.verify.verdict import Verdict, VerdictKind
from opx.engine import journal
from opx.engine.beats import case as cases
from opx.engine.beats.decide import Decide
from opx.engine.beats.parts import ACTOR, Parts
from opx.engine.beats.respond import hold, repair_ended, verifying
from opx.engine.beats.settle import Settle
from opx.engine.ports import StartRequest, WriteTx
from opx.errors import Conflict

_VERDICTS = {
    RunStatus.NO_EFFECT: VerdictKind.NO_EFFECT,
    RunStatus.WORSE: VerdictKind.WORSE,
    RunStatus.INCONCLUSIVE: VerdictKind.INCONCLUSIVE,
}
PATIENCE: Ms = 5 * SECOND
"""A segment waits this long for what is due soon; for longer it lets itself be woken."""
MOST_CONFLICTS = 5
"""In a row; then the segment fails, which is said, and tried again after ever longer pauses."""
CONFLICT_PAUSE: Ms = SECOND // 10
"""After the first of them, after the second twice as long, and so on."""


class Runs:
    """Advances runs. ``active`` holds those a segment of this process is working on."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._settle = Settle(parts)
        self._decide = Decide(parts, self._settle)
        self.active: set[str] = set()

    async def segment(self, request: StartRequest) -> None:
        """Advance the run until it ends, waits for a person, or is due much later."""
        run_id = request.args["run"]
        if run_id in self.active:
            return
        self.active.add(run_id)
        try:
            await self._advance(run_id)
        finally:
            self.active.discard(run_id)

    async def _advance(self, run_id: str) -> None:
        conflicts = 0
        while True:
            try:
                if not await self._one_step(run_id):
                    return
                conflicts = 0
            except Conflict:  # it changed under us: look again
                conflicts += 1
                if conflicts == MOST_CONFLICTS:
                    raise
                await self._parts.clock.sleep(CONFLICT_PAUSE * conflicts)

    async def _one_step(self, run_id: str) -> bool:
        """Do what is next for the run; False when there is nothing to do before it is woken."""
        store, clock = self._parts.store, self._parts.clock
        run = await store.read(lambda tx: tx.get(Run, run_id))
        if run is None or run.status in ENDED:
            return False
        wait = (run.due_at or clock.now()) - clock.now()
        if run.status is RunStatus.WAITING and await self._still_waiting(run):
            return False
        if wait > 0 and not _watched(run):
            if wait > PATIENCE:
                return False
            await clock.sleep(wait)
        if run.status in UNDECIDED:
            await self._decide.decide(run)
        elif run.status in AT_WORK:
            await self._act(run)
        else:
            await self._settle.verify(run)
        return True

    async def _still_waiting(self, run: Run) -> bool:
        """Whether a person has yet to answer; when time is up, end the run."""
        approval = await self._parts.store.read(lambda tx: tx.get(Approval, run.id))
        if approval is not None and approval.approved is not None:
            return False
        now = self._parts.clock.now()
        if run.due_at is not None and run.due_at > now:
            return True

        def end(tx: WriteTx) -> None:
            late = steps.refused(cases.orders_of(tx, run), "nobody answered in time")
            self._stop(tx, run, late, now)

        await self._parts.store.write(end)
        return True

    async def _act(self, run: Run) -> None:
        parts = self._parts
        orders = await parts.store.read(lambda tx: cases.orders_of(tx, run))
        runbook = parts.knowledge.runbook(run.proposal.runbook)
        now = parts.clock.now()
        move = steps.next_move(run, runbook, orders, now, parts.epoch)
        if isinstance(move, steps.GiveOrder):
            await self._decide.decide(run, move.undo)
        elif isinstance(move, steps.Await):
            await parts.store.changed(within=max(1, min(move.until - now, SECOND)))
        elif isinstance(move, steps.TakeBack):
            await parts.store.write(lambda tx: self._take_back(tx, run, move.id, now))
        elif isinstance(move, steps.Verify):
            await parts.store.write(lambda tx: tx.save(verifying(run, now)))
        else:
            await parts.store.write(lambda tx: self._stop(tx, run, move, now))

    def _take_back(self, tx: WriteTx, run: Run, order: str, now: Ms) -> None:
        """See to it that an order that nobody has claimed never begins, and say so once."""
        record = tx.get(OrderRecord, order)
        if record is None or record.status is not OrderStatus.READY:
            raise Conflict("it was claimed in the meantime")
        why = "nobody began it in time" if now >= record.order.expires_at else "taken back"
        tx.save(
            replace(
                record,
                status=OrderStatus.EXPIRED,
                output=why,
                ended_at=now,
                version=record.version + 1,
            )
        )
        tx.append(
            journal.entry(
                now,
                run.incident,
                "order.ended",
                ACTOR,
                order=order,
                run=run.id,
                step=record.order.step,
                status=OrderStatus.EXPIRED,
                output=why,
            )
        )
        given = [one for one in cases.orders_of(tx, run) if one.status is OrderStatus.EXPIRED]
        hold(tx, run, max(now, steps.next_try(given)), now)
        incident = tx.get(Incident, run.incident)
        if incident is not None and now >= record.order.expires_at:
            self._parts.tell(tx, edges.unanswered(incident, run, now))

    def _stop(self, tx: WriteTx, run: Run, move: steps.Stop, now: Ms) -> None:
        """The steps ended badly. What was begun counts as a verdict; a refusal does not."""
        kind = _VERDICTS.get(move.status)
        if kind is not None:
            verdict = Verdict(kind=kind, at=now, yes=0, no=0, unknown=0)
            self._settle.settled(tx, run, verdict, move.reason)
            return
        incident = repair_ended(tx, run, move.reason, now)
        if incident is not None:
            refused = replace(run, status=move.status, reason=move.reason)
            self._parts.tell(tx, edges.stopped(incident, refused, now))


def _watched(run: Run) -> bool:
    """An order is on its way: the segment stays with it, whatever is due when."""
    return run.status in AT_WORK and run.held_since is None
