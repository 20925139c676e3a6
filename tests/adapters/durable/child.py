# SPDX-License-Identifier: Apache-2.0

"""A process with DBOS workflows, made to be killed. ``child.py FOLDER first|second``.

The first starts three segments and holds on to one of them for ever; the second starts
nothing. Both print a line for whatever a segment does.
"""

from __future__ import annotations

import asyncio
import sys

from opx.adapters.durable.dbos import DbosWorkflows
from opx.adapters.stores.sql import SqlStore
from opx.adapters.system import SystemClock
from opx.engine.ports import SegmentState, StartRequest


async def main(folder: str, part: str) -> None:
    url = f"sqlite:///{folder}/opx.db"
    store, clock = SqlStore(url), SystemClock()
    workflows = DbosWorkflows(url, clock)

    async def work(request: StartRequest) -> None:
        print("begun", request.id, flush=True)
        if request.id == "slow" and part == "first":
            await asyncio.Event().wait()

    async def report(id: str) -> None:
        while await workflows.state(id) is not SegmentState.DONE:
            await asyncio.sleep(0.01)
        print("done", id, flush=True)

    await workflows.open({"work": work})
    if part == "first":
        later = StartRequest(id="later", kind="work", not_before=clock.now() + 3_600_000)
        for id in ("quick", "slow"):
            request = StartRequest(id=id, kind="work")
            await store.write(lambda tx, one=request: workflows.start(one, tx))
        await store.write(lambda tx: workflows.start(later, tx))
    await asyncio.gather(report("quick"), report("slow"))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
