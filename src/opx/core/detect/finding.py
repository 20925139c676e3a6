# SPDX-License-Identifier: Apache-2.0

"""``Finding``: one thing wrong on one stream, firing or cleared. The noun of stage 2."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from opx.core.base import ids
from opx.core.base.time import Ms
from opx.core.ingest.signals import Identity, Severity


class FindingKind(StrEnum):
    SYMPTOM = "symptom"
    """Users may feel it: opens an incident by itself."""
    EVIDENCE = "evidence"
    """Odd: opens one only by its score."""


class FindingState(StrEnum):
    FIRING = "firing"
    CLEARED = "cleared"


class ClearReason(StrEnum):
    RESOLVED = "resolved"
    """The sender or the probe said that it is over."""
    EXPIRED = "expired"
    """Nobody said it again in time."""
    WITHDRAWN = "withdrawn"
    """Nobody looks any more: its rule, its service or its probe is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """``id`` = (rule, stream, when it was seen to fire): told twice, it has one id; over and
    begun again, it has another, even where the sender gives both the same beginning.

    ``since``: when it began, by whoever tells. ``at``: when this state was seen.
    ``timeout``: whether nobody named ``expires_at``, so that a later word may shorten it.
    ``evidence``: what was expected, what came, in the detector's own words and numbers.
    """

    id: str
    rule: str
    stream: str
    identity: Identity
    kind: FindingKind
    state: FindingState
    severity: Severity
    since: Ms
    at: Ms
    expires_at: Ms | None = None
    timeout: bool = False
    cleared: ClearReason | None = None
    summary: str = ""
    evidence: dict[str, object] = field(default_factory=dict)

    @staticmethod
    def id_of(rule: str, stream: str, fired_at: Ms) -> str:
        return ids.timed(fired_at, "finding", rule, stream, fired_at)

    def clear(self, reason: ClearReason, at: Ms, evidence: dict[str, object]) -> Finding:
        """The same finding, over. Never earlier than it fired."""
        # on the hot path, where dataclasses.replace is too slow
        return Finding(
            id=self.id,
            rule=self.rule,
            stream=self.stream,
            identity=self.identity,
            kind=self.kind,
            state=FindingState.CLEARED,
            severity=self.severity,
            since=self.since,
            at=max(at, self.at),
            cleared=reason,
            summary=self.summary,
            evidence=evidence,
        )
