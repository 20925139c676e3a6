# SPDX-License-Identifier: Apache-2.0

"""The respond beat: explain an incident, propose a repair, ask every guard.

Between ``sense`` and ``settle``. A segment re-reads what is true, so running it twice is
running it once. It issues signed orders; it never touches a target.
"""

from __future__ import annotations

from dataclasses import replace

from opx.core.act import steps
from opx.core.act.run import ENDED, OrderRecord, Run, RunStatus
from opx.core.analyse import rules
from opx.core.base import ids
from opx.core.base.reads import Answers
from opx.core.base.time import Ms
from opx.core.correlate import stage as correlate
from opx.core.correlate.episode import Episode
from opx.core.decide import gate, guards, proposals
from opx.core.decide.case import Approval, Case, Lease
from opx.core.decide.decision import Answered, Decision, GuardResult, Reason
from opx.core.decide.runbooks import Proposal
from opx.core.detect.finding import Finding
from opx.core.incident import lifecycle
from opx.core.incident.incident import Incident, Status
from opx.core.incident.lifecycle import Change
from opx.core.notify import edges
from opx.engine import journal
from opx.engine.beats import case as cases
from opx.engine.beats.parts import ACTOR, Parts
from opx.engine.ports import ReadTx, StartRequest, Where, WriteTx
from opx.errors import Conflict

LEASE_TTL: Ms = 10 * 60_000
"""Longer than any run; a run's end frees it."""


