# SPDX-License-Identifier: Apache-2.0

"""The gate: every guard is asked and the strictest answer wins.

Between a proposal and the first step, and again before each step that changes something.
It asks all guards even when the first has said no, because people want to know all that
stands in the way. It must never let a guard that failed count as a yes.
"""

from __future__ import annotations

from collections.abc import Sequence

from opx.core.base import ids
from opx.core.base.reads import ProbeRead, Read
from opx.core.base.time import Ms
from opx.core.decide.case import Case
from opx.core.decide.decision import Answered, Decision, GuardResult, Reason
from opx.core.decide.guards import GUARDS, HEALTH, Guard, precondition_key, recent
from opx.core.decide.proposals import Considered
from opx.core.incident.incident import Incident


def needs(case: Case, now: Ms) -> list[Read]:
    """What must be asked just before ``decide``: is the symptom there, do preconditions hold."""
    reads: list[Read] = []
    if case.service is not None and case.service.health is not None:
        reads.append(ProbeRead(key=HEALTH, probe=case.service.health.probe))
    if case.runbook is not None:
        reads += [
            ProbeRead(key=precondition_key(wanted), probe=wanted.probe)
            for wanted in case.runbook.preconditions
        ]
    for witness in (*case.witnesses, *case.beneath):
        reads += witness.needs(recent(witness, now))
    return reads


def decide(case: Case, now: Ms, decision_id: str, guards: Sequence[Guard] = GUARDS) -> Decision:
    """The strictest answer of ``guards``; DENY when there is none to ask."""
    results = tuple(_asked(guard, case, now) for guard in guards)
    return Decision(
        id=decision_id,
        incident=case.incident.id,
        run=case.run,
        answer=max((result.answer for result in results), default=Answered.DENY),
        results=results,
        plan=case.proposal.plan if case.proposal else "",
        at=now,
    )


def none_fits(incident: Incident, considered: tuple[Considered, ...], now: Ms) -> Decision:
    """The denial where nothing can be proposed. The same one, by its id, for as long as the
    same runbooks fail to fit in the same way and no run has come in between."""
    result = GuardResult(
        guard="catalogue",
        answer=Answered.DENY,
        reason=Reason.NO_RUNBOOK,
        detail="none of them fits" if considered else "there is none at all",
    )
    return Decision(
        id=ids.derived("decision", incident.id, incident.runs, Reason.NO_RUNBOOK, considered),
        incident=incident.id,
        run="",
        answer=result.answer,
        results=(result,),
        plan="",
        at=now,
        considered=considered,
    )


def _asked(guard: Guard, case: Case, now: Ms) -> GuardResult:
    try:
        return guard(case, now)
    except Exception as error:  # noqa: BLE001 - whatever went wrong, it is not a yes
        return GuardResult(
            guard=getattr(guard, "__name__", type(guard).__name__),
            answer=Answered.DENY,
            reason=Reason.GUARD_FAILED,
            detail=f"{type(error).__name__}: {error}",
        )
