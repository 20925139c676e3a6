# SPDX-License-Identifier: Apache-2.0

"""The actions' contract, on the fake and on the real ones against a real supervisord."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from opx.adapters import actions
from opx.engine.ports import Action
from opx.testing.contracts import actions as contract
from opx.testing.world import FakeAction

Check = Callable[[contract.Bench], Awaitable[None]]
every_check = pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)


class FakeBench:
    def __init__(self) -> None:
        self.target = "http://127.0.0.1:1#web"
        self.missing = "http://127.0.0.1:1#absent"
        self.silent = "http://127.0.0.1:2#web"
        self.fake = FakeAction(targets=frozenset({self.target, self.silent}), hidden={self.silent})
        self.action: Action = self.fake

    def inputs(self, target: str) -> dict[str, str]:
        return {}

    async def effects(self) -> int:
        return self.fake.effects[self.target]


class SupervisorBench:
    """Starts are counted by the program itself, a stop is seen by supervisord."""

    def __init__(self, name: str, program: str, daemon: Any) -> None:
        self.action = actions.registry()[name]
        self.target = daemon.target(program)
        self.missing = daemon.target("absent")
        self.silent = "http://127.0.0.1:1#web"
        self._program, self._daemon = program, daemon

    def inputs(self, target: str) -> dict[str, str]:
        return {}

    async def effects(self) -> int:
        if self.action.spec.name == "process.stop":
            return int(self._daemon.pid(self._program) == 0)
        return int(self._daemon.starts(self._program))


@every_check
def test_the_fake_keeps_the_contract(check: Check) -> None:
    """The fake action does what every ``Action`` must."""
    asyncio.run(check(FakeBench()))


@every_check
@pytest.mark.parametrize(
    ("name", "program"),
    [("process.restart", "web"), ("process.start", "idle"), ("process.stop", "web")],
)
def test_supervisors_actions_keep_the_contract(
    check: Check, name: str, program: str, supervisord: Any
) -> None:
    """Start, stop and restart through supervisord do what every ``Action`` must."""
    asyncio.run(check(SupervisorBench(name, program, supervisord)))
