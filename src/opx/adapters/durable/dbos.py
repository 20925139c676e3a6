# SPDX-License-Identifier: Apache-2.0

"""Workflows on DBOS Transact, its tables beside opx's own in the operational store.

One generic DBOS workflow runs every segment; a start is a row of DBOS written in the
caller's transaction, so it happens exactly when what decided it does. DBOS brings the
durable queue, the claim and the recovery; waiting for a person, leases and effects are
opx's. Nothing here may use DBOS's asynchronous calls or its steps: they replace the event
loop's thread pool by one that dies with DBOS. One instance in a process, one process on a
store (the data folder's lock sees to that).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Protocol, runtime_checkable

import sqlalchemy
from dbos import DBOS, DBOSClient, DBOSConfig, DBOSPortableJSONSerializer, EnqueueOptions

from opx.adapters.durable import patience
from opx.core.base.time import SECOND, Ms
from opx.engine.ports import Clock, Segment, SegmentState, StartRequest, WriteTx
from opx.errors import Conflict, OpxError, Refused

NAME = "opx"
QUEUE = "segments"
WORKFLOW = "segment"
VERSION = "1"
"""Constant: work that waits must survive an upgrade of opx. A segment that changes its
meaning changes its kind."""
EXECUTOR = "brain"
POLL_S = 0.25
"""How often the queue is looked at: a start waits half of it on average. Nothing else of an
idle opx costs as much: 1.5 % of a core of an EPYC server at 0.2."""
AT_WORK = 64
"""Segments at a time: each has bookkeeping of DBOS's, which takes the database's one writer."""
EARLY: Ms = 1_500
"""DBOS is up to 1.3 s late with a delayed start: it is asked for this much earlier, and the
rest of the wait is slept in the segment."""
PAGE = 500

STATES: Mapping[str, SegmentState] = {
    "DELAYED": SegmentState.WAITING,
    "ENQUEUED": SegmentState.WAITING,
    "PENDING": SegmentState.RUNNING,
    "SUCCESS": SegmentState.DONE,
    "ERROR": SegmentState.FAILED,
    "CANCELLED": SegmentState.FAILED,
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": SegmentState.FAILED,
}
ENDED = [
    name for name, state in STATES.items() if state in (SegmentState.DONE, SegmentState.FAILED)
]
log = logging.getLogger(__name__)


@runtime_checkable
class SqlTx(Protocol):
    """What a transaction of the SQL store has beside the port."""

    @property
    def connection(self) -> sqlalchemy.Connection: ...


class DbosWorkflows:
    """``Workflows`` on the database at ``database_url`` (``sqlite:////path/opx.db``)."""

    def __init__(self, database_url: str, clock: Clock) -> None:
        self._url = database_url
        self._clock = clock
        self._segments: dict[str, Segment] = {}
        self._client: DBOSClient | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._inside: set[asyncio.Task[None]] = set()
        self._closing = False

    async def open(self, segments: dict[str, Segment]) -> None:
        """Make or update DBOS's tables, and run again what a predecessor left unfinished.

        ``Conflict`` when they are open already.
        """
        if self._client is not None:
            raise Conflict("these workflows are open already")
        if os.environ.get("DBOS__CLOUD") == "true":
            raise Refused("DBOS__CLOUD is set: opx runs its workflows itself")
        self._segments, self._closing = dict(segments), False
        # A handler of its own keeps DBOS from adding one that writes to the terminal.
        logging.getLogger("dbos").addHandler(logging.NullHandler())
        DBOS(config=self._config())
        DBOS.workflow(name=WORKFLOW)(self._workflow())
        self._client = await asyncio.to_thread(self._prepare)
        DBOS.launch()  # on the loop, so that segments run here

    def start(self, request: StartRequest, tx: WriteTx) -> None:
        if not isinstance(tx, SqlTx):
            raise OpxError("DBOS needs a transaction of the SQL store")
        options: EnqueueOptions = {
            "workflow_name": WORKFLOW,
            "queue_name": QUEUE,
            "workflow_id": request.id,
            "app_version": VERSION,
        }
        due = request.not_before
        delay = 0 if due is None else due - self._clock.now() - EARLY
        if delay > 0:
            options["delay_seconds"] = delay / SECOND
        self._opened().enqueue_in_transaction(
            tx.connection, options, request.kind, request.id, dict(request.args), due
        )

    async def state(self, id: str) -> SegmentState | None:
        client = self._opened()
        found = await asyncio.to_thread(
            lambda: client.list_workflows(workflow_ids=[id], load_input=False, load_output=False)
        )
        return STATES[found[0].status] if found else None

    async def purge(self, before: Ms) -> int:
        """Delete what ended before ``before``; return how many. Other statuses stay."""
        return await asyncio.to_thread(_purge, self._opened(), before)

    async def close(self) -> None:
        """Stop at once, as a crash does: what was running is run again at the next ``open``."""
        client, self._closing = self._opened(), True
        for task in self._inside:
            task.cancel()
        # Those that are through are only writing that down: let them.
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._client = None
        await asyncio.to_thread(lambda: DBOS.destroy(destroy_registry=True))
        await asyncio.to_thread(client.destroy)

    def _opened(self) -> DBOSClient:
        if self._client is None:
            raise OpxError("these workflows are not open")
        return self._client

    def _config(self) -> DBOSConfig:
        return {
            "name": NAME,
            "system_database_url": self._url,
            "application_version": VERSION,
            "executor_id": EXECUTOR,
            "serializer": DBOSPortableJSONSerializer(),
            "log_level": "WARNING",
            # A thread that opx gives nothing to do, but that ``close`` waits for.
            "notification_listener_polling_interval_sec": 0.2,
        }

    def _prepare(self) -> DBOSClient:
        """The tables and the queue; before launch, so that the queue is served at once."""
        DBOS.migrate(self._url)
        client = DBOSClient(
            system_database_url=self._url,
            serializer=DBOSPortableJSONSerializer(),
            application_name=NAME,
        )
        client.register_queue(QUEUE, polling_interval_sec=POLL_S, worker_concurrency=AT_WORK)
        return client

    def _workflow(self) -> Callable[[str, str, dict[str, str], Ms | None], Awaitable[None]]:
        async def segment(kind: str, id: str, args: dict[str, str], due: Ms | None) -> None:
            if self._closing:
                raise asyncio.CancelledError
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            self._inside.add(task)
            try:
                await self._run(StartRequest(id=id, kind=kind, args=args, not_before=due))
            finally:
                self._inside.discard(task)

        return segment

    async def _run(self, request: StartRequest) -> None:
        wait = (request.not_before or 0) - self._clock.now()
        if wait > 0:
            await self._clock.sleep(wait)
        for failures in range(1, patience.ATTEMPTS):
            try:
                return await self._segments[request.kind](request)
            except Exception:  # the worker loop: whatever it is, back off and try again
                log.warning("segment %s failed", request.id, exc_info=True)
                await self._clock.sleep(patience.pause(failures))
        return await self._segments[request.kind](request)


def _purge(client: DBOSClient, before: Ms) -> int:
    until = datetime.fromtimestamp((before - 1) / SECOND, UTC).isoformat()
    total = 0
    while old := client.list_workflows(
        status=ENDED, completed_before=until, limit=PAGE, load_input=False, load_output=False
    ):
        client.delete_workflows([workflow.workflow_id for workflow in old])
        total += len(old)
    return total
