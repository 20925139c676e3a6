# SPDX-License-Identifier: Apache-2.0

"""What the tests of the SQL store run as processes of their own.

``churn URL``: open the store, use it and close it, a hundred times. ``count URL``: count a
row up 25 times by compare-and-set. ``watch URL``: wait for somebody
else's commit. ``write URL``: commit for ever, one line of output for each.
"""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace

from opx.adapters.stores import sqlite, tables
from opx.adapters.stores.sql import SqlStore
from opx.core.base.time import SECOND
from opx.core.decide.case import Lease
from opx.engine.ports import Entry, Saved, Where, WriteTx
from opx.errors import Conflict
from opx.testing.contracts.samples import finding

FINDINGS = 50


def say(text: object) -> None:
    os.write(1, f"{text}\n".encode())


async def churn(url: str) -> None:
    for number in range(100):
        assert sqlite.schema_state(url) == (tables.HEAD, tables.HEAD)
        store = SqlStore(url)
        line = Entry(at=number, subject=str(os.getpid()), kind="turned", actor="test")
        await store.write(lambda tx, one=line: tx.append(one))  # type: ignore[misc]
        mine = Where("subject", "eq", line.subject)
        assert len(await store.read(lambda tx, mine=mine: tx.find(Entry, mine))) == number + 1  # type: ignore[misc]
        await store.close()


async def count(url: str) -> None:
    store = SqlStore(url)
    for _ in range(25):
        while True:
            lease = await store.read(lambda tx: tx.get(Lease, "t"))
            assert lease is not None
            following = replace(lease, version=lease.version + 1)
            try:
                await store.write(lambda tx, row=following: tx.save(row))  # type: ignore[misc]
            except Conflict:
                continue
            break
    await store.close()


async def watch(url: str) -> None:
    store = SqlStore(url)
    await store.read(lambda tx: tx.get(Saved, "sense"))
    say("ready")
    say(await store.changed(within=20 * SECOND))
    await store.close()


async def write(url: str) -> None:
    """One transaction each: findings, a position and a journal entry that belong together."""
    store = SqlStore(url)
    saved = await store.read(lambda tx: tx.get(Saved, "sense"))
    number = saved.seq if saved else 0
    while True:
        number += 1

        def commit(tx: WriteTx, number: int = number) -> None:
            tx.append(Entry(at=number, subject="s", kind="k", actor="a"))
            tx.add(*(finding(f"{number}/{n}") for n in range(FINDINGS)))
            tx.set(Saved(id="sense", seq=number))

        await store.write(commit)
        say(number)


if __name__ == "__main__":
    verbs = {"churn": churn, "count": count, "watch": watch, "write": write}
    asyncio.run(verbs[sys.argv[1]](sys.argv[2]))
