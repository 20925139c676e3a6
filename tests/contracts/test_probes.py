# SPDX-License-Identifier: Apache-2.0

"""The probers' contract, on the fake and on the network with real servers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from opx.adapters.probes.network import NetworkProber
from opx.adapters.system import SystemClock
from opx.core.base.reads import Probe, ProbeKind
from opx.testing.contracts import probes as contract
from opx.testing.memory import ManualClock
from opx.testing.world import FakeProber

Check = Callable[[contract.Bench], Awaitable[None]]
every_check = pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)


class FakeBench:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.prober = FakeProber(self.clock)
        self.prober.say("well", True)
        self.prober.say("failing", False, detail="status 500")
        self.prober.say("refusing", False, detail="connection refused")
        self.prober.say("silent", False, detail="timed out after 80 ms")
        self.well, self.failing, self.refusing, self.silent, self.nowhere = (
            Probe(kind=ProbeKind.HTTP, address=address, timeout=80)
            for address in ("well", "failing", "refusing", "silent", "nowhere")
        )


class NetworkBench:
    """Servers of this very loop; ``nowhere`` is a name that cannot exist."""

    def __init__(self) -> None:
        self.clock = SystemClock()
        self.prober = NetworkProber(self.clock)

    async def open(self, stack: AsyncExitStack) -> None:
        ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        broken = b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"
        self.well = await self._served(stack, ok)
        self.failing = await self._served(stack, broken)
        self.silent = await self._served(stack, None, timeout=80)
        gone = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        self.refusing = self._probe(gone.sockets[0].getsockname()[1])
        gone.close()
        await gone.wait_closed()
        self.nowhere = Probe(kind=ProbeKind.HTTP, address="http://no-such-host.invalid/")

    async def _served(
        self, stack: AsyncExitStack, reply: bytes | None, timeout: int = 2_000
    ) -> Probe:
        done = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await reader.readuntil(b"\r\n\r\n")
                if reply is None:
                    await done.wait()
                else:
                    writer.write(reply)
            finally:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        stack.callback(server.close)
        stack.callback(done.set)
        return self._probe(server.sockets[0].getsockname()[1], timeout)

    def _probe(self, port: int, timeout: int = 2_000) -> Probe:
        return Probe(
            kind=ProbeKind.HTTP, address=f"http://127.0.0.1:{port}/health", timeout=timeout
        )


@every_check
def test_the_fake_keeps_the_contract(check: Check) -> None:
    """The fake prober does what every ``Prober`` must."""
    asyncio.run(check(FakeBench()))


@every_check
def test_the_network_keeps_the_contract(check: Check) -> None:
    """The network prober does what every ``Prober`` must."""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            bench = NetworkBench()
            await bench.open(stack)
            await check(bench)

    asyncio.run(main())
