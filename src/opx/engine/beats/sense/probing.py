# SPDX-License-Identifier: Apache-2.0

"""Asking the health probes: each by itself, so that a slow one holds nobody up.

Part of the sense beat, which says what is due and takes in the answers. No service is asked
again before its last answer is taken in, and there is a bound to how many are asked at once.
It must never judge an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from opx.core.base.reads import Answer, ProbeRead
from opx.core.base.time import Ms
from opx.engine.beats.parts import Parts

EVERY: Ms = 50
"""How often it is looked for what is due."""
NOBODY: Ms = 250
"""How often while no service has a probe: how late the first one is asked."""
AT_ONCE = 256
"""Questions under way: each is a socket. Those that take their whole timeout, by the hundred
when a network is gone, must leave room for the others."""

Answered = tuple[ProbeRead, Answer]


class Patient(Protocol):
    async def due(self) -> list[ProbeRead]:
        """What should be asked now, the longest due first; also what is under way."""
        ...

    async def hear(self, answers: list[Answered]) -> None: ...


async def run(parts: Parts, whose: Patient, stop: asyncio.Event, well: Callable[[], None]) -> None:
    """Ask and hand over until ``stop``; what is under way then is dropped. A failure of
    ``whose`` ends everything: whoever starts it again starts from nothing. ``well`` is called
    whenever answers were taken in, or there was nothing to ask."""
    answers: asyncio.Queue[Answered] = asyncio.Queue()
    asked: dict[str, asyncio.Task[None]] = {}

    async def ask(read: ProbeRead) -> None:
        answers.put_nowait((read, await parts.prober.ask(read.key, read.probe)))

    async def listen() -> None:
        """Those that came while the last were being taken in are taken in together."""
        while True:
            heard = [await answers.get()]
            while not answers.empty():
                heard.append(answers.get_nowait())
            await whose.hear(heard)
            for read, _ in heard:
                del asked[read.key]
            well()

    async with asyncio.TaskGroup() as group:
        listener = group.create_task(listen())
        while not stop.is_set():
            fresh = [read for read in await whose.due() if read.key not in asked]
            for read in fresh[: AT_ONCE - len(asked)]:
                asked[read.key] = group.create_task(ask(read))
            if not asked:
                well()
            services = parts.knowledge.catalogue.services.values()
            watched = any(service.health is not None for service in services)
            await parts.clock.sleep(EVERY if watched else NOBODY)
        for task in (listener, *asked.values()):
            task.cancel()
