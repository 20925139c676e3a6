# SPDX-License-Identifier: Apache-2.0

"""The detectors over what flows, together."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.core.detect.ruled.kit import CLEARED, FIRING, T, batch, edges, line, rule, series

from opx.adapters.wires import metrics as wire
from opx.cli.score import metrics as score
from opx.core.base.time import MINUTE, SECOND, Ms
from opx.core.detect import flow
from opx.core.detect.finding import ClearReason, Finding
from opx.core.detect.flow import Flow
from opx.core.detect.metrics import stream
from opx.core.ingest.signals import Tick
from opx.engine.intake import Incoming

HIGH = rule("threshold", {"metric": "m", "stat": "max", "window": "10s", "above": 1}, "high")
SERIES = {0: series(0)}


def fresh() -> Flow:
    known = Flow()
    assert flow.bind(known, [HIGH], T) == []
    return known


def lived(known: Flow, first: Ms, last: Ms, message: str = "ready in 3 ms") -> list[Finding]:
    """A line and a tick each second, from ``first`` through ``last`` after ``T``."""
    found = []
    for at in range(first, last + 1, SECOND):
        items = [line(at, message, level="INFO"), Tick(T + at)]
        found += flow.step(known, SERIES, None, items, T + at)
    return found


def reborn(known: Flow) -> Flow:
    return flow.load(json.loads(json.dumps(flow.save(known), allow_nan=False)))


def test_points_and_lines_are_each_judged() -> None:
    """A threshold that is crossed, and a kind of line that was never seen before: both found,
    each once."""
    known = fresh()
    assert lived(known, 0, 30 * MINUTE) == []

    at = 30 * MINUTE + SECOND
    items = [line(at, "cannot reach the store", level="INFO")]
    points = batch([(0, at - 10 * SECOND, 2.0), (0, at, 2.0)])
    found = flow.step(known, SERIES, points, items, T + at)

    assert [(one.rule, one.state) for one in found] == [
        ("threshold/high", FIRING),
        ("log-new-template", FIRING),
    ]


def test_a_restart_goes_on_where_it_was() -> None:
    """What is known of rules and of lines is saved; so are the rules."""
    known = fresh()
    lived(known, 0, 30 * MINUTE)

    again = reborn(known)

    assert flow.in_force(again, [HIGH])
    assert flow.save(again) == flow.save(known)
    at = 30 * MINUTE + SECOND
    for one in (known, again):
        found = flow.step(one, SERIES, None, [line(at, "cannot reach the store")], T + at)
        assert [finding.rule for finding in found] == ["log-new-template"]


def test_what_an_older_opx_has_saved_is_begun_anew() -> None:
    """Its rules are bound again, and nothing else is taken from it."""
    old = {"rules": [{"name": "high", "hash": "h", "metric": "m"}], "tracks": [], "late": 3}

    known = flow.load(old)

    assert not flow.in_force(known, [HIGH])
    assert flow.bind(known, [HIGH], T) == []
    found = flow.step(known, SERIES, batch([(0, 0, 2.0), (0, 10_000, 2.0)]), [], T)
    assert edges(found) == [(FIRING, 10_000)]


def test_open_findings_that_nothing_knows_of_are_withdrawn() -> None:
    """What was lost with a log leaves nothing open for ever."""
    known = fresh()
    points = batch([(0, 0, 2.0), (0, 10_000, 2.0)])
    [open_] = flow.step(known, SERIES, points, [], T)
    strays = [
        replace(open_, id="a", rule="threshold/other"),
        replace(open_, id="b", rule="log-rate"),
        replace(open_, id="d", rule="metric-odd"),
    ]
    flow.missed(known, [open_, *strays, replace(open_, id="c", rule="alert")])

    assert not flow.in_force(known, [HIGH])
    withdrawn = flow.bind(known, [HIGH], T + MINUTE)

    assert {(one.id, one.state, one.cleared) for one in withdrawn} == {
        ("a", CLEARED, ClearReason.WITHDRAWN),
        ("b", CLEARED, ClearReason.WITHDRAWN),
        ("d", CLEARED, ClearReason.WITHDRAWN),
    }
    assert flow.in_force(known, [HIGH])


def steps(known: Flow, values: list[float], first: int = 0) -> list[Finding]:
    """A point and a tick each second, ``first`` seconds after ``T`` and on."""
    found = []
    for number, value in enumerate(values, first):
        at = number * SECOND
        found += flow.step(known, SERIES, batch([(0, at, value)]), [Tick(T + at)], T + at)
    return found


def about(level: float, count: int) -> list[float]:
    return [*(level + np.random.default_rng(count).uniform(-5, 5, count))]


def test_nothing_is_found_in_a_stream_that_is_not_known_yet() -> None:
    """120 blocks of 8 points have to be held before the next may be away from them: a stream
    that doubles after 952 points, 119 blocks, is not told, one that does after 960 is, with the
    8th point."""
    young, known = Flow(), Flow()

    assert steps(young, [*about(100, 952), *about(200, 80)]) == []
    assert steps(known, [*about(100, 960), *about(200, 7)]) == []
    [found] = steps(known, [200.0], 967)
    assert (found.rule, found.state, found.at) == ("metric-odd", FIRING, T + 967 * SECOND)


def test_what_the_metrics_found_in_a_log_that_nobody_took_in_is_let_go() -> None:
    """It is open here, but no store has it: it ends without a word."""
    known = Flow()
    assert len(steps(known, [*about(100, 960), *about(200, 8)])) == 1

    flow.missed(known, [])

    assert flow.in_force(known, [])
    assert steps(known, about(100, 32), 968) == []


def test_the_service_scores_as_the_command_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same 1,500 points through the wire into the flow, in bodies of 7 and a tick after
    every third, and as lines into ``opx score metrics``: bit for bit the same scores."""
    values = np.random.default_rng(9).normal(50, 5, 1_500)
    values[[400, 900, 1_300]] = [500.0, -80.0, 1e6]
    told = [(T + n * SECOND, value) for n, value in enumerate(values.tolist())]
    out = io.BytesIO()
    lines = [json.dumps({"stream": "a", "timestamp": at, "value": v}) + "\n" for at, v in told]
    score.run(io.BufferedReader(io.BytesIO("".join(lines).encode())), out)
    expected = [json.loads(row)["score"] for row in out.getvalue().splitlines()]

    said: list[float] = []
    real = stream.step

    def step(*given: Any) -> stream.Scores:
        scores = real(*given)
        said.extend(scores.score.tolist())
        return scores

    monkeypatch.setattr(stream, "step", step)
    known, index, now = Flow(), wire.SeriesIndex(), told[-1][0]
    for number, first in enumerate(range(0, len(told), 7)):
        body = [
            {"metric": "m", "labels": {"service": "orders"}, "timestamp": at, "value": value}
            for at, value in told[first : first + 7]
        ]
        parsed = wire.parse(index, json.dumps(body).encode(), Incoming(now=now))
        assert parsed.batch.points is not None
        ticks = [Tick(now)] if number % 3 == 2 else []
        flow.odd(known, {}, parsed.batch.points, ticks, now)
    flow.odd(known, {}, None, [Tick(now)], now)

    assert said == expected
    assert sum(one > 0 for one in said) >= 3
