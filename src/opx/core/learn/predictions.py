# SPDX-License-Identifier: Apache-2.0

"""What predictions were worth, once it is known what happened.

Stage 9. A prediction is judged when its time is over, and only if nobody acted on it: what was
acted on may have been prevented, may have been nothing. To tell the two apart, a share of the
predictions can be held back from all action, by a coin that nobody can turn: the failures
among those, less the failures among the ones acted on, is what was prevented. It must never
count a prediction that came to nothing as a failure prevented.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import sqrt

from opx.core.base import ids
from opx.core.base.time import MINUTE, Ms
from opx.core.detect.predict.prediction import Happening, Prediction

Z = 1.96
"""All intervals are of 95 %."""
FEWEST = 20
"""Predictions in each group without which nothing is said of prevention: with fewer, even all
against none leaves an interval of a third."""
LEAD: Ms = 5 * MINUTE
"""A warning that comes later is none."""
CELLS = 10


class Judgement(StrEnum):
    HIT = "hit"
    """The service failed within the time that was given."""
    FALSE = "false"
    """It did not, though nobody did anything about it."""
    UNJUDGED = "unjudged"
    """opx or a person acted before it was seen how it would have ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """``failed_at``: when it failed within the time, whether or not somebody had acted."""

    prediction: Prediction
    judgement: Judgement
    failed_at: Ms | None

    @property
    def acted(self) -> bool:
        return self.judgement is Judgement.UNJUDGED


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure from ``n`` cases; it lies between ``low`` and ``high`` 95 times in a hundred."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """None: there are no cases to say it from. ``recall``: failures that were announced ``lead``
    before; those that came in spite of an action are left out. ``lead``, ``lead_p10``: of the
    hits, ms. ``brier``: the mean square of what the probabilities were off."""

    precision: Estimate | None
    recall: Estimate | None
    brier: Estimate | None
    lead: Estimate | None
    lead_p10: Estimate | None
    unjudged: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Prevention:
    """``prevented``: failures among what was held back less those among what was acted on, from -1
    to 1. ``neither``: predictions in no group: held back and acted on all the same, or simply
    not acted on. Where they are many, the groups may differ in more than the action."""

    prevented: Estimate
    held_back: Estimate
    acted_on: Estimate
    neither: int


def held_back(id: str, share: float) -> bool:
    """Whether nothing is to be done about this prediction, so that it can be seen what would have
    happened. ``share``: 0 (never, the default of opx) to 1."""
    return int(ids.derived("held back", id)[:16], 16) < share * 2.0**64


def judge(
    predictions: Iterable[Prediction],
    failures: Sequence[Happening],
    actions: Sequence[Happening],
    now: Ms,
) -> list[Judged]:
    """Those predictions whose time is over by ``now``. ``predictions``: as they were told."""
    failed, done = _by_service(failures), _by_service(actions)
    judged = []
    for one in predictions:
        if one.expires_at > now:
            continue
        who = one.identity.environment, one.identity.service
        at = next((at for at in failed.get(who, []) if one.made_at < at <= one.expires_at), None)
        until = one.expires_at if at is None else at
        if any(one.made_at <= act < until for act in done.get(who, [])):
            judgement = Judgement.UNJUDGED
        else:
            judgement = Judgement.FALSE if at is None else Judgement.HIT
        judged.append(Judged(prediction=one, judgement=judgement, failed_at=at))
    return judged


def score(judged: Sequence[Judged], failures: Sequence[Happening], lead: Ms = LEAD) -> Score:
    """How good they were. ``failures``: all there were in the time that is looked at."""
    seen = [one for one in judged if not one.acted]
    hits = [one for one in seen if one.judgement is Judgement.HIT]
    leads = sorted(float(_lead(one)) for one in hits)
    early = {_failure(one) for one in hits if _lead(one) >= lead}
    meddled = {_failure(one) for one in judged if one.acted and one.failed_at is not None}
    counted = {_of(one) for one in failures} - (meddled - early)
    off = [(one.prediction.probability - (one in hits)) ** 2 for one in seen]
    return Score(
        precision=rate(len(hits), len(seen)),
        recall=rate(len(early & counted), len(counted)),
        brier=_mean(off),
        lead=_quantile(leads, 0.5),
        lead_p10=_quantile(leads, 0.1),
        unjudged=len(judged) - len(seen),
    )


def reliability(judged: Iterable[Judged]) -> list[tuple[float, Estimate]]:
    """Per tenth of probability that was ever told: what was told on the average, what came."""
    cells: dict[int, list[Judged]] = {}
    for one in judged:
        if not one.acted:
            cell = min(int(one.prediction.probability * CELLS), CELLS - 1)
            cells.setdefault(cell, []).append(one)
    table = []
    for _, own in sorted(cells.items()):
        told = sum(one.prediction.probability for one in own) / len(own)
        came = rate(sum(one.judgement is Judgement.HIT for one in own), len(own))
        assert came is not None
        table.append((told, came))
    return table


def prevention(judged: Iterable[Judged]) -> Prevention | None:
    """What acting prevented; None while either group has fewer than ``FEWEST``."""
    held: list[bool] = []
    acted: list[bool] = []
    neither = 0
    for one in judged:
        if one.prediction.held_back != one.acted:
            (held if one.prediction.held_back else acted).append(one.failed_at is not None)
        else:
            neither += 1
    if min(len(held), len(acted)) < FEWEST:
        return None
    without, with_ = rate(sum(held), len(held)), rate(sum(acted), len(acted))
    assert without is not None
    assert with_ is not None
    return Prevention(
        prevented=_difference(without, with_), held_back=without, acted_on=with_, neither=neither
    )


def rate(hits: int, n: int) -> Estimate | None:
    """A share with its interval (Wilson 1927); None of nothing."""
    if not n:
        return None
    share, z2 = hits / n, Z * Z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z * sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    low = 0.0 if hits == 0 else middle - half
    high = 1.0 if hits == n else middle + half
    return Estimate(value=share, low=low, high=high, n=n)


def _difference(one: Estimate, other: Estimate) -> Estimate:
    """Of two shares (Newcombe 1998, method 10). ``n``: of the smaller group."""
    gap = one.value - other.value
    below = sqrt((one.value - one.low) ** 2 + (other.high - other.value) ** 2)
    above = sqrt((one.high - one.value) ** 2 + (other.value - other.low) ** 2)
    return Estimate(value=gap, low=gap - below, high=gap + above, n=min(one.n, other.n))


def _mean(values: Sequence[float]) -> Estimate | None:
    """With a normal interval; of one value it is all there can be, 0 to 1."""
    n = len(values)
    if not n:
        return None
    mean = sum(values) / n
    if n == 1:
        return Estimate(value=mean, low=0.0, high=1.0, n=1)
    half = Z * sqrt(sum((value - mean) ** 2 for value in values) / (n - 1) / n)
    return Estimate(value=mean, low=max(0.0, mean - half), high=min(1.0, mean + half), n=n)


def _quantile(values: Sequence[float], q: float) -> Estimate | None:
    """Of sorted values, the interval by their ranks (the normal form of the binomial one)."""
    n = len(values)
    if not n:
        return None
    half = Z * sqrt(n * q * (1 - q))
    low, high = (min(max(int(n * q + side), 0), n - 1) for side in (-half, half))
    return Estimate(value=values[int(q * (n - 1))], low=values[low], high=values[high], n=n)


def _lead(one: Judged) -> Ms:
    assert one.failed_at is not None
    return one.failed_at - one.prediction.made_at


def _failure(one: Judged) -> tuple[str, str, Ms]:
    assert one.failed_at is not None
    return one.prediction.identity.environment, one.prediction.identity.service, one.failed_at


def _of(one: Happening) -> tuple[str, str, Ms]:
    return one.identity.environment, one.identity.service, one.at


def _by_service(all: Iterable[Happening]) -> dict[tuple[str, str], list[Ms]]:
    found: dict[tuple[str, str], list[Ms]] = {}
    for one in sorted(all, key=lambda one: one.at):
        found.setdefault((one.identity.environment, one.identity.service), []).append(one.at)
    return found
