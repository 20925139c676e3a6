# SPDX-License-Identifier: Apache-2.0

"""Failures told ahead against false warnings, on stories nothing was chosen on; and the cost.

``python bench/predict.py [stories] [speed] [--seeds N] [--choose]``. ``stories``: of
each kind of the simulator's precursors N, the failing and their healthy look-alikes, every
service watched from its first minute. A warning counts if it comes 5 minutes ahead and the
failure within its time; any other warning is false. ``taught``: who has seen as many other
stories and their failures before. ``--choose``: the seeds and the kinds on which the constants
were chosen, in place of the others. One process, one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from opx.core.base.time import DAY, MINUTE
from opx.core.detect.predict.predictor import failed, step
from opx.core.detect.predict.state import TELL, PredictState
from opx.core.ingest.signals import Identity, MetricBatch, Series
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
TOLD = {"memory_percent": FULL, "queue_depth": DEEPEST, "error_ratio": BROKEN}
KINDS = (*Trend, *Twin)
CHOSEN_ON = (Trend.LEAK, Trend.ERRORS, Twin.SAWTOOTH, Twin.PLATEAU, Twin.BLIP)
"""Kinds that were looked at while the constants were chosen, with ``CHOICE`` seeds."""
CHOICE, REPORT = 2_000, 500_000
"""Where the seeds of each begin."""
PROBABILITIES = (TELL, 0.3, 0.4, 0.45, 0.6, 0.7, 0.8, 0.9)
"""The first is the one that is shipped."""
ASKED = ((1.0, 0.60), (0.2, 0.85))
"""False warnings a day of a service, and the recall that is asked at so many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What came of some stories."""

    stories: Sequence[Story]
    judged: list[scoring.Judged]
    failures: list[scoring.Happening]

    @property
    def days(self) -> float:
        return sum(story.steps * story.period for story in self.stories) / DAY

    @property
    def false(self) -> int:
        return sum(one.judgement is scoring.Judgement.FALSE for one in self.judged)

    def only(self, kinds: Sequence[Trend | Twin]) -> Told:
        own = [story for story in self.stories if story.kind in kinds]
        names = {story.service for story in own}
        return Told(
            stories=own,
            judged=[o for o in self.judged if o.prediction.identity.service in names],
            failures=[o for o in self.failures if o.identity.service in names],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What the predictor is told of limits, and who has seen failures before it."""

    limits: bool
    taught: PredictState | None = None

    def state(self, tell: float, series: Sequence[Series]) -> PredictState:
        state = PredictState(tell=tell)
        if self.taught is not None:
            state.odds = self.taught.odds
            state.failures = self.taught.failures
        told = {one.sid: TOLD[one.metric] for one in series if one.metric in TOLD}
        state.know(series, told if self.limits else None)
        return state


def batches(told: Sequence[Story]) -> Iterator[tuple[int, MetricBatch]]:
    _, all = points(told)
    for number, batch in enumerate(all):
        yield told[0].start + number * told[0].period, batch


def teach(told: Sequence[Story], limits: bool) -> PredictState:
    """Who has seen these stories, and was told of every failure."""
    series, _ = points(told)
    state = Setting(limits=limits).state(TELL, series)
    for now, batch in batches(told):
        for story in told:
            if story.failed_at == now:
                failed(state, Identity("prod", story.service), now)
        step(state, batch, now)
    return state


def watch(told: Sequence[Story], setting: Setting, tell: float) -> Told:
    """Nobody says when a service has failed, so no story teaches another while they run."""
    series, _ = points(told)
    state = setting.state(tell, series)
    edges = [edge for now, batch in batches(told) for edge in step(state, batch, now)]
    happened = [
        scoring.Happening(identity=Identity("prod", story.service), at=story.failed_at)
        for story in told
        if story.failed_at is not None
    ]
    over = {one.identity.service: one.at for one in happened}
    made = [
        one
        for one in edges
        if one.withdrawn is None and one.made_at < over.get(one.identity.service, 1 << 60)
    ]
    judged = scoring.judge(made, happened, [], 1 << 60)
    return Told(stories=told, judged=judged, failures=happened)


def line(name: str, told: Told) -> str:
    found = scoring.score(told.judged, told.failures)
    recall, precision = found.recall, found.precision
    lead = (
        "-"
        if found.lead is None or found.lead_p10 is None
        else (f"{found.lead.value / MINUTE:.0f} min (p10 {found.lead_p10.value / MINUTE:.0f})")
    )
    return (
        f"  {name:22s} recall {shown(recall)}  false a day {told.false / told.days:.2f}"
        f" ({told.false} in {told.days:.0f})  precision {shown(precision)}  lead {lead}"
    )


