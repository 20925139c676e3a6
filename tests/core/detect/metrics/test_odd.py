# SPDX-License-Identifier: Apache-2.0
"""The metric detector as the sense beat drives it: what waits, and what a restart keeps."""

from __future__ import annotations

import copy
import json
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from opx.core.base.time import SECOND, Ms
from opx.core.detect.metrics import odd as odd_module
from opx.core.detect.metrics import packing, stream
from opx.core.detect.metrics.odd import Odd
from opx.core.detect.metrics.state import MetricState
from opx.core.detect.metrics.stream import Scores
from opx.core.ingest.signals import Identity, MetricBatch, Series
from opx.errors import Damaged

T: Ms = 1_767_225_600_000


def known(count: int) -> dict[int, Series]:
    whose = Identity("prod", "orders")
    return {sid: Series(sid=sid, metric="m", labels={}, identity=whose) for sid in range(count)}


def points(sid: NDArray[Any] | list[int], at: Ms, value: NDArray[Any] | list[float]) -> MetricBatch:
    return MetricBatch(
        sid=np.array(sid, np.int32),
        at=np.full(len(sid), at, np.int64),
        value=np.array(value, np.float64),
    )


def stored(odd: Odd) -> Any:
    """As it comes back from a store."""
    return json.loads(json.dumps(odd.save(), allow_nan=False))


def scores_of(monkeypatch: pytest.MonkeyPatch) -> list[Scores]:
    """All that is scored from now on, by the real thing."""
    said: list[Scores] = []
    real = stream.step

    def step(*given: Any) -> Scores:
        said.append(real(*given))
        return said[-1]

    monkeypatch.setattr(stream, "step", step)
    return said


