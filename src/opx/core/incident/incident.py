# SPDX-License-Identifier: Apache-2.0

"""``Incident`` and ``Promotion``: the nouns of stage 5. The lifecycle is in ``lifecycle``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from opx.core.base import ids
from opx.core.base.time import Ms
from opx.core.correlate.episode import Group
from opx.core.ingest.signals import Severity


class Status(StrEnum):
    OPEN = "open"
    """Somebody or something must do something."""
    MITIGATING = "mitigating"
    """A run is at work on it."""
    MITIGATED = "mitigated"
    """Verified well again; waiting for quiet."""
    RESOLVED = "resolved"
    """Its episode has ended, or a person has said that it is over."""
    CLOSED = "closed"
    """A person has looked at it. Nothing leaves this."""


class Priority(StrEnum):
    P0 = "P0"
    P1 = "P1"
    P2 = "P2"
    P3 = "P3"


OVER = frozenset({Status.RESOLVED, Status.CLOSED})
"""Nothing becomes of these any more, but a new incident that names them."""


class ResolutionKind(StrEnum):
    """What a person says that became of it."""

    FIXED = "fixed"
    FALSE_POSITIVE = "false_positive"
    DUPLICATE = "duplicate"
    WONT_FIX = "wont_fix"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    kind: ResolutionKind
    by: str
    text: str = ""


class PromotionVerdict(StrEnum):
    OPEN = "open"
    ATTACH = "attach"
    WAIT = "wait"


class PromotionReason(StrEnum):
    SYMPTOM = "symptom"
    """One symptom is enough."""
    INCIDENT_EXISTS = "incident_exists"
    SCORE_TOO_LOW = "score_too_low"
    TOO_FEW_DETECTIONS = "too_few_detections"
    EVIDENCE_SCORE = "evidence_score"
    MERGED = "merged"
    """An episode that people know of has become part of it."""
    RESOLVED = "resolved"
    """People have ended its incident, and no other symptom has come since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    episode: str
    verdict: PromotionVerdict
    reason: PromotionReason
    score: float
    at: Ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One problem people should know of. ``id`` is derived from its episode, so it opens once.

    ``group``: where it comes from, as far as is known; ``services``: all who suffer from it,
    by name. ``merged_into``: the incident that goes on for it. ``previous``: the one before it
    in its group, or the one of which it is the reopening. ``assigned_to``: who is to see to it;
    ``resolution``: None where its episode just ended."""

    id: str
    episode: str
    group: Group
    status: Status
    severity: Severity
    priority: Priority
    title: str
    opened_at: Ms
    updated_at: Ms
    symptoms: int = 0
    evidence: int = 0
    insight: str | None = None
    runs: int = 0
    acknowledged_by: str | None = None
    mitigated_at: Ms | None = None
    resolved_at: Ms | None = None
    closed_at: Ms | None = None
    previous: str | None = None
    services: tuple[str, ...] = ()
    merged_into: str | None = None
    assigned_to: str | None = None
    resolution: Resolution | None = None
    version: int = 1

    @staticmethod
    def id_of(episode: str) -> str:
        return ids.derived("incident", episode)

    @staticmethod
    def id_after(incident: str) -> str:
        """Of the one that goes on where people had ended ``incident``."""
        return ids.derived("incident", "after", incident)