def shown(one: scoring.Estimate | None) -> str:
    return "-" if one is None else f"{one.value:.2f} [{one.low:.2f}, {one.high:.2f}] n {one.n}"


def report(name: str, told: Sequence[Story], setting: Setting, tells: Sequence[float]) -> None:
    """The curve, and more of the first threshold."""
    all = {at: watch(told, setting, at) for at in tells}
    print(f"{name}: {len(told)} stories")
    for at in sorted(all):
        print(line(f"told from {at:.2f}", all[at]))
    for bound, asked in ASKED if len(all) > 1 else ():
        within = [one for one in all.values() if one.false / one.days <= bound]
        found = [scoring.score(one.judged, one.failures).recall for one in within]
        best = max((one.value for one in found if one is not None), default=0.0)
        print(f"  on this curve, at {bound:g} false a day or fewer: {best:.2f}, asked {asked:.2f}")
    own = all[tells[0]]
    for kind in KINDS:
        if any(story.kind is kind for story in told):
            print(line(f"{tells[0]:.2f} {kind.value}", own.only([kind])))
    kept_out = own.only([kind for kind in KINDS if kind not in CHOSEN_ON])
    if kept_out.stories:
        print(line(f"{tells[0]:.2f} kinds kept out", kept_out))
    found = scoring.score(own.judged, own.failures)
    if found.brier is not None:
        print(f"  Brier {found.brier.value:.3f} [{found.brier.low:.3f}, {found.brier.high:.3f}]")
    for said, came in scoring.reliability(own.judged):
        print(f"  said {said:.2f}  came {shown(came)}")


def judge(seeds: int, choose: bool) -> None:
    if choose:
        told = list(stories(CHOSEN_ON, range(CHOICE, CHOICE + seeds), START))
        report("chosen on, limits told", told, Setting(limits=True), PROBABILITIES)
        return
    told = list(stories(KINDS, range(REPORT, REPORT + seeds), START))
    report("limits told", told, Setting(limits=True), PROBABILITIES)
    report("nothing told", told, Setting(limits=False), PROBABILITIES[:1])
    school = list(stories(KINDS, range(CHOICE, CHOICE + seeds), START))
    taught = teach(school, limits=True)
    report("limits told, taught", told, Setting(limits=True, taught=taught), PROBABILITIES)
    taught = teach(school, limits=False)
    report("nothing told, taught", told, Setting(limits=False, taught=taught), PROBABILITIES[:1])


def speed(streams: int) -> None:
    """A healthy fleet every 15 s, all of it watched; then with every stream on its way."""
    rng = np.random.default_rng(1)
    sid = np.arange(streams, dtype=np.int32)
    who = Identity("prod", "s")
    series = [
        Series(sid=n, metric="memory_percent", labels={}, identity=who) for n in range(streams)
    ]
    state = PredictState()
    state.know(series)
    took: list[float] = []
    for tick in range(1_200):
        grown = max(tick - 800, 0) * 0.05
        value = 40 + rng.normal(0, 2, streams) + grown
        at = np.full(streams, START + tick * 15_000, np.int64)
        began = time.process_time()
        step(state, MetricBatch(sid=sid, at=at, value=value), int(at[0]))
        took.append(time.process_time() - began)
    for name, some in (("healthy", took[200:800]), ("all climbing", took[900:])):
        some = sorted(some)
        print(
            f"speed, {name}: {streams:,} streams, {streams * len(some) / sum(some):,.0f} points/s,"
            f" p50 {1e3 * some[len(some) // 2]:.1f} ms,"
            f" p99 {1e3 * some[len(some) * 99 // 100]:.1f} ms"
        )
    began = time.process_time()
    saved = state.save()
    PredictState.load(saved)
    print(
        f"state: {state.bytes / streams:,.0f} bytes a stream,"
        f" save and load {time.process_time() - began:.2f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="*", default=["stories", "speed"])
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--streams", type=int, default=10_000)
    asked = parser.parse_args()
    for what in asked.what:
        {
            "stories": lambda: judge(asked.seeds, asked.choose),
            "speed": lambda: speed(asked.streams),
        }[what]()


if __name__ == "__main__":
    main()
