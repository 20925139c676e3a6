# SPDX-License-Identifier: Apache-2.0

"""The whole at a glance: the mode, what is open and what opx does about it, what waits for a
person, grants, breakers and the services as they were taught."""

from __future__ import annotations

from collections.abc import Sequence

from opx.core.base import canonical
from opx.core.base.time import Ms
from opx.core.correlate.episode import Group
from opx.core.decide import scopes
from opx.core.decide.case import Automation, Breaker, Grant, Mode, TrackRecord, probe_of
from opx.core.detect.finding import Finding, FindingKind, FindingState
from opx.core.detect.predict.prediction import Prediction
from opx.core.incident.incident import Incident, Status
from opx.core.ingest.signals import Severity
from opx.engine.beats.case import Knowledge
from opx.engine.ports import ReadTx, Where
from opx.engine.queries import doing
from opx.engine.queries.kept import held_back, silences
from opx.engine.queries.one import Plain
from opx.engine.queries.pages import ACTIVE, Narrowed, approvals, incidents
from opx.engine.queries.predictions import EXPECTED, expected

MOST_SHOWN = 20
"""Open incidents that are told one by one: the worst, of those the newest."""
MOST_FIRING = 1_000
"""Findings that are looked at for services without an incident: the newest that fire."""


def automation(tx: ReadTx) -> Plain:
    """The mode of everything, and of each scope that was ever set. Unknown is halted."""
    modes = tx.find(Mode, order="id")
    whole = next((mode.automation for mode in modes if mode.id == scopes.ALL), Automation.HALTED)
    named = [{"scope": mode.id, **canonical.plain(mode)} for mode in modes]
    for mode in named:
        del mode["id"], mode["version"]
    return {"automation": whole.value, "scopes": named}


def status(tx: ReadTx, knowledge: Knowledge, now: Ms) -> Plain:
    """opx at a glance; who serves it adds what is not in the store."""
    active = _active(tx)
    waiting = approvals(tx, now)
    opened = [breaker for breaker in breakers(tx) if breaker["open"]]
    return {
        **automation(tx),
        "open_incidents": len(active),
        "pending_approvals": len(waiting),
        "breakers_open": len(opened),
        "incidents": worst(tx),
        "approvals": waiting,
        "breakers": opened,
        "silences": silences(tx, now),
        "open_predictions": tx.count(Prediction, *EXPECTED),
        "predictions": expected(tx, MOST_SHOWN),
        "problems": problems(knowledge),
        "services": _services(tx, active, knowledge),
    }


def worst(tx: ReadTx) -> list[Plain]:
    """The worst of what is open, each with what opx does about it, or why it does nothing."""
    found: list[Plain] = []
    for severity in Severity:
        narrowed = Narrowed(statuses=ACTIVE, severities=(severity,))
        found += incidents(tx, narrowed, MOST_SHOWN - len(found)).items
        if len(found) == MOST_SHOWN:
            break
    return [{**row, "doing": doing.about(tx, row)} for row in found]


def services(tx: ReadTx, knowledge: Knowledge) -> list[Plain]:
    """Every service as it was taught, with the incidents that are open on it, and how it is."""
    return _services(tx, _active(tx), knowledge)


def _services(tx: ReadTx, active: Sequence[Incident], knowledge: Knowledge) -> list[Plain]:
    theirs: dict[Group, list[Incident]] = {}
    for row in active:
        for name in {row.group.service, *row.services}:
            theirs.setdefault(Group(row.group.environment, name), []).append(row)
    alone, others = _without(tx)
    told: list[Plain] = []
    for place, service in sorted(knowledge.catalogue.services.items()):
        group = Group(*place)
        its = theirs.get(group, [])
        own = [row for row in its if row.group == group]
        state = _state(tx, group, own) if its else alone.get(group, others)
        ids = [row.id for row in own]
        told.append({**canonical.plain(service), "incidents": ids, "state": state})
    return told


def _without(tx: ReadTx) -> tuple[dict[Group, str], str]:
    """How services are of which a symptom fires, were they without an incident: ``silenced`` where
    silences hold all of theirs, else ``unwell``, for a person may have resolved what goes on. And
    how all others are: not known where more fires than is looked at."""
    firing = tx.find(
        Finding, Where("state", "eq", FindingState.FIRING), order="-since", limit=MOST_FIRING
    )
    held = held_back(tx)
    found: dict[Group, str] = {}
    for finding in firing:
        group = Group(finding.identity.environment, finding.identity.service)
        if finding.kind is FindingKind.SYMPTOM and found.get(group) != "unwell":
            found[group] = "silenced" if finding.id in held else "unwell"
    return found, "well" if len(firing) < MOST_FIRING else "unknown"


def _state(tx: ReadTx, group: Group, own: Sequence[Incident]) -> str:
    """How a service is that is part of an incident: by what is done about those of its own,
    else by whether anything still fires. An incident stays open until it has been quiet."""
    statuses = {row.status for row in own}
    if Status.MITIGATING in statuses:
        return "being repaired"
    if statuses == {Status.MITIGATED}:
        return "recovered"
    firing = tx.find(
        Finding,
        Where("identity.environment", "eq", group.environment),
        Where("identity.service", "eq", group.service),
        Where("state", "eq", FindingState.FIRING),
        limit=1,
    )
    return "unwell" if firing else "recovered"


def _active(tx: ReadTx) -> list[Incident]:
    return tx.find(Incident, Where("status", "in", ACTIVE))


def problems(knowledge: Knowledge) -> list[Plain]:
    """The documents that are kept, cannot be read and are skipped, and what that means."""
    return [canonical.plain(problem) for problem in knowledge.problems]


def grants(tx: ReadTx, knowledge: Knowledge) -> list[Plain]:
    """Every grant with the track record it stands on, and what has changed since (``runbook``,
    ``target``) and makes opx ask instead."""
    return [
        {
            **grant_view(grant),
            "outdated": _outdated(grant, knowledge),
            "record": _record(grant, tx.get(TrackRecord, grant.id)),
        }
        for grant in tx.find(Grant, order="id")
    ]


def grant_view(grant: Grant) -> Plain:
    return {**canonical.plain(grant), **_place(grant.id), "autonomy": grant.autonomy.name.lower()}


def _outdated(grant: Grant, knowledge: Knowledge) -> list[str]:
    name, environment, service = grant.id.split("|")
    runbook, declared = knowledge.runbook(name), knowledge.service(environment, service)
    used = runbook.takes(declared.parameters) if runbook and declared else {}
    content, target = runbook.hash if runbook else "", declared.target if declared else ""
    return list(grant.outdated(content, target, probe_of(declared), used))


def _record(grant: Grant, record: TrackRecord | None) -> Plain:
    known = record.p_fix(grant.runbook_hash) if record else None
    return {"p_fix": known.value if known else None, "n": known.n if known else 0}


def _place(id: str) -> Plain:
    runbook, environment, service = id.split("|")
    return {"runbook": runbook, "environment": environment, "service": service}


def breakers(tx: ReadTx) -> list[Plain]:
    return [
        {
            **canonical.plain(breaker),
            **_place(breaker.id),
            "open": breaker.opened_at is not None,
        }
        for breaker in tx.find(Breaker, order="id")
    ]
