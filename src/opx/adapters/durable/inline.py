# SPDX-License-Identifier: Apache-2.0

"""Workflows whose queue is rows of the ``Store`` itself: no engine, no thread, no timer.

For scenarios and tests, where time is virtual: nothing runs until ``drain`` or ``serve``
is called, and only the clock says what is due. A crash is dropping the instance: the one
that is opened on the same store next runs again what was RUNNING. One instance serves a
store at a time. It must never be what a production ``brain`` runs on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import replace

from opx.adapters.durable import patience
from opx.core.base.time import SECOND, Ms
from opx.engine.ports import (
    Clock,
    PendingWork,
    ReadTx,
    Segment,
    SegmentState,
    StartRequest,
    Store,
    Where,
    WriteTx,
)
from opx.errors import Conflict

ENDED = frozenset({SegmentState.DONE, SegmentState.FAILED})
log = logging.getLogger(__name__)


class InlineWorkflows:
    """``Workflows`` on any ``Store``, run by whoever holds them."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._segments: dict[str, Segment] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def open(self, segments: dict[str, Segment]) -> None:
        """Know the segments, and take up what a predecessor left RUNNING."""
        self._segments = dict(segments)
        await self._store.write(_take_up)

    def start(self, request: StartRequest, tx: WriteTx) -> None:
        work = PendingWork(
            id=request.id,
            kind=request.kind,
            args=dict(request.args),
            not_before=self._clock.now() if request.not_before is None else request.not_before,
        )
        tx.add(work)

    async def state(self, id: str) -> SegmentState | None:
        work = await self._store.read(lambda tx: tx.get(PendingWork, id))
        return work.state if work else None

    async def purge(self, before: Ms) -> int:
        """Forget what ended before ``before``; return how many."""

        def forget(tx: WriteTx) -> int:
            old = [work for work in _in_state(tx, *ENDED) if (work.ended_at or 0) < before]
            return tx.drop(PendingWork, Where("id", "in", [work.id for work in old]))

        return await self._store.write(forget)

    async def close(self) -> None:
        """Stop at once, as a crash does: what was running will be run again."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def run_due(self, now: Ms) -> int:
        """Run what is due at ``now``, all of it at once, to its end; return how many."""
        due = await self._claim(now)
        await asyncio.gather(*(self._spawn(work) for work in due))
        return len(due)

    async def drain(self) -> int:
        """Run what is due, and what that starts, until nothing more is due now."""
        total = 0
        while count := await self.run_due(self._clock.now()):
            total += count
        return total

    async def serve(self, stop: asyncio.Event) -> None:
        """Run what falls due, by the store's changes and the clock, until ``stop``."""
        while not stop.is_set():
            now = self._clock.now()
            for work in await self._claim(now):
                self._spawn(work)
            waiting = await self._store.read(lambda tx: _in_state(tx, SegmentState.WAITING))
            soonest = waiting[0].not_before if waiting else now + SECOND
            await self._store.changed(within=max(1, min(soonest - now, SECOND)))

    def _spawn(self, work: PendingWork) -> asyncio.Task[None]:
        task = asyncio.create_task(self._run(work))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _claim(self, now: Ms) -> list[PendingWork]:
        """Take what is due, oldest first, so that nothing is taken twice."""

        def due(tx: ReadTx) -> list[PendingWork]:
            return [work for work in _in_state(tx, SegmentState.WAITING) if work.not_before <= now]

        def take(tx: WriteTx) -> list[PendingWork]:
            taken = [
                replace(work, state=SegmentState.RUNNING, version=work.version + 1)
                for work in due(tx)
            ]
            tx.save(*taken)
            return taken

        return await self._store.write(take) if await self._store.read(due) else []

    async def _run(self, work: PendingWork) -> None:
        request = StartRequest(
            id=work.id, kind=work.kind, args=dict(work.args), not_before=work.not_before
        )
        try:
            await self._segments[work.kind](request)
        except Exception:  # the worker loop: whatever it is, back off and try again
            log.warning("segment %s failed", work.id, exc_info=True)
            await self._end(self._after_failure(work))
        else:
            await self._end(replace(work, state=SegmentState.DONE, ended_at=self._clock.now()))

    def _after_failure(self, work: PendingWork) -> PendingWork:
        now, failures = self._clock.now(), work.attempts + 1
        if failures >= patience.ATTEMPTS:
            return replace(work, attempts=failures, state=SegmentState.FAILED, ended_at=now)
        due = now + patience.pause(failures)
        return replace(work, attempts=failures, state=SegmentState.WAITING, not_before=due)

    async def _end(self, work: PendingWork) -> None:
        with contextlib.suppress(Conflict):  # a successor has taken it up: it is theirs now
            await self._store.write(lambda tx: tx.save(replace(work, version=work.version + 1)))


def _take_up(tx: WriteTx) -> None:
    left = _in_state(tx, SegmentState.RUNNING)
    tx.save(*(replace(w, state=SegmentState.WAITING, version=w.version + 1) for w in left))


def _in_state(tx: ReadTx, *states: SegmentState) -> list[PendingWork]:
    return tx.find(PendingWork, Where("state", "in", states), order="not_before")
