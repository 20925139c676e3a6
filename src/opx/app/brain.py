# SPDX-License-Identifier: Apache-2.0

"""The ``brain`` process: the three beats, durable work, telemetry, the signing key."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections import Counter

from opx.adapters.anchors import AnchorFile
from opx.adapters.clients.logins import Logins
from opx.adapters.durable.dbos import DbosWorkflows
from opx.adapters.failpoints import Failpoints
from opx.adapters.keys import KeySigner
from opx.adapters.link import BrainServer
from opx.adapters.probes.network import NetworkProber
from opx.adapters.receivers.webhook import Webhook
from opx.adapters.stores.lake import Lake
from opx.adapters.stores.sql import SqlStore
from opx.adapters.stores.wal.tail import WalTail
from opx.adapters.system import SystemClock
from opx.app import Heart, documents
from opx.core.base.time import DAY
from opx.core.incident.keeping import Keep
from opx.engine.beats.case import Knowledge
from opx.engine.beats.health import BrainState, LoopState
from opx.engine.beats.parts import Parts
from opx.engine.beats.sealing import Sealer
from opx.engine.brain import Brain
from opx.engine.hands import EPOCH
from opx.engine.ports import Clock, Receiver, Saved, Store
from opx.settings import Settings

new_event_loop = asyncio.new_event_loop
TURN_WITHIN_S = 300.0
"""Of a hundred thousand incidents that end at the same time each takes a millisecond or two."""

log = logging.getLogger("opx.brain")


async def main(settings: Settings, stop: asyncio.Event, heart: Heart) -> None:
    """Think until ``stop``."""
    # Findings come by the thousand and stay: looking for garbage among them costs a fifth.
    gc.set_threshold(50_000, 20, 20)
    clock, store, complaints = SystemClock(), SqlStore(settings.database_url), Complaints()
    receivers: dict[str, Receiver] = {}
    if settings.webhook_url:
        receivers["webhook"] = Webhook("webhook", settings.webhook_url)
    lake = Lake(settings.telemetry)
    brain = Brain(
        parts=await _parts(settings, clock, store, tuple(receivers)),
        tail=WalTail(settings.wal),
        telemetry=lake,
        receivers=receivers,
        reload=documents.bind,
        seal=Sealer(store, clock, AnchorFile(settings.anchors)).seal,
        complain=complaints,
        keep=_keep(settings),
    )
    heart.well = Progress(brain)
    server = BrainServer(settings.socket, lake.query, lambda: complaints.state(brain))
    await server.open()
    try:
        await brain.run(stop)
    finally:
        await server.close()
        await store.close()


async def _parts(
    settings: Settings, clock: Clock, store: Store, receivers: tuple[str, ...]
) -> Parts:
    epoch = await store.read(lambda tx: tx.get(Saved, EPOCH))
    return Parts(
        store=store,
        clock=clock,
        prober=NetworkProber(clock, Logins(settings.supervisors)),
        workflows=DbosWorkflows(settings.database_url, clock),
        signer=KeySigner.load(settings.keys),
        knowledge=Knowledge(),
        protected=frozenset({settings.own_target} - {""}),
        epoch=epoch.seq if epoch else 0,
        receivers=receivers,
        failpoint=Failpoints.parse(settings.failpoints),
    )


def _keep(settings: Settings) -> Keep:
    others = settings.keep_days * DAY
    incidents = settings.keep_incidents_days * DAY
    return Keep(incidents=incidents, telemetry=others, records=others)


class Complaints:
    """Every failure of a loop: into the output, and counted."""

    def __init__(self) -> None:
        self._failures: Counter[str] = Counter()

    def __call__(self, loop: str, error: Exception) -> None:
        self._failures[loop] += 1
        log.warning("%s failed and will be tried again: %s", loop, error, exc_info=error)

    def state(self, brain: Brain) -> BrainState:
        loops = {}
        for name, failures in self._failures.items():
            now = brain.failing.get(name)
            loops[name] = LoopState(
                failures=failures,
                since=now.since if now else None,
                error=now.error if now else "",
            )
        return BrainState(lag=brain.lag(), loops=loops)


class Progress:
    """Whether the sense loop ends its turns: it hangs when none has ended for ``TURN_WITHIN_S``.
    Before the first (the log is read again) there is no heartbeat, and the watcher waits."""

    def __init__(self, brain: Brain) -> None:
        self._brain = brain
        self._turns = 0
        self._at = 0.0

    def __call__(self) -> bool:
        turns, now = self._brain.turns.get("sense", 0), time.monotonic()
        if turns != self._turns:
            self._turns, self._at = turns, now
        return turns > 0 and now - self._at < TURN_WITHIN_S
