# SPDX-License-Identifier: Apache-2.0

"""Laws of the gate, over cases of every kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from opx.core.analyse.insight import Insight, InsightSource, InsightType
from opx.core.base.expressions import Expression
from opx.core.base.reads import Answer, Probe, ProbeKind
from opx.core.correlate.episode import Group
from opx.core.decide import gate, why
from opx.core.decide.case import (
    STRICTEST,
    Approval,
    Automation,
    Autonomy,
    Breaker,
    Case,
    Grant,
    Lease,
    Mode,
    Policy,
    TrackRecord,
    probe_of,
)
from opx.core.decide.decision import Answered, GuardResult, Reason
from opx.core.decide.guards import GUARDS, Guard
from opx.core.decide.runbooks import Check, Precondition, Proposal, Runbook
from opx.core.incident.incident import Incident, Priority, Status
from opx.core.ingest.services import Health, Service
from opx.core.ingest.signals import Severity

NOW = 1_767_225_600_000
TARGET = "http://127.0.0.1:9001#orders"
WHERE = "restart|shop|orders"
ALLOW, ASK, DENY = Answered.ALLOW, Answered.ASK, Answered.DENY

PROBE = Probe(kind=ProbeKind.TCP, address="127.0.0.1:1")
INCIDENT = Incident(
    id="incident-1",
    episode="episode-1",
    group=Group("shop", "orders"),
    status=Status.OPEN,
    severity=Severity.SEV3,
    priority=Priority.P2,
    title="orders is down",
    opened_at=NOW,
    updated_at=NOW,
)
INSIGHT = Insight(
    id="insight-1",
    episode="episode-1",
    type=InsightType.PROCESS_DOWN,
    risk=85,
    causes=(),
    advice="",
    source=InsightSource.RULES,
    at=NOW,
)
SERVICE = Service(name="orders", environment="shop", health=Health(probe=PROBE), target=TARGET)
RUNBOOK = Runbook(
    name="restart", hash="h", purpose="p", when=(), inputs={}, steps=(), verify=Check()
)
WITH_PRECONDITION = replace(
    RUNBOOK, preconditions=(Precondition(id="up", probe=PROBE, expect=Expression("ok")),)
)
PROPOSAL = Proposal(
    runbook="restart",
    runbook_hash="h",
    inputs={},
    target=TARGET,
    environment="shop",
    service="orders",
)

soon = st.integers(NOW - 20_000, NOW + 20_000)


def answer(key: str) -> st.SearchStrategy[Answer]:
    return st.builds(
        Answer, key=st.just(key), at=soon, ok=st.sampled_from([False, False, True, None])
    )


modes = st.lists(
    st.builds(
        Mode,
        id=st.sampled_from(["all", "environment/shop", "service/shop/orders", "runbook/other"]),
        automation=st.sampled_from([Automation.RUNNING] * 4 + [Automation.HALTED]),
        by=st.just("ada"),
        reason=st.just(""),
        at=st.just(0),
    ),
    max_size=3,
).map(tuple)
approvals = st.builds(
    Approval,
    id=st.sampled_from(["run-1", "run-1", "run-2"]),
    incident=st.just("incident-1"),
    plan=st.sampled_from([PROPOSAL.plan, PROPOSAL.plan, "another"]),
    requested_at=st.just(0),
    expires_at=st.sampled_from([NOW, NOW + 1, NOW + 60_000]),
    approved=st.sampled_from([True, True, True, False, None]),
    by=st.sampled_from(["bea", "bea", None]),
)
grants = st.builds(
    Grant,
    id=st.just(WHERE),
    autonomy=st.sampled_from([*Autonomy, Autonomy.AUTO, Autonomy.AUTO]),
    by=st.sampled_from(["ada", "ada", ""]),
    at=st.just(0),
    runbook_hash=st.sampled_from(["h", "h", "h", "other", ""]),
    target=st.sampled_from([TARGET, TARGET, TARGET, "http://127.0.0.1:9001#payments"]),
    probe=st.sampled_from([probe_of(SERVICE)] * 3 + ["tcp 127.0.0.1:2"]),
    probation=st.booleans(),
    expires_at=st.sampled_from([None, NOW, NOW + 1, NOW + 60_000]),
)
records = st.builds(
    TrackRecord,
    id=st.just(WHERE),
    runbook_hash=st.sampled_from(["h", "h", "h", "other"]),
    recovered=st.integers(20, 50),
    no_effect=st.integers(0, 9),
    ineffective_in_a_row=st.integers(0, 4),
    last_acted_at=st.one_of(st.none(), st.integers(NOW - 400_000, NOW)),
    last_severity=st.sampled_from([None, *Severity]),
)
GRANT = Grant(
    id=WHERE,
    autonomy=Autonomy.AUTO,
    by="ada",
    at=0,
    runbook_hash="h",
    target=TARGET,
    probe=probe_of(SERVICE),
)
ON_PROBATION = replace(GRANT, probation=True, expires_at=NOW + 60_000)
RUNNING = Mode(id="all", automation=Automation.RUNNING, by="ada", reason="", at=0)
QUIET = Case(
    incident=INCIDENT,
    insight=INSIGHT,
    run="run-1",
    service=SERVICE,
    runbook=RUNBOOK,
    proposal=PROPOSAL,
    modes=(RUNNING,),
    grant=GRANT,
    record=TrackRecord(id=WHERE, runbook_hash="h", recovered=50),
    answers={"health": Answer(key="health", at=NOW, ok=False)},
)
"""Every guard allows this one, for its grant's sake."""
ON_TRIAL = replace(QUIET, grant=ON_PROBATION, record=None)
"""And this one, of which nothing is known yet."""
APPROVED = replace(
    QUIET,
    grant=None,
    approval=Approval(
        id="run-1",
        incident="incident-1",
        plan=PROPOSAL.plan,
        requested_at=0,
        expires_at=NOW + 60_000,
        approved=True,
        by="bea",
    ),
)
"""And this one, for a person's yes."""

