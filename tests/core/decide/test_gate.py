# SPDX-License-Identifier: Apache-2.0

"""The gate over the whole tuple of guards: a table with a case for every reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from opx.core.base.calendars import Calendar
from opx.core.base.expressions import Expression
from opx.core.base.reads import Answer, Probe, ProbeKind
from opx.core.base.time import Window
from opx.core.correlate.episode import Group
from opx.core.decide import gate, guards, why
from opx.core.decide.actions import Blast
from opx.core.decide.case import (
    Approval,
    Automation,
    Autonomy,
    Breaker,
    Busy,
    Case,
    Grant,
    Lease,
    Limits,
    Mode,
    TrackRecord,
)
from opx.core.decide.decision import Answered, GuardResult, Reason
from opx.core.decide.proposals import Considered
from opx.core.decide.runbooks import Precondition, Step
from opx.core.detect.rules import Limit, Ratio, Selector, Side
from opx.core.detect.witness import Witness
from opx.core.incident.incident import Status
from opx.core.ingest.services import Catalogue, Health, Service
from opx.core.ingest.signals import Identity, Severity

NOW = 1_767_225_600_000
WHERE = "restart|shop|orders"
TARGET = "http://127.0.0.1:9001#orders"
IN_A_GROUP = "http://127.0.0.1:9001#shop:orders"
OTHER = "http://127.0.0.1:9001#payments"
PROBE = "http http://127.0.0.1:9101/health"
HOUR = 3_600_000
But = Callable[..., Case]

ALLOW, ASK, DENY = Answered.ALLOW, Answered.ASK, Answered.DENY


def mode(id: str, automation: Automation) -> Mode:
    return Mode(id=id, automation=automation, by="ada", reason="drill", at=0)


def health(ok: bool | None, at: int = NOW - 200) -> dict[str, Answer]:
    return {"health": Answer(key="health", at=at, ok=ok)}


def grant(autonomy: Autonomy, **more: Any) -> Grant:
    usual = {"by": "ada", "at": 0, "runbook_hash": "hash-1", "target": TARGET, "probe": PROBE}
    return Grant(id=WHERE, autonomy=autonomy, **{**usual, **more})


def probation(**more: Any) -> Grant:
    return grant(Autonomy.AUTO, **{"probation": True, "expires_at": NOW + 1, **more})


def record(**counts: Any) -> TrackRecord:
    return TrackRecord(id=WHERE, **{"runbook_hash": "hash-1", **counts})


def acted(at: int, severity: Severity | None) -> TrackRecord:
    return record(recovered=40, last_acted_at=at, last_severity=severity)


def answered(plan: str, **more: Any) -> Approval:
    facts = {
        "id": "run-1",
        "incident": "incident-1",
        "plan": plan,
        "requested_at": NOW - 60_000,
        "expires_at": NOW + 1,
        "approved": True,
        "by": "bea",
        "at": NOW - 10,
    }
    return Approval(**{**facts, **more})


def precondition(expect: str) -> tuple[Precondition, ...]:
    probe = Probe(kind=ProbeKind.TCP, address="127.0.0.1:5432")
    return (Precondition(id="store", probe=probe, expect=Expression(expect)),)


def store(ok: bool | None, at: int = NOW - 200) -> dict[str, Answer]:
    return {**health(False), "precondition/store": Answer(key="p", at=at, ok=ok, latency_ms=3.0)}


def shop(*names: str, calls: dict[str, tuple[str, ...]] | None = None) -> Catalogue:
    """Services of the shop that are watched, and whom they call."""
    probed = Health(probe=Probe(kind=ProbeKind.TCP, address="127.0.0.1:1"))
    services = [
        Service(
            name=name,
            environment="shop",
            health=probed,
            target=f"http://127.0.0.1:9001#{name}",
            depends_on=(calls or {}).get(name, ()),
        )
        for name in names
    ]
    return Catalogue(services={("shop", one.name): one for one in services})


def steps(blast: Blast) -> tuple[Step, ...]:
    return (Step(id="do", uses="a.thing", blast=blast),)


def busy(service: str, at: int, run: str = "run-9", environment: str = "shop") -> Busy:
    return Busy(run=run, group=Group(environment, service), at=at)


def night(name: str = "night", start: int = NOW - 1, end: int = NOW + HOUR) -> dict[str, Calendar]:
    """A calendar of one period."""
    return {name: Calendar(name=name, hash="h", periods=(Window(start, end),))}


def ill(*names: str) -> dict[Group, int]:
    return {Group("shop", name): NOW - 5_000 for name in names}


def errors(
    part: float | None, whole: float | None, at: int = NOW - 200, of: str = "orders"
) -> dict[str, Answer]:
    """What a witness of five per cent errors was told, in errors and requests a second."""
    told = {"part": part, "whole": whole}
    keys = {what: f"ratio/errors|shop/{of}/|{what}" for what in told}
    return {
        keys[what]: Answer(key=keys[what], at=at, ok=True, value=value)
        for what, value in told.items()
    }


WITNESS = Witness(
    rule="ratio/errors",
    check=Ratio(
        part=Selector(metric="errors"),
        whole=Selector(metric="requests"),
        window=10_000,
        limit=Limit(Side.ABOVE, 0.05),
        at_least=20,
    ),
    identity=Identity("shop", "orders"),
)
BENEATH = replace(WITNESS, identity=Identity("shop", "store"))
OVER = night(start=NOW - HOUR, end=NOW)
MANY = tuple(f"s{number}" for number in range(10))

PLAN = "the plan is filled in by the test"

TABLE: list[tuple[Reason, Answered, dict[str, Any]]] = [
    (Reason.OK, ALLOW, {}),
    (Reason.HALTED, DENY, {"modes": [("all", "halted")]}),
    (Reason.HALTED, DENY, {"modes": [("all", "running"), ("environment/shop", "halted")]}),
    (Reason.HALTED, DENY, {"modes": [("all", "running"), ("service/shop/orders", "halted")]}),
    (Reason.HALTED, DENY, {"modes": [("all", "running"), ("runbook/restart", "halted")]}),
    (Reason.OK, ALLOW, {"modes": [("all", "running"), ("runbook/other", "halted")]}),
    (Reason.OK, ALLOW, {"modes": [("all", "running"), ("service/live/orders", "halted")]}),
    (Reason.MODE_UNKNOWN, DENY, {"modes": None}),
    (Reason.MODE_UNKNOWN, DENY, {"modes": [("environment/shop", "running")]}),
    (Reason.NO_RUNBOOK, DENY, {"proposal": None}),
    (Reason.RUNBOOK_CHANGED, DENY, {"runbook": None}),
    (Reason.RUNBOOK_CHANGED, DENY, {"runbook__hash": "another"}),
    (Reason.NO_TARGET, DENY, {"proposal__target": ""}),
    (Reason.TARGET_CHANGED, DENY, {"service__target": OTHER}),
    (Reason.TARGET_CHANGED, DENY, {"service__target": ""}),
    (Reason.TARGET_CHANGED, DENY, {"service__target": OTHER, "approval": answered(PLAN)}),
    (Reason.TARGET_CHANGED, DENY, {"proposal__parameters": {"config": "/srv/a"}}),
    (Reason.PROTECTED_TARGET, DENY, {"protected": frozenset({TARGET})}),
    (Reason.OK, ALLOW, {"protected": frozenset({"http://127.0.0.1:9001#opx"})}),
    (Reason.INCIDENT_OVER, DENY, {"incident__status": Status.RESOLVED}),
    (Reason.INCIDENT_OVER, DENY, {"incident__status": Status.MITIGATED}),
    (Reason.OK, ALLOW, {"incident__status": Status.MITIGATING}),
    (Reason.SYMPTOM_GONE, DENY, {"answers": health(True)}),
    (Reason.SYMPTOM_UNCONFIRMED, DENY, {"answers": health(None)}),
    (Reason.SYMPTOM_UNCONFIRMED, DENY, {"answers": {}}),
    (Reason.SYMPTOM_UNCONFIRMED, DENY, {"answers": health(False, NOW - 10_000)}),
    (Reason.OK, ALLOW, {"answers": health(False, NOW - 9_999)}),
    (Reason.SEVERITY_ABOVE_CEILING, ASK, {"incident__severity": Severity.SEV2}),
    (Reason.SEVERITY_ABOVE_CEILING, ASK, {"policy__ceiling": None}),
    (Reason.OK, ALLOW, {"incident__severity": Severity.SEV4}),
    (Reason.OK, ALLOW, {"incident__severity": Severity.SEV2, "policy__ceiling": Severity.SEV2}),
    (Reason.COOLING_DOWN, DENY, {"record__last_acted_at": NOW - 59_999}),
    (Reason.OK, ALLOW, {"record__last_acted_at": NOW - 60_000}),
    (Reason.OK, ALLOW, {"record": acted(NOW, Severity.SEV4)}),
    (Reason.COOLING_DOWN, DENY, {"record": acted(NOW, Severity.SEV3)}),
    (Reason.COOLING_DOWN, DENY, {"record": acted(NOW, Severity.SEV2)}),
    (Reason.COOLING_DOWN, DENY, {"record": acted(NOW, None)}),
    (Reason.LEASE_HELD, DENY, {"lease": Lease(id=TARGET, run="run-2", expires_at=NOW + 1)}),
    (Reason.OK, ALLOW, {"lease": Lease(id=TARGET, run="run-2", expires_at=NOW)}),
    (Reason.OK, ALLOW, {"lease": Lease(id=TARGET, run="run-1", expires_at=NOW + 1)}),
    (Reason.OK, ALLOW, {"lease": Lease(id=TARGET, run="", expires_at=NOW + 1)}),
    (Reason.BREAKER_OPEN, DENY, {"breaker": Breaker(id=WHERE, opened_at=NOW - 1)}),
    (Reason.OK, ALLOW, {"breaker": Breaker(id=WHERE, closed_by="ada")}),
    (
        Reason.PRECONDITION_FAILED,
        DENY,
        {"runbook__preconditions": precondition("ok"), "answers": store(False)},
    ),
    (
        Reason.PRECONDITION_UNKNOWN,
        DENY,
        {"runbook__preconditions": precondition("ok"), "answers": store(None)},
    ),
    (Reason.PRECONDITION_UNKNOWN, DENY, {"runbook__preconditions": precondition("ok")}),
    (
        Reason.PRECONDITION_UNKNOWN,
        DENY,
        {"runbook__preconditions": precondition("ok"), "answers": store(True, NOW - 10_000)},
    ),
    (
        Reason.PRECONDITION_UNKNOWN,
        DENY,
        {"runbook__preconditions": precondition("value > 1.0"), "answers": store(True)},
    ),
    (
        Reason.OK,
        ALLOW,
        {
            "runbook__preconditions": precondition("ok && latency_ms < 5.0"),
            "answers": store(True),
        },
    ),
    (Reason.OBSERVE_ONLY, DENY, {"grant": grant(Autonomy.OBSERVE)}),
    (Reason.OBSERVE_ONLY, DENY, {"grant": grant(Autonomy.OBSERVE, expires_at=NOW - 1)}),
    (Reason.SUGGEST_ONLY, ASK, {"grant": None}),
    (Reason.SUGGEST_ONLY, ASK, {"grant": grant(Autonomy.SUGGEST)}),
    (Reason.SUGGEST_ONLY, ASK, {"grant": grant(Autonomy.AUTO, expires_at=NOW)}),
    (Reason.OK, ALLOW, {"grant": grant(Autonomy.AUTO, expires_at=NOW + 1)}),
    (Reason.APPROVAL_NEEDED, ASK, {"grant": grant(Autonomy.APPROVE)}),
    (Reason.GRANT_OUTDATED, ASK, {"grant": grant(Autonomy.AUTO, runbook_hash="hash-0")}),
    (Reason.GRANT_OUTDATED, ASK, {"grant": grant(Autonomy.AUTO, target=OTHER)}),
    (Reason.GRANT_OUTDATED, ASK, {"grant": grant(Autonomy.AUTO, target=IN_A_GROUP)}),
    (Reason.GRANT_OUTDATED, ASK, {"grant": Grant(id=WHERE, autonomy=Autonomy.AUTO, by="a", at=0)}),
    (Reason.GRANT_OUTDATED, ASK, {"record": None, "grant": probation(runbook_hash="hash-0")}),
    (Reason.APPROVAL_NEEDED, ASK, {"grant": grant(Autonomy.APPROVE, target=OTHER)}),
    (Reason.OBSERVE_ONLY, DENY, {"grant": grant(Autonomy.OBSERVE, target=OTHER)}),
    (
        Reason.APPROVED,
        ALLOW,
        {"grant": grant(Autonomy.AUTO, target=OTHER), "approval": answered(PLAN)},
    ),
    (Reason.ACKNOWLEDGED_BY_PERSON, ASK, {"incident__acknowledged_by": "ada"}),
    (Reason.UNCALIBRATED, ASK, {"record": None}),
    (Reason.UNCALIBRATED, ASK, {"record": record(recovered=29)}),
    (Reason.UNCALIBRATED, ASK, {"record": record(recovered=29, inconclusive=9)}),
    (Reason.UNCALIBRATED, ASK, {"record": record(recovered=30, runbook_hash="hash-0")}),
    (Reason.UNCALIBRATED, ASK, {"record": TrackRecord(id=WHERE, recovered=30)}),
    (Reason.OK, ALLOW, {"record": record(recovered=30)}),
    (Reason.UNCALIBRATED, ASK, {"record": None, "grant": probation(by="")}),
    (Reason.P_FIX_TOO_LOW, ASK, {"record": record(recovered=23, no_effect=7)}),
    (Reason.OK, ALLOW, {"record": record(recovered=24, no_effect=6)}),
    (
        Reason.P_FIX_TOO_LOW,
        ASK,
        {"record": record(recovered=23, worse=7), "grant": probation()},
    ),
    (Reason.ON_PROBATION, ALLOW, {"record": None, "grant": probation()}),
    (Reason.PROBATION_BUSY, ASK, {"record": None, "grant": probation(), "busy_probation": True}),
    (Reason.PROBATION_EXPIRED, ASK, {"record": None, "grant": probation(expires_at=NOW)}),
    (Reason.PROBATION_EXPIRED, ASK, {"record": None, "grant": probation(expires_at=None)}),
    (Reason.PROBATION_EXPIRED, ASK, {"grant": probation(expires_at=NOW)}),
    (
        Reason.PROBATION_IRREVERSIBLE,
        ASK,
        {"record": None, "grant": probation(), "runbook__irreversible": "it deletes"},
    ),
    (Reason.APPROVED, ALLOW, {"grant": None, "approval": answered(PLAN)}),
    (
        Reason.APPROVED,
        ALLOW,
        {"incident__severity": Severity.SEV1, "record": None, "approval": answered(PLAN)},
    ),
    (
        Reason.APPROVED,
        ALLOW,
        {"incident__acknowledged_by": "ada", "approval": answered(PLAN)},
    ),
    (Reason.SUGGEST_ONLY, ASK, {"grant": None, "approval": answered("another plan")}),
    (Reason.SUGGEST_ONLY, ASK, {"grant": None, "approval": answered(PLAN, id="run-0")}),
    (Reason.SUGGEST_ONLY, ASK, {"grant": None, "approval": answered(PLAN, expires_at=NOW)}),
    (Reason.SUGGEST_ONLY, ASK, {"grant": None, "approval": answered(PLAN, by=None)}),
    (Reason.SUGGEST_ONLY, ASK, {"grant": None, "approval": answered(PLAN, approved=None)}),
    (Reason.REJECTED, DENY, {"approval": answered(PLAN, approved=False)}),
    (Reason.OK, ALLOW, {"approval": answered(PLAN, approved=False, id="run-0")}),
    (Reason.GUARD_FAILED, DENY, {"policy": None}),
    # what a rule's own numbers say counts like the probe
    (
        Reason.OK,
        ALLOW,
        {"witnesses": (WITNESS,), "answers": {**health(True), **errors(0.6, 10.0)}},
    ),
    (
        Reason.SYMPTOM_GONE,
        DENY,
        {"witnesses": (WITNESS,), "answers": {**health(True), **errors(0.5, 10.0)}},
    ),
    (
        Reason.SYMPTOM_UNCONFIRMED,
        DENY,
        {"witnesses": (WITNESS,), "answers": {**health(True), **errors(0.6, 1.9)}},
    ),
    (
        Reason.SYMPTOM_UNCONFIRMED,
        DENY,
        {"witnesses": (WITNESS,), "answers": {**health(True), **errors(0.6, 10, NOW - 10_000)}},
    ),
    (Reason.OK, ALLOW, {"witnesses": (WITNESS,), "answers": {**health(False), **errors(0, 10.0)}}),
    # whoever found it has said that it is over: numbers that cannot be told keep nobody waiting
    (
        Reason.SYMPTOM_GONE,
        DENY,
        {
            "firing": False,
            "witnesses": (WITNESS,),
            "answers": {**health(True), **errors(0.6, 1.9)},
        },
    ),
    (Reason.SYMPTOM_UNCONFIRMED, DENY, {"firing": False, "answers": health(None)}),
    (Reason.OK, ALLOW, {"firing": False, "answers": health(False)}),
    (
        Reason.OK,
        ALLOW,
        {
            "witnesses": (WITNESS,),
            "service__health": None,
            "grant__probe": "",
            "answers": errors(0.6, 10.0),
        },
    ),
    # a caller whose callee is half as ill, by the same rule, is not the cause
    (
        Reason.CAUSE_BELOW,
        DENY,
        {
            "witnesses": (WITNESS,),
            "beneath": (BENEATH,),
            "answers": {**health(False), **errors(2.0, 10.0), **errors(1.0, 10.0, of="store")},
        },
    ),
    (
        Reason.OK,
        ALLOW,
        {
            "witnesses": (WITNESS,),
            "beneath": (BENEATH,),
            "answers": {**health(False), **errors(2.0, 10.0), **errors(0.9, 10.0, of="store")},
        },
    ),
    (
        Reason.OK,
        ALLOW,
        {
            "witnesses": (WITNESS,),
            "beneath": (BENEATH,),
            "answers": {**health(False), **errors(2.0, 10.0), **errors(None, None, of="store")},
        },
    ),
    (Reason.CAUSE_ELSEWHERE, DENY, {"incident__group": Group("shop", "store")}),
    # environments
    (
        Reason.ENVIRONMENT_OBSERVES,
        DENY,
        {"policy__environments": {"shop": Limits(autonomy=Autonomy.OBSERVE)}},
    ),
    (
        Reason.ENVIRONMENT_ASKS,
        ASK,
        {"policy__environments": {"shop": Limits(autonomy=Autonomy.APPROVE)}},
    ),
    (
        Reason.ENVIRONMENT_ASKS,
        ASK,
        {"policy__environments": {"shop": Limits(ceiling=Severity.SEV4)}},
    ),
    (Reason.OK, ALLOW, {"policy__environments": {"shop": Limits(ceiling=Severity.SEV3)}}),
    (Reason.OK, ALLOW, {"policy__environments": {"live": Limits(autonomy=Autonomy.OBSERVE)}}),
    # blindness: three of three by themselves, and not where one explains the others
    (
        Reason.OBSERVER_SUSPECT,
        DENY,
        {"catalogue": shop("orders", "b", "c", "d"), "ill": ill("orders", "b", "c")},
    ),
    (Reason.OK, ALLOW, {"catalogue": shop("orders", "b", "c"), "ill": ill("orders", "b")}),
    (Reason.OK, ALLOW, {"catalogue": shop("orders", *MANY), "ill": ill("orders", "s1", "s2")}),
    (
        Reason.OK,
        ALLOW,
        {
            "catalogue": shop("orders", "b", "c", "d", calls={"b": ("orders",), "c": ("b",)}),
            "ill": ill("orders", "b", "c"),
        },
    ),
    # budget
    (
        Reason.BUDGET_SPENT,
        DENY,
        {
            "policy__service_runs_per_hour": 2,
            "acted": (busy("orders", NOW - 9, "r1"), busy("orders", NOW - HOUR + 1, "r2")),
        },
    ),
    (
        Reason.OK,
        ALLOW,
        {
            "policy__service_runs_per_hour": 2,
            "acted": (busy("orders", NOW - 9, "r1"), busy("orders", NOW - HOUR, "r2")),
        },
    ),
    (
        Reason.BUDGET_SPENT,
        DENY,
        {"policy__environment_runs_per_hour": 1, "acted": (busy("b", NOW - 9),)},
    ),
    (
        Reason.OK,
        ALLOW,
        {"policy__environment_runs_per_hour": 1, "acted": (busy("b", 1, environment="live"),)},
    ),
    (
        Reason.OK,
        ALLOW,
        {"policy__service_runs_per_hour": 1, "acted": (busy("orders", NOW - 9, "run-1"),)},
    ),
    # reach
    (Reason.BLAST_UNKNOWN, ASK, {"runbook__steps": steps(Blast.EXTERNAL)}),
    (Reason.BLAST_UNKNOWN, ASK, {"runbook__rollback": steps(Blast.EXTERNAL)}),
    (
        Reason.BLAST_RADIUS,
        ASK,
        {
            "policy__blast_radius": 2,
            "catalogue": shop("orders", "b", "c", calls={"b": ("orders",), "c": ("b",)}),
        },
    ),
    (
        Reason.OK,
        ALLOW,
        {
            "policy__blast_radius": 2,
            "catalogue": shop("orders", "b", "c", calls={"b": ("orders",)}),
        },
    ),
    # leases on what it depends on
    (
        Reason.LEASE_HELD,
        DENY,
        {
            "catalogue": shop("orders", "b", calls={"orders": ("b",)}),
            "held": (busy("b", NOW + 1),),
        },
    ),
    (
        Reason.OK,
        ALLOW,
        {"catalogue": shop("orders", "b", calls={"orders": ("b",)}), "held": (busy("b", NOW),)},
    ),
    (
        Reason.OK,
        ALLOW,
        {
            "catalogue": shop("orders", "b", calls={"b": ("orders",)}),
            "held": (busy("b", NOW + 1),),
        },
    ),
    # calendars
    (Reason.OUTSIDE_CHANGE_WINDOW, DENY, {"policy__change_window": "night", "calendars": OVER}),
    (Reason.OK, ALLOW, {"policy__change_window": "night", "calendars": night()}),
    (Reason.CHANGE_FREEZE, DENY, {"policy__freezes": ("night",), "calendars": night()}),
    (Reason.OK, ALLOW, {"policy__freezes": ("night",), "calendars": OVER}),
    (Reason.CALENDAR_UNKNOWN, DENY, {"policy__freezes": ("night",)}),
    (Reason.CALENDAR_UNKNOWN, DENY, {"policy__change_window": "night"}),
]


def made(but: But, changes: dict[str, Any]) -> Case:
    changes = dict(changes)
    if changes.get("modes") is not None:
        changes["modes"] = tuple(mode(id, Automation(said)) for id, said in changes["modes"])
    case = but(**changes)
    if case.approval is not None and case.approval.plan == PLAN and case.proposal is not None:
        case = but(**changes, approval__plan=case.proposal.plan)
    return case


@pytest.mark.parametrize(("reason", "answer", "changes"), TABLE)
def test_table(but: But, reason: Reason, answer: Answered, changes: dict[str, Any]) -> None:
    """Each change of one fact gives exactly this answer, for exactly this reason."""
    decision = gate.decide(made(but, changes), NOW, "decision-1")
    assert decision.answer is answer
    said = {result.reason for result in decision.results if result.answer is answer}
    assert reason in said
    assert said - {Reason.OK} <= {reason}


def test_every_reason_is_reachable() -> None:
    """No reason exists that a guard cannot give, but the one with which a new explanation ends
    a run, whatever its guards would say."""
    assert {reason for reason, _, _ in TABLE} == set(Reason) - {Reason.EXPLANATION_CHANGED}


def test_every_guard_is_asked(case: Case) -> None:
    """A denial does not stop the others from being asked, and each answers under its name."""
    decision = gate.decide(case, NOW + 10_000, "decision-1")
    assert decision.answer is DENY
    assert [result.guard for result in decision.results] == [
        guard.__name__ for guard in guards.GUARDS
    ]


def test_a_decision_says_what_it_is_about(case: Case) -> None:
    """Incident, run, plan and time are those of the case."""
    decision = gate.decide(case, NOW, "decision-1")
    assert case.proposal is not None
    assert (decision.id, decision.incident, decision.run) == ("decision-1", "incident-1", "run-1")
    assert (decision.plan, decision.at) == (case.proposal.plan, NOW)


def test_a_failing_guard_is_named(case: Case) -> None:
    """A guard that raises denies, with its name and the kind of error."""

    def moody(case: Case, now: int) -> GuardResult:
        raise LookupError("no such fact")

    decision = gate.decide(case, NOW, "d", (*guards.GUARDS, moody))
    (failed,) = [result for result in decision.results if result.answer is DENY]
    assert (failed.guard, failed.reason) == ("moody", Reason.GUARD_FAILED)
    assert failed.detail == "LookupError: no such fact"


def test_an_undeclared_service_has_neither_runbook_nor_target(but: But) -> None:
    """Both are said, not only the first."""
    decision = gate.decide(but(proposal=None, service=None), NOW, "d")
    assert decision.answer is DENY
    assert decision.reasons == (Reason.NO_RUNBOOK, Reason.NO_TARGET)
    assert decision.plan == ""


def test_no_guards_is_a_no(case: Case) -> None:
    """Where nobody is asked, nothing is allowed."""
    decision = gate.decide(case, NOW, "d", ())
    assert decision.answer is DENY
    assert why.explain(decision)[1] == "No guard was asked, and silence is not a yes."


def test_where_nothing_fits_it_is_said_once(case: Case) -> None:
    """The same runbooks failing in the same way are one decision; others are another, and so
    are the same ones once a run has come in between."""
    one = case.incident
    first = gate.none_fits(one, (Considered(runbook="a", conditions=()),), NOW)
    again = gate.none_fits(replace(one, version=9), first.considered, NOW + 1)
    after = gate.none_fits(replace(one, runs=one.runs + 1), first.considered, NOW)
    other = gate.none_fits(one, (), NOW)
    elsewhere = gate.none_fits(replace(one, id="incident-2"), (), NOW)
    assert (first.answer, first.reasons, first.id) == (DENY, (Reason.NO_RUNBOOK,), again.id)
    assert len({first.id, after.id, other.id, elsewhere.id}) == 4


def test_needs_asks_health_and_preconditions(but: But) -> None:
    """The gate wants the service's health and each precondition, under the keys it looks up."""
    reads = gate.needs(but(runbook__preconditions=precondition("ok")), NOW)
    assert [(read.key, read.probe.address) for read in reads] == [
        ("health", "http://127.0.0.1:9101/health"),
        ("precondition/store", "127.0.0.1:5432"),
    ]
    assert gate.needs(but(service=None, runbook=None), NOW) == []


