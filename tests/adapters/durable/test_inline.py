# SPDX-License-Identifier: Apache-2.0

"""What the inline workflows offer beyond the contract: stepping by hand, on any store."""

from __future__ import annotations

import asyncio
from pathlib import Path

from opx.adapters.durable import patience
from opx.adapters.durable.inline import InlineWorkflows
from opx.adapters.stores.migrate import migrate
from opx.adapters.stores.sql import SqlStore
from opx.engine.ports import SegmentState, StartRequest
from opx.testing.memory import ManualClock, MemoryStore


def test_nothing_runs_until_it_is_told_to_and_time_is_the_tests_own() -> None:
    """``drain`` runs what is due by the clock, and what that starts, and nothing else."""

    async def main() -> None:
        store, clock, ran = MemoryStore(), ManualClock(), []
        workflows = InlineWorkflows(store, clock)

        async def first(request: StartRequest) -> None:
            ran.append(request.id)
            then = StartRequest(id="then", kind="second")
            await store.write(lambda tx: workflows.start(then, tx))

        async def second(request: StartRequest) -> None:
            ran.append(request.id)

        await workflows.open({"first": first, "second": second})
        soon = StartRequest(id="soon", kind="second", not_before=clock.now() + 500)
        await store.write(lambda tx: workflows.start(StartRequest(id="now", kind="first"), tx))
        await store.write(lambda tx: workflows.start(soon, tx))
        assert ran == []

        assert await workflows.drain() == 2
        assert ran == ["now", "then"]
        await clock.advance(499)
        assert await workflows.drain() == 0
        await clock.advance(1)
        assert await workflows.drain() == 1
        assert ran == ["now", "then", "soon"]

    asyncio.run(main())


def test_a_failing_segment_waits_longer_each_time() -> None:
    """The n-th failure delays the next attempt by 100 ms * 2^(n-1); the fifth is the last."""

    async def main() -> None:
        store, clock = MemoryStore(), ManualClock()
        workflows = InlineWorkflows(store, clock)

        async def fail(_: StartRequest) -> None:
            raise RuntimeError("no")

        await workflows.open({"fail": fail})
        await store.write(lambda tx: workflows.start(StartRequest(id="a", kind="fail"), tx))

        for pause in (100, 200, 400, 800):
            assert await workflows.drain() == 1
            await clock.advance(pause - 1)
            assert await workflows.drain() == 0
            await clock.advance(1)
        assert await workflows.drain() == 1
        assert await workflows.state("a") is SegmentState.FAILED
        await clock.advance(60_000)
        assert await workflows.drain() == 0

    assert patience.ATTEMPTS == 5
    asyncio.run(main())


def test_a_crash_on_a_saved_store_runs_again_what_was_running(tmp_path: Path) -> None:
    """Dropped in the middle of a segment and opened again on its file, it starts that over."""
    url = f"sqlite:///{tmp_path / 'opx.db'}"
    migrate(url)
    ran: list[str] = []

    async def crash() -> None:
        store = SqlStore(url)
        workflows = InlineWorkflows(store, ManualClock())
        begun = asyncio.Event()

        async def hang(request: StartRequest) -> None:
            ran.append(request.id)
            begun.set()
            await asyncio.Event().wait()

        await workflows.open({"work": hang})
        await store.write(lambda tx: workflows.start(StartRequest(id="a", kind="work"), tx))
        running = asyncio.create_task(workflows.drain())
        await begun.wait()
        assert await workflows.state("a") is SegmentState.RUNNING
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await store.close()

    async def restart() -> None:
        store = SqlStore(url)
        workflows = InlineWorkflows(store, ManualClock())

        async def work(request: StartRequest) -> None:
            ran.append(request.id)

        await workflows.open({"work": work})
        assert await workflows.drain() == 1
        assert await workflows.state("a") is SegmentState.DONE
        await store.close()

    asyncio.run(crash())
    asyncio.run(restart())
    assert ran == ["a", "a"]
