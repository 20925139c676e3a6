# SPDX-License-Identifier: Apache-2.0

"""The book of detection rules: all of them, over what flows, and what each knows.

A detector of stage 2: the blocks over points and lines, and the observer behind them. The
clock is looked at before what a commit of the log brings, and once for each of its times,
so that what comes out does not depend on how the log was cut. What is known belongs to a
rule's hash: a rule that was changed starts anew, and what the old one had open is
withdrawn. All blocks are walked alike. The rules in force are saved with what they made, so
that a restart goes on by them and takes up changed ones as a running ``brain`` does. A point
that no rule is about must cost next to nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opx.core.base import canonical
from opx.core.base.time import Ms
from opx.core.detect.finding import ClearReason, Finding
from opx.core.detect.ruled import observer
from opx.core.detect.ruled.absences import Absences
from opx.core.detect.ruled.block import Block, Watch
from opx.core.detect.ruled.clock import LogClock
from opx.core.detect.ruled.logs import LogBursts
from opx.core.detect.ruled.observer import Observer
from opx.core.detect.ruled.ratios import Ratios
from opx.core.detect.ruled.thresholds import Thresholds
from opx.core.detect.rules import DetectionRule, restored
from opx.core.ingest.signals import LogLine, MetricBatch, Series
from opx.errors import DocumentError

_NEW, _KNOWN, _WATCHED = 0, 1, 2


@dataclass(slots=True, kw_only=True)
class Book:
    """``rules`` in force by hash, ``clock``, the ``blocks`` and ``observer`` are saved; the rest is
    found again: ``of_metric``, the rules that look at a metric; by sid ``marks``, whether it is
    new, and whether it has ``watches``; ``lines``, the rules about lines.

    ``nameless``: how often a series came that nobody has named. ``strays``: open findings that
    nothing here knows of. ``fresh``: whether it was just loaded.
    """

    rules: dict[str, DetectionRule] = field(default_factory=dict)
    clock: LogClock = field(default_factory=LogClock)
    absences: Absences = field(default_factory=Absences)
    thresholds: Thresholds = field(default_factory=Thresholds)
    ratios: Ratios = field(default_factory=Ratios)
    bursts: LogBursts = field(default_factory=LogBursts)
    observer: Observer = field(default_factory=Observer)
    nameless: int = 0
    strays: list[Finding] = field(default_factory=list)
    of_metric: dict[str, list[DetectionRule]] = field(default_factory=dict)
    lines: list[DetectionRule] = field(default_factory=list)
    watches: dict[int, tuple[Watch, ...]] = field(default_factory=dict)
    marks: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))
    fresh: bool = False
    blocks: dict[str, Block[Any, Any]] = field(init=False)
    """Every field that is one, by its name."""

    def __post_init__(self) -> None:
        held = {one.name: getattr(self, one.name) for one in fields(self) if one.init}
        self.blocks = {name: one for name, one in held.items() if isinstance(one, Block)}
        for block in self.blocks.values():
            block.clock = self.clock
        self._index()

    def _index(self) -> None:
        """Find again what follows from the rules; every series is matched anew."""
        self.of_metric, self.lines = {}, []
        for rule in self.rules.values():
            for metric in rule.check.metrics:
                self.of_metric.setdefault(metric, []).append(rule)
            if rule.check.lines:
                self.lines.append(rule)
        self.watches.clear()
        self.marks[:] = _NEW


def in_force(book: Book, rules: Sequence[DetectionRule]) -> bool:
    """Whether these are the rules it works by already, with nothing left to withdraw."""
    return not book.strays and {rule.hash for rule in rules} == book.rules.keys()


def bind(book: Book, rules: Sequence[DetectionRule], now: Ms) -> list[Finding]:
    """Work by these rules from now on: what is open of others is withdrawn, and every series is
    matched anew. To be saved in the commit that keeps the findings."""
    book.rules = {rule.hash: rule for rule in rules}
    book._index()
    strays, book.strays = book.strays, []
    edges = [_withdrawn(stray, now, "what was known of it is lost") for stray in strays]
    for block in book.blocks.values():
        gone = block.drop(book.rules)
        edges += [_withdrawn(one, now, "the rule was changed or removed") for one in gone]
    return edges


def step(
    book: Book,
    series: Mapping[int, Series],
    points: MetricBatch | None,
    lines: Sequence[LogLine],
    now: Ms,
) -> list[Finding]:
    """The edges that are due by ``now``, then those in these points and these lines, in their
    order. ``series``: by sid, at least those of ``points``; after ``load``, all there are."""
    if book.fresh:
        book.fresh = False
        for one in series.values():
            book.observer.name(one)
    edges = _tick(book) if book.clock.told(now) else []
    if points is not None and len(points):
        _points(book, series, points, edges)
    if book.lines:
        for line in lines:
            for block in book.blocks.values():
                edges += block.take(book.lines, line)
    return edges


def refreshed(book: Book) -> list[Finding]:
    """Open findings whose evidence grew since this was last asked: to be kept, over what
    ``step`` gave out of them in the same commit."""
    return book.observer.refreshed()


def save(book: Book) -> dict[str, Any]:
    """Plain JSON values; ``load`` of them goes on exactly where ``book`` was."""
    return {
        "rules": [rule.plain() for rule in book.rules.values()],
        "clock": canonical.plain(book.clock),
        **{name: block.save() for name, block in book.blocks.items()},
        "observer": book.observer.save(),
        "nameless": book.nameless,
    }


def load(saved: Mapping[str, Any]) -> Book:
    """The book that was saved; an empty one from ``{}``, and from what has another shape: what
    that had open, ``missed`` finds. ``saved`` stays as it is: it may be loaded again."""
    if not saved:
        return Book()
    try:
        return _loaded(canonical.plain(saved))  # a copy: the blocks go on with its lists
    except (LookupError, TypeError, ValueError, AttributeError, DocumentError):
        return Book()


def _loaded(saved: Mapping[str, Any]) -> Book:
    """A block of which nothing was saved begins."""
    rules = {row["hash"]: restored(row) for row in saved["rules"]}
    book = Book(
        rules=rules,
        clock=LogClock(**saved["clock"]),
        observer=Observer.load(saved["observer"]),
        nameless=saved["nameless"],
        fresh=True,
    )
    for name, block in book.blocks.items():
        if name in saved:
            block.load(saved[name], rules)
    return book


def missed(book: Book, findings: Iterable[Finding]) -> None:
    """Find the strays among stored open findings, once ``load`` has caught up with them."""
    blocks = book.blocks.values()
    known = {firing.id for firing in chain.from_iterable(block.open() for block in blocks)}
    if book.observer.firing is not None:
        known.add(book.observer.firing.id)
    own = tuple(f"{block.check.block}/" for block in blocks)
    ours = (one for one in findings if one.rule == observer.RULE or one.rule.startswith(own))
    book.strays = [one for one in ours if one.id not in known]


def _withdrawn(firing: Finding, now: Ms, why: str) -> Finding:
    return firing.clear(ClearReason.WITHDRAWN, now, {"note": why})


def _tick(book: Book) -> list[Finding]:
    """What follows from the time alone. First whether opx can see at all."""
    edges = book.observer.tick(book.clock)
    blind = book.observer.firing is not None
    for block in book.blocks.values():
        edges += block.tick(book.rules, blind)
    book.observer.withhold(book.absences.fresh)
    return edges


def _points(
    book: Book, series: Mapping[int, Series], points: MetricBatch, edges: list[Finding]
) -> None:
    marks = _marks(book, points.sid)
    if not marks.all():
        for sid in np.unique(points.sid[marks == _NEW]).tolist():
            _learn(book, series, sid)
        marks = book.marks[points.sid]
    book.observer.take(points.sid)
    where = np.flatnonzero(marks == _WATCHED)
    if not len(where):
        return
    columns = (points.sid[where], points.at[where], points.value[where])
    now, watches = book.clock.at, book.watches
    for sid, at, value in zip(*(column.tolist() for column in columns), strict=True):
        for watch in watches[sid]:
            edges += watch.take(at, value, now)


def _marks(book: Book, sid: NDArray[np.int32]) -> NDArray[np.uint8]:
    try:
        return book.marks[sid]
    except IndexError:
        size = max(int(sid.max()) + 1, 2 * len(book.marks))
        more = np.zeros(size - len(book.marks), np.uint8)
        book.marks = np.concatenate([book.marks, more])
        return book.marks[sid]


def _learn(book: Book, series: Mapping[int, Series], sid: int) -> None:
    one = series.get(sid)
    if one is None:
        book.nameless += 1
        return
    book.observer.name(one)
    book.marks[sid] = _KNOWN
    watches: list[Watch] = []
    for rule in book.of_metric.get(one.metric, ()):
        for block in book.blocks.values():
            watch = block.watch(rule, one)
            if watch is not None:
                watches.append(watch)
    if watches:
        book.marks[sid] = _WATCHED
        book.watches[sid] = tuple(watches)
