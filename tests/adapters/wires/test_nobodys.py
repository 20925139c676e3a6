# SPDX-License-Identifier: Apache-2.0

"""Counting the points of unmapped series."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opx.adapters.wires import nobodys
from opx.adapters.wires.nobodys import Nobodys
from opx.core.ingest.signals import Identity, MetricBatch, Series

SERIES = {
    sid: Series(sid=sid, metric="m", labels={}, identity=Identity("e", "" if sid % 2 else "orders"))
    for sid in (0, 1, 2, 3, 5_001)
}


def batch(*sids: int) -> MetricBatch:
    return MetricBatch(
        sid=np.array(sids, np.int32), at=np.zeros(len(sids), np.int64), value=np.zeros(len(sids))
    )


@given(
    st.lists(st.lists(st.sampled_from(sorted(SERIES)), max_size=5), max_size=12),
    st.integers(1, 6),
)
def test_every_point_is_counted_once(batches: list[list[int]], folded: int) -> None:
    """However often they are counted in between: how many of each came, and when the last."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nobodys, "FOLDED", folded)
        counting = Nobodys()
        for series in SERIES.values():
            counting.learn(series)
        for at, sids in enumerate(batches):
            counting.came(batch(*sids), at)
        told = {series.sid: (count, at) for series, count, at in counting.told()}

    expected: dict[int, tuple[int, int]] = {}
    for at, sids in enumerate(batches):
        for sid in sids:
            if sid % 2:
                expected[sid] = (expected.get(sid, (0, 0))[0] + 1, at)
    assert told == expected
    assert counting.told() == []


def test_the_newest_stands_at_the_end() -> None:
    """By when the last of its points came."""
    counting = Nobodys()
    for series in SERIES.values():
        counting.learn(series)
    for at, sid in enumerate((3, 1, 3)):
        counting.came(batch(sid), at)

    assert [series.sid for series, *_ in counting.told()] == [1, 3]


def test_nothing_is_put_aside_while_all_is_somebodys() -> None:
    """It costs nothing then."""
    counting = Nobodys()
    counting.learn(SERIES[0])
    counting.came(batch(0, 0), 1)

    assert counting._waiting == []
