# SPDX-License-Identifier: Apache-2.0

"""What is kept of all metric streams: arrays with one row per stream.

Part of ``metrics``. About 1.2 KB a stream, whatever comes. When there is no room for a new
stream, those go that brought the fewest points for how long they have been silent, counted
in points of all streams: a storm of short-lived ones takes each other's place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opx.core.detect.metrics.fields import AWAY, FIELDS, LEARNED, SEEN, TOUCHED
from opx.core.detect.metrics.hours import Hours
from opx.core.detect.metrics.rows import Rows
from opx.core.detect.metrics.territory import Floats, Ints, Territory
from opx.errors import Damaged

MOST_STREAMS = 32_768
"""Streams that are known at once: 40 MB to hold, and for the service to write when it saves them.
Beyond that the least useful go."""
FORMAT = 1
SILENCE = 1 << 18
"""After so many points of others a stream that is silent is half as useful."""
GOES_AT_ONCE = 16
"""One in so many streams goes when there is no room, so that it is seldom looked for."""


class MetricState:
    """``numbers``: (``FIELDS``, streams) float64, see ``fields``. ``place`` and ``level``: where
    each stream has been. ``points``: taken or not, in all; ``refused``: no numbers, or without
    a time; ``evicted``: streams for which there was no room any more.
    """

    def __init__(self, most: int = MOST_STREAMS) -> None:
        self.most = most
        self.rows = Rows()
        self.numbers: Floats = np.zeros((FIELDS, 0))
        self.place = Territory(planes=64, words=1)
        self.level = Territory(planes=1, words=4)
        self.hours = Hours()
        self.points = self.refused = self.evicted = 0

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def bytes(self) -> int:
        """Of all arrays, room for more streams included."""
        return sum(array.nbytes for array in self._arrays().values())

    def rows_of(self, sids: Ints) -> Ints:
        """The row of each of these streams, made where there was none. ``sids``: sorted, each
        once, at most ``most``."""
        rows = self.rows.find(sids)
        new = rows < 0
        if new.any():
            missing = int(new.sum())
            self._make_room(missing, rows[~new])
            rows[new] = self.rows.add(sids[new])
            self._reserve(self.rows.used)
        return rows

    def away(self, sids: Ints) -> NDArray[np.bool_]:
        """Which of these streams are away from all that they ever held. ``sids``: sorted."""
        rows = self.rows.find(sids)
        away: NDArray[np.bool_] = (self.numbers[AWAY, np.maximum(rows, 0)] > 0) & (rows >= 0)
        return away

    def relearn(self, rows: Ints) -> None:
        """Forget what was learned of these, not that they came."""
        self.numbers[LEARNED, rows] = 0.0
        for array in self._learned().values():
            array[rows] = 0

    def save(self) -> dict[str, NDArray[Any]]:
        """Copies of everything, by name, to be given to ``load``."""
        used = self.rows.used
        arrays = {name: array[:used].copy() for name, array in self._learned().items()}
        counts = [FORMAT, self.most, used, self.points, self.refused, self.evicted]
        return arrays | {
            "numbers": self.numbers[:, :used].copy(),
            "sids": self.rows.sids.copy(),
            "rows": self.rows.rows.copy(),
            "free": self.rows.free.copy(),
            "counts": np.array(counts, np.int64),
        }

    @classmethod
    def load(cls, saved: Mapping[str, NDArray[Any]]) -> MetricState:
        """What was saved. ``Damaged`` if it is not that."""
        try:
            form, most, used, *told = (int(count) for count in saved["counts"])
            if form != FORMAT or saved["numbers"].shape != (FIELDS, used):
                raise Damaged("the metric state is of another form")
            state = cls(most)
            state.points, state.refused, state.evicted = told
            state._reserve(used)
            for name, array in state._learned().items():
                array[:used] = saved[name]
            state.numbers[:, :used] = saved["numbers"]
            state.rows = Rows.of(saved["sids"], saved["rows"], saved["free"], used)
        except (KeyError, ValueError, IndexError) as error:
            raise Damaged(f"the metric state: {error}") from error
        return state

    def _learned(self) -> dict[str, NDArray[Any]]:
        return {
            "place.bits": self.place.bits,
            "place.counts": self.place.counts,
            "level.bits": self.level.bits,
            "level.counts": self.level.counts,
            "hours.means": self.hours.means,
            "hours.days": self.hours.days,
        }

    def _arrays(self) -> dict[str, NDArray[Any]]:
        index = {"sids": self.rows.sids, "rows": self.rows.rows, "free": self.rows.free}
        return self._learned() | index | {"numbers": self.numbers}

    def _reserve(self, used: int) -> None:
        """Room for so many rows, by doubling."""
        have = self.numbers.shape[1]
        if used <= have:
            return
        size = min(max(used, 2 * have, 16), max(self.most, used))
        for part in (self.place, self.level):
            part.bits = _longer(part.bits, size)
            part.counts = _longer(part.counts, size)
        self.hours.means = _longer(self.hours.means, size)
        self.hours.days = _longer(self.hours.days, size)
        self.numbers = _longer(self.numbers.T, size).T.copy()

    def _make_room(self, missing: int, in_use: Ints) -> None:
        """Let the least useful go if there is no room for so many more."""
        short = len(self.rows) + missing - self.most
        if short <= 0:
            return
        rows = self.rows.rows
        silent = (self.points - self.numbers[TOUCHED, rows]) / SILENCE
        useful = self.numbers[SEEN, rows] / (1.0 + silent)
        useful[np.isin(rows, in_use)] = np.inf
        count = min(max(short, self.most // GOES_AT_ONCE), len(rows) - len(in_use))
        gone = rows[np.argsort(useful, kind="stable")[:count]]
        self.evicted += len(gone)
        self.rows.drop(gone)
        self.relearn(gone)
        self.numbers[:, gone] = 0.0


def _longer(array: NDArray[Any], size: int) -> NDArray[Any]:
    longer = np.zeros((size, *array.shape[1:]), array.dtype)
    longer[: len(array)] = array
    return longer
