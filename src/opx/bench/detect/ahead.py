# SPDX-License-Identifier: Apache-2.0

"""Failures told ahead against false warnings, on stories that nothing was chosen on.

Of each kind of the simulator's precursors some, the failing ones and their healthy
look-alikes, every service watched from its first minute. A warning counts if it comes five
minutes ahead and the failure within its time; any other is false. Nobody says when a service
has failed, so no story teaches another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from opx.bench.figures import Figure, Tell
from opx.core.base.time import DAY
from opx.core.detect.predict.prediction import Happening
from opx.core.detect.predict.predictor import step
from opx.core.detect.predict.state import TELL, PredictState
from opx.core.ingest.signals import Identity
from opx.core.learn import predictions as scoring
from opx.playground.simulator.precursors import (
    BROKEN,
    DEEPEST,
    FULL,
    Story,
    Trend,
    Twin,
    points,
    stories,
)

START = 1_767_225_600_000
FIRST = 500_000
"""The constants were chosen with seeds from 2,000 on."""
CHOSEN_ON = (Trend.LEAK, Trend.ERRORS, Twin.SAWTOOTH, Twin.PLATEAU, Twin.BLIP)
"""Kinds that were looked at while they were."""
KINDS = (*Trend, *Twin)
SEEDS = 20
"""Of each kind."""
LIMITS = {"memory_percent": FULL, "queue_depth": DEEPEST, "error_ratio": BROKEN}
PROBABILITIES = (TELL, 0.3, 0.4, 0.45, 0.6, 0.7, 0.8, 0.9)
"""From which one is told; the first is the one that ships."""
ASKED = ((1.0, "0.60"), (0.2, "0.85"))
"""False warnings a day of a service, and the recall that is asked at so many."""
HALF = 0.25
"""The Brier score of who always says a half."""
NEVER = 1 << 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What came of some stories."""

    stories: Sequence[Story]
    judged: list[scoring.Judged]
    failures: list[Happening]

    @property
    def false_a_day(self) -> float:
        days = sum(story.steps * story.period for story in self.stories) / DAY
        false = sum(one.judgement is scoring.Judgement.FALSE for one in self.judged)
        return false / days if days else 0.0

    @property
    def score(self) -> scoring.Score:
        return scoring.score(self.judged, self.failures)

    def without(self, kinds: Sequence[Trend | Twin]) -> Told:
        own = [story for story in self.stories if story.kind not in kinds]
        names = {story.service for story in own}
        return Told(
            stories=own,
            judged=[one for one in self.judged if one.prediction.identity.service in names],
            failures=[one for one in self.failures if one.identity.service in names],
        )


def measure(tell: Tell) -> list[Figure]:
    """At several thresholds, and at the one that ships."""
    told = list(stories(KINDS, range(FIRST, FIRST + SEEDS), START))
    curve = {}
    for at in PROBABILITIES:
        tell(f"predictions: {len(told)} stories, told from {at:g} on")
        curve[at] = watch(told, at, limits=True)
    tell(f"predictions: {len(told)} stories, no limit told")
    ships, unaided = curve[TELL], watch(told, TELL, limits=False)
    found = [_within(curve, most, must) for most, must in ASKED]
    found.append(_recall("as shipped", ships))
    found.append(_brier(ships))
    found.append(_recall("as shipped, kinds of trouble kept out", ships.without(CHOSEN_ON)))
    return [*found, _recall("as shipped, no limit told to it", unaided)]


def watch(told: Sequence[Story], at: float, *, limits: bool) -> Told:
    """``at``: the probability from which one is told. What is made after its service has
    failed is no prediction any more."""
    series, batches = points(told)
    state = PredictState(tell=at)
    known = {one.sid: LIMITS[one.metric] for one in series if one.metric in LIMITS}
    state.know(series, known if limits else None)
    edges = [
        edge
        for number, batch in enumerate(batches)
        for edge in step(state, batch, told[0].start + number * told[0].period)
    ]
    happened = [
        Happening(identity=Identity("prod", story.service), at=story.failed_at)
        for story in told
        if story.failed_at is not None
    ]
    over = {one.identity.service: one.at for one in happened}
    made = [
        edge
        for edge in edges
        if edge.withdrawn is None and edge.made_at < over.get(edge.identity.service, NEVER)
    ]
    return Told(stories=told, judged=scoring.judge(made, happened, [], NEVER), failures=happened)


def _within(curve: dict[float, Told], most: float, must: str) -> Figure:
    """At the threshold that is best here of those with few enough false warnings."""
    name = f"at up to {most:g} false warning{'s' * (most != 1)} a day and service"
    fair = {at: one for at, one in curve.items() if one.false_a_day <= most}
    best = max(fair, key=lambda at: _value(fair[at].score.recall), default=None)
    if best is None:
        return Figure(name=_named(name), unit="", measured=None, must=must, note="every threshold"
                      " has more")  # fmt: skip
    return _recall(name, fair[best], must, f"told from {best:g} on, the best here")


def _value(one: scoring.Estimate | None) -> float:
    return 0.0 if one is None else one.value


def _named(what: str) -> str:
    return f"failures told 5 minutes ahead, {what}"


def _recall(what: str, told: Told, must: str = "", how: str = "") -> Figure:
    recall = told.score.recall
    notes = [f"{len(told.failures)} failures in {len(told.stories)} stories", how]
    notes.append(f"{told.false_a_day:.2f} false a day and service")
    return Figure(
        name=_named(what),
        unit="",
        measured=None if recall is None else round(recall.value, 2),
        interval=None if recall is None else (round(recall.low, 2), round(recall.high, 2)),
        must=must,
        note="; ".join(note for note in notes if note),
    )


def _brier(told: Told) -> Figure:
    brier = told.score.brier
    return Figure(
        name="predictions as shipped, Brier score",
        unit="",
        measured=None if brier is None else round(brier.value, 3),
        interval=None if brier is None else (round(brier.low, 3), round(brier.high, 3)),
        anchor=f"always a half {HALF}",
        note=f"{len(told.judged)} predictions, 0 is best",
    )
