# SPDX-License-Identifier: Apache-2.0

"""What came and is nobody's: listed, so that a person can write the rule that maps it.

Beside stage 1, which leaves ``service`` empty rather than guess. Things that differ in the
values of their labels alone are one row, for a rule that maps one of them maps them all.
The list is bounded and lives with its process: it says what comes now. It must never be
read by a detector.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from opx.core.base.time import Ms
from opx.core.ingest.signals import Alert, Event, Item, LogLine, Series

MOST_ROWS = 1_000
"""Beyond that the row that has been silent for longest makes room."""
SHOWN = 200
"""Characters of a label's value that are shown."""
LOG_LINE = "log line"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmapped:
    """``name``: the metric, the alert's name or the event's type. ``labels``: of the one that
    came last, at ``last_at``. ``count``: points or items since the book was begun."""

    wire: str
    name: str
    labels: dict[str, str]
    count: int
    last_at: Ms


_Key = tuple[str, str, tuple[str, ...]]


@dataclass(slots=True, kw_only=True)
class Book:
    """The rows. ``since``: when it was begun. ``forgotten``: how many had to make room."""

    since: Ms = 0
    forgotten: int = 0
    _rows: dict[_Key, Unmapped] = field(default_factory=dict)

    def rows(self) -> list[Unmapped]:
        """Every row, the newest first."""
        return sorted(self._rows.values(), key=lambda row: -row.last_at)

    def item(self, wire: str, item: Item, at: Ms) -> None:
        """An item that came; one that is somebody's, or can be nobody's, is passed over."""
        if isinstance(item, Alert | Event | LogLine) and not item.identity.service:
            name, labels = _told(item)
            self._note(wire, name, labels, at, 1)

    def series(self, wire: str, series: Series, count: int, at: Ms) -> None:
        """``count`` points of an unmapped series, the last of them at ``at``."""
        self._note(wire, series.metric, series.labels, at, count)

    def _note(self, wire: str, name: str, labels: Mapping[str, str], at: Ms, count: int) -> None:
        key = (wire, name, tuple(sorted(labels)))
        before = self._rows.pop(key, None)
        if before is None and len(self._rows) >= MOST_ROWS:
            del self._rows[next(iter(self._rows))]
            self.forgotten += 1
        self._rows[key] = Unmapped(
            wire=wire,
            name=name,
            labels={label: value[:SHOWN] for label, value in labels.items()},
            count=count + (before.count if before else 0),
            last_at=max(at, before.last_at) if before else at,
        )


def _told(item: Alert | Event | LogLine) -> tuple[str, Mapping[str, str]]:
    if isinstance(item, Alert):
        return item.labels.get("alertname", ""), item.labels
    if isinstance(item, LogLine):
        return LOG_LINE, item.fields
    inner = item.data.get("labels")
    told = {"source": item.source, "subject": item.subject}
    told |= {name: value for name, value in item.data.items() if isinstance(value, str)}
    if isinstance(inner, dict):
        told |= {name: value for name, value in inner.items() if isinstance(value, str)}
    return item.type, {name: value for name, value in told.items() if value}
