# SPDX-License-Identifier: Apache-2.0

"""How a person's verb becomes one thing that happened: once, journaled, and by whom.

What ``front`` may write itself happens in one transaction (``once``). What touches derived
state becomes a ``Command`` row that ``brain`` carries out (``through_brain``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from opx.core.base import canonical, ids
from opx.core.base.time import SECOND, Ms
from opx.engine.access import Principal
from opx.engine.ports import Clock, Command, Store, WriteTx
from opx.errors import (
    BadInput,
    Conflict,
    IllegalChange,
    NotAllowed,
    NotFound,
    OpxError,
    Refused,
    Stale,
    Unavailable,
)

PATIENCE: Ms = 5 * SECOND
"""How long a person waits for ``brain`` to carry out a command."""
LOOK_AGAIN: Ms = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Who asks, and the key under which asking again is the same asking ("" for none).
    ``version``: what it is about must still be at, None for whatever it is at; of documents, the
    ``state`` of them all."""

    by: Principal
    key: str = ""
    version: int | str | None = None

    def still(self, version: int | str) -> None:
        """``Stale`` unless it is at the version that was read, if that was said."""
        if self.version not in (None, version):
            raise Stale


@dataclass(slots=True, kw_only=True)
class Desk:
    """Where verbs are taken in."""

    store: Store
    clock: Clock

    async def through_brain(
        self, ask: Ask, kind: str, subject: str, body: dict[str, Any]
    ) -> dict[str, Any]:
        """Write the command and wait until it is done. ``Unavailable`` when that takes too
        long; what its error says, when ``brain`` refused it."""
        now = self.clock.now()
        if ask.version is not None:
            body = {**body, "version": ask.version}
        request = _fingerprint(kind, {"subject": subject, **body})
        command = Command(
            id=self._command_id(ask, now),
            kind=kind,
            subject=subject,
            actor=ask.by.name,
            at=now,
            body={**body, "request": request},
        )

        def put(tx: WriteTx) -> None:
            if _earlier(tx, command.id, request) is None:
                tx.save(command)

        await self.store.write(put)
        done = await self._done(command.id)
        if done.error:
            raise said(done.error)
        return {"id": done.id, "kind": kind, "subject": subject, "done_at": done.done_at}

    async def _done(self, id: str) -> Command:
        waited: Ms = 0
        while True:
            command = await self.store.read(lambda tx: tx.get(Command, id))
            if command is not None and command.done_at is not None:
                return command
            if waited >= PATIENCE:
                raise Unavailable("brain does not answer; the command is kept")
            before = self.clock.now()
            changed = await self.store.changed(LOOK_AGAIN)
            waited += self.clock.now() - before if changed else LOOK_AGAIN

    async def once(
        self,
        ask: Ask,
        kind: str,
        request: dict[str, Any],
        do: Callable[[WriteTx, Ms], dict[str, Any]],
    ) -> dict[str, Any]:
        """``do`` in one transaction, together with the record that it was done under this key."""
        now = self.clock.now()
        fingerprint = _fingerprint(kind, request)

        def work(tx: WriteTx) -> dict[str, Any]:
            if not ask.key:
                return do(tx, now)
            id = self._command_id(ask, now)
            earlier = _earlier(tx, id, fingerprint)
            if earlier is not None:
                return dict(earlier.body["result"])
            result = do(tx, now)
            body = {"request": fingerprint, "result": canonical.plain(result)}
            tx.save(
                Command(
                    id=id, kind=kind, subject="", actor=ask.by.name, at=now, body=body, done_at=now
                )
            )
            return result

        return await self.store.write(work)

    def _command_id(self, ask: Ask, now: Ms) -> str:
        if ask.key:
            return ids.derived("command", ask.by.name, ask.key)
        return ids.uuid7(now, self.clock.entropy(10))


def said(error: str) -> OpxError:
    """The error that ``brain`` wrote into a command as ``code: text``."""
    code, _, text = error.partition(": ")
    kinds: tuple[type[OpxError], ...] = (BadInput, NotAllowed, NotFound, Conflict)
    kinds += (Refused, IllegalChange, Stale, Unavailable)
    known = next((kind for kind in kinds if kind.code == code), None)
    return known(text) if known else Refused(error)


def _fingerprint(kind: str, request: dict[str, Any]) -> str:
    return ids.derived("request", kind, request)


def _earlier(tx: WriteTx, id: str, fingerprint: str) -> Command | None:
    """The command already there under this id. ``Conflict`` when it asked something else."""
    command = tx.get(Command, id)
    if command is not None and command.body.get("request") != fingerprint:
        raise Conflict("this Idempotency-Key was used for another request")
    return command
