# SPDX-License-Identifier: Apache-2.0

"""Why nothing came of what was seen of a service: for people who expected an incident."""

from __future__ import annotations

from opx.core.base import canonical
from opx.core.base.time import DAY, Ms, to_wire
from opx.core.correlate.episode import Group, Suppressed
from opx.core.correlate.silences import Silence
from opx.core.detect.finding import Finding
from opx.core.incident.gate import SENTENCES
from opx.core.incident.incident import PromotionReason
from opx.core.ingest.signals import StoredEvent
from opx.engine import journal
from opx.engine.beats.case import Knowledge
from opx.engine.ports import Entry, ReadTx, Where
from opx.engine.queries.doing import came_to
from opx.engine.queries.kept import held_back
from opx.engine.queries.one import Plain
from opx.engine.queries.pages import ACTIVE, Narrowed, decisions, incidents
from opx.errors import BadInput, NotFound

LOOKED_AT = 2_000
"""Of the newest events of all services: those of the one are among them, or are not told."""
MOST = 20
"""Of its events in one answer, the newest."""


def why_of(tx: ReadTx, knowledge: Knowledge, environment: str, service: str, now: Ms) -> Plain:
    """The answer about the newest incident of a service that is open or of the last day; where
    there is none, or it is over and a silence holds what fires, ``incident`` is None, and
    ``seen`` says what was seen and why nothing came of it, ``events`` what was received for it
    in the last day, newest first. ``NotFound`` for a service that nobody knows; ``BadInput``
    where several environments have it."""
    group = _group(tx, knowledge, environment, service)
    held, found = _held(tx, group), _newest(tx, group, now)
    about = {"environment": group.environment, "service": group.service}
    if found is not None and (found["status"] in ACTIVE or not held):
        answer = {"items": decisions(tx, found["id"]), "runs": came_to(tx, found["id"])}
        return {**about, "incident": found["id"], **answer, "seen": [], "events": []}
    waits, events = journal.waits(tx, journal.waits_of(group)), _events(tx, group, now)
    seen = held + ([_seen(waits)] if waits is not None else [])
    return {**about, "incident": None, "items": [], "runs": [], "seen": seen, "events": events}


def _group(tx: ReadTx, knowledge: Knowledge, environment: str, service: str) -> Group:
    """The one that is meant: one that opx was taught, or that something was seen of."""
    taught = {Group(*place) for place in knowledge.catalogue.services}
    known = {
        one for one in taught if one.service == service and environment in ("", one.environment)
    }
    if not known and environment:
        group = Group(environment, service)
        seen = journal.waits(tx, journal.waits_of(group)) is not None or _held(tx, group)
        known = {group} if seen or _of(tx, group) else set()
    if not known:
        raise NotFound(
            f"there is no incident or service {service!r}",
            hint="opx status names those it was taught; of others say ENV/SERVICE",
        )
    if len(known) > 1:
        where = ", ".join(sorted(one.environment for one in known))
        raise BadInput(f"{service!r} is in several environments: {where}", hint="ENV/SERVICE")
    return known.pop()


def _of(tx: ReadTx, group: Group) -> list[Plain]:
    narrowed = Narrowed(environment=group.environment, service=group.service)
    return incidents(tx, narrowed, 1).items


def _newest(tx: ReadTx, group: Group, now: Ms) -> Plain | None:
    for one in _of(tx, group):
        if one["status"] in ACTIVE or one["opened_at"] >= now - DAY:
            return one
    return None


def _held(tx: ReadTx, group: Group) -> list[Plain]:
    """What fires there and a silence holds, newest first."""
    held = held_back(tx)
    ids = list(held)
    found = [
        finding
        for first in range(0, len(ids), LOOKED_AT)
        for finding in tx.find(Finding, Where("id", "in", ids[first : first + LOOKED_AT]))
        if Group(finding.identity.environment, finding.identity.service) == group
    ]
    found.sort(key=lambda finding: -finding.at)
    told = [(finding, tx.get(Silence, held[finding.id])) for finding in found[:MOST]]
    return [_silenced(finding, silence) for finding, silence in told if silence is not None]


def _silenced(finding: Finding, silence: Silence) -> Plain:
    return {
        "at": finding.at,
        "reason": Suppressed.SILENCED.value,
        "score": 0.0,
        "sentences": [
            f"No incident: {silence.by} silenced it until {to_wire(silence.ends_at)}:"
            f" {silence.reason}.",
            f"Its end would change it: opx silence end {silence.id[:8]}.",
        ],
        "finding": _brief(canonical.plain(finding)),
    }


def _seen(waits: Entry) -> Plain:
    promotion = waits.body["promotion"]
    means, change = SENTENCES[PromotionReason(promotion["reason"])]
    return {
        "at": waits.at,
        "reason": promotion["reason"],
        "score": promotion["score"],
        "sentences": [
            f"No incident: {means}.",
            *([f"{change} would change it."] if change else []),
        ],
        "finding": _brief(waits.body["finding"] or {}),
    }


def _brief(finding: Plain) -> Plain:
    """What is told of a finding; of one that is not known, nothing."""
    return {name: finding.get(name) for name in ("id", "rule", "kind", "summary")}


def _events(tx: ReadTx, group: Group, now: Ms) -> list[Plain]:
    late = Where("event.received_at", "ge", now - DAY)
    newest = tx.find(StoredEvent, late, order="-event.received_at", limit=LOOKED_AT)
    of = [
        row.event
        for row in newest
        if Group(row.event.identity.environment, row.event.identity.service) == group
    ]
    return [canonical.plain(event) for event in of[:MOST]]