def test_undoing_does_not_need_the_symptom(but: But) -> None:
    """A rollback may go on when the service is well again, but not when automation is halted."""
    well = but(answers=health(True), grant=None, record__last_acted_at=NOW)
    assert gate.decide(well, NOW, "d").answer is DENY
    assert gate.decide(well, NOW, "d", guards.UNDO_GUARDS).answer is ALLOW
    halted = made(but, {"modes": [("all", "halted")]})
    assert gate.decide(halted, NOW, "d", guards.UNDO_GUARDS).answer is DENY


class TestRetry:
    """When a denial says that time will change it, it says when."""

    @pytest.mark.parametrize(
        ("changes", "retry_at"),
        [
            ({"record__last_acted_at": NOW - 20_000}, NOW + 40_000),
            ({"lease": Lease(id=TARGET, run="run-2", expires_at=NOW + 700)}, NOW + 700),
            ({"answers": {}}, NOW + 5_000),
            ({"answers": {}, "incident__opened_at": NOW - 60_000}, NOW + 30_000),
            ({"answers": {}, "incident__opened_at": NOW - 864_000_000}, NOW + 3_600_000),
            ({"answers": {}, "service__health": None}, None),
            (
                {"runbook__preconditions": precondition("ok"), "answers": store(False)},
                NOW + 5_000,
            ),
            ({"answers": health(True)}, None),
            ({"modes": [("all", "halted")]}, None),
            ({"breaker": Breaker(id=WHERE, opened_at=NOW - 1)}, None),
        ],
    )
    def test_retry_at(self, but: But, changes: dict[str, Any], retry_at: int | None) -> None:
        """What a person must change has no time; what only takes time has one."""
        decision = gate.decide(made(but, changes), NOW, "d")
        assert [result.retry_at for result in decision.results if result.answer is DENY] == [
            retry_at
        ]


