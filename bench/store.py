# SPDX-License-Identifier: Apache-2.0

"""What the operational store takes: bulk rows, single transactions, and waiting idle.

``python bench/store.py``. Each transaction is on disk when it is counted.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import replace

from opx.adapters.stores.migrate import migrate
from opx.adapters.stores.sql import SqlStore
from opx.core.decide.case import Lease
from opx.core.detect.finding import Finding
from opx.engine.ports import WriteTx
from opx.testing.contracts.samples import finding

BULK = 20_000
SINGLE = 1_000


async def bench(url: str) -> None:
    store = SqlStore(url)
    rows = [finding(f"{number:064x}", at=number) for number in range(BULK)]
    lease = Lease(id="t", run="", expires_at=0)

    def bump(tx: WriteTx) -> None:
        nonlocal lease
        tx.save(lease)
        lease = replace(lease, version=lease.version + 1)

    began = time.perf_counter()
    await store.write(lambda tx: tx.add(*rows))
    print(f"add        {BULK / (time.perf_counter() - began):10,.0f} findings/s")
    began = time.perf_counter()
    await store.write(lambda tx: tx.set(*rows))
    print(f"set        {BULK / (time.perf_counter() - began):10,.0f} findings/s")
    began = time.perf_counter()
    await store.read(lambda tx: tx.find(Finding))
    print(f"find       {BULK / (time.perf_counter() - began):10,.0f} findings/s")
    began = time.perf_counter()
    for _ in range(SINGLE):
        await store.write(bump)
    print(f"save       {SINGLE / (time.perf_counter() - began):10,.0f} transactions/s")
    began = time.perf_counter()
    for _ in range(SINGLE):
        await store.read(lambda tx: tx.get(Lease, "t"))
    print(f"get        {SINGLE / (time.perf_counter() - began):10,.0f} reads/s")
    await store.changed(within=1)
    began, used = time.perf_counter(), time.process_time()
    await store.changed(within=5_000)
    share = (time.process_time() - used) / (time.perf_counter() - began)
    print(f"changed    {share:10.2%} of a core while nothing happens")
    await store.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/opx.db"
        migrate(url)
        asyncio.run(bench(url))
