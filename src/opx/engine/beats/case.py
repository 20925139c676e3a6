# SPDX-License-Identifier: Apache-2.0

"""Gathering a ``Case``: every fact that the guards may look at, in one read.

Shared by the segments of a run. What is not there is left None; the guards deny on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from opx.core.act.run import ENDED, OrderRecord, OrderStatus, Run
from opx.core.analyse.insight import Insight
from opx.core.base.calendars import Calendar
from opx.core.base.time import HOUR, MINUTE, Ms
from opx.core.correlate import stage as correlate
from opx.core.correlate.episode import Episode, Group
from opx.core.correlate.problems import Topology
from opx.core.decide import targets
from opx.core.decide.case import (
    Approval,
    Breaker,
    Busy,
    Case,
    Grant,
    Lease,
    Mode,
    Policy,
    TrackRecord,
)
from opx.core.decide.runbooks import Runbook
from opx.core.detect import probes
from opx.core.detect.finding import Finding, FindingKind, FindingState
from opx.core.detect.rules import DetectionRule
from opx.core.detect.witness import Witness
from opx.core.incident.incident import Incident
from opx.core.ingest.services import Catalogue, Service
from opx.core.ingest.signals import Identity
from opx.engine.ports import ReadTx, Where
from opx.errors import NotFound

TOGETHER: Ms = 2 * MINUTE
"""What goes bad within this time of an incident's beginning goes bad together with it."""
MOST_BENEATH = 50
"""Dependencies that are asked about before a decision."""
MOST_FINDINGS = 200
"""Of one group of an episode: plenty to explain it."""
_WENT_OUT = [OrderStatus.READY, OrderStatus.CLAIMED, OrderStatus.DONE, OrderStatus.FAILED]
_WENT_OUT += [OrderStatus.UNKNOWN]
"""What an order is that had an effect, or may have one yet."""


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
    """The documents in force, bound: what people taught opx. ``topology``: who depends on whom by
    them. ``problems``: those that are not in it; without the policy that people applied,
    ``policy`` is the strictest."""

    catalogue: Catalogue = field(default_factory=Catalogue)
    runbooks: tuple[Runbook, ...] = ()
    policy: Policy = field(default_factory=Policy)
    rules: tuple[DetectionRule, ...] = ()
    calendars: Mapping[str, Calendar] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    topology: Topology = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "topology", Topology.of(self.catalogue))

    def runbook(self, name: str) -> Runbook | None:
        return next((runbook for runbook in self.runbooks if runbook.name == name), None)

    def service(self, environment: str, name: str) -> Service | None:
        return self.catalogue.of(Identity(environment, name))

    def rule(self, name: str) -> DetectionRule | None:
        """``name``: as findings carry it."""
        return next((rule for rule in self.rules if rule.rule == name), None)


def gather(tx: ReadTx, run: Run, knowledge: Knowledge, protected: frozenset[str], now: Ms) -> Case:
    """The case of ``run`` as the store has it now. ``NotFound`` without incident or insight."""
    incident = tx.get(Incident, run.incident)
    insight = tx.get(Insight, incident.insight) if incident and incident.insight else None
    if incident is None or insight is None:
        raise NotFound(f"run {run.id} has no incident with an insight")
    proposal = run.proposal
    where = proposal.place
    seen_by = witnesses(tx, incident, knowledge)
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
        catalogue=knowledge.catalogue,
        calendars=knowledge.calendars,
        acted=_acted(tx, now),
        held=_held(tx, now),
        ill=_ill(tx, incident),
        firing=_firing(tx, incident.group),
        witnesses=seen_by,
        beneath=_beneath(seen_by, incident.group, knowledge),
    )


def orders_of(tx: ReadTx, run: Run) -> list[OrderRecord]:
    return tx.find(OrderRecord, Where("run", "eq", run.id), order="order.issued_at")


def active(tx: ReadTx, incident: str) -> list[Run]:
    """The runs of an incident that have not ended."""
    runs = tx.find(Run, Where("incident", "eq", incident))
    return [run for run in runs if run.status not in ENDED]


