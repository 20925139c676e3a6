# SPDX-License-Identifier: Apache-2.0
"""NAB's rules, by hand: a window is worth ``tanh(2.5 d) / tanh(2.5)`` where ``d`` of its width
is left, an alarm after it costs ``tanh(2.5 d)`` of the weight, ``d`` widths behind it."""

from __future__ import annotations

from math import inf, tanh

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opx.bench.detect import intervals, nab
from opx.bench.detect.nab import PROFILES, Profile, Recording

ONCE = np.ones((1, 1))
LATE = tanh(0.25) / tanh(2.5)
"""The last of ten points: a tenth of the window is left."""


def recorded(points: int, *windows: tuple[int, int]) -> Recording:
    return Recording(name="", at=("",) * points, value=np.zeros(points), windows=windows)


def alarms(points: int, *at: int) -> nab.Floats:
    score = np.zeros(points)
    score[list(at)] = 1.0
    return score


def flagged(one: Recording, *at: int) -> list[float]:
    """The three profiles' scores with alarms at these points and nowhere else."""
    score = [alarms(len(one.value), *at)]
    return [float(nab.curves([one], score, p).at(1.0, ONCE)[0]) for p in PROFILES]


ONE = recorded(100, (40, 49))


@pytest.mark.parametrize(
    ("at", "standard", "low_fp", "low_fn"),
    [
        ((40,), 100, 100, 100),
        ((), 0, 0, 0),
        ((49,), 50 * (1 + LATE), 50 * (1 + LATE), 100 * (2 + LATE) / 3),
        ((40, 41, 49), 100, 100, 100),
        ((30, 40), 94.5, 89, 100 - 11 / 3),
        ((40, 50), 100 - 5.5 * tanh(2.5 / 9), 100 - 11 * tanh(2.5 / 9), None),
        ((40, 77), 94.5, 89, 100 - 11 / 3),
        ((14, 40), 100, 100, 100),
        ((15, 40), 94.5, 89, 100 - 11 / 3),
        ((30,), -5.5, -11, -11 / 3),
    ],
    ids=[
        "at its start",
        "none",
        "at its end",
        "repeated within",
        "and one before",
        "and one just after",
        "and one long after",
        "and one in practice",
        "and one right after practice",
        "only a false one",
    ],
)
def test_alarms_are_worth_what_the_rules_say(
    at: tuple[int, ...], standard: float, low_fp: float, low_fn: float | None
) -> None:
    """One window of ten among a hundred points, fifteen of them practice."""
    found = flagged(ONE, *at)

    assert found[:2] == pytest.approx([standard, low_fp])
    assert low_fn is None or found[2] == pytest.approx(low_fn)


def test_practice_is_a_share_of_no_more_than_five_thousand_points() -> None:
    """15 % of 100 are 15; of 10,000 no more than 750 are practice."""
    assert (recorded(100).practice, recorded(10_000).practice) == (15, 750)


def test_one_of_two_windows_is_half() -> None:
    """A window that is missed leaves the score at half; no profile changes that."""
    assert flagged(recorded(100, (40, 49), (70, 79)), 40) == pytest.approx([50] * 3)


def test_what_follows_a_window_is_measured_from_it_until_the_next() -> None:
    """Two points before the second window are far from the first, whose width is two."""
    far = flagged(recorded(100, (40, 41), (70, 79)), 40, 70, 68)

    assert far[0] == pytest.approx(100 * (4 - 0.11) / 4)


def test_a_window_that_is_all_practice_cannot_be_found() -> None:
    """It is worth a point in a perfect score, and costs nothing when it is missed."""
    both = recorded(100, (5, 9), (40, 49))

    assert flagged(both, 5, 40)[0] == pytest.approx(100 * (1 + 1) / (2 + 1))


