# SPDX-License-Identifier: Apache-2.0

"""What was kept, as people see it: documents, the journal, notices, and what was not taken in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from opx.core.base import canonical
from opx.core.base.time import Ms
from opx.core.correlate.silences import Silence
from opx.core.ingest.signals import Rejected
from opx.core.notify.notice import Delivery, DeliveryStatus, Notice
from opx.engine.beats.parts import POSITION
from opx.engine.journal import audit
from opx.engine.ports import Entry, ReadTx, Saved, Seal, StoredDocument, Where
from opx.engine.queries.one import Plain
from opx.errors import BadInput, Damaged

R = TypeVar("R")

CHUNK = 1_000
PROVEN_AT_ONCE = 5_000
"""Entries: they are hashed in a third of a second, and nobody else should wait for longer."""


def stored_documents(tx: ReadTx) -> list[StoredDocument]:
    return tx.find(StoredDocument, order="id")


def quarantine(tx: ReadTx, limit: int, before: str = "") -> list[Plain]:
    """What was not taken in, newest first, with the reason: the items before the one with the
    id ``before`` ("": the newest). Their ids are in the order of their times."""
    where = [Where("id", "lt", before)] if before else []
    return [canonical.plain(row) for row in tx.find(Rejected, *where, order="-id", limit=limit)]


def held_back(tx: ReadTx) -> dict[str, str]:
    """Which silence holds which finding: their ids."""
    position = tx.get(Saved, POSITION)
    return dict(position.state.get("held", {})) if position is not None else {}


def notices(tx: ReadTx, limit: int) -> list[Plain]:
    """What people were told, newest first, and which deliveries of it have not succeeded."""
    failing = (DeliveryStatus.PENDING, DeliveryStatus.GAVE_UP)
    found = tx.find(Notice, order="-at", limit=limit)
    late: dict[str, list[Plain]] = {notice.id: [] for notice in found}
    theirs = Where("notice", "in", tuple(late))
    for row in tx.find(Delivery, theirs, Where("status", "in", failing)):
        late[row.notice].append(canonical.plain(row))
    return [{**canonical.plain(notice), "undelivered": late[notice.id]} for notice in found]


def newest(tx: ReadTx) -> int:
    """The seq of the journal's last entry, 0 when there is none."""
    last = tx.find(Entry, order="-seq", limit=1)
    return last[0].seq if last else 0


def entries(tx: ReadTx, after: int, limit: int, subject: str = "") -> list[Plain]:
    """The journal after ``after``, oldest first."""
    about = [Where("subject", "eq", subject)] if subject else []
    rows = tx.find(Entry, Where("seq", "gt", after), *about, order="seq", limit=limit)
    return [canonical.plain(row) for row in rows]


def entries_before(tx: ReadTx, before: int, limit: int, subject: str = "") -> list[Plain]:
    """The journal before the seq ``before`` (0: all of it), newest first."""
    where = [Where("subject", "eq", subject)] if subject else []
    where += [Where("seq", "lt", before)] if before else []
    return [canonical.plain(row) for row in tx.find(Entry, *where, order="-seq", limit=limit)]


def verified(tx: ReadTx, anchors: Sequence[audit.Anchor], place: audit.Place) -> audit.Report:
    """A piece of the chain checked, from ``place`` on. ``BadInput`` unless a seal ends there."""
    if place != audit.Place():
        here = tx.find(Seal, Where("last", "eq", place.seq), limit=1)
        if not here or here[0].hash != place.head:
            raise BadInput(
                f"no seal with this head ends at entry {place.seq}",
                hint="begin anew; if that was the place of a report, the journal was changed since",
            )
    seals, entries = _after(tx, Seal, "last", place.seq), _after(tx, Entry, "seq", place.seq)
    return audit.verify(seals, entries, anchors, place, PROVEN_AT_ONCE)


def _after(tx: ReadTx, kind: type[R], key: str, after: int) -> Iterator[R]:
    """Every row after that by ``key``, an increasing number, without holding them all at once.
    ``Damaged`` when it comes to one that is, after every row before it."""
    limit = CHUNK
    while True:
        try:
            rows = tx.find(kind, Where(key, "gt", after), order=key, limit=limit)
        except Damaged:
            if limit == 1:
                raise
            limit //= 2
            continue
        if not rows:
            return
        yield from rows
        after = int(getattr(rows[-1], key))


def silences(tx: ReadTx, now: Ms, every: bool = False, limit: int = 1_000) -> list[Plain]:
    """The silences that hold, the first to end first; ``every``: those that are over too, the
    last to end first."""
    if every:
        rows = tx.find(Silence, order="-ends_at", limit=limit)
    else:
        rows = tx.find(Silence, Where("ends_at", "gt", now), order="ends_at", limit=limit)
    return [{**canonical.plain(row), "holds": row.holds(now)} for row in rows]
