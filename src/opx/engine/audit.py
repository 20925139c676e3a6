# SPDX-License-Identifier: Apache-2.0

"""The journal's hash chain: sealing what was written, and proving that it still is that.

``brain`` seals new entries in batches; each seal's hash covers the one before it and every
entry of its batch, and its head is also written outside the database (an ``Anchor``), so
that rewriting the whole chain shows too. Pure: it reads and writes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from opx.core.base import canonical
from opx.core.base.time import Ms
from opx.engine.ports import Entry, Seal
from opx.errors import Damaged

ORIGIN = ""
"""What the first seal has as ``previous``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """A seal's head as it was written outside the database."""

    last: int
    hash: str
    at: Ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """``bad``: the first seq that cannot be trusted, None when all can. A changed entry is
    known to within its seal, so ``bad`` is then the first of its batch and ``through`` the
    last. ``sealed``: how many entries the chain vouches for. ``waiting``: not yet sealed."""

    ok: bool
    sealed: int
    waiting: int
    anchors: int
    bad: int | None = None
    through: int | None = None
    detail: str = ""


class _Broken(Exception):
    """Internal: what ``verify`` found, with the span that cannot be trusted."""

    def __init__(self, bad: int, through: int, detail: str) -> None:
        super().__init__(detail)
        self.bad, self.through, self.detail = bad, through, detail


def seal(previous: Seal | None, entries: Sequence[Entry], now: Ms) -> Seal:
    """Seal ``entries``, which must follow ``previous`` without a gap. ``Damaged`` otherwise."""
    if not entries:
        raise ValueError("there is nothing to seal")
    first = previous.last + 1 if previous else 1
    for place, entry in enumerate(entries, first):
        if entry.seq != place:
            raise Damaged(f"journal entry {place} is missing: {entry.seq} follows {place - 1}")
    before = previous.hash if previous else ORIGIN
    return Seal(
        id=f"{first:016d}",
        first=first,
        last=entries[-1].seq,
        previous=before,
        hash=_hash(before, entries),
        at=now,
    )


def anchor(of: Seal) -> Anchor:
    """What of a seal is kept outside the database."""
    return Anchor(last=of.last, hash=of.hash, at=of.at)


def verify(seals: Iterable[Seal], entries: Iterable[Entry], anchors: Sequence[Anchor]) -> Report:
    """Check the whole chain. ``seals`` by ``first`` and ``entries`` by ``seq``, both ascending;
    each is read once, so a long journal need not fit in memory."""
    stream = iter(entries)
    held = {kept.last: kept for kept in anchors}
    head = ORIGIN
    last = sealed = waiting = 0
    try:
        for each in seals:
            _check(each, head, last, stream)
            kept = held.pop(each.last, None)
            if kept is not None and kept.hash != each.hash:
                raise _Broken(each.first, each.last, "its seal is not the one that was anchored")
            head, last = each.hash, each.last
            sealed += each.last - each.first + 1
        if held:
            lost = min(held)
            raise _Broken(min(lost, last + 1), max(held), "an anchored seal is gone")
        waiting = sum(1 for _ in _following(stream, last))
    except _Broken as broken:
        return Report(
            ok=False,
            sealed=sealed,
            waiting=waiting,
            anchors=len(anchors),
            bad=broken.bad,
            through=broken.through,
            detail=broken.detail,
        )
    alone = "nothing outside the database vouches for it" if sealed and not anchors else ""
    return Report(ok=True, sealed=sealed, waiting=waiting, anchors=len(anchors), detail=alone)


def _check(each: Seal, head: str, last: int, stream: Iterator[Entry]) -> None:
    """One seal against its predecessor and its own entries."""
    if each.first != last + 1:
        raise _Broken(last + 1, each.first, "the seal of these entries is gone")
    if each.previous != head:
        raise _Broken(each.first, each.last, "its seal does not follow the one before")
    batch: list[Entry] = []
    for place in range(each.first, each.last + 1):
        entry = next(stream, None)
        if entry is None or entry.seq != place:
            raise _Broken(place, place, "this entry is gone")
        batch.append(entry)
    if _hash(head, batch) != each.hash:
        raise _Broken(each.first, each.last, "an entry is not what was sealed")


def _following(stream: Iterator[Entry], last: int) -> Iterator[Entry]:
    """The entries after the last seal, as long as none is missing."""
    for place, entry in enumerate(stream, last + 1):
        if entry.seq != place:
            raise _Broken(place, place, "this entry is gone")
        yield entry


def _hash(previous: str, entries: Sequence[Entry]) -> str:
    lines = chain([previous.encode()], (canonical.dumps(entry) for entry in entries))
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line + b"\n")
    return digest.hexdigest()
