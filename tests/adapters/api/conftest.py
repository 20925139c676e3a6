# SPDX-License-Identifier: Apache-2.0

"""A served ``front`` for each test, in this process or on a loopback port."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from opx.engine.ports import Command

WORLD = "opx_tests_api_world"


def load_world() -> Any:
    """The helper module beside this one: test folders are no packages."""
    if WORLD not in sys.modules:
        path = Path(__file__).with_name("world.py")
        spec = importlib.util.spec_from_file_location(WORLD, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[WORLD] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[WORLD]


@pytest.fixture
def made() -> Any:
    """The helper module ``world``."""
    return load_world()


@pytest.fixture
def world(made: Any) -> Any:
    return made.World()


class Switch:
    """An ASGI application that is whichever application the test at hand has made."""

    def __init__(self) -> None:
        self.app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


@dataclass
class Host:
    """A real uvicorn on a loopback port, one for all tests, because starting one is slow."""

    switch: Switch
    loop: asyncio.AbstractEventLoop
    url: str


@pytest.fixture(scope="session")
def hosting() -> Iterator[Host]:
    switch = Switch()
    ready = threading.Event()
    made: list[Any] = []

    async def main() -> None:
        config = uvicorn.Config(
            switch, port=0, lifespan="off", log_config=None, server_header=False, ws="none"
        )
        server = uvicorn.Server(config)
        made.extend((server, asyncio.get_running_loop()))
        serving = asyncio.create_task(server.serve())
        while not server.started and not serving.done():
            await asyncio.sleep(0.005)
        ready.set()
        await serving

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    assert ready.wait(20)
    server, loop = made
    port = server.servers[0].sockets[0].getsockname()[1]
    yield Host(switch, loop, f"http://127.0.0.1:{port}")
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()


@pytest.fixture
def served(world: Any, hosting: Host) -> Iterator[str]:
    """The application, with a token for each role in ``world.secrets``; its address."""
    world.loop = hosting.loop
    world.call(world.store.write(world.furnish))
    hosting.switch.app = app = world.app()
    life = app.router.lifespan_context(app)
    world.call(life.__aenter__())
    yield hosting.url
    world.call(life.__aexit__(None, None, None))


@pytest.fixture
def client(served: str) -> Iterator[httpx.Client]:
    """A client of ``served``, not logged in."""
    with httpx.Client(base_url=served, trust_env=False, timeout=20) as client:
        yield client


@pytest.fixture
def brain(world: Any, made: Any, served: str) -> Iterator[Callable[..., list[Command]]]:
    """Starts a brain that carries out commands; returns the list of those it saw."""
    running = []

    def start(error: str = "") -> list[Command]:
        seen: list[Command] = []
        working = made.be_brain(world.store, world.clock, error, seen)
        running.append(asyncio.run_coroutine_threadsafe(working, world.loop))
        return seen

    yield start
    for task in running:
        task.cancel()