def test_points_wait_for_the_clock_and_are_then_scored_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ten chunks of three points and a tick: one batch of 30, in the order they came."""
    said, odd = scores_of(monkeypatch), Odd()
    for number in range(10):
        assert odd.take(points([0, 1, 2], T + number * SECOND, [1.0] * 3), known(3), T) == []
    assert (said, odd.taken, len(odd.state)) == ([], 30, 0)

    assert odd.tick(known(3), T + 10 * SECOND) == []

    assert [len(one.score) for one in said] == [30]
    assert (odd.taken, odd.count, len(odd.state)) == (30, 0, 3)


def test_so_many_points_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """150,000 of them in chunks of 30,000: two whole pieces are scored as they fill up, and the
    18,928 that are left wait."""
    said, odd = scores_of(monkeypatch), Odd()
    for number in range(5):
        odd.take(points(np.arange(30_000), T + number, np.ones(30_000)), known(0), T)

    assert [len(one.score) for one in said] == [65_536, 65_536]
    assert odd.count == 150_000 - 2 * 65_536
    assert odd.taken == 150_000


def test_points_that_wait_are_saved() -> None:
    """Saved with two points in the queue: they are scored after the restart."""
    odd = Odd()
    odd.take(points([0, 1], T, [1.0, 2.0]), known(2), T)

    again = Odd.load(stored(odd))
    again.tick(known(2), T + SECOND)

    assert (again.count, again.taken, len(again.state)) == (0, 2, 2)


def test_a_restart_with_ten_thousand_streams_changes_no_score(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """130 points of each, a restart with a tick's points waiting, ten more: bit for bit the same
    scores, and some of them say something."""
    said, rng, odd = scores_of(monkeypatch), np.random.default_rng(7), Odd()
    sid = np.arange(10_000)
    for tick in range(130):
        odd.take(points(sid, T + tick * SECOND, rng.normal(50, 5, 10_000)), {}, T)
        if tick < 129:
            odd.tick({}, T)
    again = Odd.load(stored(odd))
    assert again.count == 10_000

    rest = [rng.normal(50, 5 + 20 * tick, 10_000) for tick in range(10)]
    scores = []
    for one in (odd, again):
        said.clear()
        for tick, value in enumerate(rest, 130):
            one.take(points(sid, T + tick * SECOND, value), {}, T)
            one.tick({}, T)
        scores.append(np.concatenate([each.score for each in said]))

    assert len(scores[0]) == 110_000
    assert np.array_equal(scores[0], scores[1])
    assert (scores[0] > 0).any()


def _changed(saved: dict[str, Any], *path: Any, to: Any) -> dict[str, Any]:
    whole = copy.deepcopy(saved)
    inner: Any = whole
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = to
    return whole


@pytest.mark.parametrize(
    ("path", "to"),
    [
        (("form",), 0),
        (("state",), None),
        (("state", "numbers"), "x"),
        (("state", "numbers", 0), "O"),
        (("state", "numbers", 0), "no kind"),
        (("state", "numbers", 1), [1, 2]),
        (("state", "numbers", 2), "AAAA"),
        (("state", "numbers", 2), "not base64"),
        (("state", "rows", 2), "AAAAAAAAAAA="),
        (("state", "counts", 2), "AAAA"),
        (("state", "place.bits"), ["<u8", [0], ""]),
        (("waiting", "sid"), ["<f8", [0], ""]),
        (("waiting", "at"), ["<i8", [0], ""]),
        (("behind", "at"), ["<i8", [1], "AAAAAAAAAAA="]),
        (("behind",), [1]),
        (("open",), [[1]]),
        (("open",), [["x", {}]]),
    ],
)
def test_what_is_damaged_is_said_to_be(path: tuple[Any, ...], to: Any) -> None:
    """Another form, a text, another kind, a wrong length, a row of nobody's: never another
    error, and never a state."""
    odd = Odd()
    odd.take(points([0, 1], T, [1.0, 2.0]), known(2), T)
    odd.tick(known(2), T)
    odd.take(points([0, 1], T + 1, [1.0, 2.0]), known(2), T)
    saved = stored(odd)
    Odd.load(saved)

    with pytest.raises(Damaged):
        Odd.load(_changed(saved, *path, to=to))
    with pytest.raises(Damaged):
        Odd.load({"something": "else"})


def bulk(sid: NDArray[Any] | list[int], value: NDArray[Any]) -> MetricBatch:
    """Points a second apart."""
    batch = points(sid, T, value)
    batch.at[:] += np.arange(len(sid)) * SECOND
    return batch


def test_what_a_stream_sends_in_bulk_is_scored_a_piece_at_a_tick() -> None:
    """Of 3,000 points of one stream 1,024 at each tick, of another beside it all at once; what
    comes meanwhile waits for its turn, and nothing is kept twice after a restart."""
    odd = Odd()
    sid = [0, 1] * 500 + [0] * 2_500
    odd.take(bulk(sid, np.arange(len(sid))), known(2), T)

    scored = []
    for number in range(4):
        odd.tick(known(2), T + number)
        scored.append(odd.state.points)
        if number == 0:
            odd.take(points([0, 1], T + 10_000 * SECOND, [1.0, 2.0]), known(2), T)
        odd = Odd.load(stored(odd))

    assert scored == [1_024 + 500, 2 * 1_024 + 501, 3_502, 3_502]
    assert (odd.skipped, odd.taken, len(odd.behind)) == (0, 3_502, 0)


@settings(max_examples=8)
@given(
    seed=st.integers(0, 1_000),
    cuts=st.lists(st.integers(0, 4_500), max_size=6),
    alike=st.sampled_from([100, packing.MOST_ALIKE]),
    piece=st.sampled_from([1_000, stream.PIECE]),
    restarts=st.sets(st.integers(0, 80), max_size=6),
)
def test_bulk_scores_as_it_would_point_by_point(
    seed: int, cuts: list[int], alike: int, piece: int, restarts: set[int]
) -> None:
    """4,500 points of three streams, one of which sends most of them: in any bodies, with ticks
    and restarts between them, each has the score that it has when all are given to ``step``."""
    rng = np.random.default_rng(seed)
    sid, value = np.minimum(rng.integers(0, 20, 4_500), 2), rng.normal(0, 1, 4_500)
    value[rng.random(4_500) < 0.005] *= 50
    whole = bulk(sid, value)
    expected = stream.step(MetricState(), whole)
    said: list[tuple[MetricBatch, Scores]] = []
    real = stream.step

    def step(state: MetricState, batch: MetricBatch) -> Scores:
        said.append((batch, real(state, batch)))
        return said[-1][1]

    odd, starts = Odd(), [0, *sorted(cuts), 4_500]
    with (
        patch.object(stream, "step", step),
        patch.object(stream, "PIECE", piece),
        patch.object(packing, "MOST_ALIKE", alike),
    ):
        for number in range(len(starts) - 1 + 4_500 // alike + 1):
            if number < len(starts) - 1:
                some = slice(starts[number], starts[number + 1])
                odd.take(packing.part(whole, some), known(3), T)
            odd.tick(known(3), T)
            odd = Odd.load(stored(odd)) if number in restarts else odd

    for one in range(3):
        own = np.concatenate([found.score[batch.sid == one] for batch, found in said])
        assert np.array_equal(own, expected.score[sid == one])
    assert (expected.score > 0).any()


def test_more_than_can_wait_is_skipped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for 500 points behind: of the streams that are far behind their oldest go, of the
    one that is a little behind none, and its order stays."""
    monkeypatch.setattr(odd_module, "MOST_BEHIND", 500)
    said, odd = scores_of(monkeypatch), Odd()
    sid = np.array([0] * 3_000 + [1] * 1_100 + [2] * 3_000)

    odd.take(bulk(sid, np.arange(7_100)), known(3), T)
    odd.tick(known(3), T)

    assert len(said[0].score) == 3 * 1_024
    counts = np.bincount(odd.behind.sid)
    assert counts[1] == 76
    assert counts[0] == counts[2]
    assert 490 <= len(odd.behind) <= 500
    assert odd.behind.value[odd.behind.sid == 0].tolist() == list(range(3_000 - counts[0], 3_000))
    assert (odd.skipped + len(odd.behind), odd.taken) == (7_100 - 3 * 1_024, 7_100)


def test_what_an_older_opx_saved_is_taken_up() -> None:
    """It had nothing behind."""
    odd = Odd()
    odd.take(points([0, 1], T, [1.0, 2.0]), known(2), T)
    saved = stored(odd)
    del saved["behind"]

    assert Odd.load(saved).taken == 2
