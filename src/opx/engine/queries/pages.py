# SPDX-License-Identifier: Apache-2.0

"""Incidents as people see them: pages, one whole, its runs, why, and what waits for an answer.

A page is read off one index for each combination of status and severity that it is narrowed
to; nothing is ever sorted that is not shown, however many there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from opx.core.act.run import OrderRecord, Run
from opx.core.analyse.insight import Insight
from opx.core.base import canonical
from opx.core.base.time import Ms
from opx.core.decide import why
from opx.core.decide.case import Approval
from opx.core.decide.decision import Decision
from opx.core.incident.incident import Incident, Status
from opx.core.ingest.signals import Severity
from opx.core.learn.outcome import Outcome
from opx.engine.ports import ReadTx, Where
from opx.engine.queries import doing, paging
from opx.engine.queries.kept import entries_before
from opx.engine.queries.one import Plain, find_incident
from opx.engine.queries.paging import Page

ACTIVE = (Status.OPEN, Status.MITIGATING, Status.MITIGATED)
TIMELINE = 1_000
"""Entries of an incident's timeline in one answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Narrowed:
    """Which incidents: of these statuses, severities, this environment and service. Empty: any."""

    statuses: Sequence[Status] = ()
    severities: Sequence[Severity] = ()
    environment: str = ""
    service: str = ""

    def ranges(self) -> list[list[Where]]:
        """What to ask an index for, so that the answers together are those of any environment."""
        if not (self.statuses or self.severities or self.service):
            return [[]]
        theirs = [Where("group.service", "eq", self.service)] if self.service else []
        return [
            [*theirs, Where("status", "eq", status), Where("severity", "eq", severity)]
            for status in dict.fromkeys(self.statuses or Status)
            for severity in dict.fromkeys(self.severities or Severity)
        ]


def incidents(tx: ReadTx, narrowed: Narrowed, limit: int, cursor: str = "") -> Page:
    """Incidents, newest first."""
    before = paging.read(cursor)[1] if cursor else paging.BEYOND
    found = _narrowed(tx, narrowed, before, limit + 1)
    last = found[:limit][-1:]
    return Page(
        items=[canonical.plain(row) for row in found[:limit]],
        next=paging.cursor(last[0].opened_at, last[0].id) if len(found) > limit else None,
    )


def _narrowed(tx: ReadTx, narrowed: Narrowed, before: paging.Place, limit: int) -> list[Incident]:
    """The newest that come before that. The environment is in no index: a service's name is
    seldom in several."""
    found: list[Incident] = []
    more = True
    while more and len(found) < limit:
        rows = paging.newest(tx, Incident, narrowed.ranges(), "opened_at", before, limit)
        found += [row for row in rows if narrowed.environment in ("", row.group.environment)]
        more = len(rows) == limit
        before = (rows[-1].opened_at, rows[-1].id) if rows else before
    return found[:limit]


def incident(tx: ReadTx, id: str, before: int = 0) -> Plain:
    """One incident with all that belongs to it. ``timeline``: the newest entries of the journal
    about it, or of those before the seq ``before``, in order; ``older``: the ``before`` of the
    entries that precede them, None when they are all. ``doing``: what opx does about it, or why
    it does nothing; empty when it is over."""
    found = find_incident(tx, id)
    insight = tx.get(Insight, found.insight) if found.insight else None
    timeline = entries_before(tx, before, TIMELINE + 1, found.id)
    more = len(timeline) > TIMELINE
    timeline = timeline[:TIMELINE]
    outcomes = tx.find(Outcome, Where("incident", "eq", found.id))
    return {
        **canonical.plain(found),
        "insight": canonical.plain(insight),
        "doing": doing.about(tx, canonical.plain(found)) if found.status in ACTIVE else "",
        "runs": runs(tx, found.id),
        "approvals": [a for run in _runs(tx, found.id) for a in _approval_of(tx, run)],
        "outcomes": canonical.plain(sorted(outcomes, key=lambda outcome: outcome.at)),
        "timeline": timeline[::-1],
        "older": timeline[-1]["seq"] if more else None,
    }


def runs(tx: ReadTx, incident: str) -> list[Plain]:
    """An incident's runs in order, each with the orders it gave."""
    found = find_incident(tx, incident)
    return [
        {
            **canonical.plain(run),
            "orders": [
                {
                    name: value
                    for name, value in canonical.plain(order).items()
                    if name != "signature"
                }
                for order in tx.find(OrderRecord, Where("run", "eq", run.id))
            ],
        }
        for run in _runs(tx, found.id)
    ]


def _runs(tx: ReadTx, incident: str) -> list[Run]:
    return sorted(tx.find(Run, Where("incident", "eq", incident)), key=lambda run: run.number)


def decisions(tx: ReadTx, incident: str) -> list[Plain]:
    """Every decision about an incident, oldest first: each guard's answer, and in words."""
    found = find_incident(tx, incident)
    rows = tx.find(Decision, Where("incident", "eq", found.id))
    return [
        {
            "id": row.id,
            "run": row.run,
            "at": row.at,
            "plan": row.plan,
            "answer": row.answer.name.lower(),
            "reasons": [reason.value for reason in row.reasons],
            "results": [
                {**canonical.plain(result), "answer": result.answer.name.lower()}
                for result in row.results
            ],
            "considered": canonical.plain(row.considered),
            "sentences": why.explain(row),
        }
        for row in sorted(rows, key=lambda row: (row.at, row.id))
    ]


def approvals(tx: ReadTx, now: Ms) -> list[Plain]:
    """What waits for an answer, the most urgent first."""
    waiting = tx.find(Approval, Where("approved", "null"))
    pending = sorted((a for a in waiting if a.expires_at > now), key=lambda a: a.expires_at)
    return [_approval(approval, tx.get(Run, approval.id)) for approval in pending]


def _approval_of(tx: ReadTx, run: Run) -> list[Plain]:
    approval = tx.get(Approval, run.id)
    return [_approval(approval, run)] if approval else []


def _approval(approval: Approval, run: Run | None) -> Plain:
    return {**canonical.plain(approval), "proposal": canonical.plain(run.proposal) if run else None}