class Respond:
    """Explains incidents and decides about runs."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def segment(self, request: StartRequest) -> None:
        """Explain the incident and, if a runbook fits and none is at work, propose a run."""
        try:
            await self._parts.store.write(lambda tx: self._open(tx, request.args["incident"]))
        except Conflict:
            return  # somebody changed the incident: whoever did has started a new segment

    def _open(self, tx: WriteTx, incident_id: str) -> None:
        parts = self._parts
        now = parts.clock.now()
        incident = tx.get(Incident, incident_id)
        if incident is None or incident.status in (Status.RESOLVED, Status.CLOSED):
            return
        episode = tx.get(Episode, incident.episode)
        if episode is None or cases.active(tx, incident.id):
            return
        service = parts.knowledge.service(incident.group.environment, incident.group.service)
        insight = rules.explain(episode, findings_of(tx, episode), service, now)
        if tx.add(insight):
            tx.append(journal.entry(now, incident.id, "insight.made", ACTOR, insight=insight))
        incident = replace(incident, insight=insight.id, version=incident.version + 1)
        proposed = proposals.propose(insight, incident, service, parts.knowledge.runbooks)
        if proposed.proposal is None:
            tx.save(incident)
            self._nothing_fits(tx, incident, now)
            return
        self._propose(tx, incident, proposed.proposal, now)

    def _propose(self, tx: WriteTx, incident: Incident, proposal: Proposal, now: Ms) -> None:
        number = incident.runs + 1
        run = Run(
            id=ids.derived("run", incident.id, number),
            incident=incident.id,
            group=incident.group,
            number=number,
            status=RunStatus.PROPOSED,
            proposal=proposal,
            created_at=now,
            due_at=now,
        )
        tx.save(replace(incident, runs=number), run)
        tx.append(
            journal.entry(
                now,
                incident.id,
                "run.proposed",
                ACTOR,
                run=run.id,
                number=number,
                proposal=proposal,
            )
        )
        self._parts.go_on(tx, run)

    def _nothing_fits(self, tx: WriteTx, incident: Incident, now: Ms) -> None:
        """Say so once: a decision people can ask ``why`` about, and a notice."""
        result = GuardResult(
            guard="catalogue",
            answer=Answered.DENY,
            reason=Reason.NO_RUNBOOK,
            detail="no runbook fits",
        )
        decision = Decision(
            id=ids.derived("decision", incident.id, Reason.NO_RUNBOOK),
            incident=incident.id,
            run="",
            answer=Answered.DENY,
            results=(result,),
            plan="",
            at=now,
        )
        if tx.add(decision):
            tx.append(journal.entry(now, incident.id, "run.decided", ACTOR, decision=decision))
            self._parts.tell(tx, edges.asks(incident, decision, None, now))

    async def decide(self, run: Run, undo: bool = False) -> None:
        """Gather the case, ask the guards and write what follows, as one commit.

        ``undo``: only those guards are asked that may stop the taking back of a step.
        """
        parts = self._parts
        case = await parts.store.read(
            lambda tx: cases.gather(tx, run, parts.knowledge, parts.protected)
        )
        answers = await parts.ask(gate.needs(case))
        await parts.store.write(lambda tx: self._judge(tx, run, answers, undo))

    def _judge(self, tx: WriteTx, run: Run, answers: Answers, undo: bool) -> None:
        """Read the facts again and decide on them in one transaction: an acknowledgement or
        a revoked grant that came while the probe was asked counts."""
        parts = self._parts
        now = parts.clock.now()
        facts = cases.gather(tx, run, parts.knowledge, parts.protected)
        case = replace(facts, answers=answers)
        asked = guards.UNDO_GUARDS if undo else guards.GUARDS
        decision = gate.decide(case, now, parts.new_id(now), asked)
        self._decided(tx, run, case, decision)

    def _decided(self, tx: WriteTx, run: Run, case: Case, decision: Decision) -> None:
        tx.add(decision)
        tx.append(
            journal.entry(
                decision.at, run.incident, "run.decided", ACTOR, run=run.id, decision=decision
            )
        )
        if decision.answer is Answered.ALLOW:
            self._allowed(tx, run, case, decision)
        elif decision.answer is Answered.ASK:
            self._ask(tx, run, case, decision)
        else:
            self._denied(tx, run, case, decision)

    def _allowed(self, tx: WriteTx, run: Run, case: Case, decision: Decision) -> None:
        """Take the lease, and give the order that is next."""
        parts, now = self._parts, decision.at
        held = tx.get(Lease, run.proposal.target)
        if held is not None and held.run not in ("", run.id) and held.expires_at > now:
            raise Conflict(f"{held.id} was leased in the meantime")
        lease = Lease(
            id=run.proposal.target,
            run=run.id,
            expires_at=now + LEASE_TTL,
            version=held.version + 1 if held else 1,
        )
        tx.save(lease)
        if run.status is not RunStatus.ACTING:
            self._mitigating(tx, run, now)
        acting = steps.acting(run, decision, now)
        move = steps.next_move(acting, case.runbook, cases.orders_of(tx, run), now, parts.epoch)
        if not isinstance(move, steps.GiveOrder):
            raise Conflict("another segment gave the order")
        record = OrderRecord(
            id=move.order.id,
            run=run.id,
            order=move.order,
            signature=parts.signer.sign(steps.message(move.order)),
        )
        acting = steps.ordered(acting, move, now)
        tx.save(acting, record)
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

    def _mitigating(self, tx: WriteTx, run: Run, now: Ms) -> None:
        incident = tx.get(Incident, run.incident)
        if incident is not None and incident.status is Status.OPEN:
            change(tx, incident, Change.REPAIR_STARTED, now)

    def _ask(self, tx: WriteTx, run: Run, case: Case, decision: Decision) -> None:
        parts, now = self._parts, decision.at
        expires = now + parts.knowledge.policy.approval_ttl
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
            version=run.version + 1,
        )
        tx.save(waiting)
        parts.tell(tx, edges.asks(case.incident, decision, run, now))
        parts.go_on(tx, waiting)

    def _denied(self, tx: WriteTx, run: Run, case: Case, decision: Decision) -> None:
        """Try again when a guard says when; otherwise the run ends, and people are told."""
        parts, now = self._parts, decision.at
        if run.status is RunStatus.ACTING and set(decision.reasons) == {Reason.SYMPTOM_GONE}:
            tx.save(verifying(run, now))  # an earlier try helped after all
            return
        denials = [result for result in decision.results if result.answer is Answered.DENY]
        if run.status is RunStatus.PROPOSED and all(result.retry_at for result in denials):
            retry_at = max(result.retry_at or now for result in denials)
            waiting = replace(run, decision=decision.id, due_at=retry_at, version=run.version + 1)
            tx.save(waiting)
            parts.go_on(tx, waiting)
            return
        reasons = ", ".join(result.reason for result in denials)
        end(tx, replace(run, decision=decision.id), RunStatus.REFUSED, reasons, now)
        incident = tx.get(Incident, run.incident)
        if incident is not None and incident.status is Status.MITIGATING:
            incident = change(tx, incident, Change.REPAIR_ENDED, now)
        if incident is not None and Reason.SYMPTOM_GONE not in decision.reasons:
            parts.tell(tx, edges.asks(incident, decision, run, now))


def findings_of(tx: ReadTx, episode: Episode) -> list[Finding]:
    """The findings of an episode, newest first; at most 200, which is plenty to explain it."""
    environment, service = correlate.identity_of(episode.group)
    found = tx.find(
        Finding,
        Where("identity.environment", "eq", environment),
        Where("identity.service", "eq", service),
        Where("at", "ge", episode.started_at),
        order="-at",
        limit=200,
    )
    return [finding for finding in found if correlate.group_of(finding) == episode.group]


def change(tx: WriteTx, incident: Incident, what: Change, now: Ms) -> Incident:
    """Apply one lifecycle change, save and journal it."""
    changed = lifecycle.apply(incident, what, now)
    tx.save(changed)
    tx.append(
        journal.entry(
            now,
            incident.id,
            "incident.changed",
            ACTOR,
            change=what,
            before=incident.status,
            after=changed.status,
        )
    )
    return changed


def end(tx: WriteTx, run: Run, status: RunStatus, reason: str, now: Ms) -> Run:
    """End a run: free its lease and journal why."""
    if status not in ENDED:
        raise ValueError(f"{status} is not an end")
    ended = replace(
        run, status=status, reason=reason, due_at=None, ended_at=now, version=run.version + 1
    )
    tx.save(ended)
    lease = tx.get(Lease, run.proposal.target)
    if lease is not None and lease.run == run.id:
        tx.save(replace(lease, run="", expires_at=now, version=lease.version + 1))
    tx.append(
        journal.entry(
            now, run.incident, "run.ended", ACTOR, run=run.id, status=status, reason=reason
        )
    )
    return ended


def verifying(run: Run, now: Ms) -> Run:
    """The run with its steps done: verification begins now."""
    return replace(
        run,
        status=RunStatus.VERIFYING,
        verify_from=now,
        samples=(),
        due_at=now,
        version=run.version + 1,
    )
