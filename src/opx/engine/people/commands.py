# SPDX-License-Identifier: Apache-2.0

"""People's commands that touch derived state, carried out by ``brain``, each once.

``front`` writes a ``Command`` row; this carries it out and marks it done in the same
transaction, with the error when it was refused. It never believes a request body about
who is asking: the actor was written by ``front`` from the token.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from opx.core.act.run import ENDED, Run, RunStatus
from opx.core.base.time import Ms
from opx.core.correlate.episode import Episode, Ruling
from opx.core.decide.case import Approval, Breaker, TrackRecord
from opx.core.incident import history, lifecycle
from opx.core.incident.incident import OVER, Incident, Resolution, ResolutionKind
from opx.core.incident.lifecycle import Change
from opx.core.learn import records
from opx.core.notify import edges
from opx.engine import journal
from opx.engine.beats.parts import Parts
from opx.engine.beats.respond import change, merge
from opx.engine.ports import Command, Where, WriteTx
from opx.engine.queries import ACTIVE
from opx.errors import Conflict, IllegalChange, NotFound, OpxError, Refused, Stale

AT_ONCE = 100


Complain = Callable[[str, Exception], None]


async def execute_waiting(parts: Parts, complain: Complain = lambda *_: None) -> int:
    """Carry out the commands that have waited longest; return how many there were. ``complain``
    is told of what no command should raise."""
    waiting = await parts.store.read(
        lambda tx: tx.find(Command, Where("done_at", "null"), order="at", limit=AT_ONCE)
    )
    for command in waiting:
        await _execute(parts, command, complain)
    return len(waiting)


async def _execute(parts: Parts, command: Command, complain: Complain) -> None:
    def carry_out(tx: WriteTx) -> None:
        now = parts.clock.now()
        verb = _VERBS.get(command.kind)
        if verb is None:
            raise Refused(f"no command {command.kind!r}")
        verb(parts, tx, command, now)
        tx.save(_done(command, now, ""))

    try:
        await parts.store.write(carry_out)
    except Conflict:
        return  # somebody was faster: the next turn looks again
    except OpxError as error:
        await _refuse(parts, command, f"{error.code}: {error}")
    except Exception as error:  # noqa: BLE001 - or it would hold up all that came after it
        complain("commands", error)
        await _refuse(parts, command, f"{OpxError.code}: {error!r}")


async def _refuse(parts: Parts, command: Command, error: str) -> None:
    def refuse(tx: WriteTx) -> None:
        now = parts.clock.now()
        tx.save(_done(command, now, error))
        what = {"command": command.kind, "error": error[:200]}
        tx.append(journal.entry(now, command.subject, "command.refused", command.actor, **what))

    await parts.store.write(refuse)


def _done(command: Command, now: Ms, error: str) -> Command:
    return replace(command, done_at=now, error=error, version=command.version + 1)


def _incident(tx: WriteTx, command: Command) -> Incident:
    """What the command is about, as it was read by whoever asked."""
    incident = tx.get(Incident, command.subject)
    if incident is None:
        raise NotFound(f"there is no incident {command.subject}")
    if command.body.get("version", incident.version) != incident.version:
        raise Stale
    return incident


def _save(
    tx: WriteTx, command: Command, before: Incident, after: Incident, now: Ms, **said: object
) -> None:
    """Keep an incident that a person changed, and say in the journal who did and what of it."""
    tx.save(after)
    kind = f"incident.{_DONE[command.kind]}"
    changes = history.changes(before, after)
    tx.append(journal.entry(now, before.id, kind, command.actor, set=changes, **said))


def _acknowledge(parts: Parts, tx: WriteTx, command: Command, now: Ms) -> None:
    incident = _incident(tx, command)
    _save(tx, command, incident, lifecycle.acknowledge(incident, command.actor, now), now)


def _assign(parts: Parts, tx: WriteTx, command: Command, now: Ms) -> None:
    incident, to = _incident(tx, command), command.body["to"]
    _save(tx, command, incident, lifecycle.assign(incident, to, now), now, to=to)


def _resolve(parts: Parts, tx: WriteTx, command: Command, now: Ms) -> None:
    """Its episode is over too, for whom it may concern: what still fires is not told again, and
    what begins from now on is another trouble."""
    incident = _incident(tx, command)
    kind = ResolutionKind(command.body["resolution"])
    resolution = Resolution(kind=kind, by=command.actor, text=command.body["text"])
    resolved = lifecycle.resolve(incident, resolution, now)
    said = replace(incident, resolution=resolution, version=incident.version + 1)
    _save(tx, command, incident, said, now, resolution=resolution)
    change(tx, said, Change.RESOLVE, now)
    _rule(tx, incident, now)
    parts.tell(tx, edges.resolved(resolved, now))


def _merge(parts: Parts, tx: WriteTx, command: Command, now: Ms) -> None:
    incident, into = _incident(tx, command), tx.get(Incident, command.body["into"])
    if into is None:
        raise NotFound(f"there is no incident {command.body['into']}")
    if into.id == incident.id:
        raise Refused("an incident cannot be merged into itself")
    if into.status in OVER:
        raise IllegalChange(f"nothing can be merged into {into.id}: it is {into.status}")
    joined = replace(incident, merged_into=into.id, version=incident.version + 1)
    _save(tx, command, incident, joined, now, into=into.id)
    kept = merge(tx, joined, into, now)
    _rule(tx, incident, now, kept.episode)
    parts.tell(tx, edges.merged(incident, kept, now))


def _close(parts: Parts, tx: WriteTx, command: Command, now: Ms) -> None:
    incident = _incident(tx, command)
    _save(tx, command, incident, lifecycle.apply(incident, Change.CLOSE, now), now)


def _reopen(parts: Parts, tx: WriteTx, command: Command, now: Ms) -> None:
    """As a new one, which brain looks at as at any other; not where one goes on already."""
    old = _incident(tx, command)
    new = lifecycle.reopen(old, now)
    if tx.get(Incident, new.id) is not None:
        raise IllegalChange(f"it goes on as {new.id} already; possible: see to that one")
    theirs = Where("group.service", "eq", old.group.service)
    active = tx.find(Incident, theirs, Where("status", "in", ACTIVE))
    other = next((one for one in active if one.group == old.group), None)
    if other is not None:
        raise IllegalChange(f"it goes on as {other.id} already; possible: see to that one")
    tx.drop(Ruling, Where("id", "eq", old.episode))
    tx.save(new)
    reason = command.body.get("reason", "")
    tx.append(
        journal.entry(now, old.id, "incident.reopened", command.actor, into=new.id, reason=reason),
        journal.entry(now, new.id, "incident.opened", command.actor, incident=new, reason=reason),
    )
    parts.tell(tx, edges.opened(new, now))
    parts.respond_to(tx, [new])


def _rule(tx: WriteTx, incident: Incident, now: Ms, into: str = "") -> None:
    """Have the sense beat do with an incident's episode as the incident was done with."""
    episode = tx.get(Episode, incident.episode)
    if episode is not None and episode.ended_at is None:
        ruling = Ruling(id=episode.id, into=into, symptoms=episode.symptoms, at=now)
        tx.set(ruling)


