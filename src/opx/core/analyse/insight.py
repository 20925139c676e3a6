# SPDX-License-Identifier: Apache-2.0

"""``Insight``: what an episode is, how bad, why, and what to do. The noun of stage 4."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from opx.core.analyse.changes import Changed
from opx.core.analyse.past import Past
from opx.core.base.time import Ms


@dataclass(frozen=True, slots=True)
class Probability:
    """A calibrated probability and the number of cases behind it. None: uncalibrated."""

    value: float | None = None
    n: int = 0


class InsightType(StrEnum):
    PROCESS_DOWN = "process_down"
    PROCESS_HUNG = "process_hung"
    TAMPERING = "tampering"
    """A watched file is not what it should be, and the service is ill."""
    BAD_RELEASE = "bad_release"
    """Errors shortly after a release."""
    ERRORS = "errors"
    LATENCY = "latency"
    TELEMETRY_LOSS = "telemetry_loss"
    """opx sees too little: the observer is ill, not what it observes."""
    THRESHOLD_BREACHED = "threshold_breached"
    REPORTED = "reported"
    UNKNOWN = "unknown"


class InsightSource(StrEnum):
    RULES = "rules"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """``subject``: what it is: a service as ``environment/service``, a file, a release."""

    subject: str
    statement: str
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ranked:
    """``share``: of the blame, 0 to 1, not calibrated. ``said``: the evidence for it, ``against``
    it, in words."""

    subject: str
    share: float
    said: str = ""
    against: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Insight:
    """``risk`` 0..100, 80 and over is a symptom of its own. ``causes`` best first. ``changes``:
    of the last day, newest first. ``similar``: verified repairs of the same, newest first."""

    id: str
    episode: str
    type: InsightType
    risk: int
    causes: tuple[Cause, ...]
    advice: str
    source: InsightSource
    at: Ms
    changes: tuple[Changed, ...] = ()
    similar: tuple[Past, ...] = ()
    ranked: tuple[Ranked, ...] = ()
