# SPDX-License-Identifier: Apache-2.0

"""What people see: read models, each one function of one consistent view of the store.

Plain values, ready for the wire but for times, which stay ``Ms`` here. Nothing in this
module changes anything, and nothing that comes out of it holds a secret.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from opx.core.act.run import OrderRecord, Run
from opx.core.analyse.insight import Insight
from opx.core.base import canonical
from opx.core.base.time import Ms
from opx.core.decide import scopes, why
from opx.core.decide.case import Approval, Automation, Breaker, Grant, Mode, TrackRecord
from opx.core.decide.decision import Decision
from opx.core.incident.incident import Incident, Status
from opx.core.ingest.signals import Rejected
from opx.core.learn.outcome import Outcome
from opx.core.notify.notice import Delivery, DeliveryStatus, Notice
from opx.engine import audit
from opx.engine.beats.case import Knowledge
from opx.engine.ports import Entry, ReadTx, Seal, StoredDocument, Where
from opx.errors import BadInput, NotFound

R = TypeVar("R")

Plain = dict[str, Any]

ACTIVE = (Status.OPEN, Status.MITIGATING, Status.MITIGATED)
SHORTEST_PREFIX = 4
TIMELINE = 1_000
"""Entries of an incident's timeline in one answer."""
LATEST: Ms = 1 << 62
CHUNK = 1_000

# ---------------------------------------------------------------- one thing


def find_one(tx: ReadTx, kind: type[R], id: str) -> R:
    """The row with this id, or the only one whose id begins so. ``NotFound`` when there is
    none, ``BadInput`` when there are several."""
    exact = tx.get(kind, id)
    if exact is not None:
        return exact
    name = kind.__name__.lower()
    if len(id) < SHORTEST_PREFIX:
        raise NotFound(f"there is no {name} {id!r}", hint="at least 4 characters of its id")
    begins = [Where("id", "ge", id), Where("id", "lt", id + "\x7f")]
    found = tx.find(kind, *begins, order="id", limit=2)
    if not found:
        raise NotFound(f"there is no {name} {id!r}")
    if len(found) > 1:
        raise BadInput(f"several ids begin with {id!r}", hint="give more of it")
    return found[0]


def find_incident(tx: ReadTx, id: str) -> Incident:
    return find_one(tx, Incident, id)


# ---------------------------------------------------------------- incidents


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """``next``: the cursor of what follows, None at the end."""

    items: list[Plain]
    next: str | None


def incidents(
    tx: ReadTx, statuses: Sequence[Status], service: str, limit: int, cursor: str
) -> Page:
    """Incidents, newest first. Empty ``statuses`` or ``service``: any.

    Pages by (opened_at, id), so what opens in between neither repeats nor hides a row.
    """
    where = [Where("status", "in", tuple(statuses))] if statuses else []
    if service:
        where.append(Where("group.service", "eq", service))
    found: list[Incident] = []
    if cursor:
        at, id = _opened(cursor)
        found += [row for row in _opened_at(tx, where, at) if row.id > id]
        where = [*where, Where("opened_at", "lt", at)]
    rows = tx.find(Incident, *where, order="-opened_at", limit=limit + 1)
    if len(rows) > limit:  # the last instant may have been cut in the middle: read it whole
        edge = rows[-1].opened_at
        rows = [row for row in rows if row.opened_at != edge] + _opened_at(tx, where, edge)
    found += sorted(rows, key=lambda row: (-row.opened_at, row.id))
    more = len(found) > limit
    return Page(
        items=[canonical.plain(row) for row in found[:limit]],
        next=_cursor(found[limit - 1]) if more else None,
    )


def _opened_at(tx: ReadTx, where: Sequence[Where], at: Ms) -> list[Incident]:
    rows = tx.find(Incident, *where, Where("opened_at", "eq", at))
    return sorted(rows, key=lambda row: row.id)


def _cursor(row: Incident) -> str:
    return base64.urlsafe_b64encode(json.dumps([row.opened_at, row.id]).encode()).decode()


def _opened(cursor: str) -> tuple[Ms, str]:
    try:
        at, id = json.loads(base64.urlsafe_b64decode(cursor.encode()))
    except (binascii.Error, ValueError, TypeError, RecursionError) as error:
        raise BadInput("this cursor was not given out by opx") from error
    if type(at) is not int or abs(at) >= 1 << 62 or not isinstance(id, str) or not id.isascii():
        raise BadInput("this cursor was not given out by opx")
    return at, id


