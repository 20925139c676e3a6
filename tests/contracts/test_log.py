# SPDX-License-Identifier: Apache-2.0

"""The write-ahead log's contract, on the fake and on segment files."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from opx.adapters.stores.wal import WalAppender, WalTail
from opx.testing.contracts import log as contract
from opx.testing.contracts.log import Ends
from opx.testing.memory import ManualClock, MemoryLog

Check = Callable[[Ends], Awaitable[None]]
every_check = pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)


@every_check
def test_the_fake(check: Check) -> None:
    """The fake keeps the contract, so what is tested on it holds on the other."""
    log = MemoryLog(ManualClock())

    async def main() -> None:
        await check(Ends(log, log))

    asyncio.run(main())


@every_check
@pytest.mark.parametrize("segment_bytes", [1, 64 << 20], ids=["a segment each", "one segment"])
def test_segments(check: Check, segment_bytes: int, tmp_path: Path) -> None:
    """The files keep the contract, in many small segments and in one."""

    async def main() -> None:
        appender = WalAppender(tmp_path, ManualClock(), segment_bytes=segment_bytes)
        tail = WalTail(tmp_path)
        try:
            await check(Ends(appender, tail))
        finally:
            await appender.close()
            tail.close()

    asyncio.run(main())