def witnesses(tx: ReadTx, incident: Incident, knowledge: Knowledge) -> tuple[Witness, ...]:
    """Who can say whether the symptoms of the incident's own service are there now: one for
    each rule that found one in its episode, whether or not it still does."""
    episode = tx.get(Episode, incident.episode)
    if episode is None:
        return ()
    found = findings_of_group(tx, episode, incident.group)
    symptoms = {(one.rule, one.identity) for one in found if one.kind is FindingKind.SYMPTOM}
    known = ((knowledge.rule(rule), identity) for rule, identity in sorted(symptoms, key=str))
    made = (Witness.of(rule, identity) for rule, identity in known if rule is not None)
    return tuple(one for one in made if one is not None)


def _firing(tx: ReadTx, group: Group) -> bool:
    """Whether a symptom of a group still is. Nobody's streams are told apart by their findings."""
    environment, service = correlate.identity_of(group)
    found = tx.find(
        Finding,
        Where("identity.environment", "eq", environment),
        Where("identity.service", "eq", service),
        Where("state", "eq", FindingState.FIRING),
        limit=MOST_FINDINGS,
    )
    return any(
        one.kind is FindingKind.SYMPTOM and correlate.group_of(one) == group for one in found
    )


def findings_of_group(tx: ReadTx, episode: Episode, group: Group) -> list[Finding]:
    """Those of one group in an episode, newest first; at most ``MOST_FINDINGS``."""
    environment, service = correlate.identity_of(group)
    found = tx.find(
        Finding,
        Where("identity.environment", "eq", environment),
        Where("identity.service", "eq", service),
        Where("at", "ge", episode.started_at),
        order="-at",
        limit=MOST_FINDINGS,
    )
    return [finding for finding in found if correlate.group_of(finding) == group]


def _beneath(own: Iterable[Witness], group: Group, knowledge: Knowledge) -> tuple[Witness, ...]:
    """The same rules on what the service depends on, directly or not, by name."""
    below = sorted(knowledge.topology.beneath(group), key=lambda one: one.service)
    return tuple(
        replace(witness, identity=Identity(one.environment, one.service))
        for one in below[:MOST_BENEATH]
        for witness in own
    )


def _busy(tx: ReadTx, run: Run) -> bool:
    """Whether another run is out on probation on the same runbook, environment and service."""
    others = tx.find(Run, Where("probation", "eq", True), Where("ended_at", "null"))
    place = run.proposal.place
    return any(other.id != run.id and other.proposal.place == place for other in others)


def _acted(tx: ReadTx, now: Ms) -> tuple[Busy, ...]:
    """The runs of which an order went out within the hour, was not taken back and did not fail
    before it was begun, and when the last of each did."""
    orders = tx.find(
        OrderRecord, Where("status", "in", _WENT_OUT), Where("order.issued_at", "gt", now - HOUR)
    )
    at: dict[str, Ms] = {}
    for record in orders:
        if record.status is OrderStatus.FAILED and record.claimed_at is None:
            continue
        at[record.run] = max(record.order.issued_at, at.get(record.run, 0))
    return _runs(tx, at)


def _held(tx: ReadTx, now: Ms) -> tuple[Busy, ...]:
    """The runs that may change something now, and until when."""
    leases = tx.find(Lease, Where("expires_at", "gt", now))
    return _runs(tx, {lease.run: lease.expires_at for lease in leases if lease.run})


def _runs(tx: ReadTx, at: Mapping[str, Ms]) -> tuple[Busy, ...]:
    found: Iterable[Run] = tx.find(Run, Where("id", "in", sorted(at)), order="id") if at else ()
    return tuple(
        Busy(
            run=run.id,
            group=run.proposal.group,
            at=at[run.id],
        )
        for run in found
    )


def _ill(tx: ReadTx, incident: Incident) -> dict[Group, Ms]:
    """The services that went bad together with the incident, by their own probes, and still
    are: since when."""
    firing = tx.find(
        Finding,
        Where("state", "eq", FindingState.FIRING),
        Where("since", "ge", incident.opened_at - TOGETHER),
        Where("since", "le", incident.opened_at + TOGETHER),
    )
    return {
        Group(finding.identity.environment, finding.identity.service): finding.since
        for finding in firing
        if finding.rule == probes.RULE
    }
