# SPDX-License-Identifier: Apache-2.0

"""Guards of what is to be done, and to what: incident, runbook, target and its reach."""

from __future__ import annotations

from opx.core.base.time import Ms
from opx.core.correlate.problems import Topology
from opx.core.decide import targets
from opx.core.decide.actions import Blast
from opx.core.decide.case import Case
from opx.core.decide.decision import GuardResult, Reason
from opx.core.decide.guards.answers import allow, ask, deny
from opx.core.incident.incident import Status


def incident(case: Case, now: Ms) -> GuardResult:
    """The incident is not over."""
    status = case.incident.status
    if status in (Status.OPEN, Status.MITIGATING):
        return allow("incident")
    return deny("incident", Reason.INCIDENT_OVER, f"it is {status}")


def runbook(case: Case, now: Ms) -> GuardResult:
    """There is a proposal, and its runbook is still what it was when it was proposed."""
    if case.proposal is None:
        return deny("runbook", Reason.NO_RUNBOOK, "none is proposed")
    name = case.proposal.runbook
    if case.runbook is None:
        return deny("runbook", Reason.RUNBOOK_CHANGED, f"there is no {name} any more")
    if case.runbook.hash != case.proposal.runbook_hash:
        return deny("runbook", Reason.RUNBOOK_CHANGED, f"{name} was changed since")
    return allow("runbook")


def target(case: Case, now: Ms) -> GuardResult:
    """There is something to act on, it is not opx itself, and it is still the service's, as
    are the parameters that the steps are filled with."""
    declared = case.service.target if case.service else ""
    aim = case.proposal.target if case.proposal else declared
    if not aim:
        return deny("target", Reason.NO_TARGET, "the service names no target")
    if targets.owned(aim, case.protected):
        return deny("target", Reason.PROTECTED_TARGET, f"{aim} belongs to opx")
    if aim != declared:
        detail = f"{aim} then, {declared or 'none'} now"
        return deny("target", Reason.TARGET_CHANGED, detail)
    now_known = case.service.parameters if case.service else {}
    for name, value in (case.proposal.parameters if case.proposal else {}).items():
        if now_known.get(name) != value:
            return deny("target", Reason.TARGET_CHANGED, f"the parameter {name} was changed")
    return allow("target", aim)


def blast_radius(case: Case, now: Ms) -> GuardResult:
    """What the runbook may hit is known, and is no more than the policy allows: the service and
    whatever depends on it."""
    book, proposal = case.runbook, case.proposal
    if book is None or proposal is None:
        return allow("blast_radius", "nothing is proposed")
    if any(step.blast is Blast.EXTERNAL for step in (*book.steps, *book.rollback)):
        detail = "an action reaches beyond what opx knows"
        return ask(case, now, "blast_radius", Reason.BLAST_UNKNOWN, detail)
    hit = len(Topology.of(case.catalogue).hit_by({proposal.group}))
    most = case.policy.blast_radius
    detail = f"{hit} of at most {most} services, with those that depend on them"
    if hit > most:
        return ask(case, now, "blast_radius", Reason.BLAST_RADIUS, detail)
    return allow("blast_radius", detail)
