# SPDX-License-Identifier: Apache-2.0

"""The composition root: the only package that names concrete adapters.

``prepare`` makes a data folder ready; ``run_role`` is one of the three processes. Each
role is a module of its own, loaded only in its process, so that none carries the weight
of another's libraries.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import signal
import sqlite3
from collections.abc import Callable

from opx.errors import Unavailable
from opx.settings import Settings

BEAT_S = 1.0


class Heart:
    """Beats once a second from the event loop into the pipe ``beat`` (-1: nobody listens).
    ``well``, which the role sets, says no when the process hangs although its loop does not.
    Until it is set there is no beat: the first one tells the watcher that the start is over."""

    def __init__(self, beat: int) -> None:
        self.well: Callable[[], bool] | None = None
        self._beat = beat

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._beat < 0:
            return
        if self.well is not None and self.well():
            with contextlib.suppress(OSError):  # full while the watcher is stopped
                os.write(self._beat, b".")
        loop.call_later(BEAT_S, self.start, loop)


def run_role(role: str, settings: Settings, beat: int = -1) -> None:
    """Be ``front``, ``brain`` or ``hands`` until SIGTERM or SIGINT."""
    logging.basicConfig(
        level=settings.log_level.upper(), format=f"%(asctime)s {role} %(levelname)s %(message)s"
    )
    module = importlib.import_module(f"opx.app.{role}")
    with asyncio.Runner(loop_factory=module.new_event_loop) as runner:
        runner.run(_until_told(module.main, settings, Heart(beat)))


def prepare(settings: Settings) -> str:
    """Schema, keys, first documents, modes and the admin token; return a one-time login code.
    ``Unavailable`` when the database cannot be made ready."""
    setup = importlib.import_module("opx.app.setup")
    exc = importlib.import_module("sqlalchemy.exc")
    try:
        code: str = setup.prepare(settings)
    except (sqlite3.Error, exc.DBAPIError) as error:
        reason = getattr(error, "orig", error)
        raise Unavailable(f"opx.db cannot be written: {reason}", hint="opx doctor") from error
    return code


async def _until_told(main, settings: Settings, heart: Heart) -> None:  # type: ignore[no-untyped-def]
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    heart.start(loop)
    await main(settings, stop, heart)
