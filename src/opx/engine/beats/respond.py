# SPDX-License-Identifier: Apache-2.0

"""The respond beat: explain an incident, propose a repair; and how a run may end.

Between ``sense`` and ``settle``. A segment re-reads what is true, so running it twice is
running it once. It proposes runs; whether one may act is decided in ``decide``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace

from opx.core.act.run import ENDED, Run, RunStatus
from opx.core.analyse import rules
from opx.core.base import ids
from opx.core.base.time import MINUTE, Ms
from opx.core.correlate import stage as correlate
from opx.core.correlate.episode import Episode
from opx.core.decide import gate, proposals, targets
from opx.core.decide.case import Approval, Lease
from opx.core.decide.decision import Reason
from opx.core.decide.proposals import Considered
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

TURNS = 2
"""Segments that write at once: the beat that tells people comes between them."""
LEASE_SPARE: Ms = 2 * MINUTE
"""A lease outlasts what it was taken for by this much: brain may be away for a moment."""
_UNBEGUN = frozenset({RunStatus.PROPOSED, RunStatus.WAITING})
_OVER = frozenset({Status.RESOLVED, Status.CLOSED})


class Respond:
    """Explains incidents and proposes runs."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._turn = asyncio.Semaphore(TURNS)

    async def segment(self, request: StartRequest) -> None:
        """Explain each incident and, if a runbook fits and none is at work, propose a run."""
        incidents = request.args["incident"].split()
        async with self._turn:
            try:
                await self._respond(incidents)
            except Conflict:
                for incident in incidents:
                    with contextlib.suppress(Conflict):  # whoever changed it has started another
                        await self._respond([incident])

    async def _respond(self, incidents: Sequence[str]) -> None:
        def all_or_none(tx: WriteTx) -> None:
            for incident in incidents:
                self._open(tx, incident)

        await self._parts.store.write(all_or_none)

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
            self._nothing_fits(tx, incident, proposed.trace, now)
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

    def _nothing_fits(
        self, tx: WriteTx, incident: Incident, considered: tuple[Considered, ...], now: Ms
    ) -> None:
        """Say so once: a decision people can ask ``why`` about, and a notice."""
        decision = gate.none_fits(incident.id, considered, now)
        if tx.add(decision):
            tx.append(journal.entry(now, incident.id, "run.decided", ACTOR, decision=decision))
            self._parts.tell(tx, edges.asks(incident, decision, None, now))


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
    """Apply one lifecycle change, save and journal it. An incident that is over takes along
    the runs that have not begun."""
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
    if changed.status in _OVER:
        for run in cases.active(tx, incident.id):
            if run.status in _UNBEGUN:
                end(tx, run, RunStatus.REFUSED, Reason.INCIDENT_OVER, now)
    return changed


def end(tx: WriteTx, run: Run, status: RunStatus, reason: str, now: Ms) -> Run:
    """End a run: free its lease, take back its question, and journal why."""
    if status not in ENDED:
        raise ValueError(f"{status} is not an end")
    ended = replace(
        run, status=status, reason=reason, due_at=None, ended_at=now, version=run.version + 1
    )
    tx.save(ended)
    lease = tx.get(Lease, targets.canonical(run.proposal.target))
    if lease is not None and lease.run == run.id:
        tx.save(replace(lease, run="", expires_at=now, version=lease.version + 1))
    asked = tx.get(Approval, run.id)
    if asked is not None and asked.approved is None and asked.expires_at > now:
        tx.save(replace(asked, expires_at=now, version=asked.version + 1))
    tx.append(
        journal.entry(
            now, run.incident, "run.ended", ACTOR, run=run.id, status=status, reason=reason
        )
    )
    return ended


def repair_ended(tx: WriteTx, run: Run, reason: str, now: Ms) -> Incident | None:
    """End a run that has begun nothing as refused; its incident is open again."""
    end(tx, run, RunStatus.REFUSED, reason, now)
    incident = tx.get(Incident, run.incident)
    if incident is not None and incident.status is Status.MITIGATING:
        return change(tx, incident, Change.REPAIR_ENDED, now)
    return incident


def hold(tx: WriteTx, run: Run, until: Ms, now: Ms) -> bool:
    """Lease the run's target until then, and a while longer. False: another run has it."""
    id = targets.canonical(run.proposal.target)
    held = tx.get(Lease, id)
    mine = held is not None and held.run == run.id
    if held is not None and not mine and held.run and held.expires_at > now:
        return False
    if held is None or not mine or held.expires_at < until:
        version = held.version + 1 if held else 1
        tx.save(Lease(id=id, run=run.id, expires_at=until + LEASE_SPARE, version=version))
    return True


def verifying(run: Run, now: Ms) -> Run:
    """The run with its steps done: verification begins now."""
    return replace(
        run,
        status=RunStatus.VERIFYING,
        verify_from=now,
        samples=(),
        due_at=now,
        held_since=None,
        version=run.version + 1,
    )