changes: dict[str, st.SearchStrategy[object]] = {
    "incident": st.builds(
        replace,
        st.just(INCIDENT),
        severity=st.sampled_from(Severity),
        acknowledged_by=st.sampled_from([None, "ada"]),
    ),
    "service": st.sampled_from([None, replace(SERVICE, target="http://127.0.0.1:9001#payments")]),
    "runbook": st.sampled_from(
        [
            None,
            WITH_PRECONDITION,
            replace(RUNBOOK, hash="other"),
            replace(RUNBOOK, irreversible="it deletes"),
        ]
    ),
    "proposal": st.sampled_from([None, replace(PROPOSAL, target="")]),
    "policy": st.sampled_from([Policy(), Policy(ceiling=Severity.SEV1), STRICTEST]),
    "modes": st.one_of(st.none(), modes, modes.map(lambda some: (RUNNING, *some))),
    "grant": st.one_of(st.none(), grants),
    "record": st.one_of(st.none(), records),
    "breaker": st.sampled_from([Breaker(id=WHERE), Breaker(id=WHERE, opened_at=1)]),
    "lease": st.builds(
        Lease, id=st.just(TARGET), run=st.sampled_from(["", "run-1", "run-2"]), expires_at=soon
    ),
    "approval": approvals,
    "protected": st.just(frozenset({TARGET})),
    "busy_probation": st.just(True),
    "answers": st.fixed_dictionaries(
        {}, optional={"health": answer("health"), "precondition/up": answer("precondition/up")}
    ),
}


PERSONS = ["approval", "busy_probation", "grant", "incident", "policy", "record"]
"""What makes a guard ask, or answers what it asks."""


@st.composite
def spoiled(draw: st.DrawFn) -> Case:
    """The quiet case with some of its facts changed, so that every answer is common."""
    asking = draw(st.lists(st.sampled_from(PERSONS), unique=True))
    others = st.sampled_from(sorted(set(changes) - set(PERSONS)))
    denying = draw(st.one_of(st.just([]), st.lists(others, unique=True, max_size=3)))
    return replace(QUIET, **{name: draw(changes[name]) for name in (*asking, *denying)})


@st.composite
def nearly_allowed(draw: st.DrawFn) -> Case:
    """What is allowed, with one fact changed, or none: all the rest stands, and what alone is
    in its way is seen."""
    case = draw(st.sampled_from([QUIET, ON_TRIAL, APPROVED]))
    name = draw(st.sampled_from(["", *sorted(changes)]))
    return replace(case, **{name: draw(changes[name])}) if name else case


cases = st.one_of(spoiled(), nearly_allowed())
answers = st.sampled_from(Answered)
subsets = st.lists(st.sampled_from(GUARDS), unique=True)


