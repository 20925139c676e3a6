# SPDX-License-Identifier: Apache-2.0

"""The store's contract, on the fake and on SQLite."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from opx.adapters.stores.migrate import migrate
from opx.adapters.stores.sql import SqlStore
from opx.engine.ports import Store
from opx.testing.contracts import store as contract
from opx.testing.memory import MemoryStore

Check = Callable[[Store], Awaitable[None]]
every_check = pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)


async def put_to(check: Check, store: Store) -> None:
    try:
        await check(store)
    finally:
        await store.close()


@every_check
def test_the_fake(check: Check) -> None:
    """The fake keeps the contract, so what is tested on it holds on the others."""
    asyncio.run(put_to(check, MemoryStore()))


@every_check
def test_sqlite(check: Check, tmp_path: Path) -> None:
    """The SQL store keeps the contract on a fresh SQLite file."""

    async def main() -> None:
        url = f"sqlite:///{tmp_path}/opx.db"
        migrate(url)
        await put_to(check, SqlStore(url))

    asyncio.run(main())
