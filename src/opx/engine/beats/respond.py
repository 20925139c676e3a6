# SPDX-License-Identifier: Apache-2.0

"""The respond beat: explain an incident, propose a repair; and how a run may end.

Between ``sense`` and ``settle``. A segment re-reads what is true, so running it twice is
running it once. It proposes runs; whether one may act is decided in ``decide``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

from opx.core.act import steps
from opx.core.act.run import ENDED, UNDECIDED, Run, RunStatus
from opx.core.analyse import changes, rules, tracing
from opx.core.analyse.changes import Changed
from opx.core.analyse.insight import InsightType, Ranked
from opx.core.analyse.past import Past
from opx.core.base import ids
from opx.core.base.time import MINUTE, Ms
from opx.core.correlate.episode import Episode, Group
from opx.core.decide import gate, proposals, targets
from opx.core.decide.case import Approval, Lease
from opx.core.decide.decision import Reason
from opx.core.decide.proposals import Considered
from opx.core.decide.runbooks import Proposal
from opx.core.detect.finding import Finding
from opx.core.incident import lifecycle
from opx.core.incident.incident import OVER, Incident, Status
from opx.core.incident.lifecycle import Change
from opx.core.ingest.services import Service
from opx.core.notify import edges
from opx.engine import journal
from opx.engine.beats import case as cases
from opx.engine.beats.case import Knowledge
from opx.engine.beats.parts import ACTOR, Parts
from opx.engine.ports import Entry, ReadTx, StartRequest, Where, WriteTx
from opx.errors import Conflict

TURNS = 2
"""Segments that write at once: the beat that tells people comes between them."""
LEASE_SPARE: Ms = 2 * MINUTE
"""A lease outlasts what it was taken for by this much: brain may be away for a moment."""
MOST_CHANGES, MOST_RUNS = 100, 50
"""Of a service, the newest that are looked at to explain what is wrong with it."""
_VERIFIED = frozenset({RunStatus.RECOVERED, RunStatus.NO_EFFECT, RunStatus.WORSE})


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
        known = self._parts.knowledge
        found: dict[str, list[Finding]] = {}
        if known.rules and known.topology.callees:  # rules to ask, and a way to go
            found = await self._parts.store.read(lambda tx: _found(tx, incidents))
        blamed = {id: await self._trace(found.get(id, [])) for id in incidents}

        def all_or_none(tx: WriteTx) -> None:
            for incident in incidents:
                self._open(tx, incident, blamed[incident])

        await self._parts.store.write(all_or_none)

    async def _trace(self, findings: Sequence[Finding]) -> tuple[Ranked, ...]:
        """Who has how much of the blame, where rules with numbers found the trouble."""
        parts, known = self._parts, self._parts.knowledge
        traced = tracing.trace(findings, known.rules, known.topology) if findings else None
        if traced is None:
            return ()
        answers = await parts.ask(tracing.needs(traced, parts.clock.now()))
        return tracing.ranked(traced, answers, known.topology)

    def _open(self, tx: WriteTx, incident_id: str, blamed: tuple[Ranked, ...]) -> None:
        parts = self._parts
        now = parts.clock.now()
        incident = tx.get(Incident, incident_id)
        if incident is None or incident.status in OVER:
            return
        episode, active = tx.get(Episode, incident.episode), cases.active(tx, incident.id)
        if episode is None or _busy(tx, active):
            return
        service = parts.knowledge.service(incident.group.environment, incident.group.service)
        facts = facts_of(tx, episode, service, parts.knowledge, now)
        insight = rules.explain(replace(facts, ranked=blamed), now)
        if self._still(tx, incident, active, insight.type, now):
            return
        if tx.add(insight) or incident.insight != insight.id:
            tx.append(journal.entry(now, incident.id, "insight.made", ACTOR, insight=insight))
        incident = replace(incident, insight=insight.id, version=incident.version + 1)
        proposed = proposals.propose(insight, incident, service, parts.knowledge.runbooks)
        if proposed.proposal is None:
            tx.save(incident)
            self._nothing_fits(tx, incident, proposed.trace, now)
            return
        self._propose(tx, incident, proposed.proposal, insight.type, now)

    def _still(
        self, tx: WriteTx, incident: Incident, active: list[Run], type: InsightType, now: Ms
    ) -> bool:
        """Whether a run goes on. One that has not begun ends here when it is for something else
        than the incident has turned out to be: another service, or another kind of trouble."""
        idle = [
            run
            for run in active
            if not has_begun(tx, run)
            and (run.proposal.group != incident.group or run.type not in ("", type))
        ]
        for run in idle:
            moved = run.proposal.group != incident.group
            why = Reason.CAUSE_ELSEWHERE if moved else Reason.EXPLANATION_CHANGED
            end(tx, run, RunStatus.REFUSED, why, now)
        return len(idle) < len(active)

    def _propose(
        self, tx: WriteTx, incident: Incident, proposal: Proposal, type: InsightType, now: Ms
    ) -> None:
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
            type=type,
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
        """Say so, once until a run comes: a decision people can ask ``why`` about, and a notice."""
        decision = gate.none_fits(incident, considered, now)
        if tx.add(decision):
            said = {"decision": decision, "documents": self._parts.documents}
            tx.append(journal.entry(now, incident.id, "run.decided", ACTOR, **said))
            self._parts.tell(tx, edges.asks(incident, decision, None, now))


def has_begun(tx: ReadTx, run: Run) -> bool:
    """Whether it is at work, or has been: then it is no longer refused, and what it did counts.
    One that has done something may wait for a person before it goes on."""
    return run.status not in UNDECIDED or steps.acted_at(cases.orders_of(tx, run)) is not None


def _busy(tx: ReadTx, active: Sequence[Run]) -> bool:
    """Whether there is nothing to propose: runs are at work, and none has yet to begin."""
    return bool(active) and all(has_begun(tx, run) for run in active)


def _found(tx: ReadTx, incidents: Iterable[str]) -> dict[str, list[Finding]]:
    """What was found of each on which no run is at work already."""
    found: dict[str, list[Finding]] = {}
    for id in incidents:
        incident = tx.get(Incident, id)
        episode = tx.get(Episode, incident.episode) if incident is not None else None
        if episode is not None and not _busy(tx, cases.active(tx, id)):
            found[id] = findings_of(tx, episode)
    return found


def facts_of(
    tx: ReadTx, episode: Episode, service: Service | None, knowledge: Knowledge, now: Ms
) -> rules.Facts:
    """All that an episode is explained from. What changed counts on its own services and on
    those that its root depends on."""
    below = knowledge.catalogue.dependencies(service) if service is not None else ()
    near = {*episode.groups, *(Group(one.environment, one.name) for one in below)}
    return rules.Facts(
        episode=episode,
        findings=findings_of(tx, episode),
        service=service,
        changes=[change for group in sorted(near, key=str) for change in _changes(tx, group, now)],
        past=_past(tx, episode.group),
    )


def _changes(tx: ReadTx, group: Group, now: Ms) -> list[Changed]:
    told = tx.find(
        Entry, Where("subject", "eq", changes.subject_of(group)), order="-seq", limit=MOST_CHANGES
    )
    read = [Changed.of(entry.body.get("event", {})) for entry in told]
    return [one for one in read if one is not None and now - changes.LOOK_BACK <= one.at <= now]


def _past(tx: ReadTx, group: Group) -> list[Past]:
    """The last runs on a service that were verified, either way."""
    runs = tx.find(
        Run,
        Where("group.environment", "eq", group.environment),
        Where("group.service", "eq", group.service),
        order="-created_at",
        limit=MOST_RUNS,
    )
    return [
        Past(
            run=run.id,
            incident=run.incident,
            type=run.type,
            runbook=run.proposal.runbook,
            helped=run.status is RunStatus.RECOVERED,
            took=run.ended_at - run.created_at,
            at=run.ended_at,
        )
        for run in runs
        if run.ended_at is not None and run.status in _VERIFIED
    ]


def findings_of(tx: ReadTx, episode: Episode) -> list[Finding]:
    """The findings of an episode, newest first; at most 200 of each group in it, which is
    plenty to explain it."""
    found = [one for group in episode.groups for one in cases.findings_of_group(tx, episode, group)]
    return sorted(found, key=lambda finding: (-finding.at, finding.id))


def change(tx: WriteTx, incident: Incident, what: Change, now: Ms, into: str = "") -> Incident:
    """Apply one lifecycle change, save and journal it. ``into``: what it is merged into. An
    incident that is over takes along the runs that have not begun, and what others ask."""
    aim = into or incident.merged_into
    changed = lifecycle.apply(replace(incident, merged_into=aim), what, now)
    tx.save(changed)
    said: dict[str, object] = {"change": what, "before": incident.status, "after": changed.status}
    said |= {"set": {"merged_into": into}} if into else {}
    tx.append(journal.entry(now, incident.id, "incident.changed", ACTOR, **said))
    if changed.status in OVER:
        for run in cases.active(tx, incident.id):
            if not has_begun(tx, run):
                end(tx, run, RunStatus.REFUSED, Reason.INCIDENT_OVER, now)
            elif run.status in UNDECIDED:
                _decide_again(tx, run, now)
    return changed


def _decide_again(tx: WriteTx, run: Run, now: Ms) -> None:
    """Send a run that has begun and waits for a person back to its guards, since it is not as
    it was when it asked. The sweep wakes it."""
    _take_back_question(tx, run, now)
    tx.save(replace(run, status=RunStatus.ACTING, due_at=now, version=run.version + 1))


def _take_back_question(tx: WriteTx, run: Run, now: Ms) -> None:
    asked = tx.get(Approval, run.id)
    if asked is not None and asked.approved is None and asked.expires_at > now:
        tx.save(replace(asked, expires_at=now, version=asked.version + 1))


def worsened(tx: WriteTx, incident: Incident, parts: Parts, now: Ms) -> None:
    """Ask the guards again at once for what waits for them: some of them look at severity."""
    for run in cases.active(tx, incident.id):
        if run.status is RunStatus.PROPOSED and run.held_since is not None:
            sooner = replace(run, due_at=now, version=run.version + 1)
            tx.save(sooner)
            parts.go_on(tx, sooner)


def merge(tx: WriteTx, incident: Incident, into: Incident, now: Ms) -> Incident:
    """Close ``incident`` as part of another, which takes along the runs that have begun, and
    what they rest on where nobody has explained it yet; return the other as it is then."""
    begun = [run for run in cases.active(tx, incident.id) if has_begun(tx, run)]
    for run in begun:
        moved = replace(run, incident=into.id)
        if run.status in UNDECIDED:
            _decide_again(tx, moved, now)
        else:
            tx.save(replace(moved, version=run.version + 1))
    closed = change(tx, incident, Change.MERGED, now, into.id)
    said: dict[str, object] = {"taken": closed.id, "title": closed.title}
    if begun and into.insight is None:
        into = replace(into, insight=incident.insight, version=into.version + 1)
        tx.save(into)
        said["set"] = {"insight": into.insight}
    tx.append(journal.entry(now, into.id, "incident.merged", ACTOR, **said))
    if begun and into.status in (Status.OPEN, Status.MITIGATED):
        if into.status is Status.MITIGATED:
            into = change(tx, into, Change.RELAPSED, now)
        into = change(tx, into, Change.REPAIR_STARTED, now)
    return into


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
    _take_back_question(tx, run, now)
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
