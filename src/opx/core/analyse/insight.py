# SPDX-License-Identifier: Apache-2.0

"""``Insight``: what an episode is, how bad, why, and what to do. The noun of stage 4."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from opx.core.base.time import Ms


@dataclass(frozen=True, slots=True)
class Probability:
    """A calibrated probability and the number of cases behind it. None: uncalibrated."""

    value: float | None = None
    n: int = 0


class InsightType(StrEnum):
    PROCESS_DOWN = "process_down"
    PROCESS_HUNG = "process_hung"
    THRESHOLD_BREACHED = "threshold_breached"
    REPORTED = "reported"
    UNKNOWN = "unknown"


class InsightSource(StrEnum):
    RULES = "rules"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    subject: str
    statement: str
    p_cause: Probability = Probability()
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Insight:
    """``risk`` 0..100, 80 and over is a symptom of its own. ``causes`` best first."""

    id: str
    episode: str
    type: InsightType
    risk: int
    causes: tuple[Cause, ...]
    advice: str
    source: InsightSource
    at: Ms
    p_real: Probability = Probability()
