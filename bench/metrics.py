# SPDX-License-Identifier: Apache-2.0

"""The metric detector by itself: points a second, state per stream, a healthy fleet.

``python bench/metrics.py [speed] [single] [fleet] [faults] [--hours H] [--streams N]``.
One process, one thread, batches that are parsed already, time of that core. ``fleet``: a day
of the simulator's streams with nothing wrong, a point every 15 s. What is flagged, by noise, and
what people would be told is counted. ``faults``: the same with some that are broken, and how
many of those are told.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from opx.core.base.time import HOUR
from opx.core.detect.metrics.fields import LEVEL
from opx.core.detect.metrics.held import Turn
from opx.core.detect.metrics.state import MetricState
from opx.core.detect.metrics.stream import step
from opx.core.ingest.signals import MetricBatch
from opx.playground.simulator.fleet import Fleet, Noise, Plan

STEP = 15_000
START = 1_767_225_600_000


def fleet(streams: int, hours: float, seed: int) -> Fleet:
    return Fleet(Plan(streams=streams, hours=hours, period=STEP, start=START, seed=seed))


def healthy(streams: int, hours: float) -> None:
    made, state = fleet(streams, hours, seed=1), MetricState()
    came, flags, left = (np.zeros(streams, int) for _ in range(3))
    odd = np.array([150, 300, 1_000, 3_000, 10_000, 30_000])
    times, spent = np.zeros(len(odd), int), 0.0
    for batch in made.batches():
        began = time.process_time()
        scores = step(state, batch)
        spent += time.process_time() - began
        came[batch.sid] += 1
        flags[batch.sid] += scores.anomaly
        left[batch.sid] += scores.turn == Turn.LEFT
        said = scores.score[scores.score > 0]
        times += (said[:, None] >= 1 - 1 / odd).sum(0)
    points = came.sum()
    print(f"fleet: {streams:,} healthy streams, {hours:g} h, {points:,} points")
    print(
        f"  findings {left.sum()}, flags {flags.sum():,} ({1e3 * flags.sum() / points:.3f} a 1,000)"
    )
    for noise in Noise:
        own = made.noise == noise
        print(
            f"  {noise.name.lower():8s} {own.sum():6,} streams  findings {left[own].sum():4d}"
            f"  flags {1e3 * flags[own].sum() / max(came[own].sum(), 1):.3f} a 1,000"
        )
    once = ", ".join(f"{points / max(count, 1):,.0f}" for count in times)
    print(f"  scores of 1 in {', '.join(f'{n:,}' for n in odd)} came once in {once} points")
    print(f"  {points / spent:,.0f} points/s from the first point on")


FAULTS = ("twice the level", "four times", "a third", "stuck at 0", "noise times 5")


def faults(streams: int, hours: float) -> None:
    """In its last half hour every tenth steady or rough stream has a fault that stays. How many
    are told, how soon, and how many flags they get while they last."""
    made, state, sid = fleet(streams, hours, seed=1), MetricState(), np.arange(streams)
    noisy = np.isin(made.noise, (Noise.STEADY, Noise.ROUGH))
    fault = np.where(noisy & (sid % 10 == 0), sid // 10 % len(FAULTS), -1)
    found, flagged, others = np.full(streams, -1), np.zeros(streams, bool), 0
    begins = made.plan.steps - 120
    for tick, batch in enumerate(made.batches()):
        if tick >= begins:
            value, own = batch.value, fault[batch.sid]
            recent = state.numbers[LEVEL, state.rows.find(batch.sid.astype(np.int64))]
            broken = [value * 2, value * 4, value / 3, value * 0, recent + 5 * (value - recent)]
            value = np.where(own < 0, value, np.choose(np.maximum(own, 0), broken))
            batch = MetricBatch(sid=batch.sid, at=batch.at, value=value)
        scores = step(state, batch)
        if tick >= begins:
            left = batch.sid[scores.turn == Turn.LEFT]
            left = left[found[left] < 0]
            found[left[fault[left] >= 0]] = tick - begins
            others += int((fault[left] < 0).sum())
            flagged[batch.sid[scores.anomaly]] = True
    print(f"faults: {(fault >= 0).sum()} of {streams:,} streams after {hours - 0.5:g} h")
    for number, name in enumerate(FAULTS):
        own = fault == number
        told = own & (found >= 0)
        after = np.median(found[told] + 1) * STEP / 1000 if told.any() else np.nan
        print(
            f"  {name:16s} {own.sum():4d}: told {told.sum() / own.sum():4.0%} after {after:.0f} s,"
            f" flagged {(own & flagged).sum() / own.sum():4.0%}"
        )
    print(f"  told of others in that half hour: {others}")


def warm(streams: int, ticks: int) -> tuple[MetricState, list[MetricBatch]]:
    """A state that has seen the fleet for a while, and what comes next."""
    state = MetricState()
    batches = list(fleet(streams, ticks * STEP / HOUR, seed=2).batches())
    for batch in batches[: ticks // 2]:
        step(state, batch)
    return state, batches[ticks // 2 :]


def speed(streams: int) -> None:
    state, batches = warm(streams, 1_200)
    took = []
    for batch in batches:
        began = time.process_time()
        step(state, batch)
        took.append(time.process_time() - began)
    points = sum(len(batch) for batch in batches)
    took.sort()
    print(
        f"step: {points / sum(took):,.0f} points/s, {streams:,} streams,"
        f" p50 {took[len(took) // 2] * 1e3:.2f} ms, p99 {took[len(took) * 99 // 100] * 1e3:.2f} ms"
    )
    print(f"state: {state.bytes / len(state):,.0f} bytes a stream, room to grow included")
    mean, spread = np.zeros(streams), np.ones(streams)
    began = time.process_time()
    for batch in batches:
        off = batch.value - mean[batch.sid]
        odd = np.abs(off) > 4 * spread[batch.sid]
        mean[batch.sid] += 0.05 * off
        spread[batch.sid] += 0.05 * (np.abs(off) - spread[batch.sid])
    spent = time.process_time() - began
    print(f"EWMA and mean deviation: {points / spent:,.0f} points/s ({odd.sum()} odd)")


def single(points: int = 20_000) -> None:
    """All points of one stream in one batch: each has to wait for the one before it."""
    rng = np.random.default_rng(3)
    at = START + np.arange(points, dtype=np.int64) * 300_000
    value = 50 + 20 * np.sin(2 * np.pi * np.arange(points) / 288) + rng.normal(0, 3, points)
    began = time.process_time()
    step(MetricState(), MetricBatch(sid=np.zeros(points, np.int32), at=at, value=value))
    spent = time.process_time() - began
    print(f"one stream: {points:,} points in {spent:.2f} s ({points / spent:,.0f} points/s)")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="*", default=["speed", "single"])
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--streams", type=int, default=10_000)
    asked = parser.parse_args()
    for what in asked.what:
        {
            "speed": lambda: speed(asked.streams),
            "single": single,
            "faults": lambda: faults(min(asked.streams, 4_000), min(asked.hours, 8)),
            "fleet": lambda: healthy(asked.streams, asked.hours),
        }[what]()


if __name__ == "__main__":
    main()
