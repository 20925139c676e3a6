# SPDX-License-Identifier: Apache-2.0

"""The log's clock, as those need it who wait for what does not come.

Part of ``book``. The log ticks once a second for as long as somebody writes it. When it did
not, nobody could have come, so that time is slept through: it makes nothing absent. After a
long sleep it wakes slowly, for senders that were turned away take their time to come back.
It never goes back.
"""

from __future__ import annotations

from dataclasses import dataclass

from opx.core.base.time import MINUTE, SECOND, Ms

STEP: Ms = 2 * SECOND
"""Of what lies between two commits of the log more than this is sleep: a tick, and one that
was late."""
LONG: Ms = 10 * SECOND
"""More than this is not a disk that was slow: nobody was there."""
BACK_OFF: Ms = MINUTE
"""Who is turned away again and again waits each time for as long as all the times before
together, or for so long: that is how long the clock takes to wake."""


@dataclass(slots=True)
class LogClock:
    """``at``: the newest time it has told, -1 before the first. ``asleep``: how much of that
    was slept through since the first; ``slept_from`` and ``slept_to``: its last long sleep, to
    when it is awake again."""

    at: Ms = -1
    asleep: Ms = 0
    slept_from: Ms = -1
    slept_to: Ms = -1

    def told(self, now: Ms) -> bool:
        """It is ``now``: whether time has gone on."""
        if now <= self.at:
            return False
        if self.at >= 0:
            self.asleep += self._sleep(now)
        self.at = now
        return True

    @property
    def awake(self) -> Ms:
        """Its time without the sleep."""
        return self.at - self.asleep

    def slept(self, start: Ms, end: Ms) -> bool:
        """Whether the last long sleep took more than half of this window."""
        return 2 * (min(end, self.slept_to) - max(start, self.slept_from)) > end - start

    def _sleep(self, now: Ms) -> Ms:
        """How much of the time until ``now`` is slept through."""
        gap = now - self.at
        if gap > LONG:
            self.slept_from, self.slept_to = self.at, now + min(gap, BACK_OFF)
            return gap
        return max(0, gap - STEP, min(now, self.slept_to) - self.at)
