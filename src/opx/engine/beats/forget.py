# SPDX-License-Identifier: Apache-2.0

"""Forgetting: what has long been over goes, in small pieces, each with its journal entry.

A job of ``brain``, beside the beats. What may go is ``core.incident.keeping``'s to say. An
incident goes in one commit with everything that hangs on it, so nothing ever refers to what
is gone. The journal and its seals are the truth and stay: they still say that it was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from opx.core.act.run import OrderRecord, Run
from opx.core.analyse.insight import Insight
from opx.core.base.time import Ms
from opx.core.correlate import stage as correlate
from opx.core.correlate.episode import Episode, Group
from opx.core.correlate.silences import Silence
from opx.core.decide.case import Approval, Lease
from opx.core.decide.decision import Decision
from opx.core.detect.finding import Finding, FindingState
from opx.core.detect.predict.prediction import Prediction
from opx.core.incident import history, keeping
from opx.core.incident.incident import Incident
from opx.core.incident.keeping import Keep
from opx.core.ingest.signals import Rejected, StoredEvent
from opx.core.learn.outcome import Outcome
from opx.core.notify import edges
from opx.core.notify.notice import Delivery, Notice
from opx.engine import journal
from opx.engine.beats.parts import ACTOR, Parts
from opx.engine.ports import Command, ReadTx, Telemetry, Token, Where, WriteTx

SUBJECT = "retention"
AT_ONCE = 20
"""Episodes that one turn looks at: a commit each."""
SOME = 500
"""Other records of a kind that one turn forgets."""
_AGES: tuple[tuple[type, str], ...] = (
    (StoredEvent, "event.received_at"),
    (Rejected, "at"),
    (Command, "done_at"),
    (Token, "expires_at"),
    (Silence, "ends_at"),
)
"""What goes by its age alone, and the field that says since when it is of no use."""


@dataclass(frozen=True, slots=True)
class Place:
    """The last episode that was looked at: those before it are gone, or have to stay."""

    ended_at: Ms = 0
    id: str = ""


async def turn(parts: Parts, telemetry: Telemetry, keep: Keep, place: Place) -> Place | None:
    """Forget a bounded piece of what may go. Return the ``place`` of the next turn; None when
    that was all."""
    now, store = parts.clock.now(), parts.store
    before = now - keep.incidents
    episodes = await store.read(lambda tx: _page(tx, place, before))
    for episode in episodes:
        await store.write(lambda tx, one=episode: _episode(tx, one, before, now))  # type: ignore[misc]
    more = await store.write(lambda tx: _records(tx, now - keep.records, now))
    more |= await store.write(lambda tx: _predictions(tx, before, now))
    more |= await store.write(lambda tx: _findings(tx, before, now))
    days = await telemetry.forget(now - keep.telemetry)
    if days:
        told = journal.entry(now, SUBJECT, "telemetry.forgotten", ACTOR, days=days)
        await store.write(lambda tx: tx.append(told))
    if episodes:
        return Place(episodes[-1].ended_at or 0, episodes[-1].id)
    return place if more else None


def _page(tx: ReadTx, place: Place, before: Ms) -> list[Episode]:
    """The next episodes that ended by ``before``, by when they ended, then by id."""
    same = (Where("ended_at", "eq", place.ended_at), Where("id", "gt", place.id))
    page = tx.find(Episode, *same, order="id", limit=AT_ONCE)
    later = (Where("ended_at", "gt", place.ended_at), Where("ended_at", "le", before))
    return page + tx.find(Episode, *later, order="ended_at", limit=AT_ONCE - len(page))


def _episode(tx: WriteTx, episode: Episode, before: Ms, now: Ms) -> None:
    """Forget one episode and all that hangs on it, if it may go."""
    incidents = tx.find(Incident, Where("episode", "eq", episode.id))
    after, findings = _after(tx, episode), [_of(tx, episode, group) for group in episode.groups]
    is_firing = Where("state", "eq", FindingState.FIRING)
    firing = any(tx.find(Finding, *mine, is_firing, limit=1) for mine in findings)
    theirs: list[Incident | None] = [*incidents] or [None]
    if not all(keeping.may_go(episode, one, after, firing, before) for one in theirs):
        return
    if after is not None:
        _unname(tx, after, now)
    gone = {"findings": sum(tx.drop(Finding, *mine) for mine in findings)}
    gone["insights"] = tx.drop(Insight, Where("episode", "eq", episode.id))
    tx.drop(Episode, Where("id", "eq", episode.id))
    for incident in incidents:
        more = _incident(tx, incident)
        gone = {name: gone.get(name, 0) + more.get(name, 0) for name in (*gone, *more)}
    kind = "incident.forgotten" if incidents else "episode.forgotten"
    subjects = [incident.id for incident in incidents] or [episode.group.service]
    told = {"episode": episode, "gone": gone}
    tx.append(*(journal.entry(now, subject, kind, ACTOR, **told) for subject in subjects))


def _of(tx: ReadTx, episode: Episode, group: Group) -> tuple[Where, ...]:
    """What its findings of one group have in common, and no others."""
    environment, service = correlate.identity_of(group)
    where = (
        Where("identity.environment", "eq", environment),
        Where("identity.service", "eq", service),
        Where("at", "ge", episode.started_at),
        Where("at", "le", episode.last_at),
    )
    if service:
        return where
    mine = [one.id for one in tx.find(Finding, *where) if correlate.group_of(one) == group]
    return (Where("id", "in", mine),)


def _after(tx: ReadTx, episode: Episode) -> Episode | None:
    """The episode that names this one as the one before it."""
    latest = (episode.ended_at or episode.last_at) + 2 * correlate.REMEMBERED
    later = tx.find(
        Episode,
        Where("group.environment", "eq", episode.group.environment),
        Where("group.service", "eq", episode.group.service),
        Where("started_at", "ge", episode.started_at),
        Where("started_at", "le", latest),
    )
    return next((one for one in later if one.previous == episode.id), None)


def _unname(tx: WriteTx, after: Episode, now: Ms) -> None:
    tx.set(replace(after, previous=None, version=after.version + 1))
    for incident in tx.find(Incident, Where("episode", "eq", after.id)):
        unnamed = replace(incident, previous=None, version=incident.version + 1)
        tx.save(unnamed)
        changed = history.changes(incident, unnamed)
        tx.append(journal.entry(now, incident.id, "incident.unlinked", ACTOR, set=changed))


def _incident(tx: WriteTx, incident: Incident) -> dict[str, int]:
    """Forget an incident and what has its id, or that of one of its runs or notices."""
    its = Where("incident", "eq", incident.id)
    runs = [run.id for run in tx.find(Run, its)]
    notices = [notice.id for notice in tx.find(Notice, its)]
    subjects = Where("subject", "in", [incident.id, *runs])
    gone = {
        "orders": tx.drop(OrderRecord, Where("run", "in", runs)),
        "leases": tx.drop(Lease, Where("run", "in", runs)),
        "deliveries": tx.drop(Delivery, Where("notice", "in", notices)),
        "commands": tx.drop(Command, subjects, Where("done_at", "not_null")),
        "runs": tx.drop(Run, its),
        "approvals": tx.drop(Approval, its),
        "decisions": tx.drop(Decision, its),
        "outcomes": tx.drop(Outcome, its),
        "notices": tx.drop(Notice, its),
    }
    tx.drop(Incident, Where("id", "eq", incident.id))
    return gone


def _records(tx: WriteTx, before: Ms, now: Ms) -> bool:
    """Forget what goes by its age alone; whether there is more of it."""
    gone: dict[str, int] = {}
    for kind, since in _AGES:
        old: list[Any] = tx.find(kind, Where(since, "le", before), order=since, limit=SOME)
        if old:
            tx.drop(kind, Where("id", "in", [row.id for row in old]))
            gone[f"{kind.__name__}.{since}"] = len(old)
    if gone:
        tx.append(journal.entry(now, SUBJECT, "records.forgotten", ACTOR, before=before, gone=gone))
    return SOME in gone.values()


def _predictions(tx: WriteTx, before: Ms, now: Ms) -> bool:
    """Forget predictions whose time was over by then, with the notices of them; whether there are
    more."""
    old = tx.find(Prediction, Where("expires_at", "le", before), order="expires_at", limit=SOME)
    over = [one for one in old if one.withdrawn is not None]
    if not over:
        return False
    ids, notices = [one.id for one in over], [edges.predicted(one).id for one in over]
    gone = {
        "predictions": tx.drop(Prediction, Where("id", "in", ids)),
        "deliveries": tx.drop(Delivery, Where("notice", "in", notices)),
        "notices": tx.drop(Notice, Where("id", "in", notices)),
    }
    kind = "predictions.forgotten"
    tx.append(journal.entry(now, SUBJECT, kind, ACTOR, before=before, gone=gone))
    return len(old) == SOME


def _findings(tx: WriteTx, before: Ms, now: Ms) -> bool:
    """Forget findings that were over by then and hang on nothing, as what a silence held does;
    whether there are more."""
    over = Where("state", "eq", FindingState.CLEARED), Where("since", "le", before)
    found = tx.find(Finding, *over, order="since", limit=SOME)
    old = [one.id for one in found if one.at <= before and not _hangs(tx, one)]
    if not old:
        return False
    gone = {"findings": tx.drop(Finding, Where("id", "in", old))}
    kind = "findings.forgotten"
    tx.append(journal.entry(now, SUBJECT, kind, ACTOR, before=before, gone=gone))
    return len(found) == SOME


def _hangs(tx: ReadTx, finding: Finding) -> bool:
    """Whether an episode has it, and will take it along."""
    group = correlate.group_of(finding)
    its = tx.find(
        Episode,
        Where("group.environment", "eq", group.environment),
        Where("group.service", "eq", group.service),
        Where("started_at", "le", finding.at),
        order="-started_at",
        limit=1,
    )
    return bool(its) and finding.at <= its[0].last_at
