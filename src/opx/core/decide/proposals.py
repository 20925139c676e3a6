# SPDX-License-Identifier: Apache-2.0

"""Which runbook fits: from an insight to a ``Proposal``, or to the reasons why none does.

After analyse, before the guards. Every condition of every runbook is evaluated and kept,
so that ``why`` can show them all. It can only name a runbook of the catalogue and fill in
that runbook's own defaults and the service's parameters; a condition that cannot be
evaluated does not hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from opx.core.analyse.insight import Insight
from opx.core.base.expressions import Expression
from opx.core.correlate.episode import Group
from opx.core.decide.runbooks import Proposal, Runbook
from opx.core.incident.incident import Incident
from opx.core.ingest.services import Service
from opx.errors import ExpressionError


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One ``when`` as it was evaluated. ``held`` None: it could not be, ``error`` says why."""

    when: str
    held: bool | None
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Considered:
    """One runbook that was looked at. ``unfilled``: required inputs without a default, and as
    ``service.NAME`` the parameters it names and the service does not have."""

    runbook: str
    conditions: tuple[Condition, ...]
    unfilled: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        return not self.unfilled and all(condition.held for condition in self.conditions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """``trace``: every runbook that was considered, best first, whether or not one was taken."""

    proposal: Proposal | None
    trace: tuple[Considered, ...]


FACTS: dict[str, Any] = {
    "insight": {"type": "process_down", "risk": 80},
    "incident": {"severity": 2, "environment": "shop", "service": "orders"},
    "service": {
        "name": "orders",
        "environment": "shop",
        "target": "unix:///run/supervisor.sock#orders",
        "owner": "ann",
    },
}
"""What ``facts`` gives, for example: a ``when`` is held against it as it is read."""


def facts(insight: Insight, incident: Incident, service: Service | None) -> dict[str, Any]:
    """What a ``when`` may look at. Of a service that is not declared only the name is known."""
    return {
        "insight": {"type": insight.type.value, "risk": insight.risk},
        "incident": {
            "severity": int(incident.severity),
            "environment": incident.group.environment,
            "service": incident.group.service,
        },
        "service": {
            "name": service.name if service else incident.group.service,
            "environment": service.environment if service else incident.group.environment,
            "target": service.target if service else "",
            "owner": service.owner if service else "",
        },
    }


def propose(
    insight: Insight, incident: Incident, service: Service | None, runbooks: Iterable[Runbook]
) -> Proposed:
    """The first runbook that fits: the one with the most conditions, then by name."""
    known = facts(insight, incident, service)
    ranked = sorted(runbooks, key=lambda runbook: (-len(runbook.when), runbook.name))
    given = service.parameters if service else {}
    trace = tuple(_consider(runbook, known, given) for runbook in ranked)
    fitting = (runbook for runbook, seen in zip(ranked, trace, strict=True) if seen.fits)
    runbook = next(fitting, None)
    if runbook is None:
        return Proposed(proposal=None, trace=trace)
    return Proposed(proposal=filled(runbook, incident.group, service), trace=trace)


def filled(runbook: Runbook, group: Group, service: Service | None) -> Proposal:
    """The runbook on a service, whether or not it fits there: with its own defaults, and what
    it uses of the service as far as that is declared."""
    return Proposal(
        runbook=runbook.name,
        runbook_hash=runbook.hash,
        inputs=_defaults(runbook),
        target=service.target if service else "",
        environment=group.environment,
        service=group.service,
        parameters=runbook.takes(service.parameters if service else {}),
    )


def _consider(
    runbook: Runbook, known: Mapping[str, Any], parameters: Mapping[str, str]
) -> Considered:
    known_inputs = _defaults(runbook)
    inputs = [name for name, given in runbook.inputs.items() if given.required]
    return Considered(
        runbook=runbook.name,
        conditions=tuple(_evaluate(when, known) for when in runbook.when),
        unfilled=(
            *(name for name in inputs if name not in known_inputs),
            *(f"service.{name}" for name in runbook.parameters if name not in parameters),
        ),
    )


def _evaluate(when: Expression, known: Mapping[str, Any]) -> Condition:
    try:
        return Condition(when=when.text, held=when.holds(known))
    except ExpressionError as error:
        return Condition(when=when.text, held=None, error=str(error))


def _defaults(runbook: Runbook) -> dict[str, str | int | bool]:
    return {
        name: given.default for name, given in runbook.inputs.items() if given.default is not None
    }
