# SPDX-License-Identifier: Apache-2.0
"""Virtual time is what every scenario rests on."""

from __future__ import annotations

import asyncio

import pytest

from opx.core.base.time import HOUR
from opx.testing import virtual


def test_an_hour_passes_in_order_and_at_once() -> None:
    """Timers fire in the order of their times, and the clock shows exactly those times."""

    async def main() -> list[tuple[str, int]]:
        clock = virtual.LoopClock()
        seen: list[tuple[str, int]] = []

        async def after(name: str, span: int) -> None:
            await clock.sleep(span)
            seen.append((name, clock.now() - virtual.START))

        await asyncio.gather(after("late", HOUR), after("soon", 250))
        return seen

    assert virtual.run(main()) == [("soon", 250), ("late", HOUR)]


def test_a_program_that_waits_for_nothing_is_an_error() -> None:
    """A wait that no timer can end raises instead of hanging."""

    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="no timer"):
        virtual.run(main())
