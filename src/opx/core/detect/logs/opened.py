# SPDX-License-Identifier: Apache-2.0

"""Which findings of the log detectors are open.

Part of ``watch``. New things expire unless they come again; a rate or a share says itself when
it is usual again. Of one rule and service so many are open at most: a release brings a
hundred new templates, and the first of them say it. It must never tell the same twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from opx.core.base import canonical
from opx.core.base.time import Ms
from opx.core.detect.finding import ClearReason, Finding
from opx.core.detect.logs.saying import EXPIRES_AFTER, Key
from opx.core.detect.ruled.judging import finding_from

MOST = 20
"""Of one rule and service at once; more are counted and not told."""


@dataclass(slots=True)
class Open:
    """``firing`` by key. ``until``: when those that expire do, the first of them first. ``unsaid``:
    findings there was no room for."""

    firing: dict[Key, Finding] = field(default_factory=dict)
    until: dict[Key, Ms] = field(default_factory=dict)
    unsaid: int = 0

    def tell(self, key: Key, finding: Finding) -> list[Finding]:
        """Open it, unless it is open or there are too many like it."""
        if key in self.firing:
            return []
        if sum(one[:3] == key[:3] for one in self.firing) >= MOST:
            self.unsaid += 1
            return []
        self.firing[key] = finding
        if finding.expires_at is not None:
            self.until[key] = finding.expires_at
        return [finding]

    def again(self, key: Key, now: Ms) -> None:
        """It came again: it expires later, if it is open."""
        if key in self.until:
            expires_at = max(self.until.pop(key), now + EXPIRES_AFTER)
            self.until[key] = expires_at

    def end(
        self, key: Key, reason: ClearReason, at: Ms, evidence: dict[str, object]
    ) -> list[Finding]:
        """Close it, if it is open."""
        finding = self.firing.pop(key, None)
        self.until.pop(key, None)
        return [] if finding is None else [finding.clear(reason, at, evidence)]

    def expire(self, now: Ms) -> list[Finding]:
        """Close what nobody has told again."""
        over = []
        for key, expires_at in self.until.items():
            if expires_at > now:
                break
            over.append((key, expires_at))
        return [
            edge
            for key, at in over
            for edge in self.end(key, ClearReason.EXPIRED, at, self.firing[key].evidence)
        ]

    def save(self) -> dict[str, Any]:
        return {
            "firing": [[list(key), canonical.plain(one)] for key, one in self.firing.items()],
            "until": [[list(key), at] for key, at in self.until.items()],
            "unsaid": self.unsaid,
        }

    @classmethod
    def load(cls, saved: Mapping[str, Any]) -> Open:
        firing: Iterable[Any] = saved["firing"]
        found = {_key(key): finding for key, row in firing if (finding := finding_from(row))}
        until = {_key(key): at for key, at in saved["until"]}
        return cls(firing=found, until=until, unsaid=saved["unsaid"])


def _key(row: Iterable[str]) -> Key:
    rule, environment, service, what = row
    return rule, environment, service, what