def test_the_best_threshold_is_one_for_all_recordings() -> None:
    """0.9 finds one window, 0.5 both and a false one in each: both is better by far, and an
    alarm at 0.4 is beyond it."""
    first, second = alarms(100), alarms(100)
    first[[40, 30, 25]] = 0.9, 0.5, 0.4
    second[[40, 30]] = 0.5, 0.5
    curves = nab.curves([ONE, ONE], [first, second], PROFILES[0])

    assert curves.best(np.ones((1, 2)))[0] == pytest.approx(94.5)
    assert curves.at(0.9, np.ones((1, 2)))[0] == pytest.approx(50)
    assert curves.at(0.95, np.ones((1, 2)))[0] == 0


def slow(recordings: list[Recording], scores: list[nab.Floats], profile: Profile) -> float:
    """The rules point by point, for every threshold there is."""
    best = -inf
    for threshold in {inf, *(float(s) for score in scores for s in score)}:
        total = null = perfect = 0.0
        for one, score in zip(recordings, scores, strict=True):
            found: dict[int, float] = {}
            last = None
            for point in range(len(score)):
                window = next((w for w in one.windows if w[0] <= point <= w[1]), None)
                last = window or last
                if point < one.practice:
                    continue
                alarm = score[point] >= threshold
                if window:
                    width = window[1] - window[0] + 1
                    worth = tanh(2.5 * (window[1] - point + 1) / width) / tanh(2.5)
                    before = found.setdefault(window[0], -profile.missed)
                    found[window[0]] = max(before, worth) if alarm else before
                elif alarm and last and (point - last[1]) / (last[1] - last[0]) <= 3:
                    behind = (point - last[1]) / (last[1] - last[0])
                    total -= profile.false * tanh(2.5 * behind)
                elif alarm:
                    total -= profile.false
            total += sum(found.values())
            null -= profile.missed * len(found)
            perfect += len(one.windows)
        best = max(best, 100 * (total - null) / (perfect - null))
    return best


@given(data=st.data())
def test_the_fast_way_and_the_slow_way_agree(data: st.DataObject) -> None:
    """For any scores, windows and profile: sorted sums come to what a loop over points does."""
    recordings, scores = [], []
    for _ in range(data.draw(st.integers(1, 3))):
        edges = data.draw(st.lists(st.integers(0, 39), min_size=4, max_size=4, unique=True))
        a, b, c, d = sorted(edges)
        recordings.append(recorded(40, (a, b), (c, d)))
        levels = st.lists(st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]), min_size=40, max_size=40)
        scores.append(np.array(data.draw(levels)))
    profile = data.draw(st.sampled_from(PROFILES))

    fast = nab.curves(recordings, scores, profile).best(np.ones((1, len(recordings))))[0]

    assert fast == pytest.approx(slow(recordings, scores, profile))


def test_a_draw_counts_a_recording_as_often_as_it_drew_it() -> None:
    """A found window twice and a missed one once are two thirds."""
    curves = nab.curves([ONE, ONE], [alarms(100, 40), alarms(100)], PROFILES[0])

    assert curves.best(np.array([[2.0, 1.0]]))[0] == pytest.approx(200 / 3)


def test_an_interval_holds_the_figure_and_every_draw_is_as_large_as_the_set() -> None:
    """Ten cases, half of them hits: drawn ten at a time, .5 lies between the bounds, which are
    those of a binomial (.2 to .8)."""
    weights = intervals.draws(10, seed=3)
    found = intervals.mean(np.array([0.0, 1.0] * 5), weights)

    assert set(weights.sum(axis=1)) == {10.0}
    assert (found.value, round(found.low, 1), round(found.high, 1)) == (0.5, 0.2, 0.8)
    assert np.array_equal(weights, intervals.draws(10, seed=3))


def test_all_hits_are_no_certainty() -> None:
    """Wilson's lower bound for n of n is n / (n + 1.96 squared): .806 for 16."""
    found = intervals.share(16, 16)

    assert (found.value, found.high) == (1.0, pytest.approx(1.0))
    assert found.low == pytest.approx(16 / (16 + 1.959964**2))
