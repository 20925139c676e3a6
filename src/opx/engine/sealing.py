# SPDX-License-Identifier: Apache-2.0


"""Sealing the journal as it grows, and anchoring each seal outside the database.

Run by ``brain`` every second. The rule of the chain is ``audit``'s; this reads, writes and
anchors. The anchor is written before the seal is kept, so no seal is ever without one; an
anchor that a crash left without its seal ends in the middle of the next, where ``audit``
checks it too.
"""

from __future__ import annotations

from typing import Protocol

from opx.engine import audit
from opx.engine.audit import Anchor
from opx.engine.ports import Clock, Entry, ReadTx, Seal, Store, Where

MOST_ENTRIES = 5_000


class Anchors(Protocol):
    def append(self, anchor: Anchor) -> None: ...


class Sealer:
    """Knows the last seal, so that a second without news costs one small read."""

    def __init__(self, store: Store, clock: Clock, anchors: Anchors) -> None:
        self._store = store
        self._clock = clock
        self._anchors = anchors

    async def seal(self) -> None:
        """Seal what is new, a batch at a time, until nothing is."""
        while await self._one():
            pass

    async def _one(self) -> bool:
        def read(tx: ReadTx) -> tuple[Seal | None, list[Entry]]:
            newest = tx.find(Seal, order="-last", limit=1)
            last = newest[0].last if newest else 0
            after = tx.find(Entry, Where("seq", "gt", last), order="seq", limit=MOST_ENTRIES)
            return (newest[0] if newest else None), after

        previous, entries = await self._store.read(read)
        if not entries:
            return False
        made = audit.seal(previous, entries, self._clock.now())
        self._anchors.append(audit.anchor(made))
        await self._store.write(lambda tx: tx.add(made))
        return len(entries) == MOST_ENTRIES
