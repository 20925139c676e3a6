# SPDX-License-Identifier: Apache-2.0

"""Guards of what was seen: the symptom, the preconditions, and whether to believe it at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from opx.core.base.reads import Answer
from opx.core.base.time import SECOND, Ms, Window, to_wire
from opx.core.correlate import problems
from opx.core.decide.case import Case
from opx.core.decide.decision import GuardResult, Reason
from opx.core.decide.guards.answers import again, allow, deny
from opx.core.decide.runbooks import ANSWERED, Precondition
from opx.core.detect.rules import Side
from opx.core.detect.witness import Witness
from opx.errors import ExpressionError

HEALTH = "health"
FRESH: Ms = 10 * SECOND
"""An answer this old, or older, confirms nothing any more."""
HALF = 0.5
"""A dependency with this share of its caller's trouble is likelier its cause."""
FEW = 3
"""Fewer services than this may go bad together without anybody suspecting the observer."""

_Look: TypeAlias = tuple[bool | None, str]
"""Whether it is ill, None: unknown; and what was seen."""
_SAID = {True: "holds", False: "does not hold", None: "is unknown"}


def symptom(case: Case, now: Ms) -> GuardResult:
    """A fresh look of our own says that the service is not well: its health probe, or the
    numbers by which a rule found it ill. It is over where all of them say so, and where the
    probe does and whoever found something has said that it is over, numbers or none."""
    health = _health(case, now)
    looks = [] if health is None else [health]
    looks += [_seen(case, witness, now) for witness in case.witnesses]
    detail = ", ".join(said for _, said in looks if said)
    if any(ill for ill, _ in looks):
        return allow("symptom", detail)
    well = health is not None and health[0] is False
    if looks and (all(ill is False for ill, _ in looks) or (well and not case.firing)):
        return deny("symptom", Reason.SYMPTOM_GONE, detail)
    retry_at = again(case, now) if looks else None
    return deny("symptom", Reason.SYMPTOM_UNCONFIRMED, detail or "nothing to ask", retry_at)


def recent(witness: Witness, now: Ms) -> Window:
    """The window about which a witness is asked just before a decision."""
    return Window(now - witness.check.window, now)


def _health(case: Case, now: Ms) -> _Look | None:
    answer = case.answers.get(HEALTH)
    if answer is None and (case.service is None or case.service.health is None):
        return None
    if answer is None or answer.ok is None or not _fresh(answer, now):
        return None, _unsure(answer)
    return not answer.ok, answer.detail


def _seen(case: Case, witness: Witness, now: Ms) -> _Look:
    fresh = {key: answer for key, answer in case.answers.items() if _fresh(answer, now)}
    breached = witness.breached(fresh)
    said = {True: "is breached", False: "is not breached", None: "cannot be told"}
    return breached, f"{witness.rule} {said[breached]}"


def blindness(case: Case, now: Ms) -> GuardResult:
    """Not so much went bad together that it is likelier that opx cannot see.

    What depends on an ill service is neither ill by itself nor well: it counts on no side.
    """
    watched = sum(one.health is not None for one in case.catalogue.services.values())
    bad = len(case.ill)
    roots = problems.roots(case.ill, problems.Topology.of(case.catalogue).below)
    alone = len(set(roots.values()))
    detail = f"{bad} of {watched} watched services went bad together, {alone} by themselves"
    if bad >= FEW and alone > case.policy.blindness * (watched - bad + alone):
        return deny("blindness", Reason.OBSERVER_SUSPECT, detail, again(case, now))
    return allow("blindness", detail)


def cause(case: Case, now: Ms) -> GuardResult:
    """What is to be done is done where the trouble comes from: the proposal is on the service
    that the incident is about, and nothing that it depends on is half as ill by the same rule.

    A caller's time and errors hold those of whom it calls, so it may look guilty first."""
    place = case.incident.group
    if case.proposal is not None and case.proposal.group != place:
        detail = f"it comes from {place.environment}/{place.service}"
        return deny("cause", Reason.CAUSE_ELSEWHERE, detail)
    ill = [one for one in case.witnesses if one.breached(case.answers)]
    own = {one.rule: one.value(case.answers) for one in ill}
    for beneath in case.beneath:
        mine, its = own.get(beneath.rule), beneath.value(case.answers)
        above = beneath.check.limit.side is Side.ABOVE
        if above and mine is not None and its is not None and its >= HALF * mine > 0:
            detail = f"{beneath.rule} is {its:.3g} in {beneath.identity.service}, {mine:.3g} here"
            return deny("cause", Reason.CAUSE_BELOW, detail, again(case, now))
    return allow("cause")


def preconditions(case: Case, now: Ms) -> GuardResult:
    """Every precondition of the runbook holds by a fresh answer."""
    wanted = case.runbook.preconditions if case.runbook else ()
    held = {item.id: _holds(item, case.answers, now) for item in wanted}
    detail = ", ".join(f"{id} {_SAID[yes]}" for id, yes in held.items())
    if False in held.values():
        return deny("preconditions", Reason.PRECONDITION_FAILED, detail, again(case, now))
    if None in held.values():
        return deny("preconditions", Reason.PRECONDITION_UNKNOWN, detail, again(case, now))
    return allow("preconditions", detail)


def precondition_key(wanted: Precondition) -> str:
    """The key under which a precondition's answer is found in a case."""
    return f"precondition/{wanted.id}"


def _fresh(answer: Answer, now: Ms) -> bool:
    return abs(now - answer.at) < FRESH


def _unsure(answer: Answer | None) -> str:
    if answer is None:
        return "not asked"
    return answer.detail if answer.ok is None else f"last answered at {to_wire(answer.at)}"


def _holds(wanted: Precondition, answers: Mapping[str, Answer], now: Ms) -> bool | None:
    answer = answers.get(precondition_key(wanted))
    if answer is None or answer.ok is None or not _fresh(answer, now):
        return None
    known = {name: getattr(answer, name) for name in ANSWERED}
    try:
        return wanted.expect.holds({name: fact for name, fact in known.items() if fact is not None})
    except ExpressionError:
        return None
