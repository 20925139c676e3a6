# SPDX-License-Identifier: Apache-2.0

"""What is kept of all watched streams: arrays with one row per stream, and what is open.

Part of ``predict``. About 1 KB a stream, whatever comes. When there is no room for more, those
go whose newest point is the oldest. It never watches a stream that it was not told of.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from opx.core.detect.metrics.rows import Rows
from opx.core.detect.metrics.territory import Floats, Ints
from opx.core.detect.predict import fields as of
from opx.core.detect.predict.naming import meaning
from opx.core.detect.predict.odds import KINDS, Odds
from opx.core.detect.predict.prediction import Kind, Prediction, Urgency
from opx.core.detect.predict.slopes import Levels
from opx.core.ingest.signals import Identity, Series
from opx.errors import Damaged

MOST_STREAMS = 131_072
GOES_AT_ONCE = 16
MOST_LIMITS = 1_024
"""Metrics of which it is known at which level services failed."""
FAILURES_KEPT = 8
ENOUGH_FAILURES = 3
TELL = 0.5
"""The probability from which on a prediction is told: sooner true than not."""
FORMAT = 1

Place: TypeAlias = tuple[str, str]
"""Environment and service."""
Whose: TypeAlias = tuple[str, str, Kind]
"""Environment, service, and what is on its way."""
Limits: TypeAlias = Mapping[Place, Mapping[str, float]]
"""What people said of their services: by metric, the level at which they fail."""


class PredictState:
    """``numbers``: (``FIELDS``, streams), see ``fields``. ``series``: of each watched stream, by
    its number; ``services``: the numbers of a service's. ``told``: the limits in force.
    ``open``: what was told and is not over, and ``streams``: the numbers of those that say
    so. ``failures``: by metric, the levels at which services failed. ``evicted``: streams for
    which there was no room; ``refused``: points that measure nothing.
    """

    def __init__(self, most: int = MOST_STREAMS, tell: float = TELL) -> None:
        self.most, self.tell = most, tell
        self.rows = Rows()
        self.numbers: Floats = np.zeros((of.FIELDS, 0))
        self.levels = Levels()
        self.odds = Odds()
        self.series: dict[int, Series] = {}
        self.services: dict[Place, set[int]] = {}
        self.told: Limits = {}
        self.open: dict[Whose, Prediction] = {}
        self.streams: dict[Whose, set[int]] = {}
        self.failures: dict[str, list[float]] = {}
        self.evicted = self.refused = 0

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def bytes(self) -> int:
        """Of all arrays, room for more streams included."""
        levels = self.levels
        arrays = [*levels.rings, levels.parts, levels.newest, self.numbers]
        return sum(array.nbytes for array in arrays)

    def know(self, series: Iterable[Series], limits: Mapping[int, float] | None = None) -> None:
        """Watch these, if their names or their limits say for what: ``limits``, by number of the
        stream, before ``told``. What is known already is left alone."""
        given = limits or {}
        wanted = [
            (one, what)
            for one in sorted({one.sid: one for one in series}.values(), key=lambda one: one.sid)
            if one.sid not in self.series
            and (what := meaning(one.metric, given.get(one.sid, self._told(one)))) is not None
        ]
        for start in range(0, len(wanted), self.most):
            some = wanted[start : start + self.most]
            self._make_room(len(some))
            rows = self.rows.add(np.array([one.sid for one, _ in some], np.int64))
            self._reserve(self.rows.used)
            self.levels.clear(rows)
            self.numbers[:, rows] = 0.0
            self.numbers[of.AT, rows] = self.numbers[of.RAW, rows] = np.nan
            self._add(one for one, _ in some)
            for row, (one, what) in zip(rows.tolist(), some, strict=True):
                number = float(KINDS.index(what.kind))
                self.numbers[: of.LIMIT, row] = number, what.sign, what.counter, what.limit
                self._limit(row, one.metric)

    def tell_limits(self, told: Limits) -> None:
        """These hold from now on, for what is known already too. A stream that was watched for
        its limit alone and lost it stays, and nothing is said of it."""
        before, self.told = self.told, told
        for place in {*told, *before}:
            if told.get(place) == before.get(place):
                continue
            for sid, row in self.rows_of(*place).items():
                one = self.series[sid]
                what = meaning(one.metric, self._told(one))
                self.numbers[of.TOLD_LIMIT, row] = what.limit if what else math.nan
                self._limit(row, one.metric)

    def relearn(self, rows: Ints) -> None:
        """Forget what was learned of these: their clock was set back."""
        self.numbers[of.LEARNED, rows] = 0.0
        self.numbers[of.AT, rows] = self.numbers[of.RAW, rows] = np.nan
        self.levels.clear(rows)

    def failed_at(self, metric: str, level: float) -> None:
        """A service failed with this metric there (turned round where the limit lies below)."""
        known = self.failures.pop(metric, [])
        if not known and len(self.failures) >= MOST_LIMITS:
            del self.failures[next(iter(self.failures))]
        self.failures[metric] = [*known, level][-FAILURES_KEPT:]

    def learn_limits(self, metrics: set[str]) -> None:
        """Give the streams of these metrics the limit that is known now."""
        theirs = [one for one in self.series.values() if one.metric in metrics]
        rows = self.rows.find(np.array([one.sid for one in theirs], np.int64))
        for row, one in zip(rows.tolist(), theirs, strict=True):
            self._limit(row, one.metric)

    def rows_of(self, environment: str, service: str) -> dict[int, int]:
        """The row of each of a service's streams, by its number."""
        sids = sorted(self.services.get((environment, service), ()))
        rows = self.rows.find(np.array(sids, np.int64))
        return dict(zip(sids, rows.tolist(), strict=True))

    def save(self) -> dict[str, Any]:
        """Copies of everything: arrays by name, the rest plain, to be given to ``load``."""
        used = self.rows.used
        return {
            "format": FORMAT,
            "most": self.most,
            "tell": self.tell,
            "used": used,
            "counts": [self.evicted, self.refused],
            "numbers": self.numbers[:, :used].copy(),
            "rings": [ring[:used].copy() for ring in self.levels.rings],
            "parts": self.levels.parts[:used].copy(),
            "newest": self.levels.newest[:used].copy(),
            "index": [self.rows.sids.copy(), self.rows.rows.copy(), self.rows.free.copy()],
            "odds": [self.odds.ended.copy(), self.odds.failed.copy()],
            "series": [_row(one) for one in self.series.values()],
            "told": [[*place, dict(limits)] for place, limits in self.told.items()],
            "open": [
                [asdict(one), sorted(self.streams[whose])] for whose, one in self.open.items()
            ],
            "failures": [[metric, list(levels)] for metric, levels in self.failures.items()],
        }

    @classmethod
    def load(cls, saved: Mapping[str, Any]) -> PredictState:
        """What was saved. ``Damaged`` if it is not that."""
        try:
            if saved["format"] != FORMAT:
                raise Damaged(f"predictions of format {saved['format']}")
            state = cls(saved["most"], saved["tell"])
            state.evicted, state.refused = saved["counts"]
            used, (sids, rows, free) = saved["used"], saved["index"]
            state.rows = Rows.of(sids, rows, free, used)
            state._reserve(used)
            state.numbers[:, :used] = saved["numbers"]
            for ring, kept in zip(state.levels.rings, saved["rings"], strict=True):
                ring[:used] = kept
            state.levels.parts[:used] = saved["parts"]
            state.levels.newest[:used] = saved["newest"]
            ended, failed = saved["odds"]
            state.odds.ended[:], state.odds.failed[:] = ended, failed
            state._add(_series(*row) for row in saved["series"])
            if sorted(state.series) != state.rows.sids.tolist():
                raise Damaged("predictions: streams without a row, or rows without a stream")
            state.told = {(row[0], row[1]): dict(row[2]) for row in saved["told"]}
            state.failures = {metric: list(levels) for metric, levels in saved["failures"]}
            for one, sids in saved["open"]:
                prediction = _prediction(one)
                state.open[whose(prediction)] = prediction
                state.streams[whose(prediction)] = set(sids)
        except (KeyError, ValueError, IndexError, TypeError, AttributeError) as error:
            raise Damaged(f"predictions: {error}") from error
        return state

    def _told(self, series: Series) -> float | None:
        return self.told.get(_place(series), {}).get(series.metric)

    def _add(self, series: Iterable[Series]) -> None:
        for one in series:
            self.series[one.sid] = one
            self.services.setdefault(_place(one), set()).add(one.sid)

    def _limit(self, row: int, metric: str) -> None:
        """The limit that holds: what it was told, or the median of what was learned."""
        sign, told = self.numbers[of.SIGN, row], self.numbers[of.TOLD_LIMIT, row]
        known = sorted(self.failures.get(metric, []))
        learned = known[(len(known) - 1) // 2] if len(known) >= ENOUGH_FAILURES else math.nan
        self.numbers[of.LIMIT, row] = learned if math.isnan(told) else sign * told

    def _reserve(self, used: int) -> None:
        """Room for so many rows, by doubling."""
        have = self.numbers.shape[1]
        if used <= have:
            return
        size = min(max(used, 2 * have, 16), max(self.most, used))
        self.numbers = _longer(self.numbers.T, size).T.copy()
        self.levels.rings = [_longer(ring, size) for ring in self.levels.rings]
        self.levels.parts = _longer(self.levels.parts, size)
        self.levels.newest = _longer(self.levels.newest, size)

    def _make_room(self, missing: int) -> None:
        short = len(self.rows) + missing - self.most
        if short <= 0:
            return
        newest = np.nan_to_num(self.numbers[of.AT, self.rows.rows], nan=-np.inf)
        count = min(max(short, self.most // GOES_AT_ONCE), len(self.rows))
        gone = np.argsort(newest, kind="stable")[:count]
        for sid in self.rows.sids[gone].tolist():
            place = _place(self.series.pop(sid))
            self.services[place].discard(sid)
            if not self.services[place]:
                del self.services[place]
        self.evicted += count
        self.rows.drop(self.rows.rows[gone])


def whose(prediction: Prediction) -> Whose:
    who = prediction.identity
    return who.environment, who.service, prediction.kind


def _place(series: Series) -> Place:
    return series.identity.environment, series.identity.service


def _row(one: Series) -> list[Any]:
    who = one.identity
    return [one.sid, one.metric, dict(one.labels), who.environment, who.service, who.resource]


def _series(sid: int, metric: str, labels: dict[str, str], *who: str) -> Series:
    return Series(sid=sid, metric=metric, labels=labels, identity=Identity(*who))


def _prediction(saved: Mapping[str, Any]) -> Prediction:
    plain = Prediction(**{**saved, "identity": Identity(**saved["identity"])})
    return replace(plain, kind=Kind(plain.kind), urgency=Urgency(plain.urgency))


def _longer(array: NDArray[Any], size: int) -> NDArray[Any]:
    longer = np.zeros((size, *array.shape[1:]), array.dtype)
    longer[: len(array)] = array
    return longer
