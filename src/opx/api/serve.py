# SPDX-License-Identifier: Apache-2.0

"""Serving the application with uvicorn until told to stop, and stopping cleanly.

Says in ``front.json`` where it listens, once it does. No client is waited for without end
(``connections``). On the way out streams are told to end first, because a server waits for
its open answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Generator

import uvicorn
from starlette.types import ASGIApp

from opx.api import connections
from opx.api.connections import Connection
from opx.api.front import Front
from opx.errors import Unavailable
from opx.settings import Settings, publish

GRACE_S = 5
BACKLOG = 1024
TICKS_A_SWEEP = 10
"""uvicorn ticks ten times a second."""


class Server(uvicorn.Server):
    """A uvicorn that leaves signals to whoever runs the process, and says where it is."""

    def __init__(self, app: ASGIApp, front: Front, settings: Settings) -> None:
        config = uvicorn.Config(
            app,
            http=Connection,
            access_log=False,
            log_config=None,
            log_level="error",  # what is no HTTP is told to whoever sent it, and fills no disk
            server_header=False,
            proxy_headers=settings.behind_proxy,
            timeout_graceful_shutdown=GRACE_S,
            ws="none",
        )
        super().__init__(config)
        self._front = front
        self._file = settings.front_file
        self.url = ""

    def stop(self) -> None:
        """End the streams, then the server."""
        self._front.live.close()
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
            publish(self._file, {"url": self.url, "pid": os.getpid()})

    async def on_tick(self, counter: int) -> bool:
        if counter % TICKS_A_SWEEP == 0:
            for connection in list(self.server_state.connections):
                if isinstance(connection, Connection):
                    connection.sweep()
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def serve(app: ASGIApp, front: Front, settings: Settings, stop: asyncio.Event) -> None:
    """Serve until ``stop`` is set. ``Unavailable`` when the address cannot be had."""
    connections.raise_file_limit()
    server = Server(app, front, settings)
    serving = asyncio.create_task(server.serve([_bound(settings)]))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
    server.stop()
    stopping.cancel()
    await serving


def _bound(settings: Settings) -> socket.socket:
    """Bound here, not by uvicorn, which would end the process with a traceback."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server(
            (settings.host.strip("[]"), settings.port), family=family, backlog=BACKLOG
        )
    except OSError as error:
        raise Unavailable(
            f"{settings.host} port {settings.port} cannot be had: {os.strerror(error.errno or 0)}",
            hint="stop what uses it, or choose another: --port N, or port in opx.toml",
        ) from error
