# SPDX-License-Identifier: Apache-2.0

"""The guards: small pure functions from a ``Case`` and a time to an answer, and their tuple.

``GUARDS`` is the policy; ``gate`` asks all of it and the strictest answer wins, so their
order means nothing. A guard that meets a fact it needs and cannot read denies, or raises,
which the gate turns into a denial. A person's approval answers what a guard asks, never
what it denies. A guard must never look at anything but its arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from opx.core.base.reads import Answer
from opx.core.base.time import HOUR, SECOND, Ms, to_wire
from opx.core.decide import scopes, targets
from opx.core.decide.case import Autonomy, Case, Grant, Mode
from opx.core.decide.decision import Answered, GuardResult, Reason
from opx.core.decide.runbooks import Precondition
from opx.core.incident.incident import Status
from opx.errors import ExpressionError

HEALTH = "health"
FRESH: Ms = 10 * SECOND
"""An answer this old, or older, confirms nothing any more."""
ASK_AGAIN: Ms = 5 * SECOND
"""How soon, at the earliest, it is worth asking a probe again."""
COOLDOWN_MOST: Ms = HOUR
"""A cooldown stops growing here, unless the policy's own is longer."""

Guard: TypeAlias = Callable[[Case, Ms], GuardResult]


def mode(case: Case, now: Ms) -> GuardResult:
    """Automation is running in every scope that covers the proposal. Unknown is halted."""
    modes: tuple[Mode, ...] = case.modes or ()
    if all(mode.id != scopes.ALL for mode in modes):
        return _deny("mode", Reason.MODE_UNKNOWN, "whether automation is running cannot be read")
    halted = scopes.halting(modes, case.proposal) if case.proposal else None
    if halted:
        return _deny("mode", Reason.HALTED, f"halted for {halted}")
    return _allow("mode")


def runbook(case: Case, now: Ms) -> GuardResult:
    """There is a proposal, and its runbook is still what it was when it was proposed."""
    if case.proposal is None:
        return _deny("runbook", Reason.NO_RUNBOOK, "none is proposed")
    name = case.proposal.runbook
    if case.runbook is None:
        return _deny("runbook", Reason.RUNBOOK_CHANGED, f"there is no {name} any more")
    if case.runbook.hash != case.proposal.runbook_hash:
        return _deny("runbook", Reason.RUNBOOK_CHANGED, f"{name} was changed since")
    return _allow("runbook")


def target(case: Case, now: Ms) -> GuardResult:
    """There is something to act on, it is not opx itself, and it is still the service's, as
    are the parameters that the steps are filled with."""
    declared = case.service.target if case.service else ""
    aim = case.proposal.target if case.proposal else declared
    if not aim:
        return _deny("target", Reason.NO_TARGET, "the service names no target")
    if targets.owned(aim, case.protected):
        return _deny("target", Reason.PROTECTED_TARGET, f"{aim} belongs to opx")
    if aim != declared:
        detail = f"{aim} then, {declared or 'none'} now"
        return _deny("target", Reason.TARGET_CHANGED, detail)
    now_known = case.service.parameters if case.service else {}
    for name, value in (case.proposal.parameters if case.proposal else {}).items():
        if now_known.get(name) != value:
            return _deny("target", Reason.TARGET_CHANGED, f"the parameter {name} was changed")
    return _allow("target", aim)


def symptom(case: Case, now: Ms) -> GuardResult:
    """A fresh probe of our own says that the service is not well."""
    answer = case.answers.get(HEALTH)
    if answer is None or answer.ok is None or not _fresh(answer, now):
        askable = case.service is not None and case.service.health is not None
        again = _again(case, now) if askable else None
        return _deny("symptom", Reason.SYMPTOM_UNCONFIRMED, _unsure(answer), again)
    if answer.ok:
        return _deny("symptom", Reason.SYMPTOM_GONE, answer.detail)
    return _allow("symptom", answer.detail)


def severity(case: Case, now: Ms) -> GuardResult:
    """The incident is not worse than what the policy lets opx act on by itself."""
    worst, found = case.policy.ceiling, case.incident.severity
    if worst is None or found < worst:
        most = f"up to {worst.name}" if worst else "on nothing: its policy cannot be read"
        detail = f"{found.name}, opx acts by itself {most}"
        return _ask(case, now, "severity", Reason.SEVERITY_ABOVE_CEILING, detail)
    return _allow("severity", found.name)


