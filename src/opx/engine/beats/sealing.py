# SPDX-License-Identifier: Apache-2.0

"""Sealing the journal as it grows, and anchoring each seal outside the database.

Run by ``brain`` every second. The rule of the chain is ``audit``'s; this reads, writes and
anchors. The anchor is written before the seal is kept, so no seal is ever without one; an
anchor that a crash left without its seal ends in the middle of the next, where ``audit``
checks it too.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from opx.engine.journal import audit
from opx.engine.journal.audit import Anchor
from opx.engine.ports import Clock, Entry, ReadTx, Seal, Store, Where

MOST_ENTRIES = 1_000
"""Of one seal: while they are hashed the processor is nobody else's."""


class Anchors(Protocol):
    def append(self, anchor: Anchor) -> None: ...


class Sealer:
    """Seals where the last one ended. A second without news costs two small reads."""

    def __init__(self, store: Store, clock: Clock, anchors: Anchors) -> None:
        self._store = store
        self._clock = clock
        self._anchors = anchors

    async def seal(self) -> None:
        """Seal what is new, a batch at a time, until nothing is."""
        while await self._one():
            pass

    async def _one(self) -> bool:
        made = await self._store.read(self._next)
        if made is None:
            return False
        # On a thread: it waits for the disk, and nobody else should.
        await asyncio.to_thread(self._anchors.append, audit.anchor(made))
        await self._store.write(lambda tx: tx.add(made))
        return made.last - made.first + 1 == MOST_ENTRIES

    def _next(self, tx: ReadTx) -> Seal | None:
        """The seal of what is new. Made where it is read: hashing takes its time, too."""
        newest = tx.find(Seal, order="-last", limit=1)
        previous = newest[0] if newest else None
        last = previous.last if previous else 0
        entries = tx.find(Entry, Where("seq", "gt", last), order="seq", limit=MOST_ENTRIES)
        return audit.seal(previous, entries, self._clock.now()) if entries else None
