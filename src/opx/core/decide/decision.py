# SPDX-License-Identifier: Apache-2.0

"""``Decision``: may opx do this now, and who said so. The noun of stage 6."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from opx.core.base.time import Ms
from opx.core.decide.proposals import Considered


class Answered(IntEnum):
    """What a guard, and the gate, may say. Stricter is higher; the strictest wins."""

    ALLOW = 0
    ASK = 1
    DENY = 2


class Reason(StrEnum):
    """Every reason a guard can give, and ``EXPLANATION_CHANGED``, for which none need be asked."""

    OK = "ok"
    GUARD_FAILED = "guard_failed"
    HALTED = "halted"
    INCIDENT_OVER = "incident_over"
    ENVIRONMENT_OBSERVES = "environment_observes"
    ENVIRONMENT_ASKS = "environment_asks"
    MODE_UNKNOWN = "mode_unknown"
    PROTECTED_TARGET = "protected_target"
    NO_RUNBOOK = "no_runbook"
    RUNBOOK_CHANGED = "runbook_changed"
    NO_TARGET = "no_target"
    TARGET_CHANGED = "target_changed"
    BLAST_RADIUS = "blast_radius"
    BLAST_UNKNOWN = "blast_unknown"
    SYMPTOM_GONE = "symptom_gone"
    SYMPTOM_UNCONFIRMED = "symptom_unconfirmed"
    OBSERVER_SUSPECT = "observer_suspect"
    CAUSE_BELOW = "cause_below"
    CAUSE_ELSEWHERE = "cause_elsewhere"
    EXPLANATION_CHANGED = "explanation_changed"
    SEVERITY_ABOVE_CEILING = "severity_above_ceiling"
    COOLING_DOWN = "cooling_down"
    BUDGET_SPENT = "budget_spent"
    LEASE_HELD = "lease_held"
    OUTSIDE_CHANGE_WINDOW = "outside_change_window"
    CHANGE_FREEZE = "change_freeze"
    CALENDAR_UNKNOWN = "calendar_unknown"
    BREAKER_OPEN = "breaker_open"
    PRECONDITION_FAILED = "precondition_failed"
    PRECONDITION_UNKNOWN = "precondition_unknown"
    OBSERVE_ONLY = "observe_only"
    SUGGEST_ONLY = "suggest_only"
    APPROVAL_NEEDED = "approval_needed"
    GRANT_OUTDATED = "grant_outdated"
    ACKNOWLEDGED_BY_PERSON = "acknowledged_by_person"
    UNCALIBRATED = "uncalibrated"
    P_FIX_TOO_LOW = "p_fix_too_low"
    ON_PROBATION = "on_probation"
    PROBATION_BUSY = "probation_busy"
    PROBATION_EXPIRED = "probation_expired"
    PROBATION_IRREVERSIBLE = "probation_irreversible"
    APPROVED = "approved"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardResult:
    """``detail``: the numbers behind the reason. ``retry_at``: when asking again may help."""

    guard: str
    answer: Answered
    reason: Reason
    detail: str = ""
    retry_at: Ms | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """All guards' answers, the strictest of them, and the plan they were asked about.

    ``considered``: where no runbook fits, all that were looked at, and why each does not."""

    id: str
    incident: str
    run: str
    answer: Answered
    results: tuple[GuardResult, ...]
    plan: str
    at: Ms
    considered: tuple[Considered, ...] = ()

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """The reasons of the guards that decided: those with the strictest answer."""
        return tuple(result.reason for result in self.results if result.answer == self.answer)
