# SPDX-License-Identifier: Apache-2.0

"""Rules as their documents say them, series, and a book that is fed as the sense beat does."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from opx.core.base.documents import Node, envelope
from opx.core.base.time import SECOND, Ms
from opx.core.detect.finding import Finding, FindingState
from opx.core.detect.ruled import book
from opx.core.detect.ruled.book import Book
from opx.core.detect.rules import DetectionRule, bind_rule
from opx.core.ingest.signals import Identity, LogLevel, LogLine, MetricBatch, Series

T: Ms = 1_767_225_600_000
"""A whole hour: windows of a second to an hour begin at it."""
FIRING, CLEARED = FindingState.FIRING, FindingState.CLEARED
Point = tuple[int, Ms, float]
"""A sid, milliseconds after ``T``, a value."""


def node(value: Any) -> Node:
    if isinstance(value, dict):
        value = {name: node(item) for name, item in value.items()}
    elif isinstance(value, list):
        value = [node(item) for item in value]
    return Node(value, 1, "rules.yaml")


def rule(block: str, said: dict[str, Any], name: str = "odd", **more: Any) -> DetectionRule:
    """A rule with one block; ``more``: other fields of its spec, ``for_`` for ``for``."""
    fields = {key.rstrip("_"): value for key, value in more.items()}
    spec = {"severity": "sev3", "justification": "measured", **fields, block: said}
    tree = {
        "apiVersion": "opx/v1",
        "kind": "DetectionRule",
        "metadata": {"name": name},
        "spec": spec,
    }
    return bind_rule(envelope(node(tree)))


def series(sid: int, metric: str = "m", service: str = "orders", **labels: str) -> Series:
    return Series(sid=sid, metric=metric, labels=labels, identity=Identity("prod", service))


def batch(points: Iterable[Point]) -> MetricBatch | None:
    rows = list(points)
    if not rows:
        return None
    return MetricBatch(
        sid=np.array([sid for sid, _, _ in rows], np.int32),
        at=np.array([T + at for _, at, _ in rows], np.int64),
        value=np.array([value for _, _, value in rows], np.float64),
    )


def line(at: Ms, message: str = "no", service: str = "orders", level: str = "ERROR") -> LogLine:
    return LogLine(
        identity=Identity("prod", service),
        at=T + at,
        received_at=T + at,
        level=LogLevel[level],
        message=message,
    )


def edges(findings: Iterable[Finding]) -> list[tuple[FindingState, Ms]]:
    """Each edge, and when after ``T`` it was."""
    return [(finding.state, finding.at - T) for finding in findings]


@dataclass
class Fed:
    """A book, fed in the log's order. ``found``: every edge so far."""

    rules: Sequence[DetectionRule]
    known: Iterable[Series]
    book: Book = field(default_factory=Book)
    found: list[Finding] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.series = {one.sid: one for one in self.known}
        self.bind(self.rules, 0)

    def bind(self, rules: Sequence[DetectionRule], at: Ms) -> list[Finding]:
        self.rules = rules
        if book.in_force(self.book, rules):
            return []
        withdrawn = book.bind(self.book, rules, T + at)
        self.found += withdrawn
        return withdrawn

    def take(
        self, at: Ms, points: Iterable[Point] = (), lines: Sequence[LogLine] = ()
    ) -> list[Finding]:
        """One commit of the log, appended at ``T + at``."""
        new = book.step(self.book, self.series, batch(points), lines, T + at)
        self.found += new
        return new

    def tick(self, first: Ms, last: Ms) -> list[Finding]:
        """A tick each second after ``first``, through ``last``."""
        found = []
        for at in range(first + SECOND, last + 1, SECOND):
            found += self.take(at)
        return found

    def stored(self) -> Any:
        """What a store would give back of it."""
        return json.loads(json.dumps(book.save(self.book), allow_nan=False))

    def restart(self) -> None:
        self.book = book.load(self.stored())
