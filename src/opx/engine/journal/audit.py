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
from typing import Protocol, TypeVar

from opx.core.base import canonical
from opx.core.base.time import Ms
from opx.engine.ports import Entry, Seal
from opx.errors import Damaged

R = TypeVar("R")

ORIGIN = ""
"""What the first seal has as ``previous``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """A seal's head as it was written outside the database."""

    last: int
    hash: str
    at: Ms


@dataclass(frozen=True, slots=True)
class Place:
    """Where a seal ends: its last seq and its hash. The chain begins at ``Place()``."""

    seq: int = 0
    head: str = ORIGIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """``bad``: the first seq that cannot be trusted, None when all can. An entry that is
    damaged is known; one that was changed as a whole only to within its seal, so ``bad`` is
    then the first of its batch and ``through`` the last. ``sealed``: how many entries the
    chain vouches for, and ``head`` the hash of the last of their seals. ``more``: there are
    seals after it that were not looked at; only a report without it speaks of the whole
    journal. ``waiting``: not yet sealed."""

    ok: bool
    sealed: int
    waiting: int
    anchors: int
    head: str = ORIGIN
    more: bool = False
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


def verify(
    seals: Iterable[Seal],
    entries: Iterable[Entry],
    anchors: Sequence[Anchor],
    place: Place | None = None,
    most: int | None = None,
) -> Report:
    """Check the chain from ``place`` on, up to the end of the seal with the ``most``-th entry
    from there (None: all of it). ``seals`` by ``first`` and ``entries`` by ``seq`` are those that
    follow it, both ascending; each is read once, so a long journal need not fit in memory, and
    may raise ``Damaged`` where it comes to one that is.
    ``anchors``: all. Going on from a report's ``sealed`` and ``head`` while there is ``more``
    finds what checking all at once does."""
    walk = _Walk(entries, anchors, place or Place())
    more, waiting, broken = False, 0, None
    try:
        more = walk.follow(seals, most)
        waiting = 0 if more else walk.rest()
    except _Broken as found:
        broken = found
    sealed, alone = walk.place.seq, "nothing outside the database vouches for it"
    return Report(
        ok=broken is None,
        sealed=sealed,
        waiting=waiting,
        anchors=len(anchors),
        head=walk.place.head,
        more=more,
        bad=broken.bad if broken else None,
        through=broken.through if broken else None,
        detail=broken.detail if broken else alone if sealed and not anchors else "",
    )


class _Walk:
    """Reads the entries once, in order, and compares every anchor it passes. ``place``: the end
    of the last seal that holds.

    An anchor need not stand at the end of a seal: after a crash the seal it was written for
    may have been made anew with more entries, and it still vouches for those before it.
    """

    def __init__(self, entries: Iterable[Entry], anchors: Sequence[Anchor], place: Place) -> None:
        self._entries = iter(entries)
        self.place = place
        self._held: dict[int, set[str]] = {}
        for kept in anchors:
            if kept.last > place.seq:
                self._held.setdefault(kept.last, set()).add(kept.hash)

    def follow(self, seals: Iterable[Seal], most: int | None) -> bool:
        """Check seal after seal, until ``most`` entries were; whether there are more."""
        enough = None if most is None else self.place.seq + most
        following = iter(seals)
        while each := _next(following, self.place.seq + 1):
            sealed, head = self.place.seq, self.place.head
            if enough is not None and sealed >= enough:
                return True
            if each.first != sealed + 1:
                raise _Broken(sealed + 1, each.first - 1, "the seal of these entries is gone")
            if each.previous != head:
                raise _Broken(each.first, each.last, "its seal does not follow the one before")
            if self._hash(head, each.first, each.last) != each.hash:
                raise _Broken(each.first, each.last, "an entry is not what was sealed")
            self.place = Place(each.last, each.hash)
        return False

    def _hash(self, head: str, first: int, last: int) -> str:
        """The hash of entries first..last after ``head``."""
        digest = _begun(head)
        for place in range(first, last + 1):
            entry = _next(self._entries, place)
            if entry is None:
                raise _Broken(place, last, "this entry is gone")
            self._add(digest, entry, first, place)
        return digest.hexdigest()

    def rest(self) -> int:
        """Check the entries after the last seal; return how many there are."""
        digest, place, first = _begun(self.place.head), self.place.seq + 1, self.place.seq + 1
        while entry := _next(self._entries, place):
            self._add(digest, entry, first, place)
            place += 1
        if self._held:
            raise _Broken(place, max(self._held), "what was anchored is gone")
        return place - first

    def _add(self, digest: _Hash, entry: Entry, first: int, place: int) -> None:
        if entry.seq != place:
            raise _Broken(place, entry.seq - 1, "this entry is gone")
        digest.update(_line(entry))
        if self._held.pop(place, {digest.hexdigest()}) != {digest.hexdigest()}:
            raise _Broken(first, place, "it is not what was anchored")


def _next(rows: Iterator[R], place: int) -> R | None:
    """The next of them, at or from ``place``; None after the last."""
    try:
        return next(rows, None)
    except Damaged as error:
        raise _Broken(place, place, str(error)) from error


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


def _begun(previous: str) -> _Hash:
    return hashlib.sha256(previous.encode() + b"\n")


def _line(entry: Entry) -> bytes:
    return canonical.dumps(entry) + b"\n"


def _hash(previous: str, entries: Sequence[Entry]) -> str:
    digest = _begun(previous)
    for entry in entries:
        digest.update(_line(entry))
    return digest.hexdigest()
