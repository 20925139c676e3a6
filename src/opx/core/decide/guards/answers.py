# SPDX-License-Identifier: Apache-2.0

"""How a guard answers: yes, no, or only if a person says so; and when to ask again.

Beneath the guards. It must never turn a denial into anything else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from opx.core.base.time import HOUR, SECOND, Ms
from opx.core.decide.case import Case
from opx.core.decide.decision import Answered, GuardResult, Reason

ASK_AGAIN: Ms = 5 * SECOND
"""How soon, at the earliest, it is worth asking again what nobody knows the end of."""

ASK_AGAIN_MOST: Ms = HOUR
"""And how late, however long the incident has been open."""

Guard: TypeAlias = Callable[[Case, Ms], GuardResult]


def allow(guard: str, detail: str = "", reason: Reason = Reason.OK) -> GuardResult:
    return GuardResult(guard=guard, answer=Answered.ALLOW, reason=reason, detail=detail)


def deny(guard: str, reason: Reason, detail: str, retry_at: Ms | None = None) -> GuardResult:
    return GuardResult(
        guard=guard, answer=Answered.DENY, reason=reason, detail=detail, retry_at=retry_at
    )


def ask(case: Case, now: Ms, guard: str, reason: Reason, detail: str) -> GuardResult:
    """ASK, unless a person has already said yes to exactly this plan."""
    answer = case.approval
    if (
        answer is not None
        and answer.approved is True
        and answer.by
        and answer.id == case.run
        and case.proposal is not None
        and answer.plan == case.proposal.plan
        and now < answer.expires_at
    ):
        return allow(guard, f"{reason}, approved by {answer.by}", Reason.APPROVED)
    return GuardResult(guard=guard, answer=Answered.ASK, reason=reason, detail=detail)


def again(case: Case, now: Ms) -> Ms:
    """When to ask once more: ever more rarely, the longer the incident has been open."""
    wait = (now - case.incident.opened_at) // 2
    return now + min(max(ASK_AGAIN, wait), ASK_AGAIN_MOST)
