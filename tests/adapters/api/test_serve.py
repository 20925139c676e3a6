# SPDX-License-Identifier: Apache-2.0

"""Serving until told to stop: where it listens, and that open streams do not hold it up."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from opx.api import connections
from opx.api.serve import GRACE_S, serve
from opx.core.decide.roles import Role
from opx.engine import journal
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


# ---------------------------------------------------------------- connections


Story = Callable[[Any, int], Awaitable[None]]


def against(made: Any, tmp_path: Path, story: Story) -> None:
    """Tell ``story(world, port)`` against a front that serves on a port of its own."""
    world = made.World()
    settings = Settings(data=tmp_path, port=0)

    async def whole() -> None:
        await world.store.write(world.furnish)
        stop = asyncio.Event()
        serving = asyncio.create_task(serve(world.app(), world.front, settings, stop))
        while not settings.front_file.exists():
            assert not serving.done()
            await asyncio.sleep(0.005)
        port = int(json.loads(settings.front_file.read_text())["url"].rpartition(":")[2])
        try:
            async with asyncio.timeout(60):
                await story(world, port)
        finally:
            stop.set()
            await serving

    asyncio.run(whole())


async def ask(
    port: int, head: str = "GET /api/v1/automation HTTP/1.1\r\nHost: localhost\r\n"
) -> str:
    """The whole answer to one request of a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{head}Connection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer.decode()


async def cut(reader: asyncio.StreamReader) -> bool:
    """Wait until the other end is gone; whether it said nothing before."""
    with contextlib.suppress(ConnectionError):
        return await reader.read() == b""
    return True


HALF = [
    b"",
    b"GET /api/v1/automation HTTP/1.1\r\nHost: localh",
    b"\r\n\r\n",
    b"POST /api/v1/tokens HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n",
]


