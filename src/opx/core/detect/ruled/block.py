# SPDX-License-Identifier: Apache-2.0

"""A block of the book: what it keeps, and what the book asks of it.

Part of ``book``, which walks its blocks and knows no one of them better than another. Each has a
track for every stream under every rule of its own. It must keep nothing of a rule that has gone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Protocol, TypeAlias, TypeVar

from opx.core.base.time import Ms
from opx.core.detect.finding import Finding
from opx.core.detect.ruled.clock import LogClock
from opx.core.detect.ruled.judging import Judged, finding_from
from opx.core.detect.rules import Check, DetectionRule
from opx.core.ingest.signals import Identity, LogLine, Series

Rules: TypeAlias = Mapping[str, DetectionRule]
"""Those in force, of every block, by hash."""
Stream = TypeVar("Stream")
Track = TypeVar("Track", bound=Judged)


class Watch(Protocol):
    """One series under one rule."""

    def take(self, at: Ms, value: float, now: Ms) -> list[Finding]:
        """The edges that one more point makes."""
        ...


@dataclass(slots=True)
class Block(ABC, Generic[Stream, Track]):
    """``check``: what its rules say. ``clock``: the book's. ``tracks``: by rule hash and stream."""

    check: ClassVar[type[Check]]
    clock: LogClock = field(default_factory=LogClock)
    tracks: dict[tuple[str, Stream], Track] = field(default_factory=dict)

    def watch(self, rule: DetectionRule, series: Series) -> Watch | None:
        """What takes the points of this series for this rule; None: the rule is not about it."""
        return None

    def take(self, rules: Sequence[DetectionRule], line: LogLine) -> list[Finding]:
        """The edges that one more line makes. ``rules``: those about lines."""
        return []

    @abstractmethod
    def tick(self, rules: Rules, blind: bool) -> list[Finding]:
        """The edges that the time alone makes, by the clock. ``blind``: the telemetry is lost."""

    def drop(self, rules: Rules) -> list[Finding]:
        """Forget what belongs to no rule of these; what was open of it."""
        gone = [self._pop(key) for key in list(self.tracks) if key[0] not in rules]
        self._forget(rules)
        open_ = [firing for track in gone if (firing := track.firing) is not None]
        return sorted(open_, key=lambda one: (one.rule, one.stream, one.id))

    def open(self) -> Iterable[Finding]:
        return (firing for track in self.tracks.values() if (firing := track.firing) is not None)

    @abstractmethod
    def save(self) -> dict[str, Any]:
        """Plain JSON values."""

    @abstractmethod
    def load(self, saved: Mapping[str, Any], rules: Rules) -> None:
        """Fill an empty block with what ``save`` gave, but for what belongs to no rule of these."""

    def _pop(self, key: tuple[str, Stream]) -> Track:
        return self.tracks.pop(key)

    def _forget(self, rules: Rules) -> None:
        """Forget what else than tracks belongs to no rule of these."""


def saved_tracks(saved: Mapping[str, Any], rules: Rules) -> Iterator[dict[str, Any]]:
    """The row of each track of these rules, with its finding."""
    for row in saved["tracks"]:
        if row["rule"] in rules:
            yield {**row, "firing": finding_from(row["firing"])}


def in_order(keys: Iterable[tuple[str, Identity]]) -> list[tuple[str, Identity]]:
    """Keys of tracks, in the same order whatever order they came in."""
    return sorted(keys, key=_order)


def _order(key: tuple[str, Identity]) -> tuple[str, ...]:
    hash, identity = key
    return hash, identity.environment, identity.service, identity.resource
