# SPDX-License-Identifier: Apache-2.0

"""Open findings that expire unless they are told again.

Shared by the detectors of stage 2 whose senders repeat themselves (alerts, events). A
repeat costs two dictionary writes and a tick only what has expired: each finding stands
in the queue once, and is put back when it turns out that it was extended; one whose life
was shortened is put in again, and its older place passed over. It never reads a clock, and
never emits a finding by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from heapq import heapify, heappop, heappush
from typing import TypeAlias

from opx.core.base.time import Ms
from opx.core.detect.finding import Finding

MOST_ENDS = 4_096
"""Findings that expire in one step; what is more waits for the next, since the stages behind have
to take it in. Until then it is told again as if it were not over."""

SPARE = 64
"""Places in the queue that may count no more before it is worth making it anew."""

Key: TypeAlias = tuple[str, str]
"""A rule and a stream: of these one finding at most is open."""


def key_of(finding: Finding) -> Key:
    return finding.rule, finding.stream


@dataclass(slots=True)
class OpenFindings:
    """A finding's own ``expires_at`` is brought up to date when it is given out."""

    _findings: dict[Key, Finding] = field(default_factory=dict)
    _expires: dict[Key, Ms] = field(default_factory=dict)
    _queue: list[tuple[Ms, Key]] = field(default_factory=list)
    _queued: dict[Key, Ms] = field(default_factory=dict)
    _extended: dict[Key, None] = field(default_factory=dict)
    _room: int = MOST_ENDS

    @classmethod
    def of(cls, findings: Iterable[Finding]) -> OpenFindings:
        opened = cls()
        for finding in findings:
            opened.begin(finding)
        return opened

    def __len__(self) -> int:
        return len(self._findings)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._findings.values())

    def get(self, key: Key) -> Finding | None:
        """The open finding, its ``expires_at`` as it was last given out."""
        return self._findings.get(key)

    def begin(self, finding: Finding) -> None:
        key, expires_at = key_of(finding), finding.expires_at or finding.at
        self._findings[key] = finding
        self._expires[key] = expires_at
        self._queued[key] = expires_at
        heappush(self._queue, (expires_at, key))

    def extend(self, key: Key, expires_at: Ms, shorten: bool = False) -> bool:
        """Told again: it expires then, if that is not earlier or may ``shorten`` its life. Whether
        it does."""
        stands = self._expires[key]
        if expires_at < stands:
            if not shorten:
                return False
            self._hasten(key, expires_at)
        if expires_at != stands:
            self._expires[key] = expires_at
            self._extended[key] = None
        return True

    def _hasten(self, key: Key, expires_at: Ms) -> None:
        """Have it looked at by then. Its older place in the queue counts no more; when most do
        not, the queue is made anew, or telling it for long and for short in turns would fill it."""
        if expires_at < self._queued[key]:
            self._queued[key] = expires_at
            heappush(self._queue, (expires_at, key))
            if len(self._queue) > 2 * len(self._queued) + SPARE:
                self._queue = [(at, key) for key, at in self._queued.items()]
                heapify(self._queue)

    def amend(self, finding: Finding) -> None:
        """Replace the open finding of its key by another version of it."""
        key = key_of(finding)
        self._findings[key] = finding
        self._extended[key] = None

    def end(self, key: Key) -> Finding:
        del self._expires[key], self._queued[key]
        self._extended.pop(key, None)
        return self._findings.pop(key)

    def new_step(self) -> None:
        """From here on ``MOST_ENDS`` may expire."""
        self._room = MOST_ENDS

    def expired(self, now: Ms) -> list[tuple[Finding, Ms]]:
        """Take out what has expired by ``now``, with the time it did; earliest first."""
        out: list[tuple[Finding, Ms]] = []
        while self._room and self._queue and self._queue[0][0] <= now:
            queued_for, key = heappop(self._queue)
            if self._queued.get(key) != queued_for:
                continue  # it ended, and may have begun again since
            expires_at = self._expires[key]
            if expires_at > queued_for:
                self._queued[key] = expires_at
                heappush(self._queue, (expires_at, key))
            else:
                self._room -= 1
                out.append((self.end(key), expires_at))
        return out

    def refreshed(self) -> list[Finding]:
        """The open findings that were extended or amended since this was last asked."""
        out = []
        for key in self._extended:
            finding = replace(self._findings[key], expires_at=self._expires[key])
            self._findings[key] = finding
            out.append(finding)
        self._extended.clear()
        return out