def incident(tx: ReadTx, id: str, before: int = 0) -> Plain:
    """One incident with all that belongs to it. ``timeline``: the newest entries of the journal
    about it, or of those before the seq ``before``, in order; ``older``: the ``before`` of the
    entries that precede them, None when they are all."""
    found = find_incident(tx, id)
    insight = tx.get(Insight, found.insight) if found.insight else None
    timeline = entries_before(tx, before, TIMELINE + 1, found.id)
    more = len(timeline) > TIMELINE
    timeline = timeline[:TIMELINE]
    outcomes = tx.find(Outcome, Where("incident", "eq", found.id))
    return {
        **canonical.plain(found),
        "insight": canonical.plain(insight),
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


# ---------------------------------------------------------------- the whole


def automation(tx: ReadTx) -> Plain:
    """The mode of everything, and of each scope that was ever set. Unknown is halted."""
    modes = tx.find(Mode, order="id")
    whole = next((mode.automation for mode in modes if mode.id == scopes.ALL), Automation.HALTED)
    named = [{"scope": mode.id, **canonical.plain(mode)} for mode in modes]
    for mode in named:
        del mode["id"], mode["version"]
    return {"automation": whole.value, "scopes": named}


def status(tx: ReadTx, knowledge: Knowledge, now: Ms) -> Plain:
    """opx at a glance; who serves it adds what is not in the store."""
    active = _active(tx)
    return {
        **automation(tx),
        "open_incidents": len(active),
        "pending_approvals": len(approvals(tx, now)),
        "breakers_open": sum(1 for breaker in breakers(tx) if breaker["open"]),
        "problems": problems(knowledge),
        "services": _services(active, knowledge),
    }


def services(tx: ReadTx, knowledge: Knowledge) -> list[Plain]:
    """Every service as it was taught, with the incidents that are open on it."""
    return _services(_active(tx), knowledge)


def _services(active: Sequence[Incident], knowledge: Knowledge) -> list[Plain]:
    theirs: dict[tuple[str, str], list[str]] = {}
    for row in active:
        theirs.setdefault((row.group.environment, row.group.service), []).append(row.id)
    return [
        {**canonical.plain(service), "incidents": theirs.get(place, [])}
        for place, service in sorted(knowledge.catalogue.services.items())
    ]


def _active(tx: ReadTx) -> list[Incident]:
    return tx.find(Incident, Where("status", "in", ACTIVE))


def stored_documents(tx: ReadTx) -> list[StoredDocument]:
    return tx.find(StoredDocument, order="id")


def documents(tx: ReadTx) -> list[Plain]:
    return [canonical.plain(document) for document in stored_documents(tx)]


def problems(knowledge: Knowledge) -> list[Plain]:
    """The documents that are kept, cannot be read and are skipped, and what that means."""
    return [canonical.plain(problem) for problem in knowledge.problems]


def grants(tx: ReadTx, knowledge: Knowledge) -> list[Plain]:
    """Every grant with the track record it stands on, and what has changed since (``runbook``,
    ``target``) and makes opx ask instead."""
    return [
        {
            **grant_view(grant),
            "outdated": _outdated(grant, knowledge),
            "record": _record(grant, tx.get(TrackRecord, grant.id)),
        }
        for grant in tx.find(Grant, order="id")
    ]


def grant_view(grant: Grant) -> Plain:
    return {**canonical.plain(grant), **_place(grant.id), "autonomy": grant.autonomy.name.lower()}


def _outdated(grant: Grant, knowledge: Knowledge) -> list[str]:
    name, environment, service = grant.id.split("|")
    runbook, declared = knowledge.runbook(name), knowledge.service(environment, service)
    used = runbook.takes(declared.parameters) if runbook and declared else {}
    return list(
        grant.outdated(runbook.hash if runbook else "", declared.target if declared else "", used)
    )


def _record(grant: Grant, record: TrackRecord | None) -> Plain:
    known = record.p_fix(grant.runbook_hash) if record else None
    return {"p_fix": known.value if known else None, "n": known.n if known else 0}


def _place(id: str) -> Plain:
    runbook, environment, service = id.split("|")
    return {"runbook": runbook, "environment": environment, "service": service}


def breakers(tx: ReadTx) -> list[Plain]:
    return [
        {
            **canonical.plain(breaker),
            **_place(breaker.id),
            "open": breaker.opened_at is not None,
        }
        for breaker in tx.find(Breaker, order="id")
    ]


# ---------------------------------------------------------------- what was kept


def quarantine(tx: ReadTx, limit: int, before: str = "") -> list[Plain]:
    """What was not taken in, newest first, with the reason: the items before the one with the
    id ``before`` ("": the newest). Their ids are in the order of their times."""
    where = [Where("id", "lt", before)] if before else []
    return [canonical.plain(row) for row in tx.find(Rejected, *where, order="-id", limit=limit)]


def notices(tx: ReadTx, limit: int) -> list[Plain]:
    """What people were told, newest first, and which deliveries of it have not succeeded."""
    failing = (DeliveryStatus.PENDING, DeliveryStatus.GAVE_UP)
    found = tx.find(Notice, order="-at", limit=limit)
    late: dict[str, list[Plain]] = {notice.id: [] for notice in found}
    theirs = Where("notice", "in", tuple(late))
    for row in tx.find(Delivery, theirs, Where("status", "in", failing)):
        late[row.notice].append(canonical.plain(row))
    return [{**canonical.plain(notice), "undelivered": late[notice.id]} for notice in found]


def newest(tx: ReadTx) -> int:
    """The seq of the journal's last entry, 0 when there is none."""
    last = tx.find(Entry, order="-seq", limit=1)
    return last[0].seq if last else 0


def entries(tx: ReadTx, after: int, limit: int, subject: str = "") -> list[Plain]:
    """The journal after ``after``, oldest first."""
    about = [Where("subject", "eq", subject)] if subject else []
    rows = tx.find(Entry, Where("seq", "gt", after), *about, order="seq", limit=limit)
    return [canonical.plain(row) for row in rows]


def entries_before(tx: ReadTx, before: int, limit: int, subject: str = "") -> list[Plain]:
    """The journal before the seq ``before`` (0: all of it), newest first."""
    where = [Where("subject", "eq", subject)] if subject else []
    where += [Where("seq", "lt", before)] if before else []
    return [canonical.plain(row) for row in tx.find(Entry, *where, order="-seq", limit=limit)]


def verified(tx: ReadTx, anchors: Sequence[audit.Anchor]) -> audit.Report:
    """The whole chain checked, in pieces of a thousand rows."""
    return audit.verify(_all(tx, Seal, "last"), _all(tx, Entry, "seq"), anchors)


def _all(tx: ReadTx, kind: type[R], key: str) -> Iterator[R]:
    """Every row by ``key``, an increasing number, without holding them all at once."""
    after = 0
    while rows := tx.find(kind, Where(key, "gt", after), order=key, limit=CHUNK):
        yield from rows
        after = int(getattr(rows[-1], key))
