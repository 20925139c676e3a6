# SPDX-License-Identifier: Apache-2.0

"""The ``front`` process: HTTP in and out, and the write-ahead log's only appender."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable
from functools import partial

import uvloop

from opx.adapters import locks
from opx.adapters.anchors import AnchorFile
from opx.adapters.failpoints import Failpoints
from opx.adapters.link import BrainClient
from opx.adapters.stores.sql import SqlStore
from opx.adapters.stores.wal.appender import WalAppender
from opx.adapters.system import SystemClock
from opx.adapters.wires import alertmanager, alerts, events, logs, metrics
from opx.api import ingest
from opx.api.create import create
from opx.api.front import Front
from opx.api.serve import serve
from opx.app import Heart, documents
from opx.app.exposition import Exposition
from opx.core.base.time import SECOND
from opx.core.ingest.quota import Quota
from opx.core.ingest.services import Catalogue
from opx.core.ingest.signals import Tick
from opx.engine.access import Access
from opx.engine.beats.parts import DETECTORS, POSITION
from opx.engine.intake import Intake, Limits
from opx.engine.ports import Appender, Batch, Clock, Saved, Store
from opx.engine.quarantine import Quarantine
from opx.errors import Unavailable
from opx.settings import Settings

new_event_loop = uvloop.new_event_loop


async def main(settings: Settings, stop: asyncio.Event, heart: Heart) -> None:
    """Serve until ``stop``."""
    # Items come by the thousand, and none is part of a circle: looking costs a tenth.
    gc.set_threshold(50_000, 20, 20)
    clock, store = SystemClock(), SqlStore(settings.database_url)
    appender = await _appender(settings, clock, store)
    heart.well = appender.alive
    intake = _intake(appender, clock, settings.ingest_rate, lambda: front.catalogue())
    brain, ticker = BrainClient(settings.socket), Ticker(appender, clock)
    hands_alive = partial(locks.held, settings.data / "hands.lock")
    front = Front(
        store=store,
        clock=clock,
        access=Access(store, clock),
        brain=brain,
        check=documents.check,
        bind=documents.bind,
        would=documents.would,
        anchors=AnchorFile(settings.anchors).read,
        exposition=Exposition(
            intake=intake, store=store, brain=brain, hands_alive=hands_alive, data=settings.data
        ),
        hands_alive=hands_alive,
        keeping=lambda: appender.keeping() and intake.keeping(),
        allowed_hosts=settings.allowed_hosts,
        behind_proxy=settings.behind_proxy,
    )
    ticking = asyncio.create_task(ticker.run())
    try:
        app = create(front, ingest.routes(intake), Quarantine(intake=intake, store=store))
        await serve(app, front, settings, stop)
    finally:
        ticking.cancel()
        await appender.close()
        await store.close()


async def _appender(settings: Settings, clock: Clock, store: Store) -> WalAppender:
    """The log goes on after everything that was ever taken from it."""
    positions = await store.read(lambda tx: [tx.get(Saved, POSITION), tx.get(Saved, DETECTORS)])
    floor = max((position.seq for position in positions if position), default=0)
    return WalAppender(
        settings.wal, clock, floor=floor, failpoint=Failpoints.parse(settings.failpoints)
    )


def _intake(
    appender: Appender, clock: Clock, rate: int, catalogue: Callable[[], Catalogue]
) -> Intake:
    index = metrics.SeriesIndex(appender.series())
    return Intake(
        appender=appender,
        clock=clock,
        catalogue=catalogue,
        index=index,
        wires={
            "metrics": metrics.parser(index),
            "events": events.parse,
            "alerts": alerts.parse,
            "alertmanager": alertmanager.parse,
            "logs": logs.parse,
        },
        limits=Limits(quota=Quota(rate=rate, burst=2 * rate)),
    )


class Ticker:
    """Writes the time into the log every second; a full disk only makes it wait."""

    def __init__(self, appender: Appender, clock: Clock) -> None:
        self._appender = appender
        self._clock = clock

    async def run(self) -> None:
        while True:
            with contextlib.suppress(Unavailable):
                await self._appender.append(Batch(items=(Tick(self._clock.now()),)))
            await self._clock.sleep(SECOND - self._clock.now() % SECOND)
