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
    """Its episode has ended."""
    CLOSED = "closed"
    """A person has looked at it. Nothing leaves this."""


class Priority(StrEnum):
    P0 = "P0"
    P1 = "P1"
    P2 = "P2"
    P3 = "P3"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    episode: str
    verdict: PromotionVerdict
    reason: PromotionReason
    score: float
    at: Ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One problem people should know of. ``id`` is derived from its episode, so it opens once."""

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
    version: int = 1

    @staticmethod
    def id_of(episode: str) -> str:
        return ids.derived("incident", episode)