def test_half_open_connections_hold_nobody_up(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hundred clients that begin a request and say no more: a good client beside them is
    answered, and each of them is cut off, though some go on a byte at a time."""
    monkeypatch.setattr(connections, "HEAD_S", 2.0)

    async def story(world: Any, port: int) -> None:
        half = [await asyncio.open_connection("127.0.0.1", port) for _ in range(200)]
        for number, (_, writer) in enumerate(half):
            writer.write(HALF[number % len(HALF)])
        assert (await ask(port)).startswith("HTTP/1.1 200")

        async def drip() -> None:
            while True:
                for _, writer in half[1::4]:
                    writer.write(b"a")
                await asyncio.sleep(0.2)

        dripping = asyncio.create_task(drip())
        silent = await asyncio.gather(*(cut(reader) for reader, _ in half))
        dripping.cancel()
        assert silent == [True] * 200
        assert (await ask(port)).startswith("HTTP/1.1 200")
        for _, writer in half:
            writer.close()

    against(made, tmp_path, story)


def test_a_body_that_does_not_come_is_not_waited_for(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody known who sends the head of a request and a byte of its body is cut off."""
    monkeypatch.setattr(connections, "BODY_S", 1.0)

    async def story(world: Any, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        token = world.secrets[Role.ADMIN]
        writer.write(
            b"POST /api/v1/documents HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
            b"Authorization: Bearer " + token.encode() + b"\r\n\r\na"
        )
        assert await cut(reader)
        writer.close()

    against(made, tmp_path, story)


def test_idle_connections_are_not_kept_alive_by_empty_lines(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an answer, empty lines begin no request and do not keep the connection."""
    monkeypatch.setattr(connections, "HEAD_S", 0.5)

    async def story(world: Any, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /api/v1/automation HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"}]}")
        dripping = asyncio.create_task(drips(writer))
        assert await cut(reader)
        dripping.cancel()
        writer.close()

    against(made, tmp_path, story)


def test_a_head_without_an_end_is_refused(made: Any, tmp_path: Path) -> None:
    """64 KiB of it are read and no more: 431, and the connection is over. One that is shorter
    is answered, in whatever pieces it comes."""
    begun = b"GET /api/v1/automation HTTP/1.1\r\nHost: localhost\r\n"

    async def story(world: Any, port: int) -> None:
        for endless in (b"X: " + b"a" * 70_000, b"X: a\r\n" * 12_000):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(begun + endless)
            assert (await reader.readline()).startswith(b"HTTP/1.1 431")
            answer = await rest(reader)
            assert b"connection: close\r\n" in answer
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "head_too_long"
            writer.close()
        short = begun + b"X: " + b"a" * 60_000 + b"\r\nConnection: close\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for start in range(0, len(short), 1_000):
            writer.write(short[start : start + 1_000])
            await writer.drain()
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()

    against(made, tmp_path, story)


def test_what_is_no_http_leaves_no_line_in_the_log(
    made: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Anybody can send it, as often as they like: 400 to them is enough."""

    async def story(world: Any, port: int) -> None:
        for wrong in (b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(wrong)
            assert (await rest(reader)).startswith(b"HTTP/1.1 400")
            writer.close()

    against(made, tmp_path, story)
    assert caplog.records == []


def test_what_follows_a_body_comes_to_an_end(made: Any, tmp_path: Path) -> None:
    """Nor may the trailers of a chunked body go on for ever; a body may be longer than a head."""
    begun = (
        b"POST /api/v1/tokens HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Type: application/json\r\nConnection: close\r\nAuthorization: Bearer "
    )

    async def story(world: Any, port: int) -> None:
        body = b"%x\r\n%s\r\n0\r\n" % (200_000, b" " * 200_000)
        head = begun + world.secrets[Role.ADMIN].encode() + b"\r\n\r\n"
        for trailer, known in ((b"", b"HTTP/1.1 4"), (b"X: " + b"a" * 200_000, b"")):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head + body + trailer + b"\r\n" * (not trailer))
            assert (await rest(reader))[:10] == known
            writer.close()

    against(made, tmp_path, story)


async def rest(reader: asyncio.StreamReader) -> bytes:
    """All that still comes, also when the other end breaks it off."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := await reader.read(4_096):
            parts.append(part)
    return b"".join(parts)


async def drips(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"\r\n")
        await asyncio.sleep(0.2)


def test_one_connection_too_many_is_told_to_come_back(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond what is served at once: 503 with Retry-After; beyond twice that: nothing."""
    monkeypatch.setattr(connections, "MOST", 4)

    async def story(world: Any, port: int) -> None:
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
        answer = (await ask(port)).lower()
        assert answer.startswith("http/1.1 503")
        assert "retry-after: 1" in answer
        assert '"code": "busy"' in answer
        more = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await cut(reader)
        for _, one in (*idle, *more, (reader, writer)):
            one.close()

    against(made, tmp_path, story)


def test_a_reader_that_takes_nothing_is_let_go(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream that nobody reads keeps no more than its buffers, and then its place is free;
    what it did not take is there for it when it comes back."""
    monkeypatch.setattr(connections, "TAKING_S", 1.0)

    async def story(world: Any, port: int) -> None:
        big = [
            journal.entry(world.clock.now(), "x", "thing.happened", "brain", n=n, text="a" * 4_000)
            for n in range(5_000)
        ]
        await world.store.write(lambda tx: tx.append(*big))
        with socket.create_connection(("127.0.0.1", port)) as deaf:
            token = world.secrets[Role.VIEWER]
            deaf.sendall(
                b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: 0\r\n"
                b"Authorization: Bearer " + token.encode() + b"\r\n\r\n"
            )
            while not world.front.streams:
                await asyncio.sleep(0.01)
            while world.front.streams:
                await asyncio.sleep(0.05)
        url = f"http://127.0.0.1:{port}/api/v1/stream"
        headers = {**world.auth(), "Last-Event-ID": "4998"}
        async with (
            httpx.AsyncClient(trust_env=False, headers=headers) as client,
            client.stream("GET", url) as again,
        ):
            lines = again.aiter_lines()
            places = [line async for line in limited(lines, 10) if line.startswith("id: ")]
        assert places == ["id: 4998", "id: 4999", "id: 5000"]

    against(made, tmp_path, story)


async def limited(lines: AsyncIterator[str], count: int) -> AsyncIterator[str]:
    """The first ``count`` of them."""
    for _ in range(count):
        yield await anext(lines)


def test_it_may_open_as_many_files_as_the_system_allows() -> None:
    """The soft limit is raised to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, hard - 1), hard))
    connections.raise_file_limit()

    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
