# SPDX-License-Identifier: Apache-2.0

"""The five factors and their weights."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opx.core.base.time import MINUTE, Ms
from opx.core.correlate.score import Band, band, factors


@pytest.mark.parametrize(
    ("by_severity", "rules", "signals", "spread", "expected", "expected_band"),
    [
        ((1, 0, 0, 0, 0), 1, 1, 0, 0.58, Band.MEDIUM),
        ((2, 0, 0, 0, 0), 2, 2, 0, 0.70, Band.HIGH),
        ((0, 2, 0, 0, 0), 1, 3, 5 * MINUTE // 2, 0.51, Band.MEDIUM),
        ((0, 0, 0, 0, 2), 1, 2, 5 * MINUTE, 0.265, Band.LOW),
        ((4, 0, 0, 0, 0), 3, 11, 0, 0.96, Band.CRITICAL),
        ((0, 0, 3, 0, 0), 3, 6, 5 * MINUTE, 0.58, Band.MEDIUM),
    ],
)
def test_check_values(
    by_severity: tuple[int, ...],
    rules: int,
    signals: int,
    spread: Ms,
    expected: float,
    expected_band: Band,
) -> None:
    """0.30 count + 0.25 severity + 0.20 diversity + 0.15 density + 0.10 volume, by hand."""
    weights = factors(by_severity, rules=rules, signals=signals, spread=spread, window=5 * MINUTE)

    assert weights.score == pytest.approx(expected, abs=1e-9)
    assert band(weights.score) is expected_band


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (0.0, Band.LOW),
        (0.399999, Band.LOW),
        (0.4, Band.MEDIUM),
        (0.6, Band.HIGH),
        (0.8, Band.CRITICAL),
        (1.0, Band.CRITICAL),
    ],
)
def test_a_bands_lower_bound_belongs_to_it(score: float, expected: Band) -> None:
    """0.4, 0.6 and 0.8 are inclusive."""
    assert band(score) is expected


@pytest.mark.parametrize("score", [-0.01, 1.01])
def test_what_is_no_score_has_no_band(score: float) -> None:
    """Only 0 to 1 is a score."""
    with pytest.raises(ValueError, match="not a score"):
        band(score)


@pytest.mark.parametrize(("counts", "window"), [((0, 0, 0, 0, 0), 1), ((1, 0, 0, 0, 0), 0)])
def test_nothing_has_no_score(counts: tuple[int, ...], window: Ms) -> None:
    """A score needs a detection and a window."""
    with pytest.raises(ValueError, match="needs a detection"):
        factors(counts, rules=1, signals=1, spread=0, window=window)


@given(
    counts=st.lists(st.integers(0, 50), min_size=5, max_size=5).filter(any),
    rules=st.integers(1, 20),
    signals=st.integers(1, 1000),
    spread=st.integers(0, 10**9),
)
def test_a_score_stays_in_its_range(
    counts: list[int], rules: int, signals: int, spread: Ms
) -> None:
    """Whatever comes in, it lies between 0.265 and 0.96."""
    weights = factors(counts, rules=rules, signals=signals, spread=spread, window=5 * MINUTE)

    assert 0.265 <= weights.score <= 0.96
