# SPDX-License-Identifier: Apache-2.0

"""How fast one caller may send."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from opx.core.ingest import quota
from opx.core.ingest.quota import Bucket, Quota

NOW = 1_767_225_600_000


def test_a_burst_then_the_rate() -> None:
    """Three at once, then one every half second; the wait says when."""
    limit = Quota(rate=2, burst=3)
    bucket: Bucket | None = None
    waits = []
    for at in (0, 0, 0, 0, 499, 500, 500):
        bucket, wait = quota.take(bucket, NOW + at, limit)
        waits.append(wait)

    assert waits == [0, 0, 0, 500, 1, 0, 500]


def test_a_clock_that_goes_back_gives_nothing() -> None:
    """Time that is repeated fills the bucket once."""
    limit = Quota(rate=1, burst=1)
    empty, _ = quota.take(None, NOW, limit)

    back, wait = quota.take(empty, NOW - 60_000, limit)

    assert wait > 0
    assert quota.take(back, NOW + 999, limit)[1] == 1


@given(st.lists(st.integers(0, 5_000), max_size=60), st.integers(1, 20), st.integers(1, 10))
def test_never_more_than_the_burst_and_the_rate(gaps: list[int], rate: int, burst: int) -> None:
    """Over any span, what was let through is at most the burst and what the span earns."""
    limit = Quota(rate=rate, burst=burst)
    bucket: Bucket | None = None
    now, passed = NOW, 0
    for gap in gaps:
        now += gap
        bucket, wait = quota.take(bucket, now, limit)
        passed += wait == 0

    assert passed <= burst + (now - NOW) * rate / 1_000
