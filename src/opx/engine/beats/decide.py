# SPDX-License-Identifier: Apache-2.0

"""Deciding about a run: gather its case, ask every guard, and write what follows.

Joins the respond and settle beats: asked before a run and again before each of its steps.
A denial that time may lift is waited for; any other ends the run, as a refusal while it
has begun nothing, and as INCONCLUSIVE once it has. It issues signed orders; it never
touches a target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from opx.core.act import steps
from opx.core.act.run import AT_WORK, UNDECIDED, OrderRecord, Run, RunStatus
from opx.core.base.reads import Answers
from opx.core.base.time import HOUR, MINUTE, Ms
from opx.core.decide import gate, guards
from opx.core.decide.case import Approval, Case
from opx.core.decide.decision import Answered, Decision, GuardResult, Reason
from opx.core.incident.incident import Incident, Status
from opx.core.incident.lifecycle import Change
from opx.core.notify import edges
from opx.engine import journal
from opx.engine.beats import case as cases
from opx.engine.beats import happened
from opx.engine.beats.parts import ACTOR, Parts
from opx.engine.beats.respond import change, hold, repair_ended, verifying
from opx.engine.beats.settle import Settle
from opx.engine.journal import replay
from opx.engine.ports import WriteTx
from opx.errors import Conflict

SILENT_FOR: Ms = MINUTE
"""A run that waits for longer says so."""
ASKED_MOST: Ms = HOUR
"""A run that has begun asks a person for no longer: nobody else may touch its target, which is
as it left it, meanwhile."""
_NOTHING_LEFT = frozenset({Reason.SYMPTOM_GONE, Reason.INCIDENT_OVER})
"""Reasons why there is nothing left for a person to repair."""


class Decide:
    """Decides about runs."""

    def __init__(self, parts: Parts, settle: Settle) -> None:
        self._parts = parts
        self._settle = settle

    async def decide(self, run: Run, undo: bool = False) -> None:
        """Gather the case, ask the guards and write what follows, as one commit.

        ``undo``: only those guards are asked that may stop the taking back of a step.
        """
        parts = self._parts
        case = await parts.store.read(
            lambda tx: cases.gather(tx, run, parts.knowledge, parts.protected, parts.clock.now())
        )
        answers = await parts.ask(gate.needs(case, parts.clock.now()))
        began = await parts.store.write(lambda tx: self._judge(tx, run, answers, undo))
        if began is not None:
            parts.news.append(happened.run_began(run, began))

    def _judge(self, tx: WriteTx, run: Run, answers: Answers, undo: bool) -> Ms | None:
        """Read the facts again and decide on them in one transaction: an acknowledgement or
        a revoked grant that came while the probe was asked counts. When the run's first order
        was given, if it was now."""
        parts = self._parts
        now = parts.clock.now()
        facts = cases.gather(tx, run, parts.knowledge, parts.protected, now)
        case = replace(facts, answers=answers)
        asked = guards.UNDO_GUARDS if undo else guards.GUARDS
        decision = gate.decide(case, now, parts.new_id(now), asked)
        tx.add(decision)
        tx.append(
            journal.entry(
                now,
                run.incident,
                "run.decided",
                ACTOR,
                run=run.id,
                decision=decision,
                answers=answers,
                undo=undo,
                facts=replay.facts(case),
                documents=parts.documents,
            )
        )
        if decision.answer is Answered.ALLOW:
            return self._allowed(tx, run, case, decision)
        if decision.answer is Answered.ASK:
            self._ask(tx, run, case, decision)
        else:
            self._denied(tx, run, case, decision)
        return None

    def _allowed(self, tx: WriteTx, run: Run, case: Case, decision: Decision) -> Ms | None:
        """Take the lease, and give the order that is next; when, if it is the first."""
        parts, now = self._parts, decision.at
        if run.status in UNDECIDED:
            self._mitigating(tx, run, now)
        acting = steps.acting(run, decision, now)
        given = cases.orders_of(tx, run)
        move = steps.next_move(acting, case.runbook, given, now, parts.epoch)
        if not isinstance(move, steps.GiveOrder):
            if run.status in AT_WORK:
                raise Conflict("another segment gave the order")
            tx.save(replace(acting, version=run.version + 1))
            return None
        if not hold(tx, run, steps.ends_by(move.order), now):
            raise Conflict(f"{run.proposal.target} was leased in the meantime")
        record = OrderRecord(
            id=move.order.id,
            run=run.id,
            order=move.order,
            signature=parts.signer.sign(steps.message(move.order)),
        )
        tx.save(steps.ordered(acting, move, now), record)
        tx.append(
            journal.entry(
                now,
                run.incident,
                "order.issued",
                ACTOR,
                run=run.id,
                order=record.id,
                step=record.order.step,
                action=record.order.action,
                target=record.order.target,
            )
        )
        return None if given else now

    def _mitigating(self, tx: WriteTx, run: Run, now: Ms) -> None:
        incident = tx.get(Incident, run.incident)
        if incident is not None and incident.status is Status.OPEN:
            change(tx, incident, Change.REPAIR_STARTED, now)

    def _ask(self, tx: WriteTx, run: Run, case: Case, decision: Decision) -> None:
        parts, now = self._parts, decision.at
        begun = steps.acted_at(cases.orders_of(tx, run)) is not None
        usual = parts.knowledge.policy.approval_ttl
        expires = now + (min(usual, ASKED_MOST) if begun else usual)
        asked = tx.get(Approval, run.id)
        if asked is None or asked.expires_at <= now:
            approval = Approval(
                id=run.id,
                incident=run.incident,
                plan=decision.plan,
                requested_at=now,
                expires_at=expires,
                version=asked.version + 1 if asked else 1,
            )
            tx.save(approval)
            tx.append(
                journal.entry(
                    now, run.incident, "approval.asked", ACTOR, run=run.id, expires=expires
                )
            )
        waiting = replace(
            run,
            status=RunStatus.WAITING,
            decision=decision.id,
            due_at=expires,
            held_since=None,
            version=run.version + 1,
        )
        if begun:
            hold(tx, run, expires, now)
        tx.save(waiting)
        parts.tell(tx, edges.asks(case.incident, decision, run, now))
        parts.go_on(tx, waiting)

    def _denied(self, tx: WriteTx, run: Run, case: Case, decision: Decision) -> None:
        """Wait when the guards say until when; otherwise the run ends, and people are told."""
        parts, now = self._parts, decision.at
        orders = cases.orders_of(tx, run)
        begun = steps.acted_at(orders) is not None
        if begun and set(decision.reasons) == {Reason.SYMPTOM_GONE}:
            tx.save(verifying(run, now))  # an earlier try helped after all
            return
        if begun and run.status in UNDECIDED:
            run = replace(run, status=RunStatus.ACTING)  # a person has just let it go on
        denials = [result for result in decision.results if result.answer is Answered.DENY]
        again = _again(denials)
        late = steps.gives_up_at(case.runbook, orders) if case.runbook is not None else None
        if again is not None and (late is None or again <= late):
            self._wait(tx, run, case, decision, again)
            return
        denied = replace(run, decision=decision.id)
        reasons = ", ".join(result.reason for result in denials)
        if begun:
            self._settle.given_up(tx, denied, reasons, now)
            return
        incident = repair_ended(tx, denied, reasons, now)
        if incident is not None and Reason.CAUSE_ELSEWHERE in decision.reasons:
            parts.respond_to(tx, [incident])
        elif incident is not None and not _NOTHING_LEFT & set(decision.reasons):
            parts.tell(tx, edges.asks(incident, decision, run, now))

    def _wait(self, tx: WriteTx, run: Run, case: Case, decision: Decision, again: Ms) -> None:
        """Ask again when the guards say, and once when it is time to tell people of it."""
        parts, now = self._parts, decision.at
        since = now if run.held_since is None else run.held_since
        speaks_at = since + SILENT_FOR
        blind = run.held_since is not None and Reason.SYMPTOM_UNCONFIRMED in decision.reasons
        if blind or speaks_at <= now:
            parts.tell(tx, edges.waits(case.incident, decision, run, now))
        at_work = run.status in AT_WORK
        waiting = replace(
            run,
            status=run.status if at_work else RunStatus.PROPOSED,
            decision=decision.id,
            due_at=again if speaks_at <= now else min(again, speaks_at),
            held_since=since,
            version=run.version + 1,
        )
        if at_work:
            hold(tx, run, again, now)
        tx.save(waiting)
        parts.go_on(tx, waiting)


def _again(denials: Sequence[GuardResult]) -> Ms | None:
    """When it is worth asking again; None when time alone does not lift every denial."""
    times = [result.retry_at for result in denials if result.retry_at is not None]
    return max(times) if times and len(times) == len(denials) else None
