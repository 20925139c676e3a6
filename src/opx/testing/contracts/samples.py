# SPDX-License-Identifier: Apache-2.0

"""Records for tests of whatever keeps them: small, valid, and known by their id."""

from __future__ import annotations

from opx.core.act.run import OrderRecord, OrderStatus, Run, RunStatus, StepOrder
from opx.core.base.time import HOUR, MINUTE, SECOND, Ms
from opx.core.correlate.episode import Group
from opx.core.decide.runbooks import Proposal
from opx.core.detect.finding import Finding, FindingKind, FindingState
from opx.core.detect.predict.prediction import Kind, Prediction, Urgency, Withdrawn
from opx.core.incident.incident import Incident, Priority, Status
from opx.core.ingest.signals import Identity, Severity
from opx.engine.ports import Entry

AT: Ms = 1_767_225_600_000


def incident(id: str, opened_at: Ms = AT, severity: Severity = Severity.SEV3) -> Incident:
    return Incident(
        id=id,
        episode=f"episode-of-{id}",
        group=Group("prod", "orders"),
        status=Status.OPEN,
        severity=severity,
        priority=Priority.P2,
        title="orders does not answer",
        opened_at=opened_at,
        updated_at=opened_at,
    )


def finding(id: str, at: Ms = AT, state: FindingState = FindingState.FIRING) -> Finding:
    return Finding(
        id=id,
        rule="health",
        stream="orders/health",
        identity=Identity("prod", "orders", "10.0.0.7"),
        kind=FindingKind.SYMPTOM,
        state=state,
        severity=Severity.SEV2,
        since=at,
        at=at,
        summary="zwölf Fehler ☂",
        evidence={"expected": 0.5, "came": [1, None, "x"], "deep": {"a": True}},
    )


def run(id: str, due_at: Ms | None, probation: bool = False) -> Run:
    proposal = Proposal(
        runbook="restart",
        runbook_hash="h",
        inputs={"force": True, "n": 3, "why": "x"},
        target="t",
        environment="prod",
        service="orders",
    )
    return Run(
        id=id,
        incident="i",
        group=Group("prod", "orders"),
        number=1,
        status=RunStatus.PROPOSED,
        proposal=proposal,
        created_at=AT,
        due_at=due_at,
        samples=(True, False, None),
        probation=probation,
    )


def order(id: str, issued_at: Ms) -> OrderRecord:
    step = StepOrder(
        id=id,
        run="r",
        step="restart",
        action="process.restart",
        target="t",
        inputs={"a": "b"},
        timeout=SECOND,
        plan="p",
        decision="d",
        epoch=1,
        issued_at=issued_at,
        expires_at=issued_at + MINUTE,
    )
    return OrderRecord(id=id, run="r", order=step, signature="00", status=OrderStatus.READY)


def entry(kind: str, subject: str = "i") -> Entry:
    return Entry(at=AT, subject=subject, kind=kind, actor="brain", body={"n": 1})


def prediction(id: str, made_at: Ms, withdrawn: Withdrawn | None = None) -> Prediction:
    """Of orders in prod, for an hour."""
    return Prediction(
        id=id,
        identity=Identity("prod", "orders"),
        kind=Kind.LEAK,
        probability=0.6,
        cases=2,
        horizon_ms=30 * MINUTE,
        urgency=Urgency.HIGH,
        made_at=made_at,
        expires_at=made_at + HOUR,
        at=made_at,
        withdrawn=withdrawn,
        evidence={
            "metric": "memory_used_percent",
            "level": 70.0,
            "limit": 100.0,
            "per_minute": 1.0,
            "lasted_minutes": 30.0,
            "minutes_left": 30.0,
            "minutes_left_at_least": 25.0,
            "minutes_left_at_most": 40.0,
        },
    )
