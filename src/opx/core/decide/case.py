# SPDX-License-Identifier: Apache-2.0

"""``Case``: every fact that the guards may look at, and the records those facts come from.

The engine gathers a case in one read; the gate is then a pure function of it. None is
a record that nobody ever made: no grant only suggests, no modes are a halt, no breaker is
a closed one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from opx.core.analyse.insight import Insight, Probability
from opx.core.base.calendars import Calendar
from opx.core.base.reads import Answers
from opx.core.base.time import MINUTE, Ms
from opx.core.correlate.episode import Group
from opx.core.decide.runbooks import Proposal, Runbook
from opx.core.detect.witness import Witness
from opx.core.incident.incident import Incident
from opx.core.ingest.services import Catalogue, Service
from opx.core.ingest.signals import Severity


class Automation(StrEnum):
    RUNNING = "running"
    HALTED = "halted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """``id``: the scope, ``all`` | ``environment/E`` | ``service/E/S`` | ``runbook/R``."""

    id: str
    automation: Automation
    by: str
    reason: str
    at: Ms
    version: int = 1


class Autonomy(IntEnum):
    OBSERVE = 0
    SUGGEST = 1
    APPROVE = 2
    AUTO = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a person lets a runbook do on a service. ``id``: ``runbook|environment|service``.

    ``runbook_hash``, ``target``, ``probe``, ``parameters``: the runbook's content, and the
    service's target, its health probe (``kind address``, empty for none) and what the runbook
    uses of its parameters, as they were when it was given. It lets nothing else act, and one
    without a hash and a target lets nothing act. A target spelled otherwise is another: here,
    unlike in ``targets``, doubt is a no.
    ``probation``: may act although nothing is calibrated yet; needs ``expires_at``.
    """

    id: str
    autonomy: Autonomy
    by: str
    at: Ms
    runbook_hash: str = ""
    target: str = ""
    probe: str = ""
    parameters: dict[str, str] = field(default_factory=dict)
    probation: bool = False
    expires_at: Ms | None = None
    version: int = 1

    def outdated(
        self, runbook_hash: str, target: str, probe: str, parameters: Mapping[str, str]
    ) -> tuple[str, ...]:
        """Which of ``runbook``, ``target``, ``probe`` and ``parameters`` it was not given for."""
        same = {
            "runbook": bool(runbook_hash) and runbook_hash == self.runbook_hash,
            "target": target == self.target,
            "probe": probe == self.probe,
            "parameters": parameters == self.parameters,
        }
        return tuple(what for what, is_so in same.items() if not is_so)


def probe_of(service: Service | None) -> str:
    """A service's health probe as a grant is bound to it: who answers, not how it is asked."""
    health = service.health if service else None
    return f"{health.probe.kind} {health.probe.address}" if health else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The most that opx may do by itself in one environment, whatever else lets it do more."""

    ceiling: Severity = Severity.SEV1
    autonomy: Autonomy = Autonomy.AUTO


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """``ceiling``: the worst severity opx acts on by itself; None: it always asks. Others are
    the gate's limits.

    ``environments``: limits of their own, by name. ``service_runs_per_hour``,
    ``environment_runs_per_hour``: of runs that acted. ``blast_radius``: services that one run
    may hit. ``blindness``: the share of the watched services, 0 to 1, that may go bad together
    before the observer is suspected. ``change_window``: the calendar within which opx acts,
    empty for always; ``freezes``: those within which it never does. ``held_back``: the share of
    the predictions, 0 to 1, that nobody is told of, so that it is seen what comes of them."""

    name: str = "default"
    ceiling: Severity | None = Severity.SEV3
    cooldown: Ms = MINUTE
    breaker_after: int = 3
    approval_ttl: Ms = 15 * MINUTE
    calibrated_after: int = 30
    min_p_fix: float = 0.8
    environments: Mapping[str, Limits] = field(default_factory=dict)
    service_runs_per_hour: int = 6
    environment_runs_per_hour: int = 20
    blast_radius: int = 50
    blindness: float = 0.5
    change_window: str = ""
    freezes: tuple[str, ...] = ()
    held_back: float = 0.0
    hash: str = ""

    @property
    def calendars(self) -> tuple[str, ...]:
        """The names of those that decide when opx acts."""
        return (*self.freezes, self.change_window) if self.change_window else self.freezes


STRICTEST = Policy(ceiling=None)
"""What holds while the policy that people applied cannot be read: nothing without asking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackRecord:
    """How often a runbook helped a service. ``id``: ``runbook|environment|service``.

    ``runbook_hash``: the content the counts are of. ``ineffective_in_a_row`` and
    ``last_acted_at``, which only ever hold a runbook up, are of every content it had.
    ``last_severity``: of the incident that was acted on then; None: nobody wrote it down.
    """

    id: str
    runbook_hash: str = ""
    recovered: int = 0
    no_effect: int = 0
    worse: int = 0
    inconclusive: int = 0
    ineffective_in_a_row: int = 0
    last_acted_at: Ms | None = None
    last_severity: Severity | None = None
    version: int = 1

    def p_fix(self, runbook_hash: str) -> Probability:
        """Verified recoveries among the runs of this content with a verdict; None until there
        is one."""
        if not runbook_hash or runbook_hash != self.runbook_hash:
            return Probability(None, 0)
        n = self.recovered + self.no_effect + self.worse
        return Probability(self.recovered / n if n else None, n)


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """Open after too many runs that did not help; a person closes it. ``id`` as TrackRecord."""

    id: str
    opened_at: Ms | None = None
    closed_by: str | None = None
    version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Who may change a target now. ``id``: the target. ``run`` empty: free."""

    id: str
    run: str
    expires_at: Ms
    version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A person's answer, bound to one plan (``Proposal.plan``). ``id``: the run's id."""

    id: str
    incident: str
    plan: str
    requested_at: Ms
    expires_at: Ms
    approved: bool | None = None
    by: str | None = None
    at: Ms | None = None
    version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """What a run has to do with a service: it acted there ``at``, or it may change it until
    then."""

    run: str
    group: Group
    at: Ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """``protected``: targets that are opx's own. ``answers``: ``health`` is the fresh probe,
    ``precondition/ID`` the others. ``busy_probation``: a probation run is in flight.

    ``calendars``: those that can be read, by name. ``acted``: the runs that acted in the last
    hour. ``held``: the runs that hold a lease, each until ``at``. ``ill``: the services whose
    own probe found them ill at about the time this incident began, and still does; since
    when. ``firing``: whether a symptom of the incident's own service still is, by whoever found
    it. ``witnesses``: of the symptoms that rules found; ``beneath``: the same rules, on what the
    service depends on."""

    incident: Incident
    insight: Insight
    run: str
    service: Service | None = None
    runbook: Runbook | None = None
    proposal: Proposal | None = None
    policy: Policy = Policy()
    modes: tuple[Mode, ...] | None = None
    grant: Grant | None = None
    record: TrackRecord | None = None
    breaker: Breaker | None = None
    lease: Lease | None = None
    approval: Approval | None = None
    protected: frozenset[str] = frozenset()
    busy_probation: bool = False
    catalogue: Catalogue = field(default_factory=Catalogue)
    calendars: Mapping[str, Calendar] = field(default_factory=dict)
    acted: tuple[Busy, ...] = ()
    held: tuple[Busy, ...] = ()
    ill: Mapping[Group, Ms] = field(default_factory=dict)
    firing: bool = True
    witnesses: tuple[Witness, ...] = ()
    beneath: tuple[Witness, ...] = ()
    answers: Answers = field(default_factory=dict)
