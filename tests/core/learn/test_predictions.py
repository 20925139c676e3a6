# SPDX-License-Identifier: Apache-2.0
"""What predictions were worth: judged by hand beside what the code says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opx.core.base.time import HOUR, MINUTE
from opx.core.detect.predict.prediction import Kind, Prediction, Urgency
from opx.core.ingest.signals import Identity
from opx.core.learn import predictions as scoring
from opx.core.learn.predictions import Happening, Judgement, Score

T = 1_767_225_600_000
FALSE, HIT, UNJUDGED = Judgement.FALSE, Judgement.HIT, Judgement.UNJUDGED


def told(
    service: str, at: int = 0, probability: float = 0.6, lasts: int = 60, id: str = ""
) -> Prediction:
    """Made ``at`` minutes after T, judged ``lasts`` minutes later."""
    identity, made = Identity("prod", service), T + at * MINUTE
    return Prediction(
        id=id or Prediction.id_of(identity, Kind.LEAK, made),
        identity=identity,
        kind=Kind.LEAK,
        probability=probability,
        cases=0,
        horizon_ms=lasts * MINUTE // 2,
        urgency=Urgency.LOW,
        made_at=made,
        expires_at=made + lasts * MINUTE,
        at=made,
    )


def at(service: str, minute: int) -> Happening:
    return Happening(identity=Identity("prod", service), at=T + minute * MINUTE)


def judged(
    predictions: list[Prediction], failures: list[Happening], actions: list[Happening]
) -> list[Judgement]:
    found = scoring.judge(predictions, failures, actions, T + HOUR)
    return [one.judgement for one in found]


@pytest.mark.parametrize(
    ("failures", "actions", "expected"),
    [
        ([], [], FALSE),
        ([at("a", 30)], [], HIT),
        ([at("a", 60)], [], HIT),
        ([at("a", 61)], [], FALSE),
        ([at("a", 0)], [], FALSE),
        ([at("b", 30)], [], FALSE),
        ([], [at("a", 30)], UNJUDGED),
        ([at("a", 40)], [at("a", 30)], UNJUDGED),
        ([at("a", 30)], [at("a", 40)], HIT),
        ([], [at("a", 60)], FALSE),
        ([], [at("b", 30)], FALSE),
    ],
)
def test_a_prediction_is_judged_by_what_happened_first(
    failures: list[Happening], actions: list[Happening], expected: Judgement
) -> None:
    """Within its time and at its service: a failure is a hit, nothing is false; an action before
    either leaves it open what it would have been."""
    assert judged([told("a")], failures, actions) == [expected]


def test_nothing_is_judged_before_its_time_is_over() -> None:
    """A millisecond earlier there is no judgement, even of a hit: else hits would count sooner
    than misses."""
    one, fell = [told("a")], [at("a", 10)]

    assert scoring.judge(one, fell, [], T + HOUR - 1) == []
    assert len(scoring.judge(one, fell, [], T + HOUR)) == 1


def scored() -> Score:
    """Four services: a failed after 30 minutes as told, b after 2, c not at all, d was acted on
    and failed in spite of it, e failed and nobody had said so."""
    predictions = [told(name) for name in "abcd"]
    failures = [at("a", 30), at("b", 2), at("d", 50), at("e", 10)]
    all = scoring.judge(predictions, failures, [at("d", 10)], T + HOUR)
    return scoring.score(all, failures)


def test_precision_recall_and_lead_are_counted() -> None:
    """Of three that were judged two hit. Of the failures of a, b and e only a's was told five
    minutes before; d's is left out. Leads of 2 and 30 minutes: the lower one is the median."""
    found = scored()

    assert found.unjudged == 1
    assert found.precision is not None
    assert (found.precision.value, found.precision.n) == (2 / 3, 3)
    assert found.recall is not None
    assert (found.recall.value, found.recall.n) == (1 / 3, 3)
    assert found.lead is not None
    assert (found.lead.value, found.lead.low, found.lead.high) == (
        2 * MINUTE,
        2 * MINUTE,
        30 * MINUTE,
    )


def test_brier_is_the_mean_square_of_what_was_said_too_much_or_too_little() -> None:
    """.6 said of two hits and a miss: (.16 + .16 + .36) / 3."""
    brier = scored().brier

    assert brier is not None
    assert brier.value == pytest.approx(0.68 / 3)
    assert brier.low < brier.value < brier.high


