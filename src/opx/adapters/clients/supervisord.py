# SPDX-License-Identifier: Apache-2.0

"""A client of supervisord's XML-RPC, for the action that restarts and the probe that looks.

A target is ``url#program``: ``http://127.0.0.1:9001#web``, whose login, where supervisord
wants one, is in a file of its own (``Logins``), or ``unix:///run/supervisor.sock#web``. Only
supervisords of this machine are spoken to. It must never show a login to anybody.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import xmlrpc.client
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from opx.adapters.clients import http1
from opx.adapters.clients.logins import Logins
from opx.core.base.time import SECOND, Ms
from opx.errors import BadInput, OpxError, Refused, Unavailable

TIMEOUT: Ms = 5 * SECOND
LARGEST_ANSWER = 1024 * 1024
PROGRAM = re.compile(r"[A-Za-z0-9_.-]+(:[A-Za-z0-9_.-]+)?")

BAD_NAME = 10
ALREADY_STARTED = 60
NOT_RUNNING = 70
UP = frozenset({"STARTING", "RUNNING"})
DOWN = frozenset({"STOPPED", "EXITED", "FATAL"})
"""The other states (STOPPING, BACKOFF, UNKNOWN) are neither: something is still going on."""


@dataclass(frozen=True, slots=True)
class Target:
    """One program of one supervisord."""

    url: str
    program: str

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        return f"{self.program} at {parts.netloc or parts.path}"


@dataclass(frozen=True, slots=True)
class Process:
    """``state`` in supervisord's words; ``pid`` 0: none; ``start``: epoch seconds."""

    state: str
    pid: int
    start: int

    @property
    def up(self) -> bool:
        return self.state in UP and self.pid != 0

    @property
    def down(self) -> bool:
        return self.state in DOWN


class Supervisord:
    """Speaks to any supervisord on this machine. ``logins``: None when nobody needs one."""

    def __init__(self, logins: Logins | None = None) -> None:
        self._logins = logins or Logins()

    def target(self, address: str) -> Target:
        """``BadInput`` when it is not ``url#program``, ``Refused`` on another machine."""
        url, hash_, program = address.rpartition("#")
        if not hash_ or not PROGRAM.fullmatch(program):
            raise BadInput("a target is url#program, with the name of one program")
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname or "", parts.port
        except ValueError as error:
            raise BadInput(f"the URL of supervisord for {program!r} is not valid") from error
        if "@" in parts.netloc:
            raise BadInput(f"the URL of supervisord for {program!r} has a login in it")
        if (parts.path.strip("/") and parts.scheme == "http") or parts.query:
            raise BadInput(f"the URL of supervisord for {program!r} has no path and no query")
        if parts.scheme == "unix" and parts.path:
            return Target(url, program)
        if parts.scheme != "http" or not host:
            raise BadInput(f"supervisord for {program!r} needs an http:// or unix:// URL")
        if not _is_loopback(host):
            raise Refused(f"{host} is not this machine")
        return Target(url, program)

    async def look(self, target: Target) -> Process:
        """The program now. ``Unavailable``: no answer. ``Refused``: no such program."""
        info = await self.call(target, "getProcessInfo")
        try:
            return Process(str(info["statename"]), int(info["pid"]), int(info["start"]))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise Unavailable(f"supervisord told nothing sensible about {target}") from error

    async def call(
        self, target: Target, method: str, *more: str | bool, within: Ms = TIMEOUT
    ) -> Any:
        """``supervisor.method(program, *more)``; a fault is translated as in ``look``."""
        try:
            return await self.attempt(target, method, *more, within=within)
        except xmlrpc.client.Fault as fault:
            raise translated(fault, target) from fault

    async def attempt(
        self, target: Target, method: str, *more: str | bool, within: Ms = TIMEOUT
    ) -> Any:
        """Like ``call``, but supervisord's own faults come through as they are."""
        socket = urlsplit(target.url).path if target.url.startswith("unix:") else ""
        url = ("http://localhost" if socket else target.url.rstrip("/")) + "/RPC2"
        body = xmlrpc.client.dumps((target.program, *more), f"supervisor.{method}").encode()
        login = self._logins.header(target.url)
        headers = {"Content-Type": "text/xml", **({"Authorization": login} if login else {})}
        try:
            async with asyncio.timeout(within / SECOND):
                reply = await http1.request("POST", url, body, headers, LARGEST_ANSWER, socket)
        except (OSError, TimeoutError, ValueError) as error:
            raise Unavailable(f"supervisord does not answer for {target}") from error
        if reply.status in (401, 403):
            raise Refused(
                f"supervisord wants {'another' if login else 'a'} login for {target}",
                hint="supervisors.toml in the data folder holds it",
            )
        if reply.status != 200:
            raise Unavailable(f"supervisord answered {reply.status} for {target}")
        try:
            ((answer,), _) = xmlrpc.client.loads(reply.body)
        except xmlrpc.client.Fault:
            raise
        except Exception as error:  # what is wrong with it decides which: there is no list
            raise Unavailable(f"supervisord's answer for {target} is not XML-RPC") from error
        return answer


def translated(fault: xmlrpc.client.Fault, target: Target) -> OpxError:
    if fault.faultCode == BAD_NAME:
        return Refused(f"supervisord knows no program {target}")
    return Unavailable(f"supervisord could not do it for {target}: {fault.faultString}")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
