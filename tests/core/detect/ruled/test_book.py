# SPDX-License-Identifier: Apache-2.0

"""The book that keeps all blocks: binding, strays, what was saved, and who is watched."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.core.detect.ruled.kit import (
    CLEARED,
    FIRING,
    Fed,
    Point,
    T,
    batch,
    edges,
    line,
    rule,
    series,
)

from opx.core.base.time import MINUTE, SECOND, Ms
from opx.core.detect.finding import ClearReason
from opx.core.detect.ruled import book
from opx.core.detect.ruled.book import Book
from opx.core.detect.rules import BLOCKS, DetectionRule, Happening
from opx.core.ingest.signals import LogLine

HIGH = rule("threshold", {"metric": "m", "stat": "max", "window": "10s", "above": 1}, "high")
LOW = rule("threshold", {"metric": "m", "stat": "min", "window": "10s", "below": 5}, "low")
SHARE = rule(
    "ratio",
    {"part": {"metric": "bad"}, "whole": {"metric": "m"}, "window": "10s", "above": 2}
    | {"atLeast": 1},
    "share",
)
SERIES = [series(0), series(1, "bad"), series(2, "other"), series(3, service="store")]

Told = tuple[Ms, list[Point], list[LogLine]]
TROUBLE: dict[str, tuple[DetectionRule, list[Told]]] = {
    "threshold": (HIGH, [(0, [(0, 0, 2.0)], []), (10_000, [(0, 10_000, 2.0)], [])]),
    "ratio": (
        SHARE,
        [
            (at, [(0, at, at / SECOND), (1, at, 3 * at / SECOND)], [])
            for at in range(0, 31_000, 10_000)
        ],
    ),
    "absence": (
        rule("absence", {"metric": "m", "after": "30s"}, "gone"),
        [
            (at, [] if at > 90_000 or at % 10_000 else [(0, at, 1.0)], [])
            for at in range(0, 130_000, SECOND)
        ],
    ),
    "logs": (
        rule("logs", {"level": "error", "window": "1m", "above": 3, "atLeast": 5}, "noise"),
        [
            (at, [], [line(at)] * (50 if at == 12 * MINUTE else at % 10_000 == 0))
            for at in range(0, 800_000, 2_000)
        ],
    ),
}
"""For each block a rule, and what is told of a trouble that it finds once and that goes on."""


def fed(*points: Point) -> Fed:
    one = Fed([HIGH], SERIES)
    one.take(0, points)
    return one


def test_a_series_may_be_under_several_rules() -> None:
    """Each judges it by itself, in the order of the rules."""
    one = Fed([HIGH, LOW], SERIES)
    one.take(0, [(0, 0, 2.0), (0, 10_000, 0.0)])

    assert [finding.rule for finding in one.found] == ["threshold/high", "threshold/low"]


def test_only_series_under_a_rule_are_watched() -> None:
    """A point of another costs a look at its mark."""
    one = Fed([HIGH, SHARE], SERIES)
    one.take(0, [(sid, 0, 2.0) for sid in range(4)])

    assert sorted(one.book.watches) == [0, 1, 3]
    assert one.book.marks[:4].tolist() == [2, 2, 1, 2]


def test_a_rule_may_choose_by_what_the_identity_says() -> None:
    """The service is a label of every series, whether or not its sender named it so."""
    said = {"metric": "m", "stat": "max", "window": "10s", "above": 1}
    one = Fed([rule("threshold", {**said, "labels": {"service": "store"}})], SERIES)
    one.take(0, [(sid, 0, 2.0) for sid in range(4)])

    assert sorted(one.book.watches) == [3]


def test_a_series_nobody_has_named_is_counted_and_tried_again() -> None:
    """Its points cannot be matched, which is a number and not an error."""
    known = Book()
    book.bind(known, [HIGH], T)
    book.step(known, {}, batch([(0, 0, 2.0)]), [], T)
    assert known.nameless == 1

    points = batch([(0, 10_000, 2.0), (0, 20_000, 2.0)])
    found = book.step(known, {0: SERIES[0]}, points, [], T)

    assert edges(found) == [(FIRING, 20_000)]


def test_rules_that_are_removed_withdraw_what_they_had_open() -> None:
    """At the time at which the others came into force; the others go on."""
    one = Fed([HIGH, LOW], SERIES)
    one.take(0, [(0, 0, 2.0), (0, 10_000, 2.0)])

    [withdrawn] = one.bind([HIGH], 11_000)

    assert (withdrawn.rule, withdrawn.state) == ("threshold/low", CLEARED)
    assert (withdrawn.cleared, withdrawn.at) == (ClearReason.WITHDRAWN, T + 11_000)
    assert edges(one.take(0, [(0, 20_000, 0.0), (0, 30_000, 0.0)])) == [(CLEARED, 30_000)]


def test_a_book_that_was_saved_works_by_the_rules_it_was_saved_with() -> None:
    """A replay needs no documents, and knows that others are in force by now."""
    one = fed((0, 0, 2.0))

    one.restart()

    assert book.in_force(one.book, [HIGH])
    assert not book.in_force(one.book, [LOW])
    assert edges(one.take(0, [(0, 10_000, 0.0)])) == [(FIRING, 10_000)]


def test_an_open_finding_that_the_book_does_not_know_of_is_withdrawn() -> None:
    """What the log lost cannot leave an episode open for ever; what is known stays, and what
    other detectors have open is not its business."""
    one = fed((0, 0, 2.0), (0, 10_000, 2.0))
    [known] = one.found
    rules = ("threshold/x", "ratio/x", "absence/x", "logs/x", "observer")
    strays = [replace(known, id=name, rule=name) for name in rules]
    others = [replace(known, id=name, rule=name) for name in ("alert", "event", "event/x")]
    book.missed(one.book, [known, *strays, *others])

    assert not book.in_force(one.book, [HIGH])
    withdrawn = one.bind([HIGH], MINUTE)

    assert [finding.id for finding in withdrawn] == list(rules)
    assert {finding.cleared for finding in withdrawn} == {ClearReason.WITHDRAWN}
    assert book.in_force(one.book, [HIGH])
    assert edges(one.take(0, [(0, 20_000, 0.0), (0, 30_000, 0.0)])) == [(CLEARED, 30_000)]


def test_time_passes_once_for_each_of_its_values() -> None:
    """What came in one commit is judged by the clock as it was when that began."""
    one = Fed([SHARE], SERIES)
    one.take(0, [(0, 0, 0.0), (1, 0, 0.0)])
    now = MINUTE + 10_000

    split = [one.take(now, [(0, 20_000, 9.0)]), one.take(now, [(1, 21_000, 90.0)])]

    assert split == [[], []]
    assert one.book.ratios.late == 0
    assert edges(one.take(2 * MINUTE)) == [(FIRING, 30_000)]


def test_what_was_saved_may_be_loaded_again() -> None:
    """A book that goes on from a saved state leaves it as it is: the next restart from it, too,
    begins where it was saved."""
    slow = rule("threshold", {"metric": "m", "stat": "p95", "window": "10s", "above": 2})
    one = Fed([slow], [series(0)])
    one.take(0, [(0, 0, 1.0)])
    saved = book.save(one.book)
    before = json.dumps(saved)

    again = book.load(saved)
    book.step(again, one.series, batch([(0, 1_000, 9.0)]), [], T + 1_000)

    assert json.dumps(saved) == before


@pytest.mark.parametrize("block", [block for block in BLOCKS if block != Happening.block])
def test_every_block_finds_survives_any_restart_and_goes_with_its_rule(block: str) -> None:
    """Saved and loaded before all that comes; what it has open it knows of, and then nothing is
    left of it."""
    by, told = TROUBLE[block]
    one = Fed([by], SERIES)
    for at, points, lines in told:
        one.restart()
        one.take(at, points, lines)
    [fired] = one.found
    assert (fired.rule, fired.state) == (f"{block}/{by.name}", FIRING)

    one.restart()
    book.missed(one.book, [fired])
    assert one.book.strays == []
    [withdrawn] = one.bind([], told[-1][0])

    assert (withdrawn.id, withdrawn.cleared) == (fired.id, ClearReason.WITHDRAWN)
    assert not any(by.hash in json.dumps(kept) for kept in one.stored().values())
    book.missed(one.book, [fired])
    assert one.book.strays == [fired]


def test_a_block_of_which_nothing_was_saved_begins_and_the_others_go_on() -> None:
    """What an older opx saved has no word of a block that came after it."""
    one = fed((0, 0, 2.0))
    saved = one.stored()
    del saved["ratios"]

    one.book = book.load(saved)

    assert edges(one.take(0, [(0, 10_000, 0.0)])) == [(FIRING, 10_000)]


def tracks(saved: Any) -> Any:
    return saved["thresholds"]["tracks"]


@pytest.mark.parametrize(
    "change",
    [
        lambda saved: saved.pop("clock"),
        lambda saved: saved.update(clock=[]),
        lambda saved: saved.update(rules={}),
        lambda saved: saved["rules"][0]["spec"].update(whatever=1),
        lambda saved: saved["rules"][0].pop("spec"),
        lambda saved: saved["observer"].update(seen="no base64"),
        lambda saved: saved["thresholds"].pop("late"),
        lambda saved: saved.update(thresholds=[]),
        lambda saved: tracks(saved)[0].update(whatever=1),
        lambda saved: tracks(saved)[0].pop("sid"),
        lambda saved: tracks(saved)[0]["firing"].update(severity="dire"),
        lambda saved: tracks(saved).append("track"),
        lambda saved: saved.update(ratios={"tracks": 1}),
    ],
)
def test_what_was_saved_in_another_shape_begins_anew(change: Callable[[Any], object]) -> None:
    """And fails nobody: what it had open is withdrawn, and the rules are taken up once more."""
    one = fed((0, 0, 2.0), (0, 10_000, 2.0))
    [fired] = one.found
    saved = one.stored()
    change(saved)

    one.book = book.load(saved)
    book.missed(one.book, [fired])
    [withdrawn] = one.bind([HIGH], 11_000)

    assert (withdrawn.id, withdrawn.cleared) == (fired.id, ClearReason.WITHDRAWN)
    assert withdrawn.evidence == {"note": "what was known of it is lost"}
    assert edges(one.take(0, [(0, 20_000, 2.0), (0, 30_000, 2.0)])) == [(FIRING, 30_000)]
