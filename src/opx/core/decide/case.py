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
from opx.core.base.reads import Answers
from opx.core.base.time import MINUTE, Ms
from opx.core.decide.runbooks import Proposal, Runbook
from opx.core.incident.incident import Incident
from opx.core.ingest.services import Service
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

    ``runbook_hash``, ``target``, ``parameters``: the runbook's content, and the service's target
    and what the runbook uses of its parameters, as they were when it was given. It lets nothing
    else act, and one without a hash and a target lets nothing act. A target spelled otherwise
    is another: here, unlike in ``targets``, doubt is a no.
    ``probation``: may act although nothing is calibrated yet; needs ``expires_at``.
    """

    id: str
    autonomy: Autonomy
    by: str
    at: Ms
    runbook_hash: str = ""
    target: str = ""
    parameters: dict[str, str] = field(default_factory=dict)
    probation: bool = False
    expires_at: Ms | None = None
    version: int = 1

    def outdated(
        self, runbook_hash: str, target: str, parameters: Mapping[str, str]
    ) -> tuple[str, ...]:
        """Which of ``runbook``, ``target`` and ``parameters`` it was not given for."""
        same = {
            "runbook": bool(runbook_hash) and runbook_hash == self.runbook_hash,
            "target": target == self.target,
            "parameters": parameters == self.parameters,
        }
        return tuple(what for what, is_so in same.items() if not is_so)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """``ceiling``: the worst severity opx acts on by itself; None: it always asks. Others are
    the gate's limits."""

    name: str = "default"
    ceiling: Severity | None = Severity.SEV3
    cooldown: Ms = MINUTE
    breaker_after: int = 3
    approval_ttl: Ms = 15 * MINUTE
    calibrated_after: int = 30
    min_p_fix: float = 0.8
    hash: str = ""


STRICTEST = Policy(ceiling=None)
"""What holds while the policy that people applied cannot be read: nothing without asking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackRecord:
    """How often a runbook helped a service. ``id``: ``runbook|environment|service``.

    ``runbook_hash``: the content the counts are of. ``ineffective_in_a_row`` and
    ``last_acted_at``, which only ever hold a runbook up, are of every content it had.
    """

    id: str
    runbook_hash: str = ""
    recovered: int = 0
    no_effect: int = 0
    worse: int = 0
    inconclusive: int = 0
    ineffective_in_a_row: int = 0
    last_acted_at: Ms | None = None
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
class Case:
    """``protected``: targets that are opx's own. ``answers``: ``health`` is the fresh probe,
    ``precondition/ID`` the others. ``busy_probation``: a probation run is in flight."""

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
    answers: Answers = field(default_factory=dict)
