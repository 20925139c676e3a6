# SPDX-License-Identifier: Apache-2.0

"""The composition root: the only package that names concrete adapters.

``prepare`` makes a data folder ready; ``run_role`` is one of the three processes. Each
role is a module of its own, loaded only in its process, so that none carries the weight
of another's libraries.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import signal

from opx.settings import Settings


def run_role(role: str, settings: Settings) -> None:
    """Be ``front``, ``brain`` or ``hands`` until SIGTERM or SIGINT."""
    logging.basicConfig(
        level=settings.log_level.upper(), format=f"%(asctime)s {role} %(levelname)s %(message)s"
    )
    module = importlib.import_module(f"opx.app.{role}")
    with asyncio.Runner(loop_factory=module.new_event_loop) as runner:
        runner.run(_until_told(module.main, settings))


def prepare(settings: Settings) -> str:
    """Schema, keys, first documents, modes and the admin token; return a one-time login code."""
    code: str = importlib.import_module("opx.app.setup").prepare(settings)
    return code


async def _until_told(main, settings: Settings) -> None:  # type: ignore[no-untyped-def]
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await main(settings, stop)
