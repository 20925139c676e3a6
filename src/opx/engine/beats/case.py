# SPDX-License-Identifier: Apache-2.0

"""Gathering a ``Case``: every fact that the guards may look at, in one read.

Shared by the segments of a run. What is not there is left None; the guards deny on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from opx.core.act.run import ENDED, OrderRecord, Run
from opx.core.analyse.insight import Insight
from opx.core.decide import targets
from opx.core.decide.case import (
    Approval,
    Breaker,
    Case,
    Grant,
    Lease,
    Mode,
    Policy,
    TrackRecord,
)
from opx.core.decide.runbooks import Runbook
from opx.core.detect.rules import ThresholdRule
from opx.core.incident.incident import Incident
from opx.core.ingest.services import Catalogue, Service
from opx.core.ingest.signals import Identity
from opx.engine.ports import ReadTx, Where
from opx.errors import NotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A document that is kept and cannot be read, so it is skipped. ``hash``: its content's.
    ``line``: of its text, 0 when it is the whole. ``means``: what opx does not do therefore."""

    id: str
    hash: str
    line: int
    error: str
    means: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """The documents in force, bound: what people taught opx. ``problems``: those that are not
    in it; without the policy that people applied, ``policy`` is the strictest."""

    catalogue: Catalogue = field(default_factory=Catalogue)
    runbooks: tuple[Runbook, ...] = ()
    policy: Policy = field(default_factory=Policy)
    rules: tuple[ThresholdRule, ...] = ()
    problems: tuple[Problem, ...] = ()

    def runbook(self, name: str) -> Runbook | None:
        return next((runbook for runbook in self.runbooks if runbook.name == name), None)

    def service(self, environment: str, name: str) -> Service | None:
        return self.catalogue.of(Identity(environment, name))


def gather(tx: ReadTx, run: Run, knowledge: Knowledge, protected: frozenset[str]) -> Case:
    """The case of ``run`` as the store has it now. ``NotFound`` without incident or insight."""
    incident = tx.get(Incident, run.incident)
    insight = tx.get(Insight, incident.insight) if incident and incident.insight else None
    if incident is None or insight is None:
        raise NotFound(f"run {run.id} has no incident with an insight")
    proposal = run.proposal
    where = proposal.place
    return Case(
        incident=incident,
        insight=insight,
        run=run.id,
        service=knowledge.service(proposal.environment, proposal.service),
        runbook=knowledge.runbook(proposal.runbook),
        proposal=proposal,
        policy=knowledge.policy,
        modes=tuple(tx.find(Mode)),
        grant=tx.get(Grant, where),
        record=tx.get(TrackRecord, where),
        breaker=tx.get(Breaker, where),
        lease=tx.get(Lease, targets.canonical(proposal.target)),
        approval=tx.get(Approval, run.id),
        protected=protected,
        busy_probation=_busy(tx, run),
    )


def orders_of(tx: ReadTx, run: Run) -> list[OrderRecord]:
    return tx.find(OrderRecord, Where("run", "eq", run.id), order="order.issued_at")


def active(tx: ReadTx, incident: str) -> list[Run]:
    """The runs of an incident that have not ended."""
    runs = tx.find(Run, Where("incident", "eq", incident))
    return [run for run in runs if run.status not in ENDED]


def _busy(tx: ReadTx, run: Run) -> bool:
    """Whether another run is out on probation on the same runbook, environment and service."""
    others = tx.find(Run, Where("probation", "eq", True), Where("ended_at", "null"))
    place = run.proposal.place
    return any(other.id != run.id and other.proposal.place == place for other in others)
