# SPDX-License-Identifier: Apache-2.0

"""What is measured on simulated causes and failures: nothing is counted twice or left out."""

from __future__ import annotations

import pytest

from opx.bench.detect import ahead, simulated
from opx.core.analyse.causes.case import Case, Target
from opx.core.learn.predictions import Judgement
from opx.playground.simulator import faults
from opx.playground.simulator.faults import Cause
from opx.playground.simulator.precursors import Trend, Twin, stories

GROUPS = ("shapes", "cause")


def test_a_whole_cause_and_a_shape_of_each_other_are_kept_out() -> None:
    """Four cells of the one, one of each of the seven others."""
    by = {cell: simulated.origin(cell) for cell in faults.cells()}

    assert [cell for cell, of in by.items() if of == "cause"] == [
        cell for cell in faults.cells() if cell.cause is Cause.CHATTY
    ]
    kept = [cell.cause for cell, of in by.items() if of == "shapes"]
    assert sorted(kept) == sorted(set(Cause) - {Cause.CHATTY})
    assert set(by.values()) == {"cause", "shapes", "tuned"}


def test_the_simple_rule_takes_the_deepest_that_moved() -> None:
    """web calls shop, shop calls db; both of the first are slower, and so is one that web does
    not reach. Once db is slower too, though less, it is db."""
    usual, slow, slower = [10.0, 11.0, 10.0, 11.0], [50.0] * 4, [90.0] * 4

    def case(db: list[float]) -> Case:
        now = {"web": slower, "shop": slow, "db": db, "other": slower}
        return Case(
            target=Target(node="web", metric="latency"),
            graph={"web": ["shop"], "shop": ["db"]},
            baseline={node: {"latency": usual} for node in now},
            incident={node: {"latency": values} for node, values in now.items()},
            period_s=60,
        )

    assert simulated.deepest(case(usual)) == "shop"
    assert simulated.deepest(case(slow)) == "db"


def test_every_simulated_case_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two cells, one of the cause kept out and one of a shape kept out, two cases each."""
    cells = faults.cells()
    some = [next(cell for cell in cells if simulated.origin(cell) == of) for of in GROUPS]
    draw = simulated.cases.cases
    monkeypatch.setattr(simulated, "SEEDS", 2)
    monkeypatch.setattr(simulated.cases, "cases", lambda all, seeds: draw(some, seeds))

    every, shape, cause = simulated.measure(1, lambda text: None)

    assert [int(one.note.split()[0]) for one in (every, shape, cause)] == [4, 2, 2]
    assert [one.must for one in (every, shape, cause)] == ["0.60", "", ""]
    parts = [one.measured or 0.0 for one in (every, shape, cause)]
    assert parts[0] == pytest.approx((parts[1] + parts[2]) / 2, abs=0.01)


def test_a_leak_that_fails_is_told_and_a_healthy_one_is_none() -> None:
    """Failures are those that happened, false warnings those that nothing followed, by the days
    that were watched."""
    told = list(stories((Trend.LEAK, Twin.DAILY), [1], ahead.START))

    found = ahead.watch(told, ahead.TELL, limits=True)
    days = sum(len(story.metrics["memory_percent"]) for story in told) * 15 / 86_400

    assert [one.at for one in found.failures] == [told[0].failed_at]
    false = [one for one in found.judged if one.judgement is Judgement.FALSE]
    assert found.false_a_day == pytest.approx(len(false) / days)
    healthy = found.without([Trend.LEAK])
    assert (healthy.failures, len(healthy.stories)) == ([], 1)


def test_the_best_threshold_has_few_enough_false_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told later has no more false warnings, so that what is allowed more of them is
    never worse; the figure says from which threshold it is."""
    monkeypatch.setattr(ahead, "SEEDS", 1)
    monkeypatch.setattr(ahead, "PROBABILITIES", (ahead.TELL, 0.9))

    found = ahead.measure(lambda text: None)
    one, few = found[:2]

    assert [figure.must for figure in found] == ["0.60", "0.85", "", "", "", ""]
    assert (one.measured or 0) >= (few.measured or 0)
    for figure, most in ((one, 1.0), (few, 0.2)):
        assert figure.measured is None or float(figure.note.split("; ")[-1].split()[0]) <= most
    assert all(figure.note.startswith("3 failures in 9 stories") for figure in (found[2], found[5]))
    assert found[4].note.startswith("1 failures in 4 stories")