def cooldown(case: Case, now: Ms) -> GuardResult:
    """Enough time since this runbook last acted here, longer after each run without effect.

    Only runs that acted count, and a run counts from its end: it never holds up itself.
    """
    record = case.record
    if record is None or record.last_acted_at is None:
        return _allow("cooldown", "never acted here")
    usual = case.policy.cooldown
    doublings = min(record.ineffective_in_a_row, 30)
    wait = min(usual * 2**doublings, max(usual, COOLDOWN_MOST))
    over = record.last_acted_at + wait
    if now < over:
        return _deny(
            "cooldown",
            Reason.COOLING_DOWN,
            f"{(over - now) / SECOND:g} of {wait / SECOND:g} s are left",
            over,
        )
    return _allow("cooldown", f"over since {to_wire(over)}")


def lease(case: Case, now: Ms) -> GuardResult:
    """No other run is changing the target."""
    held = case.lease
    if held is not None and held.run not in ("", case.run) and now < held.expires_at:
        return _deny("lease", Reason.LEASE_HELD, f"held by run {held.run}", held.expires_at)
    return _allow("lease")


def breaker(case: Case, now: Ms) -> GuardResult:
    """The runbook has not just failed here again and again."""
    if case.breaker is not None and case.breaker.opened_at is not None:
        return _deny(
            "breaker", Reason.BREAKER_OPEN, f"open since {to_wire(case.breaker.opened_at)}"
        )
    return _allow("breaker")


def preconditions(case: Case, now: Ms) -> GuardResult:
    """Every precondition of the runbook holds by a fresh answer."""
    wanted = case.runbook.preconditions if case.runbook else ()
    held = {item.id: _holds(item, case.answers, now) for item in wanted}
    detail = ", ".join(f"{id} {_SAID[yes]}" for id, yes in held.items())
    if False in held.values():
        return _deny("preconditions", Reason.PRECONDITION_FAILED, detail, _again(case, now))
    if None in held.values():
        return _deny("preconditions", Reason.PRECONDITION_UNKNOWN, detail, _again(case, now))
    return _allow("preconditions", detail)


def autonomy(case: Case, now: Ms) -> GuardResult:
    """A person lets this runbook, as it is, act on this target. Unless somebody said more, it
    may only suggest."""
    grant = case.grant
    if grant is None:
        return _ask(case, now, "autonomy", Reason.SUGGEST_ONLY, "no grant")
    said = f"granted by {grant.by}"
    if grant.autonomy is Autonomy.OBSERVE:
        return _deny("autonomy", Reason.OBSERVE_ONLY, said)
    if _expired(grant, now):
        reason = Reason.PROBATION_EXPIRED if grant.probation else Reason.SUGGEST_ONLY
        return _ask(case, now, "autonomy", reason, f"the grant of {grant.by} is over")
    if grant.autonomy is Autonomy.SUGGEST:
        return _ask(case, now, "autonomy", Reason.SUGGEST_ONLY, said)
    if grant.autonomy is Autonomy.APPROVE:
        return _ask(case, now, "autonomy", Reason.APPROVAL_NEEDED, said)
    outdated = _outdated(case, grant)
    if outdated:
        return _ask(case, now, "autonomy", Reason.GRANT_OUTDATED, outdated)
    return _allow("autonomy", said)


def p_fix(case: Case, now: Ms) -> GuardResult:
    """Acting by itself needs a record of having helped, or a person's probation meanwhile.

    Below ``auto`` a person decides, so there is nothing to ask for here.
    """
    grant = case.grant
    if grant is None or grant.autonomy is not Autonomy.AUTO:
        return _allow("p_fix")
    outdated = _outdated(case, grant)
    if outdated:
        return _ask(case, now, "p_fix", Reason.GRANT_OUTDATED, outdated)
    enough = case.policy.calibrated_after
    seen = case.record.p_fix(grant.runbook_hash) if case.record else None
    if seen is None or seen.value is None or seen.n < enough:
        detail = f"uncalibrated, n = {seen.n if seen else 0} of {enough}"
        problem = _probation(case, grant, now)
        if problem is None:
            return _allow("p_fix", f"{detail}; {grant.by} answers for it", Reason.ON_PROBATION)
        return _ask(case, now, "p_fix", problem, detail)
    detail = f"{seen.value:.2f} of {case.policy.min_p_fix:.2f}, n = {seen.n}"
    if seen.value < case.policy.min_p_fix:
        return _ask(case, now, "p_fix", Reason.P_FIX_TOO_LOW, detail)
    return _allow("p_fix", detail)


