# SPDX-License-Identifier: Apache-2.0

"""A run that may act, and a runbook of three steps, the first two of which can be undone."""

from __future__ import annotations

import pytest

from opx.core.act.run import Run, RunStatus
from opx.core.correlate.episode import Group
from opx.core.decide.runbooks import Check, Proposal, Runbook, Step

NOW = 1_767_225_600_000

RUNBOOK = Runbook(
    name="move",
    hash="hash-1",
    purpose="Move the load away and restart",
    when=(),
    inputs={},
    steps=(
        Step(
            id="drain",
            uses="queue.drain",
            inputs={"queue": "${{ inputs.queue }}"},
            undo=("fill",),
        ),
        Step(id="pause", uses="queue.pause", undo=("resume",), timeout=10_000),
        Step(id="restart", uses="process.restart", retries=1),
    ),
    verify=Check(passes=2, of=3, within=10_000),
    rollback=(
        Step(id="fill", uses="queue.fill", inputs={"queue": "q-${{inputs.queue}}"}, retries=1),
        Step(id="resume", uses="queue.resume"),
    ),
)
PROPOSAL = Proposal(
    runbook="move",
    runbook_hash="hash-1",
    inputs={"queue": "jobs"},
    target="http://127.0.0.1:9001#orders",
    environment="shop",
    service="orders",
)
RUN = Run(
    id="run-1",
    incident="incident-1",
    group=Group("shop", "orders"),
    number=1,
    status=RunStatus.ACTING,
    proposal=PROPOSAL,
    created_at=NOW - 1_000,
    due_at=NOW,
    decision="decision-1",
    version=3,
)


@pytest.fixture(scope="session")
def runbook() -> Runbook:
    return RUNBOOK


@pytest.fixture(scope="session")
def run() -> Run:
    """ACTING, with a decision that allowed it and no order given yet."""
    return RUN