def _answer(parts: Parts, tx: WriteTx, command: Command, now: Ms, approved: bool) -> None:
    approval, run = tx.get(Approval, command.subject), tx.get(Run, command.subject)
    if approval is None or run is None:
        raise NotFound(f"there is no approval {command.subject}")
    if approval.approved is not None:
        raise Refused(f"it was already answered by {approval.by}")
    if run.status in ENDED:
        raise Refused(f"its run has ended: {run.status}, {run.reason.replace('_', ' ')}")
    if run.status is not RunStatus.WAITING or approval.expires_at <= now:
        raise Refused("its time is over")
    if approved and not command.body.get("plan") == approval.plan == run.proposal.plan:
        raise Refused("what would be done is not what was approved: read it again")
    tx.save(
        replace(approval, approved=approved, by=command.actor, at=now, version=approval.version + 1)
    )
    woken = replace(run, due_at=now, version=run.version + 1)
    tx.save(woken)
    tx.append(
        journal.entry(
            now,
            run.incident,
            "approval.answered",
            command.actor,
            run=run.id,
            approved=approved,
            plan=approval.plan,
            reason=command.body.get("reason", ""),
        )
    )
    parts.go_on(tx, woken)


def _approve(parts: Parts, tx: WriteTx, command: Command, now: Ms) -> None:
    _answer(parts, tx, command, now, approved=True)


def _reject(parts: Parts, tx: WriteTx, command: Command, now: Ms) -> None:
    _answer(parts, tx, command, now, approved=False)


def _close_breaker(parts: Parts, tx: WriteTx, command: Command, now: Ms) -> None:
    breaker, record = tx.get(Breaker, command.subject), tx.get(TrackRecord, command.subject)
    if breaker is None or breaker.opened_at is None:
        raise NotFound(f"there is no open breaker {command.subject}")
    tx.save(records.closed(breaker, command.actor))
    if record is not None:
        tx.save(records.forgiven(record))
    tx.append(journal.entry(now, command.subject, "breaker.closed", command.actor))


_VERBS: dict[str, Callable[[Parts, WriteTx, Command, Ms], None]] = {
    "acknowledge": _acknowledge,
    "assign": _assign,
    "merge": _merge,
    "resolve": _resolve,
    "close": _close,
    "reopen": _reopen,
    "approve": _approve,
    "reject": _reject,
    "close_breaker": _close_breaker,
}

_DONE = {
    "acknowledge": "acknowledged",
    "assign": "assigned",
    "merge": "joined",
    "resolve": "resolved",
    "close": "closed",
}
"""What the journal calls it."""
