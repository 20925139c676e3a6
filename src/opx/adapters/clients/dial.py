# SPDX-License-Identifier: Apache-2.0

"""One TCP connection, never to the link itself (169.254.0.0/16, fe80::/10).

Beneath the probes and the HTTP client. A document cannot name such an address, but a name
in it can be made to lead there; so a name is looked up once, what it leads to is judged,
and just that is connected to. It sets no timeout: its caller does.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable

from opx.core.base import addresses
from opx.errors import Refused

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def _any(address: str) -> bool:
    return True


async def connect(
    host: str,
    port: int,
    tls: ssl.SSLContext | None = None,
    allowed: Callable[[str], bool] = _any,
) -> Streams:
    """Connect to ``host``, trying its addresses in turn; ``tls``: and check its certificate.

    ``Refused``: one of them is of the link, or not ``allowed``. ``OSError``: none could be
    connected to.
    """
    failed: OSError | None = None
    for address in await _addresses(host, port):
        if not allowed(address):
            raise Refused(f"{host} leads to {address}, where opx may not go")
        try:
            return await asyncio.open_connection(
                address, port, ssl=tls, server_hostname=host if tls else None
            )
        except OSError as error:
            failed = error
    raise failed or OSError(f"{host} has no address")


async def _addresses(host: str, port: int) -> list[str]:
    try:
        found = [str(ipaddress.ip_address(host))]
    except ValueError:
        loop = asyncio.get_running_loop()
        infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        found = list(dict.fromkeys(str(info[4][0]) for info in infos))
    if any(addresses.link_local(address) for address in found):
        raise Refused(f"{host} leads to {addresses.LINK}, which opx does not ask")
    return found
