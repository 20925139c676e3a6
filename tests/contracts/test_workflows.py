# SPDX-License-Identifier: Apache-2.0

"""The workflows' contract, on the inline ones in virtual time and on DBOS in real time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from opx.adapters.durable.dbos import DbosWorkflows
from opx.adapters.durable.inline import InlineWorkflows
from opx.adapters.stores.migrate import migrate
from opx.adapters.stores.sql import SqlStore
from opx.adapters.system import SystemClock
from opx.engine.ports import Segment, Store, Workflows
from opx.testing import virtual
from opx.testing.contracts import workflows as contract
from opx.testing.memory import MemoryStore

Check = Callable[[contract.Bench], Awaitable[None]]
every_check = pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)


class InlineBench:
    """Served by a task, on a store in memory."""

    def __init__(self) -> None:
        self.store: Store = MemoryStore()
        self.clock = virtual.LoopClock()
        self._segments: dict[str, Segment] = {}
        self._serving: asyncio.Task[None] | None = None

    async def open(self, segments: dict[str, Segment]) -> Workflows:
        self._segments = segments
        self._workflows = InlineWorkflows(self.store, self.clock)
        await self._workflows.open(segments)
        self._serving = asyncio.create_task(self._workflows.serve(asyncio.Event()))
        return self._workflows

    async def crash(self) -> Workflows:
        await self.close()
        return await self.open(self._segments)

    async def close(self) -> None:
        assert self._serving is not None
        self._serving.cancel()
        await asyncio.gather(self._serving, return_exceptions=True)
        await self._workflows.close()


class DbosBench:
    """DBOS in the file of a real store; a crash is a close, which ends nothing properly."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder / 'opx.db'}"
        migrate(self.url)
        self.store: Store = SqlStore(self.url)
        self.clock = SystemClock()
        self._segments: dict[str, Segment] = {}

    async def open(self, segments: dict[str, Segment]) -> Workflows:
        self._segments = segments
        self._workflows = DbosWorkflows(self.url, self.clock)
        await self._workflows.open(segments)
        return self._workflows

    async def crash(self) -> Workflows:
        await self._workflows.close()
        return await self.open(self._segments)

    async def close(self) -> None:
        await self._workflows.close()
        await self.store.close()


@every_check
def test_inline_workflows_keep_the_contract(check: Check) -> None:
    """The inline workflows do what every ``Workflows`` must."""

    async def main() -> None:
        bench = InlineBench()
        await check(bench)
        await bench.close()

    virtual.run(main())


@every_check
def test_dbos_keeps_the_contract(check: Check, tmp_path: Path) -> None:
    """DBOS, on the file of the operational store, does what every ``Workflows`` must."""

    async def main() -> None:
        bench = DbosBench(tmp_path)
        try:
            await check(bench)
        finally:
            await bench.close()

    asyncio.run(main())
