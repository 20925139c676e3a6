# SPDX-License-Identifier: Apache-2.0

"""The telemetry's contract, on the fake and on the lake."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from opx.adapters.stores.lake import Lake
from opx.adapters.stores.telemetry import merging
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


@pytest.mark.parametrize("piece", [1, 1_000])
@every_check
def test_a_lake_that_merges_at_once(
    check: Check, piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it does when every flush is merged and rolled up, also into files of a point each."""
    monkeypatch.setattr(merging, "MERGE_AT", 1)
    monkeypatch.setattr(merging, "PIECE", piece)

    async def main() -> None:
        await put_to(check, Lake(tmp_path))

    asyncio.run(main())


@every_check
def test_the_lake(check: Check, tmp_path: Path) -> None:
    """Delta and DuckDB keep the contract, in a folder whose name needs quoting."""

    async def main() -> None:
        await put_to(check, Lake(tmp_path / "a folder 100%"))

    asyncio.run(main())
