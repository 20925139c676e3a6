# SPDX-License-Identifier: Apache-2.0

"""``http.request`` {method, url, body?, check?}: one request to a host that settings allow.

``action_hosts`` lists them as host:port. A name is looked up once and just that address is
connected to; unless it is public, it must itself be listed, as address:port, and the link's
own addresses are closed always. No redirect is followed. The order's key goes along as
``Idempotency-Key``. ``check`` is a page that this request changes and nothing else does: its
content, before and after, says whether it took effect; without one nothing can be seen, and
an interruption asks a person. It must never show what looks like a secret in an answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult

from opx.adapters.clients import dial, http1
from opx.adapters.clients.http1 import Reply
from opx.core.base.time import SECOND, Ms
from opx.core.decide.actions import ActionSpec, Blast, Undo
from opx.core.ingest import masking
from opx.engine.ports import EffectKnown, Say, silent
from opx.errors import BadInput, Failed, OpxError, Refused, Unavailable

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
LARGEST = 64 * 1024
"""Bytes of a body, and of an answer that is read."""
SHOWN = 500
"""Characters of an answer that are shown."""
CONNECT_WITHIN: Ms = 5 * SECOND
ANSWER_WITHIN: Ms = 60 * SECOND
"""The order's own timeout is shorter as a rule."""
_PORTS = {"http": 80, "https": 443}
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
"""Addresses of IPv4 as NAT64 writes them; a network's own are in the other."""
_TRANSLATED_HERE = ipaddress.IPv6Network("64:ff9b:1::/48")
_HOSTS_OWN = ipaddress.IPv4Address("168.63.129.16")
"""Where a virtual machine in Azure reaches the host it runs on; nobody else can."""


@dataclass(frozen=True, slots=True)
class Hosts:
    """``allowed``: ``host:port``, lower case; IPv6 addresses in brackets."""

    allowed: frozenset[str] = frozenset()

    def check(self, url: str) -> SplitResult:
        """``BadInput``: not a URL without a login. ``Refused``: its host is not allowed."""
        try:
            parts = http1.checked(url)
            place = _place(parts.hostname or "", _port(parts))
        except ValueError as error:
            raise BadInput(f"the URL is not valid: {error}") from error
        if place not in self.allowed:
            raise Refused(f"{place} is not among the hosts allowed", hint="action_hosts")
        return parts

    def opens(self, address: str, port: int) -> bool:
        """Whether it may be connected to once a name led there."""
        return _public(address) or _place(address, port) in self.allowed


class Request:
    spec = ActionSpec(
        name="http.request",
        undo=Undo.ROLLBACK,
        blast=Blast.EXTERNAL,
        required=("method", "url"),
        optional=("body", "check"),
    )

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts

    async def observe(self, target: str, inputs: dict[str, str]) -> dict[str, str]:
        """``{status, sha256}`` of the page ``check``; nothing without one. ``Unavailable``: it
        does not answer 2xx."""
        if "check" not in inputs:
            return {}
        try:
            reply = await self._ask("GET", inputs["check"])
        except OpxError as error:
            raise Unavailable(str(error)) from error
        if not 200 <= reply.status < 300:
            raise Unavailable(f"the check answered {reply.status}")
        return {"status": str(reply.status), "sha256": hashlib.sha256(reply.body).hexdigest()}

    def happened(self, before: dict[str, str], now: dict[str, str]) -> EffectKnown:
        """YES: the page is another one now. UNKNOWN: there is no page to look at."""
        if not before or not now:
            return EffectKnown.UNKNOWN
        return EffectKnown.NO if now == before else EffectKnown.YES

    async def apply(self, target: str, inputs: dict[str, str], key: str, say: Say = silent) -> str:
        """Send it; done when it is answered with 2xx. ``Failed``: it was not sent, or answered
        with 4xx. ``Unavailable``: with anything else, or not at all, so it may have worked."""
        method, body = inputs["method"], inputs.get("body", "").encode()
        if method not in METHODS:
            raise BadInput(f"{method[:20]!r} is no method", hint=", ".join(METHODS))
        if len(body) > LARGEST:
            raise BadInput(f"a body of more than {LARGEST >> 10} KiB")
        headers = {"Idempotency-Key": key, **({"Content-Type": _media(body)} if body else {})}
        reply = await self._ask(method, inputs["url"], body, headers)
        said = f"{method} {_shown(inputs['url'])}: {reply.status} {_shown(_text(reply))}".strip()
        if 200 <= reply.status < 300:
            return said
        raise Failed(said) if 400 <= reply.status < 500 else Unavailable(said)

    def dry_run(self, target: str, inputs: dict[str, str]) -> str:
        return f"would send {inputs['method']} {_shown(inputs['url'])}"

    async def _ask(
        self, method: str, url: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Reply:
        streams = await self._connect(self._hosts.check(url))
        try:
            async with asyncio.timeout(ANSWER_WITHIN / SECOND):
                return await http1.exchange(streams, method, url, body, headers, LARGEST)
        except (OSError, TimeoutError) as error:
            raise Unavailable(f"{_shown(url)} did not answer: {error}") from error

    async def _connect(self, parts: SplitResult) -> dial.Streams:
        """``Failed``: nothing was sent. ``Refused``: the name leads where it may not."""
        host, port = parts.hostname or "", _port(parts)
        try:
            async with asyncio.timeout(CONNECT_WITHIN / SECOND):
                return await dial.connect(
                    host,
                    port,
                    http1.tls() if parts.scheme == "https" else None,
                    lambda address: self._hosts.opens(address, port),
                )
        except (OSError, TimeoutError, UnicodeError) as error:
            raise Failed(f"no connection to {_place(host, port)}: {error}") from error


def _port(parts: SplitResult) -> int:
    return parts.port if parts.port is not None else _PORTS[parts.scheme]


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _public(text: str) -> bool:
    """Whether an address belongs to the whole internet, whatever it is wrapped in."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        wrapped = address.ipv4_mapped or address.sixtofour
        if address in _TRANSLATED:
            wrapped = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if address in _TRANSLATED_HERE or address.is_site_local:
            return False
        address = wrapped or address
    closed = address.is_multicast or address.is_reserved or address.is_unspecified
    return address.is_global and not closed and address != _HOSTS_OWN


def _media(body: bytes) -> str:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return "text/plain; charset=utf-8"
    return "application/json"


def _text(reply: Reply) -> str:
    return reply.body.decode(errors="replace")


def _shown(text: str) -> str:
    """Without secrets, in one line that a terminal can take."""
    masked = masking.text(text)
    return "".join(sign if sign.isprintable() else " " for sign in masked)[:SHOWN].strip()
