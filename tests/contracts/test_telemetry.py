# SPDX-License-Identifier: Apache-2.0

"""The telemetry's contract, on the fake and on the lake."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from opx.adapters.stores.lake import Lake
from opx.engine.ports import Telemetry
from opx.testing.contracts import telemetry as contract
from opx.testing.memory import MemoryTelemetry

Check = Callable[[Telemetry], Awaitable[None]]
every_check = pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)


async def put_to(check: Check, telemetry: Telemetry) -> None:
    try:
        await check(telemetry)
    finally:
        await telemetry.close()


@every_check
def test_the_fake(check: Check) -> None:
    """The fake keeps the contract, so what is tested on it holds on the other."""
    asyncio.run(put_to(check, MemoryTelemetry()))


@every_check
def test_the_lake(check: Check, tmp_path: Path) -> None:
    """Delta and DuckDB keep the contract, in a folder whose name needs quoting."""

    async def main() -> None:
        await put_to(check, Lake(tmp_path / "a folder 100%"))

    asyncio.run(main())
