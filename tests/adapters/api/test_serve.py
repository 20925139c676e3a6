# SPDX-License-Identifier: Apache-2.0

"""Serving until told to stop: where it listens, and that open streams do not hold it up."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from opx.api.serve import GRACE_S, serve
from opx.errors import Unavailable
from opx.settings import Settings


def test_it_says_where_it_is_and_stops_with_streams_open(
    made: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """``front.json`` has the address once it listens; a stop ends an open stream, so that
    the server has nothing left to cut off."""
    world = made.World()
    settings = Settings(data=tmp_path, port=0)

    async def story() -> None:
        await world.store.write(world.furnish)
        stop = asyncio.Event()
        serving = asyncio.create_task(serve(world.app(), world.front, settings, stop))
        while not settings.front_file.exists():
            assert not serving.done()
            await asyncio.sleep(0.005)
        url = json.loads(settings.front_file.read_text())["url"]
        async with httpx.AsyncClient(base_url=url, trust_env=False, headers=world.auth()) as client:
            async with client.stream("GET", "/api/v1/stream") as answer:
                lines = answer.aiter_lines()
                assert await anext(lines) == "retry: 1000"
                stop.set()
                assert [line async for line in lines if line.startswith("data")] == []
            await asyncio.wait_for(serving, GRACE_S * 4)

    with caplog.at_level(logging.ERROR, "uvicorn.error"):
        asyncio.run(story())
    assert caplog.records == []
    assert settings.front_file.stat().st_mode & 0o077 == 0


def test_an_address_that_is_taken_is_said_plainly(made: Any, tmp_path: Path) -> None:
    """A port in other hands is an error with its mend, not a traceback."""
    world = made.World()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        settings = Settings(data=tmp_path, port=port)
        with pytest.raises(Unavailable, match=f"port {port} cannot be had") as raised:
            asyncio.run(serve(world.app(), world.front, settings, asyncio.Event()))
    assert "--port" in raised.value.hint
    assert not settings.front_file.exists()
