# SPDX-License-Identifier: Apache-2.0
"""What is to come as the sense beat drives it: what waits, what happened, what a restart keeps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.detect.predict.kit import T, batch, flat, leak

from opx.core.base.time import MINUTE, SECOND, Ms
from opx.core.detect.predict import fields as of
from opx.core.detect.predict.ahead import Ahead
from opx.core.detect.predict.prediction import Happened, Kind, Prediction, Withdrawn
from opx.core.ingest.signals import Identity, LogLevel, LogLine, MetricBatch, Series, Tick
from opx.errors import Damaged

ORDERS = Identity("prod", "orders")


def named(*metrics: str) -> dict[int, Series]:
    return {
        sid: Series(sid=sid, metric=metric, labels={}, identity=ORDERS)
        for sid, metric in enumerate(metrics)
    }


MEMORY = named("memory_used_percent")


def stored(ahead: Ahead) -> Any:
    """As it comes back from a store."""
    return json.loads(json.dumps(ahead.save(), allow_nan=False))


def lived(
    ahead: Ahead, levels: Sequence[float] | np.ndarray, series: dict[int, Series], start: Ms = T
) -> list[Prediction]:
    """A minute for each level: a point, and a tick after it."""
    edges = []
    for minute, level in enumerate(levels):
        now = start + minute * MINUTE
        edges += ahead.take(batch([0], [now], [level]), [], series, now)
        edges += ahead.take(None, [Tick(now + SECOND)], series, now + SECOND)
    return edges


def warned() -> tuple[Ahead, Prediction, Ms]:
    """Two hours of nothing, then a leak until it is told, and the minute after."""
    ahead = Ahead()
    [made] = lived(ahead, [*flat(120), *leak(45, 1.0)], MEMORY)
    return ahead, made, T + 165 * MINUTE


def told(what: Withdrawn, at: Ms, who: Identity = ORDERS) -> Happened:
    return Happened(identity=who, at=at, what=what)


def test_a_leak_is_told_once_with_what_it_is_told_from() -> None:
    """Up 1 % a minute from 40 with a limit of 100: told once, at the time its pace gives."""
    _, made, _ = warned()

    assert (made.kind, made.identity, made.withdrawn) == (Kind.LEAK, ORDERS, None)
    left = (100 - made.evidence["level"]) / 1.0  # type: ignore[operator]
    assert made.horizon_ms == pytest.approx(left * MINUTE, rel=0.1)
    assert (made.evidence["metric"], made.evidence["limit"]) == ("memory_used_percent", 100.0)


def test_points_wait_for_the_clock() -> None:
    """Nothing is looked at before a tick, whatever the chunks; then all of it, in its order."""
    ahead = Ahead()
    for number in range(10):
        assert ahead.take(batch([0], [T + number], [1.0]), [], MEMORY, T + number) == []
    assert (ahead.count, ahead.state.numbers[of.AT, 0]) == (10, pytest.approx(np.nan, nan_ok=True))

    ahead.take(None, [Tick(T + 10)], MEMORY, T + 10)

    assert (ahead.count, ahead.state.numbers[of.AT, 0]) == (0, T + 9)


def test_points_of_streams_that_nobody_watches_do_not_wait() -> None:
    """A name that says nothing is asked about once and costs nothing afterwards."""
    ahead, series = Ahead(), named("memory_used_percent", "http_requests_seconds")
    offered: list[int] = []
    know = ahead.state.know

    def asked(some: Any, limits: Any = None) -> None:
        listed = list(some)
        offered.extend(one.sid for one in listed)
        know(listed, limits)

    ahead.state.know = asked  # type: ignore[method-assign]
    for number in range(3):
        ahead.take(batch([0, 1], [T + number] * 2, [1.0, 1.0]), [], series, T + number)

    assert offered == [0, 1]
    assert ahead.count == 3


@pytest.mark.parametrize("what", [Withdrawn.FAILED, Withdrawn.ACTED])
def test_what_happened_ends_what_was_expected(what: Withdrawn) -> None:
    """With the first commit that is later than it, and not of another service."""
    ahead, made, now = warned()
    ahead.happened(told(what, now, Identity("prod", "store")), told(what, now + 1))
    assert ahead.take(None, [Tick(now + 1)], MEMORY, now + 1) == []

    [ended] = ahead.take(None, [Tick(now + 2)], MEMORY, now + 2)

    assert (ended.id, ended.withdrawn, ended.at) == (made.id, what, now + 1)
    assert ahead.take(None, [Tick(now + SECOND)], MEMORY, now + SECOND) == []
    assert ahead.told == {}


def test_points_that_came_before_it_are_looked_at_before_it() -> None:
    """The point that waits tells of a leak; only then did it fail."""
    levels = [*flat(120), *leak(45, 1.0)]
    ahead = Ahead()
    at = next(
        minute
        for minute, level in enumerate(levels)
        if lived(ahead, [level], MEMORY, T + minute * MINUTE)
    )
    again = Ahead()
    assert lived(again, levels[:at], MEMORY) == []
    now = T + at * MINUTE
    assert again.take(batch([0], [now], [levels[at]]), [], MEMORY, now) == []
    again.happened(told(Withdrawn.FAILED, now))

    edges = again.take(None, [], MEMORY, now + 1)

    assert [one.withdrawn for one in edges] == [None, Withdrawn.FAILED]


def test_limits_that_change_hold_for_what_is_known_too() -> None:
    """A stream whose name says nothing is watched once it has a limit; one that is watched goes
    by the new one; what is taken back, nothing is said of."""
    ahead, series = Ahead(), named("memory_used_percent", "sessions")
    points = batch([0, 1], [T, T], [1.0, 1.0])
    ahead.take(points, [Tick(T)], series, T)
    assert list(ahead.state.series) == [0]

    place = ("prod", "orders")
    limits = {place: {"memory_used_percent": 80.0, "sessions": 500.0}}
    assert ahead.tell_limits(limits, series.values())
    assert not ahead.tell_limits(limits, series.values())
    ahead.take(points, [Tick(T)], series, T)
    assert ahead.state.numbers[of.LIMIT, :2].tolist() == [80.0, 500.0]

    assert ahead.tell_limits({}, series.values())
    assert ahead.state.numbers[of.LIMIT, :2].tolist() == [100.0, pytest.approx(np.nan, nan_ok=True)]


def test_what_is_stored_and_not_known_is_forgotten_and_the_other_way_round_let_go() -> None:
    """A stored one of which nothing is known ends with the next commit, once."""
    ahead, made, now = warned()
    ahead.missed([])
    assert ahead.state.open == {}

    anew = Ahead()
    anew.missed([made])
    [ended] = anew.take(None, [Tick(now)], MEMORY, now)

    assert (ended.id, ended.withdrawn, ended.at) == (made.id, Withdrawn.FORGOTTEN, now)
    assert anew.take(None, [Tick(now)], MEMORY, now) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda saved: "?",
        lambda saved: {**saved, "form": 0},
        lambda saved: {**saved, "offered": "?"},
        lambda saved: {**saved, "told": [["prod", "orders", "?", "failed"]]},
        lambda saved: {**saved, "state": {**saved["state"], "series": []}},
        lambda saved: {**saved, "state": {**saved["state"], "numbers": ["<f8", [1, 1], "?"]}},
        lambda saved: {name: saved[name] for name in saved if name != "lines"},
    ],
)
def test_what_is_damaged_is_told_apart(damage: Any) -> None:
    """``Damaged``, whatever is wrong with it."""
    with pytest.raises(Damaged):
        Ahead.load(damage(stored(warned()[0])))


# ---------------------------------------------------------------- laws

SERIES = named("memory_used_percent", "queue_depth", "sessions", "disk_free_bytes")
LIMITS = {("prod", "orders"): {"queue_depth": 200.0}}
Chunk = tuple[MetricBatch | None, list[LogLine | Tick], Ms]


@st.composite
def histories(draw: st.DrawFn) -> list[list[Chunk | Happened]]:
    """Steps of three hours: points of some streams at random, most of them on their way up,
    lines, ticks, and what happened."""
    rng = np.random.default_rng(draw(st.integers(0, 1 << 16)))
    begins = draw(st.integers(60, 120))
    pace = draw(st.sampled_from([0.5, 1.0, 3.0]))
    steps: list[list[Chunk | Happened]] = []
    for minute in range(180):
        now = T + minute * MINUTE
        chunks: list[Chunk | Happened] = []
        level = 40 + rng.normal(0, 0.3, 4) + pace * max(0, minute - begins)
        level[3] = 1_000 - 4 * level[3]
        some = np.flatnonzero(rng.random(4) < 0.9)
        chunks.append((batch(some, [now] * len(some), level[some]), [], now))
        lines: list[LogLine | Tick] = [
            LogLine(
                identity=ORDERS,
                at=now,
                received_at=now,
                level=LogLevel.ERROR if rng.random() < minute / 400 else LogLevel.INFO,
                message="",
            )
            for _ in range(25)
        ]
        chunks.append((None, [*lines, Tick(now + 1)], now + 1))
        if rng.random() < 0.02:
            what = Withdrawn.FAILED if rng.random() < 0.5 else Withdrawn.ACTED
            chunks.append(told(what, now + int(rng.integers(0, MINUTE))))
        steps.append(chunks)
    return steps


def begun() -> Ahead:
    ahead = Ahead()
    ahead.tell_limits(LIMITS, SERIES.values())
    return ahead


def told_of(ahead: Ahead, chunks: list[Chunk | Happened]) -> list[Prediction]:
    edges = []
    for chunk in chunks:
        if isinstance(chunk, Happened):
            ahead.happened(chunk)
        else:
            points, items, now = chunk
            edges += ahead.take(points, items, SERIES, now)
    return edges


@settings(max_examples=10)
@given(history=histories(), cuts=st.sets(st.integers(0, 179), min_size=2, max_size=16))
def test_wherever_it_is_cut_it_goes_on_as_if_it_were_not(
    history: list[list[Chunk | Happened]], cuts: set[int]
) -> None:
    """Saved and loaded between any two commits: the same edges, and the same state in the end."""
    steady, restarted = begun(), begun()
    for minute, chunks in enumerate(history):
        if minute in cuts:
            restarted = Ahead.load(stored(restarted))
        assert told_of(restarted, chunks) == told_of(steady, chunks)

    assert stored(Ahead.load(stored(restarted))) == stored(Ahead.load(stored(steady)))


@settings(max_examples=10)
@given(history=histories(), seed=st.integers(0, 1 << 16))
def test_how_points_are_cut_changes_nothing(
    history: list[list[Chunk | Happened]], seed: int
) -> None:
    """Each commit with points as one, or as two commits at the same time, wherever it is cut."""
    whole, cut, rng = begun(), begun(), np.random.default_rng(seed)
    for chunks in history:
        parts: list[Chunk | Happened] = []
        for chunk in chunks:
            if isinstance(chunk, Happened) or chunk[0] is None:
                parts.append(chunk)
                continue
            points, items, now = chunk
            middle = int(rng.integers(0, len(points) + 1))
            for some in (slice(0, middle), slice(middle, None)):
                columns = {name: getattr(points, name)[some] for name in ("sid", "at", "value")}
                parts.append((MetricBatch(**columns), items, now))
        assert told_of(cut, parts) == told_of(whole, chunks)
