# SPDX-License-Identifier: Apache-2.0
"""The metric detector as the sense beat drives it: what waits, and what a restart keeps."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from opx.core.base.time import SECOND, Ms
from opx.core.detect.metrics import stream
from opx.core.detect.metrics.odd import Odd
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


def test_what_a_stream_sends_in_bulk_is_not_all_scored() -> None:
    """Of three thousand points of one stream its newest 1,024 are, of another beside it all; the
    rest is counted, and nothing is kept twice after a restart."""
    odd = Odd()
    sid = [0, 1] * 500 + [0] * 2_500
    batch = points(sid, T, np.arange(len(sid), dtype=np.float64))
    batch.at[:] = T + np.arange(len(sid)) * SECOND

    odd.take(batch, known(2), T)
    odd.tick(known(2), T)

    assert (odd.state.points, odd.skipped, odd.taken) == (1_024 + 500, 3_000 - 1_024, 3_500)
    assert Odd.load(stored(odd)).taken == 3_500
