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
from opx.core.decide.case import Approval, Breaker, TrackRecord
from opx.core.incident import lifecycle
from opx.core.incident.incident import Incident
from opx.core.learn import records
from opx.engine import journal
from opx.engine.beats.parts import Parts
from opx.engine.ports import Command, Where, WriteTx
from opx.errors import Conflict, NotFound, OpxError, Refused, Stale

AT_ONCE = 100


async def execute_waiting(parts: Parts) -> int:
    """Carry out the commands that have waited longest; return how many there were."""
    waiting = await parts.store.read(
        lambda tx: tx.find(Command, Where("done_at", "null"), order="at", limit=AT_ONCE)
    )
    for command in waiting:
        await _execute(parts, command)
    return len(waiting)


async def _execute(parts: Parts, command: Command) -> None:
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


async def _refuse(parts: Parts, command: Command, error: str) -> None:
    def refuse(tx: WriteTx) -> None:
        now = parts.clock.now()
        tx.save(_done(command, now, error))
        what = {"command": command.kind, "error": error[:200]}
        tx.append(journal.entry(now, command.subject, "command.refused", command.actor, **what))

    await parts.store.write(refuse)


def _done(command: Command, now: Ms, error: str) -> Command:
    return replace(command, done_at=now, error=error, version=command.version + 1)


def _acknowledge(parts: Parts, tx: WriteTx, command: Command, now: Ms) -> None:
    incident = tx.get(Incident, command.subject)
    if incident is None:
        raise NotFound(f"there is no incident {command.subject}")
    if command.body.get("version", incident.version) != incident.version:
        raise Stale
    tx.save(lifecycle.acknowledge(incident, command.actor, now))
    tx.append(journal.entry(now, incident.id, "incident.acknowledged", command.actor))


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
    "approve": _approve,
    "reject": _reject,
    "close_breaker": _close_breaker,
}
