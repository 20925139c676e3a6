# SPDX-License-Identifier: Apache-2.0

"""``Prediction``: one failure that is expected, with how likely, until when, and why.

Part of ``predict``: the noun and the table of urgency. It holds no opinion of how it is made.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from opx.core.base import ids
from opx.core.base.time import HOUR, MINUTE, Ms
from opx.core.ingest.signals import Identity


class Kind(StrEnum):
    """What is on its way to a limit. LEVEL: a stream that was given one and says no more."""

    LEAK = "leak"
    DISK = "disk"
    QUEUE = "queue"
    ERRORS = "errors"
    REFUSED = "refused"
    RETRIES = "retries"
    LEVEL = "level"


class Urgency(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Withdrawn(StrEnum):
    """Why a prediction is no longer open."""

    TURNED = "turned"
    """The level has given back half of its climb."""
    FLAT = "flat"
    """It climbs no more: this is what it is like now."""
    SILENT = "silent"
    """Nothing comes of it any more."""
    EXPIRED = "expired"
    """It should have happened by now."""
    FAILED = "failed"
    """It happened."""
    ACTED = "acted"
    """Somebody did something about it."""
    FORGOTTEN = "forgotten"
    """Its streams are not watched any more."""


LIKELIHOODS = (0.5, 0.8)
URGENCIES: tuple[tuple[Ms, tuple[Urgency, Urgency, Urgency]], ...] = (
    (15 * MINUTE, (Urgency.MEDIUM, Urgency.HIGH, Urgency.CRITICAL)),
    (HOUR, (Urgency.LOW, Urgency.MEDIUM, Urgency.HIGH)),
    (6 * HOUR, (Urgency.LOW, Urgency.LOW, Urgency.MEDIUM)),
)
"""By how soon; in each line by how likely: less than .5, less than .8, more. Later: LOW."""


def urgency(probability: float, horizon_ms: Ms) -> Urgency:
    """How soon somebody should look. ``probability``: 0 to 1."""
    column = sum(probability >= bound for bound in LIKELIHOODS)
    for within, line in URGENCIES:
        if horizon_ms <= within:
            return line[column]
    return Urgency.LOW


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """A failure of a service, or something that was done about it. ``identity``: without a
    resource."""

    identity: Identity
    at: Ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened(Happening):
    """One that says which: the service FAILED, or somebody ACTED."""

    what: Withdrawn


def nearer(one: Prediction, now: Ms) -> Prediction | None:
    """The same prediction where it has become more urgent by ``now``: less time is left."""
    left = max(0, one.made_at + one.horizon_ms - now)
    order, rank = list(Urgency), urgency(one.probability, left)
    return (
        replace(one, urgency=rank, at=now) if order.index(rank) > order.index(one.urgency) else None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """``probability``: 0 to 1, that the service fails in this way between ``made_at`` and
    ``expires_at``; ``cases``: how many past trends that rests on, beyond the prior.
    ``horizon_ms``: how much longer it takes from ``made_at`` at this pace. ``at``: when this
    state was seen; ``withdrawn``: None while it is open. ``held_back``: nobody is told of it until
    it is over (``learn.predictions.held_back``).
    """

    id: str
    identity: Identity
    kind: Kind
    probability: float
    cases: int
    horizon_ms: Ms
    urgency: Urgency
    made_at: Ms
    expires_at: Ms
    at: Ms
    withdrawn: Withdrawn | None = None
    evidence: dict[str, object] = field(default_factory=dict)
    held_back: bool = False

    @staticmethod
    def id_of(identity: Identity, kind: Kind, made_at: Ms) -> str:
        """Of the service, not of the resource on which it was seen first."""
        return ids.derived("prediction", identity.environment, identity.service, kind, made_at)
