# SPDX-License-Identifier: Apache-2.0

"""Scenarios: telemetry in, then what opx must have found, decided, done and said.

The specification of opx, and a way for users to test what they teach it. A scenario is
plain data (YAML in ``tests/scenarios``); ``play`` runs the real ``brain`` and ``hands`` on
the shipped fakes in virtual time and returns what came of it in the same form. It must
never look inside: everything it reports was read from the store or from the fakes.

    documents:  YAML text, as ``opx apply`` takes it
    grants:     [{runbook, environment, service, autonomy, probation}]
    given:      [{at: seconds, <one thing that happens>}]
    until:      seconds
    expect:     any of the keys that ``Result.plain`` has; ``incidents`` and ``notices`` always

Lists are whole: an incident or a notice that ``expect`` does not name is a difference, so a
scenario also fails when too much happens.

What can happen: ``alerts``: [{labels, resolved, times}], ``events``: [{id, type, data, ...}],
``logs``: [{environment, service, level, message, times}], ``metrics``: {name: {metric, labels,
value | grows} | null}, each of which then brings a point a second, ``health``: {service: yes |
no | hung}, ``repair``: {service: works | fails}, ``halt``/``resume``: scope, ``command``: {kind,
subject, by, body}, ``crash``: brain.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from opx.core.act.run import Run
from opx.core.analyse.insight import Insight
from opx.core.base.time import SECOND
from opx.core.decide.case import Approval, Breaker
from opx.core.decide.decision import Decision
from opx.core.detect.finding import Finding
from opx.core.incident.incident import Incident
from opx.engine.beats.case import Knowledge
from opx.engine.ports import Clock, Entry, ReadTx, Store, Where
from opx.testing import happenings, virtual
from opx.testing.town import ServedWorkflows, Town

ALWAYS = ("incidents", "notices")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a scenario, in plain values."""

    plain: dict[str, Any]
    failures: tuple[str, ...]


def _insights(tx: ReadTx) -> list[dict[str, Any]]:
    """What each incident is held to be now."""
    incidents = tx.find(Incident, order="opened_at")
    insights = (tx.get(Insight, incident.insight or "") for incident in incidents)
    return [
        {
            "type": str(insight.type),
            "causes": [cause.subject for cause in insight.causes],
            "similar": len(insight.similar),
            "blamed": [ranked.subject for ranked in insight.ranked[:1]],
        }
        for insight in insights
        if insight is not None
    ]


def _report(tx: ReadTx) -> dict[str, Any]:
    """Everything ``expect`` may speak of."""
    runs = tx.find(Run, order="created_at")
    return {
        "findings": len(tx.find(Finding)),
        "incidents": [
            {
                "environment": incident.group.environment,
                "service": incident.group.service,
                "severity": incident.severity.name.lower(),
                "status": str(incident.status),
                "symptoms": incident.symptoms,
                "evidence": incident.evidence,
                "acknowledged_by": incident.acknowledged_by,
                "linked": incident.previous is not None,
            }
            for incident in tx.find(Incident, order="opened_at")
        ],
        "decisions": [
            {
                "answer": decision.answer.name.lower(),
                "reasons": sorted({str(reason) for reason in decision.reasons}),
            }
            for incident in tx.find(Incident, order="opened_at")
            for decision in tx.find(Decision, Where("incident", "eq", incident.id), order="at")
        ],
        "insights": _insights(tx),
        "runs": [str(run.status) for run in runs],
        "notices": [
            entry.body["edge"]
            for entry in tx.find(Entry, Where("kind", "eq", "notice.made"))  # in their order
        ],
        "approvals": [row.approved for row in tx.find(Approval, order="requested_at")],
        "breakers": sorted(row.id for row in tx.find(Breaker) if row.opened_at is not None),
    }


async def _play(
    scenario: Mapping[str, Any],
    knowledge: Knowledge,
    workflows: Callable[[Store, Clock], ServedWorkflows],
) -> Result:
    town = Town(knowledge=knowledge, workflows=workflows)
    await town.begin(list(scenario.get("grants", ())))
    others = [asyncio.create_task(town.hands()), asyncio.create_task(town.ticks())]
    for step in sorted(scenario["given"], key=lambda each: float(each["at"])):
        due = virtual.START + round(float(step["at"]) * SECOND)
        await town.clock.sleep(max(0, due - town.clock.now()))
        await happenings.happen(town, step)
    end = virtual.START + round(float(scenario["until"]) * SECOND)
    await town.clock.sleep(max(0, end - town.clock.now()))
    plain = await town.store.read(_report)
    plain["effects"] = {
        **town.action.effects,
        **{
            f"{name} {target}": n
            for name, one in town.others.items()
            for target, n in one.effects.items()
        },
    }
    plain["delivered"] = [str(notice.edge) for notice in town.receiver.got]
    await town.end(*others)
    return Result(plain=plain, failures=tuple(town.failures))


def play(
    scenario: Mapping[str, Any],
    knowledge: Knowledge,
    workflows: Callable[[Store, Clock], ServedWorkflows],
) -> Result:
    """Play one scenario to its end in virtual time."""
    return virtual.run(_play(scenario, knowledge, workflows))


def differences(expected: Mapping[str, Any], result: Result) -> list[str]:
    """Where the result is not what was expected; a mapping in a list may name fewer fields."""
    found = [f"a loop of brain failed: {failure}" for failure in result.failures]
    found += [f"{name}: say which are expected, or []" for name in ALWAYS if name not in expected]
    for name, wanted in expected.items():
        got = result.plain[name]
        if isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
            got = [_only(one, like) for one, like in zip(got, wanted, strict=True)]
        if got != wanted:
            found.append(f"{name}: expected {wanted!r}, got {got!r}")
    return found


def _only(got: object, like: object) -> object:
    if isinstance(got, dict) and isinstance(like, dict):
        return {name: got.get(name) for name in like}
    return got


__all__ = ["Result", "differences", "play"]
