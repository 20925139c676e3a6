# SPDX-License-Identifier: Apache-2.0

"""What a step says while it is at work: into the journal as it comes, so that people can watch.

Part of ``hands``. Every line is masked and bounded, and so is their number: a step that
talks without end costs a line that says so. It must never hold up the step, nor fail it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from opx.core.ingest import masking
from opx.engine.ports import Say

MOST_LINES = 50
"""Of one order."""
MOST_LENGTH = 500
MORE = "… and more, which is not kept"


@contextlib.asynccontextmanager
async def listening(keep: Callable[[list[str]], Awaitable[None]]) -> AsyncIterator[Say]:
    """What is said within goes to ``keep``, in order and as it comes; all of it by the end."""
    lines: asyncio.Queue[str | None] = asyncio.Queue()
    count = 0

    def say(line: str) -> None:
        nonlocal count
        count += 1
        if count <= MOST_LINES:
            lines.put_nowait(masking.text(line)[:MOST_LENGTH])
        elif count == MOST_LINES + 1:
            lines.put_nowait(MORE)

    teller = asyncio.create_task(_tell(lines, keep))
    try:
        yield say
    finally:
        lines.put_nowait(None)
        await teller


async def _tell(
    lines: asyncio.Queue[str | None], keep: Callable[[list[str]], Awaitable[None]]
) -> None:
    """Keep what has been said, together what came meanwhile, until there is no more."""
    while (first := await lines.get()) is not None:
        some, over = [first], False
        while not lines.empty() and not over:
            line = lines.get_nowait()
            over = line is None
            some += [] if line is None else [line]
        await keep(some)
        if over:
            return
