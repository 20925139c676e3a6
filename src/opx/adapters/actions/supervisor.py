# SPDX-License-Identifier: Apache-2.0

"""``process.start``, ``process.stop`` and ``process.restart`` through supervisord.

A program is observed as its state, its pid and when it started, which is enough to tell
later whether a start or a stop lies in between. Stopping is polite for two seconds and a
SIGKILL after that, so that a program that hangs, or was stopped by a signal, comes back
too. It must never guess: what does not look like before or after is UNKNOWN.
"""

from __future__ import annotations

import asyncio
import time
import xmlrpc.client
from typing import ClassVar

from opx.adapters.clients import supervisord
from opx.adapters.clients.logins import Logins
from opx.adapters.clients.supervisord import Process, Supervisord, Target
from opx.core.base.time import MINUTE, SECOND, Ms
from opx.core.decide.actions import ActionSpec, Blast, Undo
from opx.engine.ports import Action, EffectKnown, Say, silent
from opx.errors import Failed, OpxError, Unavailable

Observation = dict[str, str]

POLITE: Ms = 2 * SECOND
"""How long a program may take to end after SIGTERM."""
LETHAL: Ms = 5 * SECOND
"""How long after SIGKILL."""
START_WAIT: Ms = MINUTE
"""supervisord answers a start after ``startsecs``; the order's own timeout is shorter."""
LOOK_EVERY: Ms = 50


def actions(logins: Logins | None = None) -> tuple[Action, ...]:
    """The three actions, on programs of this machine."""
    client = Supervisord(logins)
    return (Start(client), Stop(client), Restart(client))


class _ProcessAction:
    """What the three have in common. None takes inputs."""

    verb: ClassVar[str]
    undo: ClassVar[Undo] = Undo.NOT_NEEDED

    def __init__(self, client: Supervisord) -> None:
        self.spec = ActionSpec(
            name=f"process.{self.verb}",
            undo=self.undo,
            blast=Blast.PROCESS,
        )
        self._client = client

    async def observe(self, target: str, inputs: dict[str, str]) -> Observation:
        """``{state, pid, start}`` of the program, once it is on its way neither up nor down; as it
        is if that takes long. ``Unavailable`` whenever it cannot be had."""
        deadline = time.monotonic() + (POLITE + LETHAL) / SECOND
        try:
            program = self._client.target(target)
            process = await self._client.look(program)
            while not (process.up or process.down) and time.monotonic() < deadline:
                await asyncio.sleep(LOOK_EVERY / SECOND)
                process = await self._client.look(program)
        except OpxError as error:
            raise Unavailable(str(error)) from error
        return {"state": process.state, "pid": str(process.pid), "start": str(process.start)}

    def dry_run(self, target: str, inputs: dict[str, str]) -> str:
        return f"would {self.verb} {self._client.target(target)}"

    async def _start(self, target: Target, say: Say) -> Process:
        """Start it unless it runs, and return once supervisord trusts it to stay up."""
        say(f"starting {target}")
        try:
            await self._client.attempt(target, "startProcess", True, within=START_WAIT)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != supervisord.ALREADY_STARTED:
                raise _answered(fault, target) from fault
        process = await self._client.look(target)
        if not process.up:
            raise Failed(f"{target} did not stay up: it is {process.state}")
        return process

    async def _stop(self, target: Target, say: Say) -> None:
        """Stop it if it runs: SIGTERM, and after ``POLITE`` SIGKILL."""
        process = await self._client.look(target)
        if process.down:
            return
        say(f"stopping {target}, pid {process.pid}")
        await self._ask_to_stop(target, "stopProcess", False)
        if await self._gone(target, POLITE):
            return
        say(f"it is still there after {POLITE} ms: SIGKILL")
        await self._ask_to_stop(target, "signalProcess", "KILL")
        if not await self._gone(target, LETHAL):
            raise Failed(f"{target} is still there after SIGKILL")

    async def _ask_to_stop(self, target: Target, method: str, argument: str | bool) -> None:
        try:
            await self._client.attempt(target, method, argument)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != supervisord.NOT_RUNNING:  # it ended by itself: as wanted
                raise _answered(fault, target) from fault

    async def _gone(self, target: Target, within: Ms) -> bool:
        deadline = time.monotonic() + within / SECOND
        while not (await self._client.look(target)).down:
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(LOOK_EVERY / SECOND)
        return True


class Start(_ProcessAction):
    verb = "start"

    def happened(self, before: Observation, now: Observation) -> EffectKnown:
        if before == now:
            return EffectKnown.NO
        if _down(before) and _up(now):
            return EffectKnown.YES
        return EffectKnown.UNKNOWN

    async def apply(self, target: str, inputs: dict[str, str], key: str, say: Say = silent) -> str:
        """Start it; fine if it runs. ``Failed``: it did not stay up."""
        program = self._client.target(target)
        process = await self._start(program, say)
        return f"started {program}: pid {process.pid}"


class Stop(_ProcessAction):
    verb = "stop"
    undo = Undo.ROLLBACK  # it leaves the service down: a runbook must say what starts it

    def happened(self, before: Observation, now: Observation) -> EffectKnown:
        if before == now:
            return EffectKnown.NO
        if _up(before) and _down(now):
            return EffectKnown.YES
        return EffectKnown.UNKNOWN

    async def apply(self, target: str, inputs: dict[str, str], key: str, say: Say = silent) -> str:
        """Stop it, by force if need be; fine if it does not run. ``Failed``: it does not end."""
        program = self._client.target(target)
        await self._stop(program, say)
        return f"stopped {program}"


class Restart(_ProcessAction):
    verb = "restart"

    def happened(self, before: Observation, now: Observation) -> EffectKnown:
        """A restart that got no further than its stop has not happened: doing it finishes it."""
        if _up(now):
            return EffectKnown.NO if now["pid"] == before["pid"] else EffectKnown.YES
        if now["state"] == before["state"] or (_up(before) and now["state"] == "STOPPED"):
            return EffectKnown.NO
        return EffectKnown.UNKNOWN

    async def apply(self, target: str, inputs: dict[str, str], key: str, say: Say = silent) -> str:
        """Stop it, by force if need be, and start it. ``Failed``: it did not stay up."""
        program = self._client.target(target)
        before = await self._client.look(program)
        await self._stop(program, say)
        process = await self._start(program, say)
        return f"restarted {program}: pid {before.pid} -> {process.pid}"


def _answered(fault: xmlrpc.client.Fault, target: Target) -> OpxError:
    """supervisord has answered that it did not do it: nothing about that is unknown."""
    error = supervisord.translated(fault, target)
    return Failed(str(error)) if isinstance(error, Unavailable) else error


def _up(seen: Observation) -> bool:
    return seen["state"] in supervisord.UP and seen["pid"] != "0"


def _down(seen: Observation) -> bool:
    return seen["state"] in supervisord.DOWN
