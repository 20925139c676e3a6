# SPDX-License-Identifier: Apache-2.0

"""What the sense beat derived, on its way into the store: all of it in one commit.

Part of the sense beat. Findings, episodes, incidents and their journal entries, notices, the
wake-up of the next beat and the position in the log: a crash has all of them, or none. It
must never ask anybody anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from opx.core.analyse import changes
from opx.core.base.time import SECOND, Ms
from opx.core.correlate import stage as correlate
from opx.core.correlate.episode import Episode, Group, Ruling, Suppressed
from opx.core.detect.finding import Finding, FindingKind, FindingState
from opx.core.detect.predict.prediction import Prediction
from opx.core.incident import gate, history, lifecycle
from opx.core.incident.incident import OVER, Incident, Promotion, PromotionVerdict, Status
from opx.core.incident.lifecycle import Change
from opx.core.ingest.signals import Event, Rejected, StoredEvent
from opx.core.notify import edges
from opx.engine import journal
from opx.engine.beats import happened
from opx.engine.beats.parts import ACTOR, Parts
from opx.engine.beats.respond import change, merge, worsened
from opx.engine.beats.sense import foreseen
from opx.engine.beats.sense.memory import EVENT_RECEIVED, Memory
from opx.engine.ports import Where, WriteTx

AGAIN: Ms = SECOND
"""An open incident that keeps growing is responded to this often, however fast it grows."""
MOST_ASKED = 1_000
"""Incidents that one question to the store names."""


@dataclass(slots=True, kw_only=True)
class Derived:
    """What one step made of its input, on its way into one commit."""

    now: Ms
    findings: list[Finding] = field(default_factory=list)
    refreshed: list[Finding] = field(default_factory=list)
    held: list[tuple[Finding, str]] = field(default_factory=list)
    rulings: list[Ruling] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    predictions: list[Prediction] = field(default_factory=list)
    new_rules: bool = False


class Keeping:
    """Writes what was derived. Every method is within one transaction."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def keep(
        self,
        tx: WriteTx,
        memory: Memory,
        derived: Derived,
        correlated: correlate.Correlated,
        seq: int,
    ) -> None:
        now = derived.now
        episodes = {episode.id: episode for episode in correlated.episodes}
        held = [finding for finding, _ in derived.held]
        # What began and was told again in one commit is in both: the newer state stands last.
        tx.set(*held, *correlated.findings, *derived.refreshed, *episodes.values())
        _list(tx, derived, correlated)
        known = _incidents(tx, episodes.values())
        known |= self._reopened(tx, episodes, known, now)
        taken = {one.id: _goes_on(one, episodes) for one in episodes.values() if one.merged_into}
        taking = {into for episode, into in taken.items() if episode in known}
        opened = []
        for episode in episodes.values():
            if episode.merged_into is not None:
                continue
            fresh = correlated.members.get(episode.id, [])
            incident = known.get(episode.id)
            if incident is not None and incident.status not in OVER:
                self._extend(tx, memory, incident, episode, fresh, now)
                continue
            promotion = gate.promote(
                episode, incident, now, merged=episode.id in taking, fresh=_new_symptom(fresh)
            )
            opened += self._promoted(tx, episode, promotion, incident, fresh, now)
        self._open(tx, opened, episodes, now)
        memory.flow.ahead.happened(*happened.failures_in(opened, now))
        foreseen.keep(tx, self._parts, derived.predictions, now)
        for one, into in taken.items():
            if one in known:
                self._merge(tx, memory, known[one], into, now)
        tx.set(memory.position(seq))
        if derived.new_rules:  # a replay works by the rules that were in force
            tx.set(memory.detectors(seq))

    def _extend(
        self,
        tx: WriteTx,
        memory: Memory,
        incident: Incident,
        episode: Episode,
        fresh: list[Finding],
        now: Ms,
    ) -> None:
        """Extend or resolve the incident of an episode that changed."""
        attached = lifecycle.attach(incident, episode, now)
        if attached != incident:
            tx.save(attached)
        self._attached(tx, incident, attached, fresh, now)
        if attached.severity < incident.severity:
            worsened(tx, attached, self._parts, now)
        if attached.symptoms and not incident.symptoms:
            tx.append(journal.entry(now, attached.id, happened.FAILED, ACTOR, incident=attached))
            memory.flow.ahead.happened(*happened.failures_in([attached], now))
        if episode.ended_at is not None:
            memory.responses.pop(attached.id, None)
            resolved = change(tx, attached, Change.EPISODE_ENDED, now)
            self._parts.tell(tx, edges.resolved(resolved, now))
        elif attached.status is Status.MITIGATED and _new_symptom(fresh):
            relapsed = change(tx, attached, Change.RELAPSED, now)
            self._parts.respond_to(tx, [relapsed])
        elif attached.status is Status.OPEN and _new_symptom(fresh):
            self._respond_again(tx, memory, attached, now)

    def _respond_again(self, tx: WriteTx, memory: Memory, incident: Incident, now: Ms) -> None:
        """At once, or a while after the last time; not at all if that is still to come."""
        last = memory.responses.get(incident.id, 0)
        if last <= now:
            due = memory.responses[incident.id] = max(now, last + AGAIN)
            self._parts.respond_to(tx, [incident], due)

    def _reopened(
        self, tx: WriteTx, episodes: Mapping[str, Episode], known: Mapping[str, Incident], now: Ms
    ) -> dict[str, Incident]:
        """The incidents that people reopened after an episode, by the one that follows it: what
        comes next is theirs."""
        fresh = [one for one in episodes.values() if one.id not in known and not one.merged_into]
        after = {one.previous: one.id for one in fresh if one.previous not in (None, *episodes)}
        found: dict[str, Incident] = {}
        for before, incident in _of_episodes(tx, [one for one in after if one]).items():
            if incident.status not in OVER:
                taken = replace(incident, episode=after[before], version=incident.version + 1)
                tx.save(taken)
                self._attached(tx, incident, taken, [], now)
                found[taken.episode] = taken
        return found

    def _merge(self, tx: WriteTx, memory: Memory, incident: Incident, into: str, now: Ms) -> None:
        """An incident's episode has become part of the episode ``into``. Where people have
        ended that one's incident, this one goes on by itself."""
        if incident.status in OVER:
            return
        other = _of_episodes(tx, [into]).get(into)
        if other is None or other.status in OVER:
            moved = replace(incident, episode=into, version=incident.version + 1)
            tx.save(moved)
            self._attached(tx, incident, moved, [], now)
            return
        memory.responses.pop(incident.id, None)
        self._parts.tell(tx, edges.merged(incident, merge(tx, incident, other, now), now))

    def _promoted(
        self,
        tx: WriteTx,
        episode: Episode,
        promotion: Promotion,
        after: Incident | None,
        fresh: list[Finding],
        now: Ms,
    ) -> list[Incident]:
        """The incident that an episode without one becomes, journaled; or none, and why."""
        if promotion.verdict is PromotionVerdict.WAIT:
            _waits(tx, episode, promotion, fresh, now)
        if promotion.verdict is not PromotionVerdict.OPEN:
            return []
        worst = min(fresh, key=lambda finding: finding.severity, default=None)
        title = worst.summary if worst is not None else "evidence of trouble"
        previous = Incident.id_of(episode.previous) if episode.previous else None
        incident = lifecycle.opened(episode, promotion, title, previous, now, after)
        tx.append(
            journal.entry(
                now, incident.id, "incident.opened", ACTOR, promotion=promotion, incident=incident
            )
        )
        self._attached(tx, incident, incident, fresh, now)
        return [incident]

    def _open(
        self, tx: WriteTx, opened: list[Incident], episodes: dict[str, Episode], now: Ms
    ) -> None:
        """All the new ones at one go: a storm opens them by the thousand."""
        tx.save(*opened)
        for first in range(0, len(opened), MOST_ASKED):
            some = opened[first : first + MOST_ASKED]
            self._parts.tell(tx, *(edges.opened(incident, now) for incident in some))
        # a backlog may hold the beginning and the end of one
        over = [one for one in opened if episodes[one.episode].ended_at is not None]
        for incident in over:
            resolved = change(tx, incident, Change.EPISODE_ENDED, now)
            self._parts.tell(tx, edges.resolved(resolved, now))
        going_on = [one for one in opened if episodes[one.episode].ended_at is None]
        self._parts.respond_to(tx, going_on)

    def _attached(
        self, tx: WriteTx, before: Incident, after: Incident, fresh: list[Finding], now: Ms
    ) -> None:
        """One timeline line for the findings of one commit, however many there are, and for
        what else they changed of the incident."""
        changed = history.changes(before, after)
        if not fresh:
            if changed:
                tx.append(journal.entry(now, after.id, "incident.amended", ACTOR, set=changed))
            return
        firing = sum(finding.state is FindingState.FIRING for finding in fresh)
        counts = {"count": len(fresh), "firing": firing, "cleared": len(fresh) - firing}
        kind, first = "findings.attached", fresh[0]
        entry = journal.entry(now, after.id, kind, ACTOR, **counts, first=first, set=changed)
        tx.append(entry)


