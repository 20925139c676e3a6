# SPDX-License-Identifier: Apache-2.0

"""The plain rule against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opx.playground.judging.plain import PlainRule, begun

GAUGE, COUNTER = "queue", "requests_total"
SECOND = 1_000


def beginnings(metric: str, values: list[float]) -> list[int]:
    """Which points begin a finding, of one stream with a point a second from 1 s on."""
    at = [SECOND * (number + 1) for number in range(len(values))]
    return [when // SECOND - 1 for when in begun([metric], at, np.array([values]))]


def swinging(points: int) -> list[float]:
    """9, 11, 9, 11, ...: after an even number of them the mean is 10 and the deviation 1, as all
    points weigh the same until there are 121."""
    return [9.0, 11.0] * (points // 2)


def test_a_stream_that_never_moves_is_never_odd() -> None:
    """Nor is the first value that is another one: there is nothing yet to measure it by."""
    assert beginnings(GAUGE, [0.1] * 200) == []
    assert beginnings(GAUGE, [5.0] * 50 + [6.0]) == []


@pytest.mark.parametrize(("value", "odd"), [(12.99, False), (13.01, True), (6.99, True)])
def test_more_than_three_deviations_off_is_odd(value: float, odd: bool) -> None:
    """Of 10 and 1, on either side."""
    assert beginnings(GAUGE, [*swinging(40), value]) == ([40] if odd else [])


def test_nothing_is_said_before_it_is_warm() -> None:
    """Not of the 29th point or of the 30th, but of the 31st."""
    assert beginnings(GAUGE, [*swinging(28), 50.0]) == []
    assert beginnings(GAUGE, [*swinging(28), 9.0, 50.0]) == []
    assert beginnings(GAUGE, [*swinging(30), 50.0]) == [30]


def test_one_spike_is_one_finding_and_so_are_ten_in_a_row() -> None:
    """A ramp that leaves its past behind tenfold at each point stays flagged. What follows lies
    well within the deviation that it has left."""
    ramp = [10.0**power for power in range(2, 12)]

    assert beginnings(GAUGE, [*swinging(40), 20.0, *swinging(20)]) == [40]
    assert beginnings(GAUGE, [*swinging(40), *ramp, *swinging(20)]) == [40]


def test_how_long_a_run_is_is_told() -> None:
    """1, 2, ... for each stream by itself; 0 ends it, and the next is another one."""
    rule, both = PlainRule([GAUGE, GAUGE]), np.arange(2)
    told = []
    spikes = [100.0, 1e4, 10.0, 1e6]
    for number, value in enumerate([*swinging(40), *spikes]):
        calm = 9.0 + 2 * (number % 2)
        at = np.full(2, SECOND * (number + 1))
        told.append(rule.step(both, at, np.array([value, calm])).tolist())

    assert told[:40] == [[0, 0]] * 40
    assert told[40:] == [[1, 0], [2, 0], [0, 0], [1, 0]]


def test_what_stays_is_usual_soon() -> None:
    """A level that moves far is one finding, at its first point. With m points of it beside 40 of
    the old one it is sqrt(40 / m) deviations off: 3.16 with four, 2.83 with five."""
    rule, one = PlainRule([GAUGE]), np.array([0])
    runs = [
        int(rule.step(one, np.array([SECOND * (number + 1)]), np.array([value]))[0])
        for number, value in enumerate([*swinging(40), *[1_000.0] * 60])
    ]

    assert runs[40:45] == [1, 2, 3, 4, 5]
    assert runs[45:] == [0] * 55


def test_the_past_fades() -> None:
    """The newest of many points weighs 2/241. Of 10 and 1, 16 moves the mean to 10.05 and the
    variance to 0.9917 * (1 + 0.0083 * 36) = 1.288."""
    rule = PlainRule([GAUGE])
    for number, value in enumerate([*swinging(4_000), 16.0]):
        rule.step(np.array([0]), np.array([SECOND * (number + 1)]), np.array([value]))

    assert rule._mean[0] == pytest.approx(10.05, abs=0.005)
    assert rule._variance[0] == pytest.approx(1.288, abs=0.01)


def test_a_counter_is_looked_at_by_its_growth() -> None:
    """It grows by 9 and 11 in turn; a restart, after which it stands at 10, is nothing odd, though
    as a gauge it would fall from 400 to 10. A second in which it grows by 100 is."""
    total = np.cumsum(swinging(40)).tolist()

    assert beginnings(COUNTER, [*total, 10.0, 20.0]) == []
    assert beginnings(COUNTER, [*total, 500.0, 510.0]) == [40]


def test_a_gap_is_no_growth() -> None:
    """30 in three seconds are 10 a second."""
    rule = PlainRule([COUNTER])
    at = [SECOND * (number + 1) for number in range(40)]
    for when, value in zip(at, np.cumsum(swinging(40)).tolist(), strict=True):
        rule.step(np.array([0]), np.array([when]), np.array([value]))

    assert rule.step(np.array([0]), np.array([43 * SECOND]), np.array([430.0])).tolist() == [0]


@given(
    st.lists(st.lists(st.integers(0, 1_000), min_size=3, max_size=3), min_size=40, max_size=80),
    st.data(),
)
def test_findings_do_not_depend_on_how_batches_are_cut(
    values: list[list[int]], data: st.DataObject
) -> None:
    """All streams at once, or those of a moment in parts, in any order: the same."""
    whole, cut = PlainRule([GAUGE, COUNTER, GAUGE]), PlainRule([GAUGE, COUNTER, GAUGE])
    for number, row in enumerate(values):
        value, at = np.array(row, np.float64), np.full(3, SECOND * (number + 1))
        runs = whole.step(np.arange(3), at, value)
        order = np.array(data.draw(st.permutations(range(3))))
        part = data.draw(st.integers(0, 3))
        for rows in (order[:part], order[part:]):
            assert cut.step(rows, at[rows], value[rows]).tolist() == runs[rows].tolist()


def test_of_a_table_what_is_missing_is_no_point() -> None:
    """Of two streams one spikes, the other has no point then and spikes later."""
    at = [SECOND * (number + 1) for number in range(43)]
    spiking = [*swinging(40), 50.0, 10.0, 10.0]
    absent = [*swinging(40), np.nan, 50.0, np.nan]

    assert begun([GAUGE, GAUGE], at, np.array([spiking, absent])) == [at[40], at[41]]
    assert begun([], at, np.zeros((0, 43))) == []
