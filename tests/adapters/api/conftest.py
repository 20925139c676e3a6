# SPDX-License-Identifier: Apache-2.0

"""A served ``front`` for each test, in this process or on a loopback port."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from opx.api.serve import Server
from opx.engine.ports import Command
from opx.settings import Settings

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


@pytest.fixture
def served(world: Any, tmp_path: Path) -> Iterator[str]:
    """The application on a free loopback port, by a real uvicorn; its address."""
    settings = Settings(data=tmp_path, port=0)
    ready = threading.Event()
    servers: list[Server] = []

    async def main() -> None:
        world.loop = asyncio.get_running_loop()
        await world.store.write(world.furnish)
        servers.append(Server(world.app(), world.front, settings))
        serving = asyncio.create_task(servers[0].serve())
        while not servers[0].url and not serving.done():
            await asyncio.sleep(0.005)
        ready.set()
        await serving

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    assert ready.wait(20)
    yield servers[0].url
    world.loop.call_soon_threadsafe(servers[0].stop)
    thread.join(20)
    assert not thread.is_alive()


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