def acknowledged(case: Case, now: Ms) -> GuardResult:
    """Nobody has taken the incident on; who has is asked first."""
    person = case.incident.acknowledged_by
    if person:
        return _ask(case, now, "acknowledged", Reason.ACKNOWLEDGED_BY_PERSON, f"by {person}")
    return _allow("acknowledged")


def approval(case: Case, now: Ms) -> GuardResult:
    """No person has said no to this run."""
    answered = case.approval
    if answered is not None and answered.id == case.run and answered.approved is False:
        return _deny("approval", Reason.REJECTED, f"by {answered.by}")
    return _allow("approval")


def incident(case: Case, now: Ms) -> GuardResult:
    """The incident is not over."""
    status = case.incident.status
    if status in (Status.OPEN, Status.MITIGATING):
        return _allow("incident")
    return _deny("incident", Reason.INCIDENT_OVER, f"it is {status}")


GUARDS: tuple[Guard, ...] = (
    mode,
    incident,
    runbook,
    target,
    symptom,
    severity,
    cooldown,
    lease,
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
neither a recovered symptom nor a changed precondition is a reason to leave it half done."""

_SAID = {True: "holds", False: "does not hold", None: "is unknown"}


def _allow(guard: str, detail: str = "", reason: Reason = Reason.OK) -> GuardResult:
    return GuardResult(guard=guard, answer=Answered.ALLOW, reason=reason, detail=detail)


def _deny(guard: str, reason: Reason, detail: str, retry_at: Ms | None = None) -> GuardResult:
    return GuardResult(
        guard=guard, answer=Answered.DENY, reason=reason, detail=detail, retry_at=retry_at
    )


def _ask(case: Case, now: Ms, guard: str, reason: Reason, detail: str) -> GuardResult:
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
        return _allow(guard, f"{reason}, approved by {answer.by}", Reason.APPROVED)
    return GuardResult(guard=guard, answer=Answered.ASK, reason=reason, detail=detail)


def _fresh(answer: Answer, now: Ms) -> bool:
    return abs(now - answer.at) < FRESH


def _unsure(answer: Answer | None) -> str:
    if answer is None:
        return "not asked"
    return answer.detail if answer.ok is None else f"last answered at {to_wire(answer.at)}"


def _again(case: Case, now: Ms) -> Ms:
    """When to ask once more: ever more rarely, the longer the incident has been open."""
    return now + max(ASK_AGAIN, (now - case.incident.opened_at) // 2)


def _holds(wanted: Precondition, answers: Mapping[str, Answer], now: Ms) -> bool | None:
    answer = answers.get(precondition_key(wanted))
    if answer is None or answer.ok is None or not _fresh(answer, now):
        return None
    known = {"ok": answer.ok, "value": answer.value, "latency_ms": answer.latency_ms}
    try:
        return wanted.expect.holds({name: fact for name, fact in known.items() if fact is not None})
    except ExpressionError:
        return None


def precondition_key(wanted: Precondition) -> str:
    """The key under which a precondition's answer is found in a case."""
    return f"precondition/{wanted.id}"


def _expired(grant: Grant, now: Ms) -> bool:
    """A probation without an end has none, so it never began."""
    if grant.expires_at is None:
        return grant.probation
    return now >= grant.expires_at


def _outdated(case: Case, grant: Grant) -> str:
    """What has changed since the grant was given; empty when it covers what is proposed."""
    if case.proposal is None:
        return "nothing is proposed"
    proposed = case.proposal
    changed = grant.outdated(proposed.runbook_hash, proposed.target, proposed.parameters)
    return f"another {' and '.join(changed)} than {grant.by} granted" if changed else ""


def _probation(case: Case, grant: Grant, now: Ms) -> Reason | None:
    """Why probation does not answer for missing calibration; None when it does."""
    if not grant.probation or not grant.by:
        return Reason.UNCALIBRATED
    if _expired(grant, now):
        return Reason.PROBATION_EXPIRED
    if case.runbook is None or case.runbook.irreversible:
        return Reason.PROBATION_IRREVERSIBLE
    if case.busy_probation:
        return Reason.PROBATION_BUSY
    return None