def says(said: Answered) -> Guard:
    """A guard that always answers the same."""

    def guard(case: Case, now: int) -> GuardResult:
        return GuardResult(guard="new", answer=said, reason=Reason.OK)

    return guard


def kind(case: Case) -> str:
    """What a case is an example of."""
    decision = gate.decide(case, NOW, "d")
    if decision.answer is not ALLOW:
        return str(decision.answer.name)
    reasons = {result.reason for result in decision.results}
    if Reason.APPROVED in reasons:
        return "approved"
    return "on probation" if Reason.ON_PROBATION in reasons else "by experience"


def test_every_kind_of_case_is_common() -> None:
    """A law says nothing of what it is never shown: of the cases of this file many are denied,
    asked about, and allowed, by a person's yes and by either kind of grant."""
    kinds: Counter[str] = Counter()

    @settings(max_examples=1_000, derandomize=True, database=None, phases=[Phase.generate])
    @given(case=cases)
    def count(case: Case) -> None:
        kinds[kind(case)] += 1

    count()
    assert set(kinds) == {"DENY", "ASK", "approved", "on probation", "by experience"}
    assert min(kinds.values()) >= 20, kinds


def decide(case: Case, guards: Sequence[Guard] = GUARDS, now: int = NOW) -> Answered:
    return gate.decide(case, now, "decision", guards).answer


@given(case=cases, guards=subsets.filter(bool), said=answers)
def test_a_new_guard_never_loosens(case: Case, guards: list[Guard], said: Answered) -> None:
    """With one guard more the answer is the stricter of the old one and the new guard's."""
    assert decide(case, [*guards, says(said)]) == max(decide(case, guards), said)
    assert decide(case) >= decide(case, guards)


@given(case=cases, order=st.permutations(GUARDS))
def test_the_strictest_wins_in_any_order(case: Case, order: list[Guard]) -> None:
    """The order in which guards are asked changes nothing but the order of their answers."""
    usual, other = gate.decide(case, NOW, "d"), gate.decide(case, NOW, "d", order)
    assert usual.answer == other.answer == max(result.answer for result in usual.results)
    by_name: Callable[[GuardResult], str] = lambda result: result.guard  # noqa: E731
    assert sorted(usual.results, key=by_name) == sorted(other.results, key=by_name)


@given(
    case=cases,
    at=st.integers(0, len(GUARDS)),
    error=st.sampled_from([ValueError, KeyError, ZeroDivisionError, RecursionError, OSError]),
)
def test_a_guard_that_raises_denies(case: Case, at: int, error: type[Exception]) -> None:
    """Wherever it stands and whatever it raises, a guard that fails is a no."""

    def failing(case: Case, now: int) -> GuardResult:
        raise error("out of order")

    decision = gate.decide(case, NOW, "d", (*GUARDS[:at], failing, *GUARDS[at:]))
    assert decision.answer is DENY
    assert decision.results[at].reason is Reason.GUARD_FAILED
    assert error.__name__ in decision.results[at].detail


@given(case=cases, approval=approvals)
def test_an_approval_never_answers_a_denial(case: Case, approval: Approval) -> None:
    """What was denied without a person's word is denied with it, guard by guard."""
    without = gate.decide(replace(case, approval=None), NOW, "d")
    given_it = gate.decide(replace(case, approval=approval), NOW, "d")
    for before, now in zip(without.results, given_it.results, strict=True):
        if before.answer is DENY:
            assert now == before
        if now.answer < before.answer:
            assert (before.answer, now.answer, now.reason) == (ASK, ALLOW, Reason.APPROVED)


@given(case=cases)
def test_an_approval_is_for_one_run_one_plan_one_time(case: Case) -> None:
    """Only a yes by somebody, to this run and plan, not yet expired, answers a question."""
    decision = gate.decide(case, NOW, "d")
    if any(result.reason is Reason.APPROVED for result in decision.results):
        approval, proposal = case.approval, case.proposal
        assert approval is not None
        assert proposal is not None
        assert approval.approved is True
        assert approval.by
        assert (approval.id, approval.plan) == (case.run, proposal.plan)
        assert approval.expires_at > NOW


@given(case=cases)
def test_a_rejection_denies(case: Case) -> None:
    """Once a person has said no to a run, it does not act."""
    no = Approval(
        id="run-1", incident="i", plan="p", requested_at=0, expires_at=0, approved=False, by="bea"
    )
    assert decide(replace(case, approval=no)) is DENY


