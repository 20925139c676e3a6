# SPDX-License-Identifier: Apache-2.0

"""The detectors over what flows, together."""

from __future__ import annotations

import json
from dataclasses import replace

from tests.core.detect.ruled.kit import CLEARED, FIRING, T, batch, edges, line, rule, series

from opx.core.base.time import MINUTE, SECOND, Ms
from opx.core.detect import flow
from opx.core.detect.finding import ClearReason, Finding
from opx.core.detect.flow import Flow
from opx.core.ingest.signals import Tick

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
    ]
    flow.missed(known, [open_, *strays, replace(open_, id="c", rule="alert")])

    assert not flow.in_force(known, [HIGH])
    withdrawn = flow.bind(known, [HIGH], T + MINUTE)

    assert {(one.id, one.state, one.cleared) for one in withdrawn} == {
        ("a", CLEARED, ClearReason.WITHDRAWN),
        ("b", CLEARED, ClearReason.WITHDRAWN),
    }
    assert flow.in_force(known, [HIGH])