def _waits(
    tx: WriteTx, episode: Episode, promotion: Promotion, fresh: list[Finding], now: Ms
) -> None:
    """Say why nothing comes of an episode, once for each reason, however much comes to it."""
    subject = journal.waits_of(episode.group)
    last = journal.waits(tx, subject)
    said = last.body["promotion"] if last is not None else {}
    if (said.get("episode"), said.get("reason")) != (promotion.episode, promotion.reason):
        told = {"promotion": promotion, "finding": fresh[-1] if fresh else None}
        tx.append(journal.entry(now, subject, journal.WAITS, ACTOR, **told))


def _list(tx: WriteTx, derived: Derived, correlated: correlate.Correlated) -> None:
    """What was refused and what happened, what people ruled and is done, and in the journal what
    was changed, and what was told and changed nothing."""
    tx.add(*derived.rejected)
    tx.set(*(one for one in derived.rejected if one.replayed_at is not None))
    if derived.rulings:
        tx.drop(Ruling, Where("id", "in", [one.id for one in derived.rulings]))
    tx.add(*map(StoredEvent.of, derived.events))
    for event in (one for one in derived.events if one.type in changes.TYPES):
        subject = changes.subject_of(Group(event.identity.environment, event.identity.service))
        tx.append(journal.entry(event.received_at, subject, EVENT_RECEIVED, "front", event=event))
    idle = [(finding, reason, "") for finding, reason in correlated.suppressed]
    held = [(finding, Suppressed.SILENCED, silence) for finding, silence in derived.held]
    for finding, reason, silence in (*idle, *held):
        said = {"finding": finding.id, "rule": finding.rule, "reason": reason}
        said |= {"silence": silence} if silence else {}
        subject = finding.identity.service or "findings"
        tx.append(journal.entry(derived.now, subject, journal.SUPPRESSED, ACTOR, **said))


def _incidents(tx: WriteTx, episodes: Iterable[Episode]) -> dict[str, Incident]:
    """Those that the episodes have, by episode; one that was never kept has none."""
    return _of_episodes(tx, [episode.id for episode in episodes if episode.version > 1])


def _of_episodes(tx: WriteTx, ids: Sequence[str]) -> dict[str, Incident]:
    """The incident of each of these episodes; of several the newest that is not over."""
    found: dict[str, Incident] = {}
    for first in range(0, len(ids), MOST_ASKED):
        some = ids[first : first + MOST_ASKED]
        for incident in tx.find(Incident, Where("episode", "in", some), order="-opened_at"):
            if incident.episode not in found or found[incident.episode].status in OVER:
                found[incident.episode] = incident
    return found


def _goes_on(episode: Episode, episodes: Mapping[str, Episode]) -> str:
    """The episode that one has become part of in the end; it may itself have, just now."""
    into = episode.merged_into or episode.id
    while into in episodes and (further := episodes[into].merged_into) is not None:
        into = further
    return into


def _new_symptom(fresh: list[Finding]) -> bool:
    return any(
        finding.kind is FindingKind.SYMPTOM and finding.state is FindingState.FIRING
        for finding in fresh
    )