class TestCooldown:
    """Second and third repeats are held too, and what did not help is tried ever more rarely."""

    def test_every_repeat_inside_the_window_is_held(self, but: But) -> None:
        """After one action, repeats at 1, 30 and 59 s are held; the one at 60 s is not."""
        acted = NOW
        case = but(record__last_acted_at=acted)
        held = [guards.cooldown(case, acted + ms).answer for ms in (1_000, 30_000, 59_000)]
        assert held == [DENY, DENY, DENY]
        assert guards.cooldown(case, acted + 60_000).answer is ALLOW

    def test_a_denied_run_does_not_prolong_it(self, but: But) -> None:
        """Only executed actions count: asking again and again leaves the end where it was."""
        case = but(record__last_acted_at=NOW)
        ends = {guards.cooldown(case, NOW + ms).retry_at for ms in (1_000, 20_000, 59_999)}
        assert ends == {NOW + 60_000}

    @pytest.mark.parametrize(
        ("row", "wait"), [(0, 60_000), (1, 120_000), (2, 240_000), (6, 3_600_000), (99, 3_600_000)]
    )
    def test_it_doubles_up_to_an_hour(self, but: But, row: int, wait: int) -> None:
        """Each run in a row without effect doubles the wait, which stops at an hour."""
        case = but(record=record(ineffective_in_a_row=row, last_acted_at=NOW))
        assert guards.cooldown(case, NOW).retry_at == NOW + wait

    def test_a_longer_policy_is_kept(self, but: But) -> None:
        """A policy's own cooldown beyond the hour is not shortened."""
        case = but(record__last_acted_at=NOW, policy__cooldown=7_200_000)
        assert guards.cooldown(case, NOW).retry_at == NOW + 7_200_000
