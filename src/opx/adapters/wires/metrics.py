# SPDX-License-Identifier: Apache-2.0

"""Metric points as JSON, and the index that numbers their series.

``POST /metrics``, in each of the forms of ``forms.py``. The hot path of opx: labels stay
undecoded bytes, and a series that was seen before costs two dictionary look-ups; points are
columns from the start.

A sid leaves this module only in a batch that also carries its ``Series``, until one such
batch is known to be on disk (``kept``): a reader of the log never meets a sid it was not
told about. So a ``Series`` may be in the log more than once, always the same; and a sid
whose batch was lost may never be in it, so there may be gaps.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from typing import NoReturn, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from opx.adapters.wires import bodies, forms
from opx.adapters.wires.forms import WirePoint
from opx.adapters.wires.nobodys import Nobodys
from opx.core.base.time import Ms
from opx.core.ingest import checks, identity
from opx.core.ingest.checks import Reason, Unfit
from opx.core.ingest.mapping import MappingRule
from opx.core.ingest.signals import Identity, MetricBatch, Series
from opx.engine.intake import MAX_REPORTED, Incoming, Parsed, Parser
from opx.engine.ports import Batch

MAX_SERIES = 250_000
CACHE_BYTES = 64 << 20
_ENTRY_BYTES = 150
"""About what one cached spelling costs beside its own bytes."""
_NEVER: Ms = -(1 << 62)
_Name: TypeAlias = tuple[str, tuple[tuple[str, str], ...], Identity]
_encode = msgspec.json.Encoder().encode


class SeriesIndex:
    """Every series by (metric, labels, whose it is), its sid, and which are not on disk yet.

    Two bodies may be read at once, in two threads: what is new is numbered by one of them.
    """

    def __init__(self, known: Sequence[Series] = ()) -> None:
        self._by_sid: dict[int, Series] = {}
        self._by_name: dict[_Name, int] = {}
        self._unkept: dict[int, Series] = {}
        self._cache: dict[str, dict[bytes, int]] = {}
        self._cached = 0
        self._nobodys = Nobodys()
        self._mapping = MappingRule()
        self._lock = threading.Lock()
        for series in known:
            self._nobodys.learn(series)
            self._by_sid[series.sid] = series
            self._by_name[_name(series.metric, series.labels, series.identity)] = series.sid
        self._next = max(self._by_sid, default=-1) + 1

    def go_by(self, mapping: MappingRule) -> None:
        """From now on ``mapping`` says whose a point is. A series stays whose it is; points that
        are another's by now belong to another one."""
        if mapping != self._mapping:
            with self._lock:
                self._mapping = mapping
                self._forget_spellings()

    def known(self, points: Sequence[WirePoint]) -> list[int] | None:
        """The numbers of all the points' series, or None unless all were seen spelled so."""
        cache = self._cache
        try:
            return [cache[point.metric][bytes(point.labels)] for point in points]
        except KeyError:
            return None

    def sid(self, point: WirePoint, incoming: Incoming) -> int:
        """The number of the point's series, a new one if need be. ``Unfit`` if it may not be."""
        raw = bytes(point.labels)
        try:
            sid = self._cache[point.metric][raw]
        except KeyError:
            return self._learn(point.metric, raw, incoming)
        if incoming.services:
            checks.scope(self._by_sid[sid].identity, incoming.services)
        return sid

    def unkept(self, sids: Sequence[int]) -> tuple[Series, ...]:
        """Those of ``sids`` that must travel with their points."""
        if not self._unkept:
            return ()
        with self._lock:
            return tuple(self._unkept[sid] for sid in sorted(set(sids)) if sid in self._unkept)

    def kept(self, series: Sequence[Series]) -> None:
        """These are on disk."""
        with self._lock:
            for one in series:
                self._unkept.pop(one.sid, None)

    def came(self, points: MetricBatch, at: Ms) -> None:
        """These points were kept at ``at``."""
        self._nobodys.came(points, at)

    def unmapped(self) -> list[tuple[Series, int, Ms]]:
        """The series that are nobody's, as ``Nobodys.told``."""
        return self._nobodys.told()

    def _learn(self, metric: str, raw: bytes, incoming: Incoming) -> int:
        """A spelling of labels that was not seen before: another one of a known series,
        since clients differ in order and spaces, or a new series."""
        labels = forms.named(metric, raw)
        whose = identity.resolve(labels, incoming.mapping)
        checks.scope(whose, incoming.services)
        with self._lock:
            sid = self._number(metric, labels, whose)
            if incoming.mapping == self._mapping:  # or it was somebody else's a moment ago
                self._remember(metric, raw, sid)
        return sid

    def _number(self, metric: str, labels: dict[str, str], whose: Identity) -> int:
        name = _name(metric, labels, whose)
        sid = self._by_name.get(name)
        if sid is None:
            if len(self._by_sid) >= MAX_SERIES:
                raise Unfit(Reason.TOO_MANY_SERIES, f"there are {MAX_SERIES} series already")
            sid, self._next = self._next, self._next + 1
            series = Series(sid=sid, metric=metric, labels=labels, identity=whose)
            self._nobodys.learn(series)
            self._by_name[name] = sid
            self._by_sid[sid] = self._unkept[sid] = series
        return sid

    def _remember(self, metric: str, raw: bytes, sid: int) -> None:
        # A client that never spells its labels alike must not fill the memory; starting
        # over costs every series one look at its labels, which is cheap and rare.
        cost = len(raw) + _ENTRY_BYTES
        if self._cached + cost > CACHE_BYTES:
            self._forget_spellings()
        self._cached += cost
        self._cache.setdefault(metric, {})[raw] = sid

    def _forget_spellings(self) -> None:
        self._cache.clear()
        self._cached = 0


