# SPDX-License-Identifier: Apache-2.0

"""The guards: small pure functions from a ``Case`` and a time to an answer, and their tuple.

``GUARDS`` is the policy; ``gate`` asks all of it and the strictest answer wins, so their
order means nothing. A guard that meets a fact it needs and cannot read denies, or raises,
which the gate turns into a denial. A person's approval answers what a guard asks, never
what it denies. A guard must never look at anything but its arguments.
"""

from opx.core.decide.guards.aim import blast_radius, incident, runbook, target
from opx.core.decide.guards.answers import Guard
from opx.core.decide.guards.pace import breaker, budget, cooldown, lease, window
from opx.core.decide.guards.people import (
    acknowledged,
    approval,
    autonomy,
    environment,
    mode,
    p_fix,
    severity,
)
from opx.core.decide.guards.seen import (
    HEALTH,
    blindness,
    cause,
    precondition_key,
    preconditions,
    recent,
    symptom,
)

GUARDS: tuple[Guard, ...] = (
    mode,
    incident,
    runbook,
    target,
    environment,
    blindness,
    symptom,
    cause,
    severity,
    cooldown,
    budget,
    blast_radius,
    lease,
    window,
    breaker,
    preconditions,
    autonomy,
    p_fix,
    acknowledged,
    approval,
)
"""All guards. Asked before a run and again before each of its steps."""

UNDO_GUARDS: tuple[Guard, ...] = (mode, runbook, target, lease)
"""What is asked before a rollback step: undoing was part of the plan that was allowed, and
neither a recovered symptom, a changed precondition nor a freeze is a reason to leave it half
done."""

__all__ = ["GUARDS", "HEALTH", "UNDO_GUARDS", "Guard", "precondition_key", "recent"]
