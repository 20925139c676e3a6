# SPDX-License-Identifier: Apache-2.0

"""The shipped documents bind, and mean what they are for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import yaml

from opx import packs
from opx.core.analyse.insight import InsightType
from opx.core.base.documents import Document
from opx.core.decide import proposals
from opx.core.decide.actions import ActionSpec, Blast, Undo
from opx.core.decide.case import Case, Policy
from opx.core.decide.documents import bind_policy, bind_runbook
from opx.core.decide.runbooks import Check, Runbook

Read = Callable[[dict[str, Any]], Document]
ACTIONS = {
    "process.restart": ActionSpec(
        name="process.restart",
        undo=Undo.NOT_NEEDED,
        blast=Blast.PROCESS,
    )
}


@pytest.fixture
def restart(document: Read) -> Runbook:
    text = packs.texts()["restart-process.yaml"]
    return bind_runbook(document(yaml.safe_load(text)), ACTIONS)


def test_what_ships() -> None:
    """Three runbooks and one policy, each with its licence."""
    shipped = packs.texts()
    assert list(shipped) == [
        "default-policy.yaml",
        "restart-process.yaml",
        "restore-file.yaml",
        "rollback-release.yaml",
    ]
    assert all(text.startswith("# SPDX") for text in shipped.values())


def test_the_default_policy_is_the_default(document: Read) -> None:
    """What the file says is what holds without it."""
    read = document(yaml.safe_load(packs.texts()["default-policy.yaml"]))
    assert bind_policy(read) == Policy(hash=read.hash)


def test_restart_process(restart: Runbook) -> None:
    """One restart, retried once, believed after three good answers in half a minute."""
    (step,) = restart.steps
    assert (step.uses, step.timeout, step.retries) == ("process.restart", 20_000, 1)
    assert restart.verify == Check(passes=3, of=3, every=500, within=30_000)


@pytest.mark.parametrize(
    ("type", "target", "fits"),
    [
        (InsightType.PROCESS_DOWN, "http://127.0.0.1:9001#orders", True),
        (InsightType.PROCESS_HUNG, "http://127.0.0.1:9001#orders", True),
        (InsightType.PROCESS_DOWN, "", False),
        (InsightType.THRESHOLD_BREACHED, "http://127.0.0.1:9001#orders", False),
        (InsightType.UNKNOWN, "http://127.0.0.1:9001#orders", False),
    ],
)
def test_when_it_is_proposed(
    case: Case, restart: Runbook, type: InsightType, target: str, fits: bool
) -> None:
    """For processes that died or hang and that a supervisor can restart, for nothing else."""
    assert case.service is not None
    made = proposals.propose(
        replace(case.insight, type=type),
        case.incident,
        replace(case.service, target=target),
        [restart],
    )
    assert (made.proposal is not None) is fits
