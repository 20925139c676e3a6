# SPDX-License-Identifier: Apache-2.0

"""A case in which every guard says yes, and document trees from plain values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from opx.core.analyse.insight import Insight, InsightSource, InsightType
from opx.core.base.documents import Document, Node, envelope
from opx.core.base.reads import Answer, Probe, ProbeKind
from opx.core.correlate.episode import Group
from opx.core.decide.actions import Blast
from opx.core.decide.case import Automation, Autonomy, Case, Grant, Mode, TrackRecord
from opx.core.decide.runbooks import Check, Proposal, Runbook, Step
from opx.core.incident.incident import Incident, Priority, Status
from opx.core.ingest.services import Health, Service
from opx.core.ingest.signals import Severity

NOW = 1_767_225_600_000
TARGET = "http://127.0.0.1:9001#orders"
PROBE = Probe(kind=ProbeKind.HTTP, address="http://127.0.0.1:9101/health")

INCIDENT = Incident(
    id="incident-1",
    episode="episode-1",
    group=Group("shop", "orders"),
    status=Status.OPEN,
    severity=Severity.SEV3,
    priority=Priority.P2,
    title="orders is down",
    opened_at=NOW - 5_000,
    updated_at=NOW - 5_000,
)
INSIGHT = Insight(
    id="insight-1",
    episode="episode-1",
    type=InsightType.PROCESS_DOWN,
    risk=85,
    causes=(),
    advice="restart it",
    source=InsightSource.RULES,
    at=NOW - 4_000,
)
SERVICE = Service(
    name="orders",
    environment="shop",
    owner="crew",
    health=Health(probe=PROBE),
    target=TARGET,
)
RUNBOOK = Runbook(
    name="restart",
    hash="hash-1",
    purpose="bring it back",
    when=(),
    inputs={},
    steps=(Step(id="restart", uses="process.restart", blast=Blast.PROCESS),),
    verify=Check(),
)
PROPOSAL = Proposal(
    runbook="restart",
    runbook_hash="hash-1",
    inputs={},
    target=TARGET,
    environment="shop",
    service="orders",
)
WHERE = "restart|shop|orders"
CASE = Case(
    incident=INCIDENT,
    insight=INSIGHT,
    run="run-1",
    service=SERVICE,
    runbook=RUNBOOK,
    proposal=PROPOSAL,
    modes=(Mode(id="all", automation=Automation.RUNNING, by="ada", reason="start", at=0),),
    grant=Grant(
        id=WHERE,
        autonomy=Autonomy.AUTO,
        by="ada",
        at=0,
        runbook_hash="hash-1",
        target=TARGET,
        probe=f"http {PROBE.address}",
    ),
    record=TrackRecord(
        id=WHERE, runbook_hash="hash-1", recovered=40, last_acted_at=NOW - 3_600_000
    ),
    answers={"health": Answer(key="health", at=NOW - 200, ok=False, detail="refused")},
)


@pytest.fixture(scope="session")
def now() -> int:
    return NOW


@pytest.fixture(scope="session")
def case() -> Case:
    """Every guard says yes to this one."""
    return CASE


@pytest.fixture(scope="session")
def but() -> Callable[..., Case]:
    """The good case with some facts changed; ``incident__severity=x`` reaches inside."""

    def changed(**changes: Any) -> Case:
        made = CASE
        for name, value in changes.items():
            outer, _, inner = name.partition("__")
            if inner:
                value = replace(getattr(made, outer), **{inner: value})
            made = replace(made, **{outer: value})
        return made

    return changed


def tree(value: Any, line: int = 1) -> Node:
    """A document tree from plain values; each mapping's fields stand on lines of their own."""
    if isinstance(value, dict):
        inner = {name: tree(item, line + at) for at, (name, item) in enumerate(value.items())}
        return Node(inner, line, "book.yaml")
    if isinstance(value, list):
        return Node([tree(item, line + at) for at, item in enumerate(value)], line, "book.yaml")
    return Node(value, line, "book.yaml")


@pytest.fixture(scope="session")
def document() -> Callable[[dict[str, Any]], Document]:
    """A checked envelope from a parsed document."""
    return lambda content: envelope(tree(content))
