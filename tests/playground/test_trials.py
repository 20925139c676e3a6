# SPDX-License-Identifier: Apache-2.0

"""What a trial makes of what came of a fault, and the bound that a tour may claim."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opx.core.verify.verdict import VerdictKind
from opx.playground import faults, layout, trials
from opx.playground.demo import Report, at_most
from opx.playground.faults import ROWS, Fault
from opx.playground.system import TARGETS
from opx.playground.timeline import Story
from opx.playground.trials import Trial

RECOVERED, NO_EFFECT = VerdictKind.RECOVERED.value, VerdictKind.NO_EFFECT.value


def good(fault: Fault) -> Trial:
    """A trial in which all came as it ought to."""
    row = ROWS[fault]
    story = Story(
        verdicts=tuple(one.value for one in row.verdicts),
        verdict=row.verdicts[-1].value if row.verdicts else "",
        orders=row.orders,
    )
    return Trial(
        fault=fault,
        service="orders",
        injected=0,
        story=story,
        starts=row.starts + 1,
        by_hand=1,
        paged=row.page,
        agrees=True,
    )


@pytest.mark.parametrize("fault", Fault)
def test_every_fault_has_victims_and_an_end(fault: Fault) -> None:
    """Each names as many victims as deeds, all of them there; a fault that opx can repair is
    started once, and one in which people are called is none that it repairs."""
    row, victims = ROWS[fault], faults.victims(fault, "orders")
    assert len(victims) == len(row.how)
    assert set(victims) <= set(TARGETS)
    assert row.repair == (row.starts == 1)
    assert not (row.repair and row.page)
    assert (row.orders > 0) == bool(row.verdicts)


def test_two_faults_that_have_nothing_to_do_with_each_other_share_no_user() -> None:
    """Of the two at once, neither needs the other, and no user needs both."""
    one, other = ROWS[Fault.TWO_AT_ONCE].at
    assert not set(layout.paths_through(one)) & set(layout.paths_through(other))


@pytest.mark.parametrize("fault", Fault)
def test_what_came_as_it_ought_to_is_no_problem(fault: Fault) -> None:
    """The table itself is a trial that went well."""
    assert trials._wrong(good(fault)) == ""
    assert good(fault).ok


@pytest.mark.parametrize(
    ("fault", "bad", "said"),
    [
        (Fault.KILL, {"agrees": False}, "the load generator does not agree"),
        (Fault.KILL, {"starts": 3}, "opx started orders 2 times, not 1"),
        (Fault.KILL, {"starts": 1}, "opx started orders 0 times, not 1"),
        (Fault.KILL, {"paged": True}, "people were called"),
        (Fault.KILL, {"elsewhere": 1}, "opx acted 1 times where nothing was wrong"),
        (Fault.NO_RUNBOOK, {"paged": False}, "nobody was called"),
        (Fault.BENIGN_RESTART, {"starts": 2}, "opx started orders 1 times, not 0"),
    ],
)
def test_whatever_is_not_as_it_ought_to_be_is_said(
    fault: Fault, bad: dict[str, object], said: str
) -> None:
    """A trial that went otherwise says how."""
    assert said in trials._wrong(replace(good(fault), **bad))


def test_another_row_of_verdicts_is_not_what_was_called_for() -> None:
    """A repair that helped at the second try is not one that helped; and a restart that cannot
    help is tried three times, no more and no less."""
    late = Story(verdicts=(NO_EFFECT, RECOVERED), verdict=RECOVERED, orders=1)
    assert "no_effect, recovered" in trials._wrong(replace(good(Fault.KILL), story=late))
    twice = Story(verdicts=(NO_EFFECT,) * 2, verdict=NO_EFFECT, orders=2)
    assert "no_effect, no_effect" in trials._wrong(replace(good(Fault.BROKEN_START), story=twice))


def test_the_orders_of_every_step_are_called_for_and_one_more_is_not() -> None:
    """A spoilt file takes two orders, to restore and to restart; a third is a false action, as
    is any to a service that nothing was done to."""
    trial = good(Fault.TAMPER)
    assert trial.needless == 0
    assert replace(trial, story=replace(trial.story, orders=3)).needless == 1
    assert replace(trial, elsewhere=2).needless == 2
    assert replace(good(Fault.BENIGN_CONFIG), story=Story(orders=1)).needless == 1


@pytest.mark.parametrize(
    ("hits", "seen", "share"),
    [
        (0, 1, 0.95),
        (0, 14, 0.1926),
        (0, 300, 0.0099),
        (1, 10, 0.3942),
        (2, 20, 0.2826),
        (5, 5, 1.0),
    ],
)
def test_the_bound_is_what_tables_of_the_binomial_say(hits: int, seen: int, share: float) -> None:
    """1 - 0.05 ** (1 / n) without hits, which is about 3 / n; with hits the upper ends of
    one-sided exact intervals as they are tabulated."""
    assert at_most(hits, seen) == pytest.approx(share, abs=1e-4)
    if hits == 0:
        assert at_most(0, seen) == pytest.approx(1 - 0.05 ** (1 / seen), abs=1e-4)


def test_without_trials_there_is_no_bound() -> None:
    """Nothing was seen, so nothing is claimed."""
    assert at_most(0, 0) is None
    assert Report(started=0).totals()["false_actions_at_most"] is None


def test_the_bound_counts_trials_and_not_orders() -> None:
    """Two needless orders in one trial are one trial that went wrong."""
    wrong = replace(good(Fault.BENIGN_RESTART), story=Story(orders=2))
    totals = Report(started=0, trials=[wrong, good(Fault.KILL)]).totals()
    assert (totals["false_actions"], totals["false_actions_at_most"]) == (2, at_most(1, 2))


def test_who_suffers_is_who_needs_it_in_the_end() -> None:
    """Everybody needs the store but the mailer, whom nobody needs; payments is needed by orders,
    and so by the gateway."""
    assert layout.suffer(["store"]) == set(layout.SERVICES)
    assert layout.suffer(["payments"]) == {"payments", "orders", "gateway"}
    assert layout.suffer(["gateway"]) == {"gateway"}
    assert layout.suffer(["mailer", "users"]) == {"mailer", "users"}
