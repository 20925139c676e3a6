# SPDX-License-Identifier: Apache-2.0

"""A ``front`` with nothing behind it but fakes, and rows to put into its store."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from fastapi import FastAPI

from opx.api.create import create
from opx.api.front import Front
from opx.app import documents
from opx.core.act.run import Run, RunStatus
from opx.core.base.metrics import Bucket, MetricAnswer, MetricQuery, MetricResult, Resolution
from opx.core.correlate.episode import Group
from opx.core.decide.case import Approval, Automation, Mode
from opx.core.decide.roles import Role
from opx.core.decide.runbooks import Proposal
from opx.core.incident.incident import Incident, Priority, Status
from opx.core.ingest.signals import Severity
from opx.engine import access
from opx.engine.access import Access
from opx.engine.beats.health import BrainState
from opx.engine.journal import audit
from opx.engine.ports import Command, Entry, Token, Where, WriteTx
from opx.errors import Unavailable
from opx.testing.memory import ManualClock, MemoryStore

T = TypeVar("T")

NOW = 1_767_225_600_000
"""2026-01-01T00:00:00.000Z"""

SERVICE = """\
apiVersion: opx/v1
kind: Service
metadata: {name: orders}
spec:
  environment: shop
  target: "http://127.0.0.1:9001#orders"
"""
RUNBOOK = """\
apiVersion: opx/v1
kind: Runbook
metadata: {name: restart}
spec:
  purpose: Start a service that is down again.
  when: ["insight.type == 'process_down'"]
  steps: [{id: restart, uses: process.restart, timeout: 20s}]
  verify: {passes: 3, of: 3, every: 500ms, within: 30s}
"""


class FakeBrain:
    """``front``'s line to a brain that may be down."""

    def __init__(self) -> None:
        self.up = True
        self.said = BrainState(lag=40)
        self.asked: MetricQuery | None = None

    async def query(self, query: MetricQuery) -> MetricAnswer:
        if not self.up:
            raise Unavailable("brain does not answer")
        self.asked = query
        buckets = [Bucket(NOW, 1.5), Bucket(NOW + 60_000, None)]
        one = MetricResult(labels={}, buckets=buckets)
        return MetricAnswer(resolution=Resolution.RAW, results=[one])

    async def state(self) -> BrainState | None:
        return self.said if self.up else None


async def _exposition() -> bytes:
    return b"opx_up 1.0\n"


@dataclass
class World:
    """``secrets``: a token for each role. ``anchors``: what stands in the anchor file."""

    store: MemoryStore = field(default_factory=MemoryStore)
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW))
    brain: FakeBrain = field(default_factory=FakeBrain)
    anchors: list[audit.Anchor] = field(default_factory=list)
    secrets: dict[Role, str] = field(default_factory=dict)
    hands: bool = True
    keeping: bool = True
    loop: asyncio.AbstractEventLoop = field(init=False)
    application: FastAPI = field(init=False)

    def __post_init__(self) -> None:
        self.front = Front(
            store=self.store,
            clock=self.clock,
            access=Access(self.store, self.clock),
            brain=self.brain,
            check=documents.check,
            bind=documents.bind,
            would=documents.would,
            anchors=lambda: self.anchors,
            exposition=_exposition,
            hands_alive=lambda: self.hands,
            keeping=lambda: self.keeping,
        )

    def app(self) -> FastAPI:
        self.application = create(self.front)
        return self.application

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20)

    def put(self, *rows: object) -> None:
        """Put new rows into the store."""
        self.call(self.store.write(lambda tx: tx.add(*rows)))

    def write_down(self, *entries: Entry) -> None:
        """Put entries into the journal."""
        self.call(self.store.write(lambda tx: tx.append(*entries)))

    def furnish(self, tx: WriteTx) -> None:
        """A token for each role, and automation running."""
        for role in Role:
            secret = access.new_secret(self.clock)
            self.secrets[role] = secret
            tx.save(
                Token(id=access.id_of(secret), name=role.value, roles=(role.value,), created_at=NOW)
            )
        tx.save(
            Mode(id="all", automation=Automation.RUNNING, by="opx", reason="first start", at=NOW)
        )

    def auth(self, role: Role = Role.ADMIN) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secrets[role]}"}


def incident(id: str, opened_at: int = NOW, **other: Any) -> Incident:
    made = Incident(
        id=id,
        episode=f"episode of {id}",
        group=Group("shop", "orders"),
        status=Status.OPEN,
        severity=Severity.SEV2,
        priority=Priority.P1,
        title=f"orders is down ({id})",
        opened_at=opened_at,
        updated_at=opened_at,
    )
    return replace(made, **other)


def run(id: str, incident: str, number: int = 1, **other: Any) -> Run:
    proposal = Proposal(
        runbook="restart",
        runbook_hash="h",
        inputs={},
        target="http://127.0.0.1:9001#orders",
        environment="shop",
        service="orders",
    )
    made = Run(
        id=id,
        incident=incident,
        group=Group("shop", "orders"),
        number=number,
        status=RunStatus.WAITING,
        proposal=proposal,
        created_at=NOW,
        due_at=NOW + 60_000,
    )
    return replace(made, **other)


def approval(run: Run, **other: Any) -> Approval:
    made = Approval(
        id=run.id,
        incident=run.incident,
        plan=run.proposal.plan,
        requested_at=NOW,
        expires_at=NOW + 900_000,
    )
    return replace(made, **other)


async def be_brain(store: MemoryStore, clock: ManualClock, error: str, seen: list[Command]) -> None:
    """Carry out every command as ``brain`` would, with ``error`` as its result."""
    while True:
        for command in await store.read(lambda tx: tx.find(Command, Where("done_at", "null"))):
            seen.append(command)
            done = replace(command, done_at=clock.now(), error=error, version=command.version + 1)
            await store.write(lambda tx, row=done: tx.save(row))
        await store.changed(1_000)
