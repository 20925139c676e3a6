# SPDX-License-Identifier: Apache-2.0

"""Virtual time: an event loop that never waits, and the Clock that reads it.

For scenarios and for users' own tests. When every task is waiting for time to pass, time
jumps to the next timer; so five quiet minutes take milliseconds, and the same program
takes the same steps each time. It must not be used with threads or real sockets: nothing
would hold time still for them.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from opx.core.base.time import SECOND, Ms

T = TypeVar("T")

START: Ms = 1_767_225_600_000
"""2026-01-01T00:00:00Z, when every scenario begins."""


class _JumpingSelector(selectors.SelectSelector):
    """Hands out what is ready; where it would block, it moves the loop's time instead."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("every task waits for something that no timer will bring")
        if not ready and timeout:
            self.loop.elapsed += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """``elapsed``: virtual seconds since the loop was made."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        selector = _JumpingSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.elapsed


class LoopClock:
    """A ``Clock`` on the running loop's time; its entropy comes from ``seed``."""

    def __init__(self, start: Ms = START, seed: int = 0) -> None:
        self._start = start
        self._random = random.Random(seed)

    def now(self) -> Ms:
        return self._start + round(asyncio.get_running_loop().time() * SECOND)

    async def sleep(self, span: Ms) -> None:
        await asyncio.sleep(span / SECOND)

    def entropy(self, size: int) -> bytes:
        return self._random.randbytes(size)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` to its end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
