# SPDX-License-Identifier: Apache-2.0

"""Why a decision came out as it did, and what would have changed it, in plain sentences.

After the gate, for people: the command line, the API and notices show these. It only
words what the decision holds; it must never decide anything again.
"""

from __future__ import annotations

from opx.core.decide.decision import Answered, Decision, GuardResult, Reason
from opx.core.decide.proposals import Condition, Considered

SENTENCES: dict[Reason, tuple[str, str]] = {
    Reason.OK: ("nothing speaks against it", ""),
    Reason.GUARD_FAILED: ("the guard itself failed", "Repairing what made it fail"),
    Reason.HALTED: ("automation is halted here", "Resuming it"),
    Reason.MODE_UNKNOWN: (
        "whether automation is running is not known, and unknown is halted",
        "A person resuming automation for 'all'",
    ),
    Reason.PROTECTED_TARGET: ("the target is opx itself, which it never acts on", "Nothing"),
    Reason.NO_RUNBOOK: ("no runbook is at hand for this", "A runbook whose conditions all hold"),
    Reason.RUNBOOK_CHANGED: (
        "the runbook is not what it was when this was proposed",
        "A new run, of the runbook as it is now,",
    ),
    Reason.NO_TARGET: ("there is nothing to act on", "A target in the Service document"),
    Reason.TARGET_CHANGED: (
        "the service has another target or parameter than when this was proposed",
        "A new run, on what it has now,",
    ),
    Reason.BLAST_RADIUS: (
        "more services may be hit than the policy lets one run hit",
        "An approval, or a policy with a larger 'blastRadius',",
    ),
    Reason.BLAST_UNKNOWN: ("what may be hit is not known to opx", "An approval"),
    Reason.INCIDENT_OVER: (
        "the incident is mitigated, resolved or closed",
        "A new symptom, which opens it again or opens another",
    ),
    Reason.ENVIRONMENT_OBSERVES: (
        "opx only observes in this environment",
        "A policy that lets it do more there",
    ),
    Reason.ENVIRONMENT_ASKS: (
        "the policy lets opx do less by itself in this environment",
        "An approval, or a policy that lets it do more there,",
    ),
    Reason.SYMPTOM_GONE: (
        "a fresh probe found the service well",
        "A fresh probe that finds it unwell",
    ),
    Reason.SYMPTOM_UNCONFIRMED: (
        "no fresh probe confirms that the service is unwell",
        "A health probe that answers",
    ),
    Reason.OBSERVER_SUSPECT: (
        "so much went bad together that opx itself may be blind",
        "Some of it being well again, or a policy with a larger 'blindness',",
    ),
    Reason.CAUSE_BELOW: (
        "what it depends on is ill as well, so it may only look guilty",
        "Its dependencies being well, or an incident of theirs,",
    ),
    Reason.CAUSE_ELSEWHERE: (
        "the trouble turned out to come from another service",
        "A new run, on that service,",
    ),
    Reason.EXPLANATION_CHANGED: (
        "the trouble turned out to be of another kind than it was proposed for",
        "A new run, for what it is held to be now,",
    ),
    Reason.SEVERITY_ABOVE_CEILING: (
        "the incident is worse than opx may act on by itself",
        "An approval, or a policy with a higher ceiling,",
    ),
    Reason.COOLING_DOWN: (
        "the runbook acted here not long ago",
        "Waiting until it is over, or the incident getting worse,",
    ),
    Reason.BUDGET_SPENT: (
        "enough runs have acted here within the hour",
        "Waiting until the oldest of them is an hour old",
    ),
    Reason.LEASE_HELD: (
        "another run is at work on the target, or on what it depends on",
        "The end of that run",
    ),
    Reason.OUTSIDE_CHANGE_WINDOW: (
        "it is not the time for changes",
        "Waiting for the change window",
    ),
    Reason.CHANGE_FREEZE: ("changes are frozen", "The end of the freeze"),
    Reason.CALENDAR_UNKNOWN: (
        "a calendar that the policy names is missing or cannot be read",
        "That Calendar, or a policy without it,",
    ),
    Reason.BREAKER_OPEN: (
        "the runbook has failed to help here too often in a row",
        "A person closing the breaker",
    ),
    Reason.PRECONDITION_FAILED: ("a precondition does not hold", "The precondition holding"),
    Reason.PRECONDITION_UNKNOWN: (
        "whether a precondition holds is not known",
        "A probe that answers it",
    ),
    Reason.OBSERVE_ONLY: ("the runbook may only observe here", "A grant of more autonomy"),
    Reason.SUGGEST_ONLY: (
        "the runbook may only suggest here",
        "An approval, or a grant of more autonomy,",
    ),
    Reason.APPROVAL_NEEDED: (
        "the runbook needs an approval each time here",
        "An approval, or a grant of 'auto',",
    ),
    Reason.GRANT_OUTDATED: (
        "the runbook, the target or the probe is not what it was when autonomy was granted",
        "An approval, or a new grant,",
    ),
    Reason.ACKNOWLEDGED_BY_PERSON: ("a person has taken the incident on", "An approval"),
    Reason.UNCALIBRATED: (
        "too few runs here show whether the runbook helps",
        "An approval, a probation or more verified runs",
    ),
    Reason.P_FIX_TOO_LOW: ("the runbook has helped too rarely here", "An approval"),
    Reason.ON_PROBATION: ("a person's probation stands in for missing experience", ""),
    Reason.PROBATION_BUSY: (
        "another run on this probation has not ended",
        "An approval, or the end of that run,",
    ),
    Reason.PROBATION_EXPIRED: ("the probation is over", "An approval, or a new probation,"),
    Reason.PROBATION_IRREVERSIBLE: (
        "the runbook cannot be undone, which probation does not cover",
        "An approval",
    ),
    Reason.APPROVED: ("a person approved it", ""),
    Reason.REJECTED: ("a person rejected it", "A new run that a person approves"),
}
"""Each reason, and what would have changed the answer; empty for those that allow."""

_OPENING = {
    Answered.ALLOW: "opx may act: every guard said yes.",
    Answered.ASK: "opx asks a person first.",
    Answered.DENY: "opx must not act.",
}


def explain(decision: Decision) -> list[str]:
    """The answer; each guard that decided and what would have changed it; what was behind
    them; and of each runbook that was considered, why it does not fit."""
    lines = [_OPENING[decision.answer]]
    if decision.answer is Answered.ALLOW:
        spoke = [result for result in decision.results if result.reason is not Reason.OK]
        return lines + [_because(result) for result in spoke]
    if not decision.results:
        return [*lines, "No guard was asked, and silence is not a yes."]
    for result in decision.results:
        if result.answer is decision.answer:
            lines += [_because(result), f"{SENTENCES[result.reason][1]} would change that."]
    for result in decision.results:
        if Answered.ALLOW < result.answer < decision.answer:
            lines.append(f"Without that, opx would ask first. {_because(result)}")
    return lines + [_unfit(seen) for seen in decision.considered]


def _because(result: GuardResult) -> str:
    detail = f" ({result.detail})" if result.detail else ""
    return f"{result.guard}: {SENTENCES[result.reason][0]}{detail}."


def _unfit(seen: Considered) -> str:
    wrong = [_wrong(condition) for condition in seen.conditions if not condition.held]
    wrong += [f"its input {name!r} has no value" for name in seen.unfilled]
    return f"{seen.runbook} does not fit: {'; '.join(wrong)}."


def _wrong(condition: Condition) -> str:
    return condition.error.rstrip(".") or f"{condition.when!r} does not hold"
