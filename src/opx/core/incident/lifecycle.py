# SPDX-License-Identifier: Apache-2.0

"""The life of an incident: one table of what may follow what, and what else may change.

Stage 5. Everything here returns a new version of the incident, or the same object when
nothing changed. It must never leave RESOLVED but for CLOSED, nor CLOSED at all, and never make
an incident milder: one that is not over after all goes on as a new one.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import Any

from opx.core.base.time import Ms
from opx.core.correlate.episode import Episode
from opx.core.incident.incident import (
    OVER,
    Incident,
    Priority,
    Promotion,
    Resolution,
    Status,
)
from opx.core.ingest.signals import Severity
from opx.errors import IllegalChange


class Change(StrEnum):
    """What may happen to an incident's status."""

    REPAIR_STARTED = "repair_started"
    REPAIR_ENDED = "repair_ended"
    """The run is over and has not recovered it."""
    RECOVERED = "recovered"
    """The run was verified."""
    RELAPSED = "relapsed"
    """A new symptom after that."""
    EPISODE_ENDED = "episode_ended"
    MERGED = "merged"
    """It turned out to be part of another incident, which goes on for it."""
    RESOLVE = "resolve"
    """A person says that it is over, whatever still fires."""
    CLOSE = "close"


TRANSITIONS: dict[tuple[Status, Change], Status] = {
    (Status.OPEN, Change.REPAIR_STARTED): Status.MITIGATING,
    (Status.OPEN, Change.EPISODE_ENDED): Status.RESOLVED,
    (Status.OPEN, Change.MERGED): Status.CLOSED,
    (Status.MITIGATING, Change.MERGED): Status.CLOSED,
    (Status.MITIGATED, Change.MERGED): Status.CLOSED,
    (Status.MITIGATING, Change.REPAIR_ENDED): Status.OPEN,
    (Status.MITIGATING, Change.RECOVERED): Status.MITIGATED,
    (Status.MITIGATING, Change.EPISODE_ENDED): Status.RESOLVED,
    (Status.MITIGATED, Change.RELAPSED): Status.OPEN,
    (Status.MITIGATED, Change.EPISODE_ENDED): Status.RESOLVED,
    (Status.OPEN, Change.RESOLVE): Status.RESOLVED,
    (Status.MITIGATING, Change.RESOLVE): Status.RESOLVED,
    (Status.MITIGATED, Change.RESOLVE): Status.RESOLVED,
    (Status.RESOLVED, Change.CLOSE): Status.CLOSED,
}

_SINCE = {
    Status.OPEN: "mitigated_at",
    Status.MITIGATED: "mitigated_at",
    Status.RESOLVED: "resolved_at",
    Status.CLOSED: "closed_at",
}

MILD_ENVIRONMENTS = frozenset({"ci", "dev", "development", "qa", "sandbox", "staging", "test"})
"""What is named otherwise counts as production: nobody is told too late for a name."""

PRIORITIES: dict[Severity, tuple[Priority, Priority]] = {
    Severity.SEV1: (Priority.P0, Priority.P1),
    Severity.SEV2: (Priority.P1, Priority.P2),
    Severity.SEV3: (Priority.P2, Priority.P3),
    Severity.SEV4: (Priority.P3, Priority.P3),
    Severity.SEV5: (Priority.P3, Priority.P3),
}
"""In production, and in a mild environment."""

TITLE_LENGTH = 200


def priority(severity: Severity, environment: str) -> Priority:
    production, mild = PRIORITIES[severity]
    return mild if environment in MILD_ENVIRONMENTS else production


def legal(status: Status) -> tuple[Change, ...]:
    """The changes that are possible from a status."""
    return tuple(change for origin, change in TRANSITIONS if origin is status)


def possible(incident: Incident) -> tuple[str, ...]:
    """What a person may ask for while it is as it is, by the verbs."""
    changes = legal(incident.status)
    verbs = {
        "acknowledge": incident.status is not Status.CLOSED,
        "assign": incident.status is not Status.CLOSED,
        "comment": True,
        "merge": Change.MERGED in changes,
        "resolve": Change.RESOLVE in changes,
        "close": Change.CLOSE in changes,
        "reopen": incident.status in OVER and incident.merged_into is None,
    }
    return tuple(verb for verb, may in verbs.items() if may)


