# SPDX-License-Identifier: Apache-2.0

"""Which row of the arrays is whose, with a bound on how many there are.

Part of ``metrics``. It only tells numbers apart; it keeps nothing of the streams.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from opx.core.detect.metrics.territory import Ints


class Rows:
    """``sids`` sorted, and the row of each."""

    def __init__(self) -> None:
        self.sids: NDArray[np.int64] = np.zeros(0, np.int64)
        self.rows: Ints = np.zeros(0, np.int64)
        self.free: Ints = np.zeros(0, np.int64)
        self.used = 0
        """Rows up to here were given out at some time."""

    @classmethod
    def of(cls, sids: NDArray[Any], rows: NDArray[Any], free: NDArray[Any], used: int) -> Rows:
        """What was kept of one. ``ValueError`` if it is none."""
        made = cls()
        made.sids, made.rows, made.free = (one.astype(np.int64) for one in (sids, rows, free))
        made.used = used
        given = np.sort(np.concatenate([made.rows, made.free]))
        whole = np.array_equal(given, np.arange(used)) and len(made.rows) == len(made.sids)
        if not whole or not (made.sids[1:] > made.sids[:-1]).all():
            raise ValueError("rows that belong to nobody, or to two")
        return made

    def __len__(self) -> int:
        return len(self.sids)

    def find(self, sids: Ints) -> Ints:
        """The row of each of these, -1 where there is none. ``sids``: each once."""
        if not len(self.sids):
            return np.full(len(sids), -1, np.int64)
        place = np.minimum(np.searchsorted(self.sids, sids), len(self.sids) - 1)
        return np.where(self.sids[place] == sids, self.rows[place], -1)

    def add(self, sids: Ints) -> Ints:
        """Rows for these, none of which has one. ``sids``: sorted, each once."""
        again = self.free[: len(sids)]
        self.free = self.free[len(again) :]
        more = np.arange(self.used, self.used + len(sids) - len(again))
        self.used += len(more)
        rows = np.concatenate([again, more])
        place = np.searchsorted(self.sids, sids)
        self.sids = np.insert(self.sids, place, sids)
        self.rows = np.insert(self.rows, place, rows)
        return rows

    def drop(self, rows: Ints) -> None:
        """Take these back."""
        gone = np.isin(self.rows, rows)
        self.sids, self.rows = self.sids[~gone], self.rows[~gone]
        self.free = np.concatenate([self.free, rows])