@given(case=cases)
def test_replay_is_identical(case: Case) -> None:
    """The same case at the same time gives the same decision and the same words for it."""
    first, again = gate.decide(case, NOW, "d"), gate.decide(replace(case), NOW, "d")
    assert first == again
    assert why.explain(first) == why.explain(again)


@given(case=cases, key=st.sampled_from(["health", "precondition/up"]))
def test_knowing_less_never_loosens(case: Case, key: str) -> None:
    """Without an answer, or with one that could not be had, the gate is at least as strict."""
    usual = decide(case)
    without = {name: answer for name, answer in case.answers.items() if name != key}
    unknown = {**case.answers, key: Answer(key=key, at=NOW, ok=None)}
    assert decide(replace(case, answers=without)) >= usual
    assert decide(replace(case, answers=unknown)) >= usual
    assert decide(replace(case, modes=None)) is DENY


@given(
    case=cases,
    scope=st.sampled_from(["all", "environment/shop", "service/shop/orders", "runbook/restart"]),
)
def test_a_halt_stops_everything_it_covers(case: Case, scope: str) -> None:
    """Halted anywhere on the way to the target, nothing is allowed and nothing is asked."""
    halt = Mode(id=scope, automation=Automation.HALTED, by="ada", reason="", at=NOW)
    others = tuple(mode for mode in case.modes or () if mode.id != scope)
    assert decide(replace(case, modes=(*others, halt))) is DENY


@given(case=cases, row=st.integers(1, 9))
def test_learning_only_tightens(case: Case, row: int) -> None:
    """A longer row of runs without effect, a later action and an open breaker never loosen."""
    usual = decide(case)
    assert decide(replace(case, breaker=Breaker(id=WHERE, opened_at=1))) is DENY
    if case.record is not None:
        longer = case.record.ineffective_in_a_row + row
        assert decide(replace(case, record=replace(case.record, ineffective_in_a_row=longer))) >= (
            usual
        )
        acted = replace(case.record, last_acted_at=NOW, last_severity=case.incident.severity)
        assert decide(replace(case, record=acted)) is DENY


@given(case=cases)
def test_probation_answers_only_for_missing_experience(case: Case) -> None:
    """Taking probation away changes nothing but that the gate asks where it stood in."""
    grant = case.grant
    if grant is None or not grant.probation or grant.expires_at is None:
        return
    on = gate.decide(case, NOW, "d")
    off = gate.decide(replace(case, grant=replace(grant, probation=False)), NOW, "d")
    assert off.answer >= on.answer
    differing = {
        a.guard for a, b in zip(on.results, off.results, strict=True) if a.answer is not b.answer
    }
    assert differing <= {"p_fix"}


@given(case=cases)
def test_acting_alone_takes_a_grant_a_symptom_and_running_automation(case: Case) -> None:
    """Whatever else is so: an ALLOW rests on a symptom just seen, an aim, a person's word."""
    decision = gate.decide(case, NOW, "d")
    if decision.answer is ALLOW:
        health = case.answers["health"]
        assert health.ok is False
        assert abs(NOW - health.at) < 10_000
        assert case.proposal is not None
        assert case.proposal.target not in case.protected
        approved = case.approval is not None and case.approval.approved is True
        granted = case.grant is not None and case.grant.autonomy is Autonomy.AUTO
        assert granted or approved


@given(case=cases)
def test_opx_acts_on_what_people_last_said(case: Case) -> None:
    """An ALLOW is for the runbook and the target that are in force; without an approval they
    are also those that were granted, and the experience is with that very runbook."""
    if gate.decide(case, NOW, "d").answer is not ALLOW:
        return
    proposal, grant = case.proposal, case.grant
    assert proposal is not None
    assert case.runbook is not None
    assert case.service is not None
    assert (case.runbook.hash, case.service.target) == (proposal.runbook_hash, proposal.target)
    if decide(replace(case, approval=None)) is ALLOW:
        assert grant is not None
        assert (grant.runbook_hash, grant.target) == (proposal.runbook_hash, proposal.target)
        assert grant.probe == probe_of(case.service)
        known = case.record is not None and case.record.runbook_hash == proposal.runbook_hash
        assert known or grant.probation
