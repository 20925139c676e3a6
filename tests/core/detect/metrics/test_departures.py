# SPDX-License-Identifier: Apache-2.0
"""From scores to findings: what fires, what does not, and how it ends."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from opx.core.base import canonical
from opx.core.base.time import MINUTE
from opx.core.detect.finding import ClearReason, Finding, FindingKind, FindingState
from opx.core.detect.metrics.departures import AGAIN, SILENCE, Departures
from opx.core.detect.metrics.state import MetricState
from opx.core.detect.metrics.stream import step
from opx.core.ingest.signals import Identity, MetricBatch, Series

T = 1_767_225_600_000
STEP = 15_000
SERIES = {
    0: Series(sid=0, metric="m", labels={"a": "b"}, identity=Identity("prod", "orders")),
}


@dataclass
class Watched:
    """One stream and its findings, point by point."""

    state: MetricState = field(default_factory=MetricState)
    departures: Departures = field(default_factory=Departures)
    tick: int = 0

    def take(self, values: NDArray[np.float64] | list[float]) -> list[Finding]:
        found = []
        for value in values:
            at = T + self.tick * STEP
            batch = MetricBatch(
                sid=np.zeros(1, np.int32), at=np.array([at]), value=np.array([value])
            )
            scores = step(self.state, batch)
            found += self.departures.step(self.state, batch, scores, SERIES, at)
            self.tick += 1
        return found


def noise(count: int, level: float = 100.0, spread: float = 5.0) -> NDArray[np.float64]:
    return level + np.random.default_rng(count).uniform(-spread, spread, count)


def settled() -> Watched:
    """1,200 points from 95 to 105. Every block of 8 spreads over less than 10, so that half of
    the level is more than half of the span: away is below about 50 and above about 150."""
    watched = Watched()
    assert watched.take(noise(1_200)) == []
    return watched


def test_a_stream_that_leaves_fires_once_and_clears_when_it_is_back() -> None:
    """Two blocks at twice the level are one finding; two blocks at the old one end it."""
    watched = settled()

    fired = watched.take(noise(24, 200.0))
    over = watched.take(noise(24))

    assert [one.state for one in fired] == [FindingState.FIRING]
    assert (fired[0].kind, fired[0].stream) == (FindingKind.EVIDENCE, "m{a=b}")
    assert fired[0].since == T + 1_200 * STEP
    assert fired[0].at == fired[0].since + 7 * STEP
    assert [(one.id, one.cleared) for one in over] == [(fired[0].id, ClearReason.RESOLVED)]
    assert over[0].at == T + (1_224 + 15) * STEP


def test_the_evidence_says_what_was_expected_and_what_came() -> None:
    """The bounds lie around what was held, and what came lies beyond."""
    (fired,) = settled().take([200.0] * 8)

    expected, came = fired.evidence["expected"], fired.evidence["came"]
    assert isinstance(expected, dict)
    assert isinstance(came, dict)
    assert 45 < expected["at_least"] < 52
    assert 147 < expected["at_most"] < 155
    assert (came["least"], came["most"]) == (200.0, 200.0)


def test_single_wild_values_and_short_dips_make_no_finding() -> None:
    """Spikes of a hundred times the level and restarts of six points at 0, again and again."""
    watched = settled()

    for n in range(10):
        assert watched.take([*noise(29 + n), 10_000.0, *noise(13 + n), *[0.0] * 6]) == []


def test_a_slow_drift_and_a_small_shift_make_no_finding() -> None:
    """A level that doubles over 2,000 points, and a step of a third."""
    drift = settled()
    shift = settled()

    assert drift.take(np.linspace(100, 200, 2_000)) == []
    assert shift.take(noise(200, 133.0)) == []


def test_a_stream_that_only_ever_rose_may_be_a_counter() -> None:
    """A constant that steps up is none; a constant that falls is one."""
    up, down = Watched(), Watched()
    assert up.take([1.0] * 1_000) == down.take([1.0] * 1_000) == []

    assert up.take([5.0] * 24) == []
    assert len(down.take([0.0] * 24)) == 1


def test_what_stays_away_long_enough_is_how_it_is_now() -> None:
    """After 256 blocks the finding is resolved, and the new level is no news any more."""
    watched = settled()

    edges = watched.take(noise(8 * 300, 200.0))

    assert [one.state for one in edges] == [FindingState.FIRING, FindingState.CLEARED]
    assert edges[1].evidence["note"] == "this is what it is like now"
    assert watched.take(noise(200)) == watched.take(noise(200, 200.0)) == []


def test_a_stream_that_ends_while_it_is_away_expires() -> None:
    """A quarter of an hour after its last point, a minute more at most, and not before."""
    watched = settled()
    (fired,) = watched.take(noise(16, 200.0))
    last = T + 1_215 * STEP

    assert watched.departures.tick(last + SILENCE - 1) == []
    (over,) = watched.departures.tick(last + SILENCE + AGAIN)
    assert (over.id, over.cleared) == (fired.id, ClearReason.EXPIRED)
    assert last + SILENCE <= over.at <= last + SILENCE + AGAIN
    assert watched.departures.tick(last + 10 * MINUTE + SILENCE) == []


def test_an_open_finding_is_written_once_in_a_minute_and_a_bit() -> None:
    """A point every 15 s: told at first, then extended each time that less than a quarter of an
    hour is left: with the next point, then with every fifth."""
    watched = settled()
    watched.take([200.0] * 8)
    assert watched.departures.refreshed() == []

    moved = []
    for number in range(1, 12):
        watched.take([200.0])
        moved += [number for _ in watched.departures.refreshed()]

    assert moved == [1, 6, 11]


def test_a_restart_ends_what_was_open_before_it() -> None:
    """State and findings are saved and loaded; the end comes at the same point as without."""
    watched = settled()
    (fired,) = watched.take(noise(16, 200.0))
    again = Watched(
        state=MetricState.load(watched.state.save()),
        departures=Departures.load(
            json.loads(json.dumps(watched.departures.save(), allow_nan=False))
        ),
        tick=watched.tick,
    )

    over = watched.take(noise(32))
    assert [(one.id, one.cleared) for one in over] == [(fired.id, ClearReason.RESOLVED)]
    assert canonical.dumps(again.take(noise(32))) == canonical.dumps(over)


def test_a_stream_that_had_to_go_takes_its_finding_along() -> None:
    """When all that was known of it is forgotten, nobody can say when it is back."""
    watched = settled()
    (fired,) = watched.take(noise(16, 200.0))
    watched.state = MetricState()

    (over,) = watched.take([200.0])

    assert (over.id, over.cleared) == (fired.id, ClearReason.WITHDRAWN)


def test_small_counts_and_noise_of_many_streams_make_no_finding() -> None:
    """Of 300 streams of counts about 0.3 to 2, of noise with and without memory, and of heavy
    tails none leaves within 2,500 points."""
    rng, streams = np.random.default_rng(4), 300
    state, sid, slow = MetricState(), np.arange(300, dtype=np.int32), np.zeros(300)
    for tick in range(2_500):
        slow += 0.02 * (rng.normal(0, 1, streams) - slow)
        values = np.choose(
            sid % 4,
            [
                rng.poisson(0.3 + sid / 176) * 1.0,
                rng.normal(50, 5, streams),
                50 + 50 * slow,
                rng.lognormal(3, 1, streams),
            ],
        )
        at = np.full(streams, T + tick * STEP)
        assert not step(state, MetricBatch(sid=sid, at=at, value=values)).turn.any()
