# SPDX-License-Identifier: Apache-2.0

"""Open findings that expire unless they are told again.

Shared by the detectors of stage 2 whose senders repeat themselves (alerts, events). A
repeat costs two dictionary writes and a tick only what has expired: each finding stands
in the queue once, and is put back when it turns out that it was extended. It never reads
a clock, and never emits a finding by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush

from opx.core.base.time import Ms
from opx.core.detect.finding import Finding


@dataclass(slots=True)
class OpenFindings:
    """By stream. A finding's own ``expires_at`` is brought up to date when it is given out."""

    _findings: dict[str, Finding] = field(default_factory=dict)
    _expires: dict[str, Ms] = field(default_factory=dict)
    _queue: list[tuple[Ms, str]] = field(default_factory=list)
    _queued: dict[str, Ms] = field(default_factory=dict)
    _extended: dict[str, None] = field(default_factory=dict)

    @classmethod
    def of(cls, findings: Iterable[Finding]) -> OpenFindings:
        opened = cls()
        for finding in findings:
            opened.begin(finding)
        return opened

    def __len__(self) -> int:
        return len(self._findings)

    def get(self, stream: str) -> Finding | None:
        """The open finding of a stream, its ``expires_at`` as it was last given out."""
        return self._findings.get(stream)

    def begin(self, finding: Finding) -> None:
        expires_at = finding.expires_at or finding.at
        self._findings[finding.stream] = finding
        self._expires[finding.stream] = expires_at
        self._queued[finding.stream] = expires_at
        heappush(self._queue, (expires_at, finding.stream))

    def extend(self, stream: str, expires_at: Ms) -> None:
        """Told again: it expires then, if that is later."""
        if expires_at > self._expires[stream]:
            self._expires[stream] = expires_at
            self._extended[stream] = None

    def amend(self, finding: Finding) -> None:
        """Replace the open finding of its stream by another version of it."""
        self._findings[finding.stream] = finding
        self._extended[finding.stream] = None

    def end(self, stream: str) -> Finding:
        del self._expires[stream], self._queued[stream]
        self._extended.pop(stream, None)
        return self._findings.pop(stream)

    def expired(self, now: Ms) -> list[tuple[Finding, Ms]]:
        """Take out what has expired by ``now``, with the time it did; earliest first."""
        out: list[tuple[Finding, Ms]] = []
        while self._queue and self._queue[0][0] <= now:
            queued_for, stream = heappop(self._queue)
            if self._queued.get(stream) != queued_for:
                continue  # it ended, and may have begun again since
            expires_at = self._expires[stream]
            if expires_at > queued_for:
                self._queued[stream] = expires_at
                heappush(self._queue, (expires_at, stream))
            else:
                out.append((self.end(stream), expires_at))
        return out

    def refreshed(self) -> list[Finding]:
        """The open findings that were extended or amended since this was last asked."""
        out = []
        for stream in self._extended:
            finding = replace(self._findings[stream], expires_at=self._expires[stream])
            self._findings[stream] = finding
            out.append(finding)
        self._extended.clear()
        return out
