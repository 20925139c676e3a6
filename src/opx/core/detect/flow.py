# SPDX-License-Identifier: Apache-2.0

"""Everything that looks at what flows, together: the rules, and what is odd by itself.

Stage 2 as the sense beat and its memory know it, beside alerts, events and probes. Those
keep what they know in the store's rows; these save theirs with its place in the log, and a
restart replays the log from there. What is known of metric streams is large, so it is saved
by itself, seldom, with a place of its own: hence two halves of ``step``. What is to come is
saved with that and asked by itself (``ahead``): those are no findings, for nothing is the
matter yet. Where another detector over lines goes: a field, a line in ``ruled``, ``save``
and ``load``, and its open findings in ``missed``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from opx.core.base.time import Ms
from opx.core.detect.finding import ClearReason, Finding
from opx.core.detect.logs import saying, watch
from opx.core.detect.logs.watch import LogState
from opx.core.detect.metrics import departures
from opx.core.detect.metrics.odd import Odd
from opx.core.detect.predict.ahead import Ahead
from opx.core.detect.ruled import book
from opx.core.detect.ruled.book import Book
from opx.core.detect.rules import DetectionRule
from opx.core.ingest.signals import LogLine, MetricBatch, Series, Tick

ODD_LINES = (saying.NEW, saying.RATE, saying.SET, saying.SHARE)
"""The rules of what is odd about lines by itself."""
ODD_POINTS = departures.RULE


@dataclass(slots=True, kw_only=True)
class Flow:
    """``book``: of the rules. ``lines`` and ``metrics``: what is odd about log lines and about
    metric streams. ``ahead``: what is to come. ``strays``: open findings that none of the others
    knows of."""

    book: Book = field(default_factory=Book)
    lines: LogState = field(default_factory=LogState)
    metrics: Odd = field(default_factory=Odd)
    ahead: Ahead = field(default_factory=Ahead)
    strays: list[Finding] = field(default_factory=list)


def in_force(flow: Flow, rules: Sequence[DetectionRule]) -> bool:
    """Whether these are the rules it works by already, with nothing left to withdraw."""
    return not flow.strays and book.in_force(flow.book, rules)


def bind(flow: Flow, rules: Sequence[DetectionRule], now: Ms) -> list[Finding]:
    """Work by these rules from now on; what is withdrawn. To be saved in the commit that keeps
    the findings."""
    strays, flow.strays = flow.strays, []
    note: dict[str, object] = {"note": "what was known of it is lost"}
    withdrawn = [stray.clear(ClearReason.WITHDRAWN, now, note) for stray in strays]
    return withdrawn + book.bind(flow.book, rules, now)


def step(
    flow: Flow,
    series: Mapping[int, Series],
    points: MetricBatch | None,
    items: Sequence[LogLine | Tick],
    now: Ms,
) -> list[Finding]:
    """The edges that one commit of the log makes, appended at ``now``: its points, its lines and
    its ticks. ``series``: every one that is known, by sid."""
    edges = ruled(flow, series, points, items, now)
    return edges + odd(flow, series, points, items, now)


def ruled(
    flow: Flow,
    series: Mapping[int, Series],
    points: MetricBatch | None,
    items: Sequence[LogLine | Tick],
    now: Ms,
) -> list[Finding]:
    """The half of ``step`` that ``save`` is about: the rules, and what is odd about lines."""
    lines = [item for item in items if isinstance(item, LogLine)]
    edges = book.step(flow.book, series, points, lines, now)
    return edges + watch.step(flow.lines, items)


def odd(
    flow: Flow,
    series: Mapping[int, Series],
    points: MetricBatch | None,
    items: Sequence[LogLine | Tick],
    now: Ms,
) -> list[Finding]:
    """The half of ``step`` that ``flow.metrics`` is about: points wait for the next tick."""
    edges = []
    if points is not None and len(points):
        edges += flow.metrics.take(points, series, now)
    if any(isinstance(item, Tick) for item in items):
        edges += flow.metrics.tick(series, now)
    return edges


def refreshed(flow: Flow) -> list[Finding]:
    """Open findings that changed since this was last asked: to be kept, over what ``step`` gave
    out of them in the same commit."""
    return book.refreshed(flow.book) + flow.metrics.departures.refreshed()


def save(flow: Flow) -> dict[str, Any]:
    """Plain JSON values; ``load`` of them goes on exactly where ``flow`` was. Without what
    ``flow.metrics`` and ``flow.ahead`` know, which save themselves."""
    return {"book": book.save(flow.book), "lines": flow.lines.save()}


def load(saved: Mapping[str, Any]) -> Flow:
    """What ``save`` gave. What is missing in it (an older opx had less) begins anew."""
    flow = Flow(book=book.load(saved.get("book", {})))
    if "lines" in saved:
        flow.lines = LogState.load(saved["lines"])
    return flow


def missed(flow: Flow, findings: Iterable[Finding]) -> None:
    """Find the strays among stored open findings, once ``load`` has caught up with them. What
    the metrics have open and nobody stored was found in a log that was read before they were
    looked at: it is let go."""
    stored = list(findings)
    book.missed(flow.book, stored)
    flow.metrics.departures.keep({one.id for one in stored})
    known = {one.id for one in flow.lines.open.firing.values()}
    known |= {one.id for one in flow.metrics.departures.open.values()}
    odd_ones = (one for one in stored if one.rule in (*ODD_LINES, ODD_POINTS))
    flow.strays = [one for one in odd_ones if one.id not in known]
