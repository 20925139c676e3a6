# SPDX-License-Identifier: Apache-2.0

"""What ``brain`` makes of a command that it cannot carry out."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from opx.core.correlate.episode import Group
from opx.core.incident.incident import Incident, Priority, Status
from opx.core.ingest.signals import Severity
from opx.engine import commands
from opx.engine.beats.parts import Parts
from opx.engine.ports import Command, Entry
from opx.testing.memory import ManualClock, MemoryStore

INCIDENT = Incident(
    id="incident-1",
    episode="e",
    group=Group("shop", "orders"),
    status=Status.OPEN,
    severity=Severity.SEV2,
    priority=Priority.P1,
    title="orders is down",
    opened_at=0,
    updated_at=0,
    version=3,
)


def carried_out(subject: str, body: dict[str, Any]) -> tuple[Command, Incident, list[Entry]]:
    """The command, the incident and the journal after brain's turn with an acknowledgement."""
    store, clock = MemoryStore(), ManualClock()
    nothing: Any = None
    parts = Parts(
        store=store,
        clock=clock,
        prober=nothing,
        workflows=nothing,
        signer=nothing,
        knowledge=nothing,
    )
    asked = Command(id="c", kind="acknowledge", subject=subject, actor="ann", at=0, body=body)

    async def turn() -> tuple[Command, Incident, list[Entry]]:
        await store.write(lambda tx: (tx.add(INCIDENT), tx.save(asked)))
        assert await commands.execute_waiting(parts) == 1
        assert await commands.execute_waiting(parts) == 0
        command = await store.read(lambda tx: tx.get(Command, "c"))
        incident = await store.read(lambda tx: tx.get(Incident, "incident-1"))
        assert command is not None
        assert incident is not None
        return command, incident, await store.read(lambda tx: tx.find(Entry))

    return asyncio.run(turn())


@pytest.mark.parametrize(
    ("subject", "body", "code"),
    [("incident-1", {"version": 2}, "stale"), ("incident-2", {}, "not_found")],
)
def test_a_refused_command_changes_nothing_and_is_journalled(
    subject: str, body: dict[str, Any], code: str
) -> None:
    """Who asked, for what and why it was refused stand in the journal, in the transaction
    that ends the command."""
    command, incident, journal = carried_out(subject, body)

    assert command.error.startswith(f"{code}: ")
    assert incident == INCIDENT
    assert [(row.kind, row.subject, row.actor) for row in journal] == [
        ("command.refused", subject, "ann")
    ]
    assert journal[0].body == {"command": "acknowledge", "error": command.error}


@pytest.mark.parametrize("body", [{}, {"version": 3}])
def test_an_incident_as_it_was_read_is_acknowledged(body: dict[str, Any]) -> None:
    """The version that was read, or none, lets it through."""
    command, incident, journal = carried_out("incident-1", body)

    assert (command.error, incident.version) == ("", 4)
    assert [row.kind for row in journal] == ["incident.acknowledged"]
