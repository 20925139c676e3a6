# SPDX-License-Identifier: Apache-2.0


"""The ``brain`` process: the three beats, durable work, telemetry, the signing key."""

from __future__ import annotations

import asyncio
import gc
import logging

from opx.adapters.anchors import AnchorFile
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
from opx.app import documents
from opx.engine.beats.case import Knowledge
from opx.engine.beats.parts import Parts
from opx.engine.brain import Brain
from opx.engine.hands import EPOCH
from opx.engine.ports import Clock, Receiver, Saved, Store
from opx.engine.sealing import Sealer
from opx.settings import Settings

new_event_loop = asyncio.new_event_loop

log = logging.getLogger("opx.brain")


async def main(settings: Settings, stop: asyncio.Event) -> None:
    """Think until ``stop``."""
    # Findings come by the thousand and stay: looking for garbage among them costs a fifth.
    gc.set_threshold(50_000, 20, 20)
    clock, store = SystemClock(), SqlStore(settings.database_url)
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
        complain=_complain,
    )
    server = BrainServer(settings.socket, lake.query, lambda: brain.sense.lag_ms)
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
        prober=NetworkProber(clock),
        workflows=DbosWorkflows(settings.database_url, clock),
        signer=KeySigner.load(settings.keys),
        knowledge=Knowledge(),
        protected=frozenset({settings.own_target} - {""}),
        epoch=epoch.seq if epoch else 0,
        receivers=receivers,
        failpoint=Failpoints.parse(settings.failpoints),
    )


def _complain(loop: str, error: Exception) -> None:
    log.warning("%s failed and will be tried again: %s", loop, error, exc_info=error)
