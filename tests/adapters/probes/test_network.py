# SPDX-License-Identifier: Apache-2.0

"""The network prober against servers that misbehave, and against a real supervisord."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from opx.adapters.clients.logins import Logins
from opx.adapters.probes.network import NetworkProber
from opx.adapters.system import SystemClock
from opx.core.base.reads import Answer, Probe, ProbeKind

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def replies(*parts: bytes) -> Behaviour:
    """Read the request, write the parts one by one, and close."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)

    return serve


async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A byte of a header now and then, for ever: each one would restart a naive timeout."""
    writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(0.01)


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A good status and a body without an end."""
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b"x" * 65_536)
        await writer.drain()


@contextlib.asynccontextmanager
async def server(behaviour: Behaviour) -> AsyncIterator[int]:
    tasks: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await behaviour(reader, writer)
            writer.close()
        except (ConnectionError, asyncio.CancelledError, asyncio.IncompleteReadError):
            writer.transport.abort()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def ask(kind: ProbeKind, address: str, timeout: int = 5_000) -> Answer:
    probe = Probe(kind=kind, address=address, timeout=timeout)
    return asyncio.run(NetworkProber(SystemClock()).ask("k", probe))


def ask_http(behaviour: Behaviour, path: str = "/", timeout: int = 5_000) -> Answer:
    async def main() -> Answer:
        async with server(behaviour) as port:
            probe = Probe(
                kind=ProbeKind.HTTP, address=f"http://127.0.0.1:{port}{path}", timeout=timeout
            )
            return await NetworkProber(SystemClock()).ask("k", probe)

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("reply", "ok", "detail"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True, "status 200"),
        (b"HTTP/1.0 204 Fine\r\n\r\n", True, "status 204"),
        (b"HTTP/1.1 302 Go\r\nLocation: http://192.0.2.1/\r\n\r\n", True, "status 302"),
        (b"HTTP/1.1 399 Odd\r\n\r\n", True, "status 399"),
        (b"HTTP/1.1 400 Bad\r\n\r\n", False, "status 400"),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy", False, "status 503"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nonly this", True, "status 200"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 500 No\r\n\r\n",
            True,
            "status 200",
        ),
        (b"", False, "closed the connection before it had answered"),
        (b"HTTP/1.1 200 OK\r\nX-Cut: of", False, "closed the connection before it had answered"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", False, "answered something that is not HTTP"),
    ],
)
def test_the_status_decides_and_nothing_else(reply: bytes, ok: bool, detail: str) -> None:
    """200 to 399 is yes, a redirect included; other statuses, silence and gibberish are no."""
    answer = ask_http(replies(reply))

    assert (answer.ok, answer.detail) == (ok, detail)


def test_an_answer_that_is_only_announced_is_waited_for() -> None:
    """A 1xx is no answer: the status that follows it is."""
    answer = ask_http(
        replies(
            b"HTTP/1.1 103 Early Hints\r\n\r\n", b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
        )
    )

    assert (answer.ok, answer.detail) == (False, "status 500")


def test_a_dripping_header_runs_into_the_timeout() -> None:
    """The timeout bounds the whole question, not each byte of the answer."""
    answer = ask_http(drips, timeout=150)

    assert (answer.ok, answer.detail) == (False, "timed out after 150 ms")


def test_an_endless_body_is_left_unread() -> None:
    """A body without an end costs a bounded read, and its status still counts."""
    answer = ask_http(endless)

    assert (answer.ok, answer.detail) == (True, "status 200")


