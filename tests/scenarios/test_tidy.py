# SPDX-License-Identifier: Apache-2.0

"""Upkeep of telemetry: beside the flushes, at once while there is more of it, and tried again."""

from __future__ import annotations

import asyncio

from opx.adapters.durable.inline import InlineWorkflows
from opx.core.base.time import SECOND
from opx.engine.beats.case import Knowledge
from opx.engine.beats.parts import Parts
from opx.engine.brain import Brain
from opx.errors import Unavailable
from opx.testing import virtual
from opx.testing.memory import MemoryLog, MemoryStore, MemoryTelemetry
from opx.testing.world import FakeProber, PlainSigner


class Piecemeal(MemoryTelemetry):
    """Upkeep of ``pieces`` pieces, of which the first takes a minute; ``broken``: none can be
    done. ``turns`` and ``flushes`` are counted."""

    def __init__(self, clock: virtual.LoopClock, pieces: int) -> None:
        super().__init__()
        self.clock, self.pieces, self.broken = clock, pieces, False
        self.turns = self.flushes = 0

    async def tidy(self) -> bool:
        self.turns += 1
        if self.broken:
            raise Unavailable("no space left")
        if self.turns == 1:
            await self.clock.sleep(60 * SECOND)
        self.pieces -= 1
        return self.pieces > 0

    async def flush(self) -> int:
        self.flushes += 1
        return await super().flush()


async def _nothing() -> None:
    return None


def test_upkeep_takes_its_time_and_flushes_go_on() -> None:
    """While its first piece takes a minute there are thirty flushes; the other four follow
    within a second; then it is looked for every two seconds. Where it fails it is tried again,
    and nothing else waits."""

    async def main() -> None:
        clock = virtual.LoopClock()
        store, telemetry, complaints = MemoryStore(), Piecemeal(clock, 5), []
        brain = Brain(
            parts=Parts(
                store=store,
                clock=clock,
                prober=FakeProber(clock),
                workflows=InlineWorkflows(store, clock),
                signer=PlainSigner(),
                knowledge=Knowledge(),
            ),
            tail=MemoryLog(clock),
            telemetry=telemetry,
            receivers={},
            reload=lambda _: Knowledge(),
            seal=_nothing,
            complain=lambda name, _: complaints.append(name),
        )
        stop = asyncio.Event()
        running = asyncio.create_task(brain.run(stop))
        await clock.sleep(59 * SECOND)
        assert (telemetry.turns, telemetry.flushes) == (1, 30)
        await clock.sleep(2 * SECOND)
        assert telemetry.turns == 5
        await clock.sleep(20 * SECOND)
        assert telemetry.turns == 5 + 10

        telemetry.broken, before = True, telemetry.flushes
        await clock.sleep(20 * SECOND)
        assert set(complaints) == {"tidy"}
        assert telemetry.flushes == before + 10
        telemetry.broken = False
        await clock.sleep(20 * SECOND)
        assert brain.failing == {}
        stop.set()
        await running

    virtual.run(main())
