# SPDX-License-Identifier: Apache-2.0

"""What somebody writes, or does, for the first time, once new things have become rare there.

Part of ``watch``: templates of a service, sets of templates of a session. How likely the next
one is new is estimated by how many were seen once (Good and Turing, 1953: once / all), so
whoever always writes something new is never told of. It must never say anything while a
service is young, never call new what it may have forgotten, and never hold more than its bounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from opx.core.detect.logs.places import Places, Renames

WARM_UP = 200
"""So many must have come before the first that is told: enough to see a rate of 1 %."""
RARE = 0.01
"""New ones are told where fewer than this share of all is expected to be new."""
MOST_KNOWN = 8_192
"""Different ones of one writer that are kept; beyond that those that came least often go."""


@dataclass(slots=True)
class Known:
    """What one writer is known for. A kind is the id of a template, or those of a set, with blanks
    between them. ``total``: how many came, ``counts``: of each kind; ``once``: kinds that came
    once. ``forgotten``: kinds there was no room for; from the first on nothing is told, as it
    might be one of them that is back."""

    total: int = 0
    once: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    forgotten: int = 0
    most: int = MOST_KNOWN
    _sets: Places[str] = field(default_factory=Places)

    @property
    def expected(self) -> float:
        """The probability that the next one is new: 0 to 1, and 1 when nothing came yet."""
        return self.once / self.total if self.total else 1.0

    def take(self, kind: str) -> bool:
        """Count one; whether it is new and that is odd."""
        before = self.counts.get(kind, 0)
        sure = self.total >= WARM_UP and not self.forgotten
        odd = before == 0 and sure and self.expected <= RARE
        if before == 0 and len(self.counts) >= self.most:
            self._forget()
        self._count(kind, 1)
        self.total += 1
        return odd

    def rename(self, renames: Renames) -> None:
        """Kinds that turned out to be one are one from now on."""
        alone = [id for id in renames if id in self.counts]
        for kind in alone + self._sets.of(renames):
            ids = {renames.get(id, id) for id in kind.split(" ")}
            self._count(" ".join(sorted(ids)), self._drop(kind))

    def save(self) -> dict[str, Any]:
        return {
            "total": self.total,
            "counts": [list(pair) for pair in self.counts.items()],
            "forgotten": self.forgotten,
        }

    @classmethod
    def load(cls, saved: Mapping[str, Any]) -> Known:
        pairs: Iterable[tuple[str, int]] = saved["counts"]
        known = cls(total=saved["total"], forgotten=saved["forgotten"])
        for kind, count in pairs:
            known._count(kind, count)
        return known

    def _forget(self) -> None:
        """The quarter that came least often goes, the oldest of them first."""
        rarest = sorted(self.counts, key=lambda kind: self.counts[kind])[: self.most // 4 + 1]
        for kind in rarest:
            self._drop(kind)
        self.forgotten += len(rarest)

    def _count(self, kind: str, more: int) -> None:
        before = self.counts.get(kind, 0)
        if not before and " " in kind:
            self._sets.add(kind.split(" "), kind)
        self.counts[kind] = before + more
        self.once += (before + more == 1) - (before == 1)

    def _drop(self, kind: str) -> int:
        """It is known no more; how often it came."""
        count = self.counts.pop(kind)
        self.once -= count == 1
        if " " in kind:
            self._sets.remove(kind.split(" "), kind)
        return count
