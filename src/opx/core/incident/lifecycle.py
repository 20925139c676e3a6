# SPDX-License-Identifier: Apache-2.0

"""The life of an incident: one table of what may follow what, and what else may change.

Stage 5. Everything here returns a new version of the incident, or the same object when
nothing changed. It must never leave CLOSED, and never make an incident milder.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from opx.core.base.time import Ms
from opx.core.correlate.episode import Episode
from opx.core.incident.incident import Incident, Priority, Promotion, Status
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
    CLOSE = "close"


TRANSITIONS: dict[tuple[Status, Change], Status] = {
    (Status.OPEN, Change.REPAIR_STARTED): Status.MITIGATING,
    (Status.OPEN, Change.EPISODE_ENDED): Status.RESOLVED,
    (Status.MITIGATING, Change.REPAIR_ENDED): Status.OPEN,
    (Status.MITIGATING, Change.RECOVERED): Status.MITIGATED,
    (Status.MITIGATING, Change.EPISODE_ENDED): Status.RESOLVED,
    (Status.MITIGATED, Change.RELAPSED): Status.OPEN,
    (Status.MITIGATED, Change.EPISODE_ENDED): Status.RESOLVED,
    (Status.RESOLVED, Change.CLOSE): Status.CLOSED,
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


def opened(
    episode: Episode, promotion: Promotion, title: str, previous: str | None, now: Ms
) -> Incident:
    """A new incident. ``previous``: the id of the incident before it in its group."""
    if promotion.episode != episode.id:
        raise ValueError("that promotion is of another episode")
    return Incident(
        id=Incident.id_of(episode.id),
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
        previous=previous,
    )


def apply(incident: Incident, change: Change, now: Ms) -> Incident:
    """The incident after a change of status. ``IllegalChange`` names what would be legal."""
    after = TRANSITIONS.get((incident.status, change))
    if after is None:
        possible = ", ".join(legal(incident.status)) or "nothing"
        raise IllegalChange(
            f"{change} is not possible while an incident is {incident.status}; possible: {possible}"
        )
    changed = replace(incident, status=after, updated_at=now, version=incident.version + 1)
    if after is Status.OPEN:
        return replace(changed, mitigated_at=None)
    if after is Status.MITIGATED:
        return replace(changed, mitigated_at=now)
    if after is Status.RESOLVED:
        return replace(changed, resolved_at=now)
    if after is Status.CLOSED:
        return replace(changed, closed_at=now)
    return changed


def attach(incident: Incident, episode: Episode, now: Ms) -> Incident:
    """Take over the episode's counts; severity only worsens. The status stays: a relapse
    is a ``Change``. The same object when nothing is new."""
    severity = min(incident.severity, episode.severity)
    changed = replace(
        incident,
        severity=severity,
        priority=priority(severity, incident.group.environment),
        symptoms=episode.symptoms,
        evidence=episode.evidence,
    )
    if changed == incident:
        return incident
    return replace(changed, updated_at=now, version=incident.version + 1)


def acknowledge(incident: Incident, by: str, now: Ms) -> Incident:
    """A person has taken it over; the last one counts. ``IllegalChange`` once it is closed."""
    if incident.status is Status.CLOSED:
        raise IllegalChange("a closed incident cannot be acknowledged; possible: nothing")
    return replace(incident, acknowledged_by=by, updated_at=now, version=incident.version + 1)
