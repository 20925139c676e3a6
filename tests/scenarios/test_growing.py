# SPDX-License-Identifier: Apache-2.0

"""An incident that keeps growing: everything in it is looked at, and not all of it each time."""

from __future__ import annotations

import asyncio
import contextlib

from opx.adapters.durable.inline import InlineWorkflows
from opx.core.analyse.insight import Insight
from opx.core.base import ids
from opx.core.base.time import MINUTE, SECOND, Ms
from opx.core.detect.finding import Finding
from opx.core.incident.incident import Incident
from opx.core.ingest.signals import Alert, Identity, Severity
from opx.engine.beats.case import Knowledge
from opx.engine.beats.parts import RESPOND
from opx.engine.ports import Batch, PendingWork
from opx.testing import virtual
from opx.testing.town import Town


def alert(number: int, now: Ms) -> Alert:
    labels = {"alertname": "Slow", "number": str(number), "service": "shop"}
    return Alert(
        fingerprint=ids.derived("alert", labels),
        identity=Identity("default", "shop"),
        severity=Severity.SEV3,
        labels=labels,
        starts_at=now,
        ends_at=now + 5 * MINUTE,
        received_at=now,
    )


async def flooded(count: int, every: Ms) -> Town:
    """A town without any document, told of ``count`` alerts of one service."""
    town = Town(knowledge=Knowledge(), workflows=InlineWorkflows)
    await town.begin([])
    for number in range(count):
        await town.log.append(Batch(items=(alert(number, town.clock.now()),)))
        await town.clock.sleep(every)
    await town.clock.sleep(3 * SECOND)
    town.stop()
    for task in town._brain:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    return town


def test_a_growing_incident_is_responded_to_once_a_second_and_never_too_late() -> None:
    """Of fifty alerts within five seconds the first two are responded to at once and then
    one a second is, seven in all; the last response has seen the fiftieth."""
    town = virtual.run(flooded(50, 100))

    async def read() -> tuple[list[PendingWork], list[Incident], list[Finding], list[Insight]]:
        return await town.store.read(
            lambda tx: (tx.find(PendingWork), tx.find(Incident), tx.find(Finding), tx.find(Insight))
        )

    work, incidents, findings, insights = virtual.run(read())
    assert town.failures == []
    assert [(incident.symptoms, incident.runs) for incident in incidents] == [(50, 0)]
    assert len([one for one in work if one.kind == RESPOND]) == 7
    last = next(one for one in insights if one.id == incidents[0].insight)
    assert {id for cause in last.causes for id in cause.evidence} == {one.id for one in findings}