def _name(metric: str, labels: dict[str, str], whose: Identity) -> _Name:
    return metric, tuple(sorted(labels.items())), whose


def parser(index: SeriesIndex) -> Parser:
    """The parser of this wire, numbering series by ``index``."""
    return partial(parse, index)


def parse(index: SeriesIndex, body: bytes, incoming: Incoming) -> Parsed:
    """A body of points as one ``MetricBatch`` with the series that are new in it."""
    numbers, points, refusals = forms.points(body)
    index.go_by(incoming.mapping)
    at = np.array(_instants(points, incoming.now), dtype=np.int64)
    value = np.array([point.value for point in points], dtype=np.float64)
    fit = _fit(at, value, incoming.now)
    sids = index.known(points) if fit.all() and not incoming.services else None
    if sids is None:
        sids, rows = [], []
        for row, (point, good) in enumerate(zip(points, fit.tolist(), strict=True)):
            try:
                if not good:
                    _explain(point, incoming.now)
                sids.append(index.sid(point, incoming))
            except Unfit as error:
                # One column's labels may be long and its points many; few of them are kept.
                item = _encode(point) if len(refusals) < MAX_REPORTED else b""
                refusals.append(bodies.refusal(numbers[row], error, item))
            else:
                rows.append(row)
        at, value = at[rows], value[rows]
        refusals.sort(key=lambda refused: refused.index)
    if not sids:
        return Parsed(batch=Batch(), accepted=0, refusals=refusals)
    columns = MetricBatch(sid=np.array(sids, dtype=np.int32), at=at, value=value)
    batch = Batch(series=index.unkept(sids), points=columns)
    return Parsed(batch=batch, accepted=len(sids), refusals=refusals)


def _instants(points: list[WirePoint], now: Ms) -> list[Ms]:
    """When each point was measured; ``_NEVER`` for a text that is no time."""
    texts: dict[str, Ms] = {}
    instants: list[Ms] = []
    for point in points:
        at = point.timestamp
        if isinstance(at, str):
            # One text for many points is the usual case.
            if at not in texts:
                texts[at] = _read(at)
            instants.append(texts[at])
        else:
            instants.append(now if at is None else at)
    return instants


def _read(text: str) -> Ms:
    try:
        return checks.instant(text)
    except Unfit:
        return _NEVER


def _fit(at: NDArray[np.int64], value: NDArray[np.float64], now: Ms) -> NDArray[np.bool_]:
    recent = (at >= now - checks.MAX_AGE) & (at <= now + checks.MAX_FUTURE)
    return recent & np.isfinite(value)


def _explain(point: WirePoint, now: Ms) -> NoReturn:
    """Say of one point what ``_fit`` said of the columns."""
    if isinstance(point.timestamp, str):
        checks.recent(checks.instant(point.timestamp), now)
    elif point.timestamp is not None:
        checks.recent(point.timestamp, now)
    raise Unfit(Reason.OUT_OF_RANGE, "the value is not a finite number")
