# SPDX-License-Identifier: Apache-2.0

"""The real world's clock and randomness: the one ``Clock`` of a production process."""

from __future__ import annotations

import asyncio
import secrets
import time

from opx.core.base.time import SECOND, Ms


class SystemClock:
    """``Clock`` on the operating system's time of day and its random source."""

    def now(self) -> Ms:
        return time.time_ns() // 1_000_000

    async def sleep(self, span: Ms) -> None:
        await asyncio.sleep(span / SECOND)

    def entropy(self, size: int) -> bytes:
        return secrets.token_bytes(size)