def opened(
    episode: Episode,
    promotion: Promotion,
    title: str,
    previous: str | None,
    now: Ms,
    after: Incident | None = None,
) -> Incident:
    """A new incident. ``previous``: the id of the incident before it in its group. ``after``: the
    one that this very episode had, which people have ended."""
    if promotion.episode != episode.id:
        raise ValueError("that promotion is of another episode")
    return Incident(
        id=Incident.id_of(episode.id) if after is None else Incident.id_after(after.id),
        episode=episode.id,
        group=episode.group,
        status=Status.OPEN,
        severity=episode.severity,
        priority=priority(episode.severity, episode.group.environment),
        title=title[:TITLE_LENGTH],
        opened_at=now,
        updated_at=now,
        symptoms=episode.symptoms,
        evidence=episode.evidence,
        previous=previous if after is None else after.id,
        services=_services(episode),
    )


def apply(incident: Incident, change: Change, now: Ms) -> Incident:
    """The incident after a change of status. ``IllegalChange`` names what people may do."""
    after = TRANSITIONS.get((incident.status, change))
    if after is None:
        raise _illegal(incident, "merge" if change is Change.MERGED else change)
    return replace(
        incident,
        status=after,
        updated_at=now,
        version=incident.version + 1,
        **times(after, now),
    )


def times(status: Status, now: Ms) -> dict[str, Any]:
    """The fields that say since when, as they are once it has come to a status."""
    name = _SINCE.get(status)
    return {name: None if status is Status.OPEN else now} if name else {}


def attach(incident: Incident, episode: Episode, now: Ms) -> Incident:
    """Take over the episode's counts and place; severity only worsens. The status stays: a relapse
    is a ``Change``. The same object when nothing is new."""
    severity = min(incident.severity, episode.severity)
    changed = replace(
        incident,
        group=episode.group,
        services=_services(episode),
        severity=severity,
        priority=priority(severity, incident.group.environment),
        symptoms=episode.symptoms,
        evidence=episode.evidence,
    )
    if changed == incident:
        return incident
    return replace(changed, updated_at=now, version=incident.version + 1)


def _services(episode: Episode) -> tuple[str, ...]:
    return tuple(group.service for group in episode.groups)


def acknowledge(incident: Incident, by: str, now: Ms) -> Incident:
    """A person has taken it over; the last one counts. ``IllegalChange`` once it is closed."""
    if incident.status is Status.CLOSED:
        raise _illegal(incident, "acknowledge")
    return replace(incident, acknowledged_by=by, updated_at=now, version=incident.version + 1)


def assign(incident: Incident, to: str, now: Ms) -> Incident:
    """Somebody is to see to it; the last one counts. ``IllegalChange`` once it is closed."""
    if incident.status is Status.CLOSED:
        raise _illegal(incident, "assign")
    return replace(incident, assigned_to=to, updated_at=now, version=incident.version + 1)


def resolve(incident: Incident, resolution: Resolution, now: Ms) -> Incident:
    """A person says that it is over, and as what."""
    return replace(apply(incident, Change.RESOLVE, now), resolution=resolution)


def reopen(incident: Incident, now: Ms) -> Incident:
    """The incident that goes on for one that is over and is not well after all. The old one
    stays what it is. ``IllegalChange`` unless it is over, or if it went on as another."""
    if incident.status not in OVER:
        raise _illegal(incident, "reopen")
    if incident.merged_into is not None:
        raise IllegalChange(
            f"reopen is not possible: it was merged into {incident.merged_into}, which goes on for"
            " it; possible: see to that one"
        )
    return replace(
        incident,
        id=Incident.id_after(incident.id),
        status=Status.OPEN,
        opened_at=now,
        updated_at=now,
        insight=None,
        runs=0,
        acknowledged_by=None,
        mitigated_at=None,
        resolved_at=None,
        closed_at=None,
        previous=incident.id,
        assigned_to=None,
        resolution=None,
        version=1,
    )


def _illegal(incident: Incident, what: str) -> IllegalChange:
    return IllegalChange(
        f"{what} is not possible while an incident is {incident.status}; "
        f"possible: {', '.join(possible(incident))}"
    )
