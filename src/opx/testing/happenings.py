# SPDX-License-Identifier: Apache-2.0

"""What can happen in a scenario: each thing by the name it has in the file.

Between ``scenario`` and ``town``. One function a thing; a name that none has is an error.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from opx.core.act.run import Run
from opx.core.base import ids
from opx.core.base.time import MINUTE, Ms
from opx.core.decide.case import Approval, Automation
from opx.core.incident.incident import Incident
from opx.core.ingest import identity
from opx.core.ingest.signals import Alert, Event, Identity, LogLevel, LogLine, Severity
from opx.engine.ports import Batch, Command
from opx.testing.town import Town

ALERT_LIFE: Ms = 5 * MINUTE


async def happen(town: Town, step: Mapping[str, Any]) -> None:
    """Everything that a step names, in its order; ``at`` is when it was due."""
    for name, told in step.items():
        if name == "at":
            continue
        if name not in HAPPENINGS:
            raise ValueError(f"nothing in a scenario is called {name!r}")
        await HAPPENINGS[name](town, told)


async def _alerts(town: Town, told: list[Mapping[str, Any]]) -> None:
    alerts = [_alert(town, each) for each in told for _ in range(each.get("times", 1))]
    await town.log.append(Batch(items=tuple(alerts)))


async def _events(town: Town, told: list[Mapping[str, Any]]) -> None:
    """``times`` of one are as many events, of as many subjects."""
    events = [_event(town, each, n) for each in told for n in range(each.get("times", 1))]
    await town.log.append(Batch(items=tuple(events)))


async def _logs(town: Town, told: list[Mapping[str, Any]]) -> None:
    lines = [_line(town, each) for each in told for _ in range(each.get("times", 1))]
    await town.log.append(Batch(items=tuple(lines)))


async def _metrics(town: Town, told: Mapping[str, Any]) -> None:
    """From now on each of these series flows; null stops one."""
    for name, each in told.items():
        town.flow(name, each)


async def _health(town: Town, told: Mapping[str, Any]) -> None:
    for service, state in told.items():
        town.health(service, "yes" if state is True else "no" if state is False else state)


async def _repair(town: Town, told: Mapping[str, str]) -> None:
    for service, how in told.items():
        (town.stubborn.add if how == "fails" else town.stubborn.discard)(service)


async def _halt(town: Town, scope: str) -> None:
    await town.switch(scope, Automation.HALTED)


async def _resume(town: Town, scope: str) -> None:
    await town.switch(scope, Automation.RUNNING)


async def _command(town: Town, told: Mapping[str, Any]) -> None:
    """``subject`` may be ``incident`` or ``run``: the newest there is."""
    subject = str(told["subject"])
    newest: dict[str, tuple[type[Any], str]] = {
        "incident": (Incident, "-opened_at"),
        "run": (Run, "-created_at"),
    }
    if subject in newest:
        kind, order = newest[subject]
        found = await town.store.read(lambda tx: tx.find(kind, order=order, limit=1))
        subject = found[0].id
    approval = await town.store.read(lambda tx: tx.get(Approval, subject))
    town.sent += 1
    command = Command(
        id=f"command-{town.sent}",
        kind=str(told["kind"]),
        subject=subject,
        actor=str(told.get("by", "a person")),
        at=town.clock.now(),
        body={"plan": approval.plan} if approval is not None else dict(told.get("body", {})),
    )
    await town.store.write(lambda tx: tx.save(command))


async def _crash(town: Town, what: str) -> None:
    await town.crash_brain()


HAPPENINGS: dict[str, Callable[[Town, Any], Awaitable[None]]] = {
    "alerts": _alerts,
    "events": _events,
    "logs": _logs,
    "metrics": _metrics,
    "health": _health,
    "repair": _repair,
    "halt": _halt,
    "resume": _resume,
    "command": _command,
    "crash": _crash,
}


def _alert(town: Town, told: Mapping[str, Any]) -> Alert:
    now = town.clock.now()
    labels = dict(told["labels"])
    whose = identity.resolve(labels, town.knowledge.catalogue.mapping)
    return Alert(
        fingerprint=ids.derived("alert", labels),
        identity=whose,
        severity=Severity[str(labels.get("severity", "sev3")).upper()],
        labels=labels,
        starts_at=now,
        ends_at=now if told.get("resolved") else now + ALERT_LIFE,
        received_at=now,
    )


def _event(town: Town, told: Mapping[str, Any], number: int) -> Event:
    now = town.clock.now()
    severity = told.get("severity")
    return Event(
        id=f"{told['id']}-{number}",
        source=str(told.get("source", "scenario")),
        type=str(told["type"]),
        subject=str(told.get("subject", number)),
        identity=_whose(told),
        severity=Severity[str(severity).upper()] if severity else None,
        at=now,
        received_at=now,
        data=dict(told.get("data", {})),
    )


def _line(town: Town, told: Mapping[str, Any]) -> LogLine:
    now = town.clock.now()
    return LogLine(
        identity=_whose(told),
        at=now,
        received_at=now,
        level=LogLevel[str(told.get("level", "info")).upper()],
        message=str(told["message"]),
    )


def _whose(told: Mapping[str, Any]) -> Identity:
    return Identity(str(told["environment"]), str(told["service"]))
