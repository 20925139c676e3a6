# SPDX-License-Identifier: Apache-2.0

"""The real clock."""

from __future__ import annotations

import asyncio
import time

from opx.adapters.system import SystemClock


def test_now_is_the_time_of_day_in_milliseconds() -> None:
    """``now`` lies between two readings of the operating system's clock."""
    before = int(time.time() * 1000)
    now = SystemClock().now()

    assert before <= now <= int(time.time() * 1000) + 1


def test_entropy_is_as_long_as_asked_and_never_the_same() -> None:
    """Two draws of 16 bytes differ."""
    clock = SystemClock()

    assert len(clock.entropy(16)) == 16
    assert clock.entropy(16) != clock.entropy(16)


def test_sleep_takes_milliseconds() -> None:
    """Sleeping lets time pass by at least the span, on the loop's own clock."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await SystemClock().sleep(20)
        return loop.time() - began

    assert asyncio.run(main()) >= 0.019
