# SPDX-License-Identifier: Apache-2.0

"""``NetworkProber``: HTTP, TCP and process probes over the network and supervisord.

Asked for by detection, by the guards and by verification. No is what the thing itself
tells: it refuses, it is silent, it answers wrongly. Whatever lies with opx or on the way
(no such name, no route, no supervisord, an address of the link) is None. It never raises,
and never waits longer than the probe's timeout.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable

from opx.adapters.clients import dial, http1
from opx.adapters.clients.logins import Logins
from opx.adapters.clients.supervisord import Supervisord
from opx.core.base.reads import Answer, Probe, ProbeKind
from opx.core.base.time import SECOND
from opx.engine.ports import Clock
from opx.errors import OpxError

Finding = tuple[bool | None, str]
"""What a probe found out: yes, no or None, and why it is not yes."""


class NetworkProber:
    """``Prober``. ``logins``: of the supervisords that want one."""

    def __init__(self, clock: Clock, logins: Logins | None = None) -> None:
        self._clock = clock
        self._supervisord = Supervisord(logins)
        self._kinds: dict[ProbeKind, Callable[[str], Awaitable[Finding]]] = {
            ProbeKind.HTTP: _http,
            ProbeKind.TCP: _tcp,
            ProbeKind.PROCESS: self._process,
        }

    async def ask(self, key: str, probe: Probe) -> Answer:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(probe.timeout / SECOND):
                ok, detail = await self._kinds[probe.kind](probe.address)
        except TimeoutError:
            ok, detail = _too_late(probe)
        except Exception as error:  # noqa: BLE001 - a vendor's boundary: it becomes the answer
            ok, detail = _failed(error)
        latency_ms = round((time.perf_counter() - began) * SECOND, 3)
        return Answer(
            key=key,
            at=self._clock.now(),
            ok=ok,
            latency_ms=None if ok is None else latency_ms,
            detail=detail,
        )

    async def _process(self, address: str) -> Finding:
        process = await self._supervisord.look(self._supervisord.target(address))
        return process.state == "RUNNING", f"process {process.state}"


async def _http(url: str) -> Finding:
    reply = await http1.request("GET", url)
    return 200 <= reply.status < 400, f"status {reply.status}"


async def _tcp(address: str) -> Finding:
    host, _, port = address.rpartition(":")
    _, writer = await dial.connect(host.strip("[]"), int(port))
    writer.close()
    return True, "connected"


def _too_late(probe: Probe) -> Finding:
    """Silence is a no from the thing itself, but supervisord only speaks for it."""
    ok = None if probe.kind is ProbeKind.PROCESS else False
    return ok, f"timed out after {probe.timeout} ms"


def _failed(error: Exception) -> Finding:
    if isinstance(error, ConnectionRefusedError):
        return False, "connection refused"
    if isinstance(error, (http1.ClosedEarly, http1.NotHttp)):
        return False, str(error)
    if isinstance(error, ConnectionError):
        return False, "connection broken"
    if isinstance(error, ssl.SSLError):
        return False, f"TLS failed: {error.reason or error}"
    if isinstance(error, OpxError):
        return None, str(error)
    return None, f"cannot be asked: {error}"
