# SPDX-License-Identifier: Apache-2.0

"""How much an episode's findings weigh together: five factors, each with its weight.

Part of stage 3. The score is for evidence only; a symptom needs none. It says how much
was seen, not how likely anything is: it must never be shown as a probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from opx.core.base.time import Ms
from opx.core.ingest.signals import Severity

SEVERITY_VALUE = {
    Severity.SEV1: 1.0,
    Severity.SEV2: 0.7,
    Severity.SEV3: 0.4,
    Severity.SEV4: 0.2,
    Severity.SEV5: 0.1,
}
DETECTIONS = ((1, 0.3), (2, 0.5), (3, 0.7))
"""Up to so many detections: this value; more: ``MOST``. Likewise below."""
SIGNALS = ((2, 0.3), (5, 0.5), (10, 0.7))
MOST = 0.9
DIVERSITY = ((1, 0.3), (2, 0.6))


class Band(IntEnum):
    """Lower bounds are inclusive: 0, 0.4, 0.6, 0.8."""

    LOW = 0
    MEDIUM = 1
    HIGH = 2
    CRITICAL = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Factors:
    """Each from 0 to 1."""

    detections: float
    severity: float
    diversity: float
    density: float
    volume: float

    @property
    def score(self) -> float:
        """The weighted sum, 0 to 1, to six places."""
        total = (
            0.30 * self.detections
            + 0.25 * self.severity
            + 0.20 * self.diversity
            + 0.15 * self.density
            + 0.10 * self.volume
        )
        return round(min(1.0, max(0.0, total)), 6)


def factors(
    by_severity: Sequence[int], *, rules: int, signals: int, spread: Ms, window: Ms
) -> Factors:
    """The factors of detections counted ``by_severity`` (SEV1 first, at least one in all).

    ``rules``: distinct ones. ``spread``: from the oldest to the newest; ``window``: what
    it is measured against, over 0.
    """
    count = sum(by_severity)
    if count < 1 or window <= 0:
        raise ValueError("a score needs a detection and a window")
    weight = sum(
        SEVERITY_VALUE[severity] * n for severity, n in zip(Severity, by_severity, strict=True)
    )
    return Factors(
        detections=_graded(count, DETECTIONS, MOST),
        severity=weight / count,
        diversity=_graded(rules, DIVERSITY, 1.0),
        density=1.0 if count == 1 else min(1.0, max(0.0, 1 - spread / window)),
        volume=_graded(signals, SIGNALS, MOST),
    )


def band(score: float) -> Band:
    """The band of a score. ``ValueError`` outside 0 to 1."""
    if not 0 <= score <= 1:
        raise ValueError(f"{score} is not a score from 0 to 1")
    return Band(sum(score >= bound for bound in (0.4, 0.6, 0.8)))


def _graded(count: int, grades: Sequence[tuple[int, float]], most: float) -> float:
    return next((value for upto, value in grades if count <= upto), most)
