# SPDX-License-Identifier: Apache-2.0

"""Guards of how often and when: cooldown, budget, leases, change windows and the breaker."""

from __future__ import annotations

from opx.core.base.time import HOUR, SECOND, Ms, to_wire
from opx.core.correlate.problems import Topology
from opx.core.decide.case import Case
from opx.core.decide.decision import GuardResult, Reason
from opx.core.decide.guards.answers import again, allow, deny

COOLDOWN_MOST: Ms = HOUR
"""A cooldown stops growing here, unless the policy's own is longer."""


def cooldown(case: Case, now: Ms) -> GuardResult:
    """Enough time since this runbook last acted here, longer after each run without effect.

    Only runs that acted count, and a run counts from its end: it never holds up itself. An
    incident that is worse than the one acted on then is other news, and is not held up.
    """
    record = case.record
    if record is None or record.last_acted_at is None:
        return allow("cooldown", "never acted here")
    before, severity = record.last_severity, case.incident.severity
    if before is not None and severity < before:
        return allow("cooldown", f"{severity.name}, and it was {before.name} when it last acted")
    usual = case.policy.cooldown
    doublings = min(record.ineffective_in_a_row, 30)
    wait = min(usual * 2**doublings, max(usual, COOLDOWN_MOST))
    over = record.last_acted_at + wait
    if now < over:
        return deny(
            "cooldown",
            Reason.COOLING_DOWN,
            f"{(over - now) / SECOND:g} of {wait / SECOND:g} s are left",
            over,
        )
    return allow("cooldown", f"over since {to_wire(over)}")


def budget(case: Case, now: Ms) -> GuardResult:
    """Not too many runs have acted on the service, or in its environment, within the hour.

    A run that has begun is in the budget already: it never holds up itself.
    """
    proposal = case.proposal
    if proposal is None or any(one.run == case.run for one in case.acted):
        return allow("budget")
    near = sorted(
        (one.at, one.group.service)
        for one in case.acted
        if one.group.environment == proposal.environment and now < one.at + HOUR
    )
    here = [at for at, service in near if service == proposal.service]
    counted = (
        (here, case.policy.service_runs_per_hour, f"on {proposal.service}"),
        ([at for at, _ in near], case.policy.environment_runs_per_hour, proposal.environment),
    )
    spent = [(times, most, what) for times, most, what in counted if len(times) >= most]
    detail = ", ".join(f"{len(times)} of {most} runs {what}" for times, most, what in spent)
    if spent:
        retry_at = max(times[len(times) - most] for times, most, _ in spent) + HOUR
        return deny("budget", Reason.BUDGET_SPENT, detail, retry_at)
    return allow("budget", f"{len(here)} runs here within the hour")


def lease(case: Case, now: Ms) -> GuardResult:
    """No other run is changing the target, nor anything that the service depends on.

    A run waits only for one that holds a lease already, and not once it holds its own: so
    no two wait for each other.
    """
    held = case.lease
    if held is not None and held.run not in ("", case.run) and now < held.expires_at:
        return deny("lease", Reason.LEASE_HELD, f"held by run {held.run}", held.expires_at)
    proposal = case.proposal
    if proposal is None or (held is not None and held.run == case.run):
        return allow("lease")
    below = Topology.of(case.catalogue).beneath(proposal.group)
    for one in case.held:
        if one.run != case.run and now < one.at and one.group in below:
            detail = f"run {one.run} is changing {one.group.service}, on which it depends"
            return deny("lease", Reason.LEASE_HELD, detail, min(one.at, again(case, now)))
    return allow("lease")


def window(case: Case, now: Ms) -> GuardResult:
    """It is within the policy's change window, and within none of its freezes."""
    policy = case.policy
    unknown = [name for name in policy.calendars if name not in case.calendars]
    if unknown:
        return deny("window", Reason.CALENDAR_UNKNOWN, f"there is no calendar {unknown[0]}")
    frozen = [name for name in policy.freezes if now in case.calendars[name]]
    if frozen:
        ends = [case.calendars[name].closes_at(now) for name in frozen]
        known = [end for end in ends if end is not None]
        retry_at = max(known) if len(known) == len(ends) else None
        return deny("window", Reason.CHANGE_FREEZE, _until(frozen, retry_at), retry_at)
    changes = case.calendars.get(policy.change_window)
    if changes is not None and now not in changes:
        retry_at = changes.opens_at(now)
        detail = _until([changes.name], retry_at)
        return deny("window", Reason.OUTSIDE_CHANGE_WINDOW, detail, retry_at)
    return allow("window")


def _until(calendars: list[str], at: Ms | None) -> str:
    return f"{', '.join(calendars)}, {f'until {to_wire(at)}' if at is not None else 'for good'}"


def breaker(case: Case, now: Ms) -> GuardResult:
    """The runbook has not just failed here again and again."""
    if case.breaker is not None and case.breaker.opened_at is not None:
        return deny("breaker", Reason.BREAKER_OPEN, f"open since {to_wire(case.breaker.opened_at)}")
    return allow("breaker")
