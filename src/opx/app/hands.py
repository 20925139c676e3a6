# SPDX-License-Identifier: Apache-2.0

"""The ``hands`` process: credentials and the key that checks signatures, nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import sysconfig
from functools import partial
from pathlib import Path

import opx
from opx.adapters import actions
from opx.adapters.actions.roots import Roots
from opx.adapters.actions.web import Hosts
from opx.adapters.clients.logins import Logins
from opx.adapters.failpoints import Failpoints
from opx.adapters.keys import KeyVerifier
from opx.adapters.stores.sql import SqlStore
from opx.adapters.system import SystemClock
from opx.app import Heart
from opx.engine.hands import Hands
from opx.settings import Settings

new_event_loop = asyncio.new_event_loop


async def main(settings: Settings, stop: asyncio.Event, heart: Heart) -> None:
    """Serve orders until ``stop``."""
    store = SqlStore(settings.database_url)
    hands = Hands(
        store=store,
        clock=SystemClock(),
        verifier=KeyVerifier.load(settings.keys),
        actions=actions.registry(
            Logins(settings.supervisors),
            Roots(settings.action_roots, _own_folders(settings)),
            Hosts(frozenset(settings.action_hosts)),
        ),
        name=f"hands/{os.getpid()}",
        own_pids=partial(_own_pids, settings),
        failpoint=Failpoints.parse(settings.failpoints),
    )
    heart.well = lambda: True
    try:
        await hands.run(stop)
    finally:
        await store.close()


def _own_pids(settings: Settings) -> frozenset[str]:
    """The watcher, its three children, and whoever started the watcher (a supervisor)."""
    pids = {os.getpid(), os.getppid()}
    with contextlib.suppress(OSError, ValueError):
        pids.update(json.loads(settings.pids.read_text()).values())
    return frozenset(map(str, pids))


def _own_folders(settings: Settings) -> tuple[str, ...]:
    """Its data, its code, and everything that its Python loads code from."""
    paths = sysconfig.get_paths()
    code = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib", "scripts")]
    virtual = [sys.prefix] if sys.prefix != sys.base_prefix else []
    return (str(settings.data), str(Path(opx.__file__).parent), *code, *virtual)
