# SPDX-License-Identifier: Apache-2.0

"""The settle beat: ask whether it helped, and keep count.

After ``respond``. A run recovers only by the answers of probes, never because a step
exited well, and what did not help is undone where it can be before the run ends. It counts
every verdict once, opens the breaker, and never closes one.
"""

from __future__ import annotations

from dataclasses import replace

from opx.core.act import steps
from opx.core.act.run import Run, RunStatus
from opx.core.base.time import Ms
from opx.core.correlate.episode import Episode
from opx.core.decide.case import Breaker, TrackRecord
from opx.core.detect import events
from opx.core.detect.finding import FindingKind, FindingState
from opx.core.detect.witness import Witness
from opx.core.incident.incident import Incident, Status
from opx.core.incident.lifecycle import Change
from opx.core.learn import records
from opx.core.notify import edges
from opx.core.verify import check
from opx.core.verify.verdict import Verdict, VerdictKind
from opx.engine import journal
from opx.engine.beats import case as cases
from opx.engine.beats.parts import ACTOR, Parts
from opx.engine.beats.respond import change, end, findings_of, hold
from opx.engine.ports import ReadTx, WriteTx

_ENDS = {
    VerdictKind.RECOVERED: RunStatus.RECOVERED,
    VerdictKind.NO_EFFECT: RunStatus.NO_EFFECT,
    VerdictKind.WORSE: RunStatus.WORSE,
    VerdictKind.INCONCLUSIVE: RunStatus.INCONCLUSIVE,
}


class Settle:
    """Verifies runs and learns from them."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def verify(self, run: Run) -> None:
        """Ask what is due and write the answer; on a verdict, settle the run."""
        parts = self._parts
        runbook = parts.knowledge.runbook(run.proposal.runbook)
        service = parts.knowledge.service(run.proposal.environment, run.proposal.service)
        if runbook is None or runbook.hash != run.proposal.runbook_hash:
            why, now = "its runbook was changed since it was decided", parts.clock.now()
            await parts.store.write(lambda tx: self.given_up(tx, run, why, now))
            return
        asked_at = parts.clock.now()
        witnesses = await parts.store.read(lambda tx: self._witnesses(tx, run))
        reads = check.needs(run, runbook, service, asked_at, witnesses)
        answers = await parts.ask(reads)
        now = parts.clock.now()
        answer = check.seen(run, answers, witnesses, asked_at, now)
        asked, judged = check.step(run, runbook, answer, now)

        def commit(tx: WriteTx) -> None:
            tx.save(asked)
            tx.append(
                journal.entry(now, run.incident, "run.probed", ACTOR, run=run.id, answer=answer)
            )
            if judged is not None:
                helped = judged.kind is not VerdictKind.NO_EFFECT
                if helped or not steps.to_undo(runbook, cases.orders_of(tx, run)):
                    self.settled(tx, asked, judged)
                else:
                    self._take_back(tx, asked, judged)
            elif asked.due_at is not None:
                hold(tx, run, asked.due_at, parts.clock.now())

        await parts.store.write(commit)
        parts.failpoint("verified")

    def _witnesses(self, tx: ReadTx, run: Run) -> tuple[Witness, ...]:
        incident = tx.get(Incident, run.incident)
        if incident is None:
            return ()
        return cases.witnesses(tx, incident, self._parts.knowledge)

    def _take_back(self, tx: WriteTx, run: Run, verdict: Verdict) -> None:
        """It did not help: what it did is undone, and it is counted when that has ended."""
        _say(tx, run, verdict)
        hold(tx, run, verdict.at, verdict.at)
        tx.save(steps.rolling_back(run, verdict.at))

    def settled(self, tx: WriteTx, run: Run, verdict: Verdict, why: str = "") -> None:
        """Write what a verdict means for the run, the records, the incident and people.

        Of a run that was undone because it did not help, ``verdict`` says what came of that:
        without an end of it a person must look before anything else is done.
        """
        counted = verdict
        if not steps.judged(run):
            _say(tx, run, verdict)
        elif verdict.kind is not VerdictKind.NO_EFFECT:
            counted = replace(verdict, kind=VerdictKind.NO_EFFECT)
            why = f"it did not help, and undoing it came to no end: {why}"
        ended = end(tx, run, _ENDS[counted.kind], why or counted.kind, verdict.at)
        opened = self._learn(tx, ended, counted)
        incident = tx.get(Incident, run.incident)
        if incident is None:
            return
        if opened:
            self._parts.tell(tx, edges.breaker(incident, ended, verdict.at))
        if incident.status is not Status.MITIGATING:
            return
        recovered = verdict.kind is VerdictKind.RECOVERED
        if cases.active(tx, incident.id):  # merged: the last to end says what becomes of it
            if not recovered and not opened:
                self._parts.tell(tx, edges.stopped(incident, ended, verdict.at))
            return
        if recovered and self._more_is_wrong(tx, run, incident):
            incident = change(tx, incident, Change.REPAIR_ENDED, verdict.at)
            self._parts.respond_to(tx, [incident])
            return
        what = Change.RECOVERED if recovered else Change.REPAIR_ENDED
        incident = change(tx, incident, what, verdict.at)
        if recovered:
            self._parts.tell(tx, edges.recovered(incident, ended, verdict))
        elif verdict.kind is VerdictKind.NO_EFFECT and not opened:
            self._parts.respond_to(tx, [incident])
        elif not opened:
            self._parts.tell(tx, edges.stopped(incident, ended, verdict.at))

    def given_up(self, tx: WriteTx, run: Run, why: str, now: Ms) -> None:
        """A run that has begun something and may not go on: what that came to is not known."""
        verdict = Verdict(kind=VerdictKind.INCONCLUSIVE, at=now, yes=0, no=0, unknown=0)
        self.settled(tx, run, verdict, why)

    def _more_is_wrong(self, tx: WriteTx, run: Run, incident: Incident) -> bool:
        """Whether a symptom that began after the run was proposed is still there. An event
        is over when it is told."""
        episode = tx.get(Episode, incident.episode)
        return episode is not None and any(
            finding.kind is FindingKind.SYMPTOM
            and finding.state is FindingState.FIRING
            and finding.rule != events.RULE
            and finding.at > run.created_at
            for finding in findings_of(tx, episode)
        )

    def _learn(self, tx: WriteTx, run: Run, verdict: Verdict) -> bool:
        """Count the verdict; return whether it opened the breaker."""
        where = run.proposal.place
        record = tx.get(TrackRecord, where)
        orders, incident = cases.orders_of(tx, run), tx.get(Incident, run.incident)
        breaker = tx.get(Breaker, where) or Breaker(id=where, version=0)
        counted = records.after(
            record or TrackRecord(id=where, version=0),
            verdict,
            run.proposal.runbook_hash,
            steps.acted_at(orders),
            incident.severity if incident is not None else None,
        )
        tx.save(counted)
        judged = records.breaker_after(counted, breaker, self._parts.knowledge.policy, verdict.at)
        if judged == breaker:
            return False
        tx.save(judged)
        tx.append(
            journal.entry(
                verdict.at, run.incident, "breaker.opened", ACTOR, breaker=where, record=counted
            )
        )
        return True


def _say(tx: WriteTx, run: Run, verdict: Verdict) -> None:
    tx.append(
        journal.entry(verdict.at, run.incident, "run.verified", ACTOR, run=run.id, verdict=verdict)
    )