def test_of_nothing_nothing_is_said() -> None:
    """No predictions and no failures: no figures, rather than noughts or ones."""
    found = scoring.score([], [])

    assert (found.precision, found.recall, found.brier, found.lead, found.lead_p10) == (None,) * 5


def test_an_interval_is_as_wide_as_few_cases_make_it() -> None:
    """Wilson's, for 8 of 10, as it is found in tables: .490 to .943."""
    found = scoring.rate(8, 10)

    assert found is not None
    assert (found.low, found.high) == pytest.approx((0.490, 0.943), abs=0.001)


def test_reliability_puts_what_was_said_beside_what_came() -> None:
    """Two of about .6, one of which came; one of .95 that came."""
    predictions = [told("a", probability=0.6), told("b", probability=0.64), told("c")]
    predictions[2] = told("c", probability=0.95)
    all = scoring.judge(predictions, [at("a", 30), at("c", 30)], [], T + HOUR)

    table = scoring.reliability(all)

    assert [round(said, 2) for said, _ in table] == [0.62, 0.95]
    assert [(came.value, came.n) for _, came in table] == [(0.5, 2), (1.0, 1)]


@given(st.text(min_size=1))
def test_the_coin_is_the_predictions_own(id: str) -> None:
    """It falls the same way every time; never for a share of nothing, always for all; and what
    is held back of a tenth is held back of a half."""
    assert not scoring.held_back(id, 0.0)
    assert scoring.held_back(id, 1.0)
    assert scoring.held_back(id, 0.1) <= scoring.held_back(id, 0.5)


def test_the_coin_is_fair() -> None:
    """Of 10,000 ids at a share of a fifth, 2,000 within four standard deviations of 40."""
    held = sum(scoring.held_back(f"id-{n}", 0.2) for n in range(10_000))

    assert abs(held - 2_000) < 160


def by_the_coin(share: float) -> list[Prediction]:
    """A hundred predictions, some of them held back."""
    made = [told(f"s{n}") for n in range(100)]
    return [replace(one, held_back=scoring.held_back(one.id, share)) for one in made]


def groups(share: float, fail_held: float, fail_acted: float) -> scoring.Prevention | None:
    """A hundred predictions; whatever the coin does not hold back is acted on at once. Of each
    group the first ones fail, so many."""
    predictions = by_the_coin(share)
    held = [one for one in predictions if one.held_back]
    acted = [one for one in predictions if one not in held]
    failing = held[: round(fail_held * len(held))] + acted[: round(fail_acted * len(acted))]
    failures = [Happening(identity=one.identity, at=T + 30 * MINUTE) for one in failing]
    actions = [Happening(identity=one.identity, at=T + MINUTE) for one in acted]
    return scoring.prevention(scoring.judge(predictions, failures, actions, T + HOUR))


def test_prevention_is_what_failed_untreated_less_what_failed_treated() -> None:
    """All of what was held back failed and none of the rest: everything was prevented."""
    found = groups(0.5, 1.0, 0.0)

    assert found is not None
    assert (found.prevented.value, found.neither) == (1.0, 0)
    assert found.prevented.low > 0.8
    assert found.held_back.n + found.acted_on.n == 100


def test_what_would_not_have_happened_was_not_prevented() -> None:
    """Nothing fails either way: a hundred actions prevented nothing."""
    found = groups(0.5, 0.0, 0.0)

    assert found is not None
    assert found.prevented.value == 0.0
    assert found.prevented.low < 0 < found.prevented.high


def test_with_few_in_a_group_nothing_is_said() -> None:
    """Nothing held back, or fewer than twenty: no claim."""
    assert groups(0.0, 1.0, 0.0) is None
    assert groups(0.05, 1.0, 0.0) is None


def test_the_interval_of_a_difference_is_newcombes() -> None:
    """56 of 70 against 48 of 80, his own example: .2, from .0524 to .3339."""
    one, other = scoring.rate(56, 70), scoring.rate(48, 80)
    assert one is not None
    assert other is not None

    found = scoring._difference(one, other)

    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)


def test_what_is_in_no_group_is_counted() -> None:
    """Not held back and not acted on: it could have been either, so it is in neither."""
    predictions = by_the_coin(0.5)
    acted = [one for one in predictions if not one.held_back][:25]
    actions = [Happening(identity=one.identity, at=T) for one in acted]

    found = scoring.prevention(scoring.judge(predictions, [], actions, T + HOUR))

    assert found is not None
    assert found.acted_on.n == 25
    assert found.neither == 100 - 25 - found.held_back.n