def test_the_request_is_a_plain_one() -> None:
    """One GET of path and query, with the host, and nothing that says who asks."""
    seen: list[bytes] = []

    async def look(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def main() -> None:
        async with server(look) as port:
            probe = Probe(kind=ProbeKind.HTTP, address=f"http://127.0.0.1:{port}/h?deep=1")
            await NetworkProber(SystemClock()).ask("k", probe)
            lines = seen[0].decode().split("\r\n")
            assert lines[0] == "GET /h?deep=1 HTTP/1.1"
            assert f"Host: 127.0.0.1:{port}" in lines
            assert not [line for line in lines if line.startswith("Authorization")]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        (ProbeKind.HTTP, ""),
        (ProbeKind.HTTP, "ftp://127.0.0.1/"),
        (ProbeKind.HTTP, "http:///nohost"),
        (ProbeKind.HTTP, "http://127.0.0.1:99999/"),
        (ProbeKind.HTTP, "http://127.0.0.1:1/a b"),
        (ProbeKind.HTTP, "http://[::1/"),
        (ProbeKind.HTTP, "http://user:word@127.0.0.1:1/"),
        (ProbeKind.HTTP, "http://no-such-host.invalid/"),
        (ProbeKind.TCP, "127.0.0.1"),
        (ProbeKind.TCP, "127.0.0.1:web"),
        (ProbeKind.TCP, "127.0.0.1:99999"),
        (ProbeKind.TCP, "no-such-host.invalid:80"),
        (ProbeKind.PROCESS, "http://127.0.0.1:1"),
        (ProbeKind.PROCESS, "http://192.0.2.1:9001#web"),
    ],
)
def test_what_cannot_be_asked_is_neither_yes_nor_no(kind: ProbeKind, address: str) -> None:
    """A wrong address, an unknown name and a forbidden host never raise and never say no."""
    answer = ask(kind, address)

    assert (answer.ok, answer.latency_ms) == (None, None)
    assert answer.detail


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        (ProbeKind.HTTP, "http://169.254.169.254/latest/meta-data/"),
        (ProbeKind.HTTP, "http://[::ffff:169.254.169.254]/"),
        (ProbeKind.HTTP, "http://2852039166/"),  # 169.254.169.254 as one number
        (ProbeKind.TCP, "169.254.169.254:80"),
        (ProbeKind.TCP, "[fe80::1]:80"),
    ],
)
def test_the_link_itself_is_not_asked(kind: ProbeKind, address: str) -> None:
    """Where clouds hand out credentials nothing is sent, however the address is written."""
    answer = ask(kind, address)

    assert answer.ok is None
    assert "an address of the link itself" in answer.detail


def test_a_name_that_leads_to_the_link_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a name leads to is judged when it is looked up, and one bad address is enough."""
    looked_up = []

    def resolve(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        looked_up.append(host)
        return [(2, 1, 6, "", (address, port)) for address in ("127.0.0.1", "169.254.169.254")]

    async def main() -> tuple[Answer, int]:
        asked = 0

        async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal asked
            asked += 1

        async with server(count) as port:
            monkeypatch.setattr("socket.getaddrinfo", resolve)
            probe = Probe(kind=ProbeKind.HTTP, address=f"http://shop.example:{port}/")
            return await NetworkProber(SystemClock()).ask("k", probe), asked

    answer, asked = asyncio.run(main())

    assert (answer.ok, asked, looked_up) == (None, 0, ["shop.example"])
    assert "shop.example leads to an address of the link itself" in answer.detail


def test_tcp_is_yes_when_the_connection_stands() -> None:
    """A TCP probe only connects."""

    async def main() -> tuple[Answer, Answer]:
        prober = NetworkProber(SystemClock())
        async with server(replies()) as port:
            probe = Probe(kind=ProbeKind.TCP, address=f"127.0.0.1:{port}")
            standing = await prober.ask("k", probe)
        return standing, await prober.ask("k", probe)

    standing, gone = asyncio.run(main())

    assert (standing.ok, standing.detail) == (True, "connected")
    assert (gone.ok, gone.detail) == (False, "connection refused")


def test_a_process_is_well_while_supervisord_says_running(supervisord: Any) -> None:
    """RUNNING is yes, any other state no; a program or a supervisord that is not there is None."""
    running = ask(ProbeKind.PROCESS, supervisord.target("web"))
    idle = ask(ProbeKind.PROCESS, supervisord.target("idle"))
    absent = ask(ProbeKind.PROCESS, supervisord.target("absent"))
    nobody = ask(ProbeKind.PROCESS, "http://127.0.0.1:1#web")

    assert (running.ok, running.detail) == (True, "process RUNNING")
    assert idle.ok is False
    assert idle.detail.startswith("process ")
    assert absent.ok is None
    assert "knows no program absent" in absent.detail
    assert nobody.ok is None
    assert "does not answer" in nobody.detail


def test_a_process_probe_has_the_login_of_its_supervisord(supervisord: Any) -> None:
    """With the file's login it is answered; without it, it has no answer and says why."""
    probe = Probe(kind=ProbeKind.PROCESS, address=f"{supervisord.url}#web", timeout=5_000)
    prober = NetworkProber(SystemClock(), Logins(supervisord.logins))

    assert asyncio.run(prober.ask("k", probe)).ok is True
    assert "wants a login for web" in ask(ProbeKind.PROCESS, probe.address).detail


def test_a_supervisord_that_hangs_does_not_speak_for_its_program(supervisord: Any) -> None:
    """When supervisord itself is silent, the process probe has no answer."""
    pid = supervisord.call("getPID")
    os.kill(pid, signal.SIGSTOP)
    try:
        answer = ask(ProbeKind.PROCESS, supervisord.target("web"), timeout=100)
    finally:
        os.kill(pid, signal.SIGCONT)

    assert (answer.ok, answer.detail) == (None, "timed out after 100 ms")
