# SPDX-License-Identifier: Apache-2.0

"""Guards of what people let opx do: modes, limits, grants, and what somebody said to this."""

from __future__ import annotations

from opx.core.base.time import Ms
from opx.core.decide import scopes
from opx.core.decide.case import Autonomy, Case, Grant, Mode, probe_of
from opx.core.decide.decision import GuardResult, Reason
from opx.core.decide.guards.answers import allow, ask, deny


def mode(case: Case, now: Ms) -> GuardResult:
    """Automation is running in every scope that covers the proposal. Unknown is halted."""
    modes: tuple[Mode, ...] = case.modes or ()
    if all(mode.id != scopes.ALL for mode in modes):
        return deny("mode", Reason.MODE_UNKNOWN, "whether automation is running cannot be read")
    halted = scopes.halting(modes, case.proposal) if case.proposal else None
    if halted:
        return deny("mode", Reason.HALTED, f"halted for {halted}")
    return allow("mode")


def environment(case: Case, now: Ms) -> GuardResult:
    """The policy has no narrower limits for this environment that speak against it."""
    name = case.proposal.environment if case.proposal else case.incident.group.environment
    limits = case.policy.environments.get(name)
    if limits is None:
        return allow("environment", f"{name} has no limits of its own")
    if limits.autonomy is Autonomy.OBSERVE:
        return deny("environment", Reason.ENVIRONMENT_OBSERVES, f"in {name}")
    most = f"in {name} at most {limits.autonomy.name.lower()}, up to {limits.ceiling.name}"
    if limits.autonomy < Autonomy.AUTO or case.incident.severity < limits.ceiling:
        return ask(case, now, "environment", Reason.ENVIRONMENT_ASKS, most)
    return allow("environment", most)


def severity(case: Case, now: Ms) -> GuardResult:
    """The incident is not worse than what the policy lets opx act on by itself."""
    worst, found = case.policy.ceiling, case.incident.severity
    if worst is None or found < worst:
        most = f"up to {worst.name}" if worst else "on nothing: its policy cannot be read"
        detail = f"{found.name}, opx acts by itself {most}"
        return ask(case, now, "severity", Reason.SEVERITY_ABOVE_CEILING, detail)
    return allow("severity", found.name)


def autonomy(case: Case, now: Ms) -> GuardResult:
    """A person lets this runbook, as it is, act on this target. Unless somebody said more, it
    may only suggest."""
    grant = case.grant
    if grant is None:
        return ask(case, now, "autonomy", Reason.SUGGEST_ONLY, "no grant")
    said = f"granted by {grant.by}"
    if grant.autonomy is Autonomy.OBSERVE:
        return deny("autonomy", Reason.OBSERVE_ONLY, said)
    if _expired(grant, now):
        reason = Reason.PROBATION_EXPIRED if grant.probation else Reason.SUGGEST_ONLY
        return ask(case, now, "autonomy", reason, f"the grant of {grant.by} is over")
    if grant.autonomy is Autonomy.SUGGEST:
        return ask(case, now, "autonomy", Reason.SUGGEST_ONLY, said)
    if grant.autonomy is Autonomy.APPROVE:
        return ask(case, now, "autonomy", Reason.APPROVAL_NEEDED, said)
    outdated = _outdated(case, grant)
    if outdated:
        return ask(case, now, "autonomy", Reason.GRANT_OUTDATED, outdated)
    return allow("autonomy", said)


def p_fix(case: Case, now: Ms) -> GuardResult:
    """Acting by itself needs a record of having helped, or a person's probation meanwhile.

    Below ``auto`` a person decides, so there is nothing to ask for here.
    """
    grant = case.grant
    if grant is None or grant.autonomy is not Autonomy.AUTO:
        return allow("p_fix")
    outdated = _outdated(case, grant)
    if outdated:
        return ask(case, now, "p_fix", Reason.GRANT_OUTDATED, outdated)
    enough = case.policy.calibrated_after
    seen = case.record.p_fix(grant.runbook_hash) if case.record else None
    if seen is None or seen.value is None or seen.n < enough:
        detail = f"uncalibrated, n = {seen.n if seen else 0} of {enough}"
        problem = _probation(case, grant, now)
        if problem is None:
            return allow("p_fix", f"{detail}; {grant.by} answers for it", Reason.ON_PROBATION)
        return ask(case, now, "p_fix", problem, detail)
    detail = f"{seen.value:.2f} of {case.policy.min_p_fix:.2f}, n = {seen.n}"
    if seen.value < case.policy.min_p_fix:
        return ask(case, now, "p_fix", Reason.P_FIX_TOO_LOW, detail)
    return allow("p_fix", detail)


def acknowledged(case: Case, now: Ms) -> GuardResult:
    """Nobody has taken the incident on; who has is asked first."""
    person = case.incident.acknowledged_by
    if person:
        return ask(case, now, "acknowledged", Reason.ACKNOWLEDGED_BY_PERSON, f"by {person}")
    return allow("acknowledged")


def approval(case: Case, now: Ms) -> GuardResult:
    """No person has said no to this run."""
    answered = case.approval
    if answered is not None and answered.id == case.run and answered.approved is False:
        return deny("approval", Reason.REJECTED, f"by {answered.by}")
    return allow("approval")


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
    changed = grant.outdated(
        proposed.runbook_hash, proposed.target, probe_of(case.service), proposed.parameters
    )
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
