# SPDX-License-Identifier: Apache-2.0

"""The metric detector by itself: points a second, state per stream, restart, a healthy fleet.

``python bench/metrics.py [speed] [restart] [single] [fleet] [faults] [--hours H] [--streams N]``.
One process, one thread, batches that are parsed already, time of that core. ``fleet``: a day
of streams with nothing wrong, seen every 15 s: daily seasons, noise of several kinds,
counters, restarts and deployments. What is flagged and what people would be told is counted.
``faults``: the same with some that are broken, and how many of those are told.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator

import numpy as np

from opx.core.detect.metrics.fields import LEVEL
from opx.core.detect.metrics.held import Turn
from opx.core.detect.metrics.odd import Odd
from opx.core.detect.metrics.state import MetricState
from opx.core.detect.metrics.stream import step
from opx.core.ingest.signals import MetricBatch

STEP = 15_000
START = 1_767_225_600_000
KINDS = ("season", "counter", "latency", "memory", "batch job", "constant", "errors")
SHARES = (0.40, 0.20, 0.15, 0.10, 0.05, 0.05, 0.05)


def fleet(streams: int, ticks: int, seed: int) -> Iterator[np.ndarray]:
    """The values of all streams, tick by tick. Each service has 20 streams, which restart and
    are deployed together: three restarts and three deployments in a day for each."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(len(KINDS), streams, p=SHARES)
    service = np.arange(streams) // 20
    base, depth = np.exp(rng.normal(4, 1.5, streams)), rng.uniform(0.1, 0.6, streams)
    phase, noise = rng.uniform(0, 2 * np.pi, streams), rng.uniform(0.01, 0.1, streams)
    slow, level, counted = np.zeros(streams), np.ones(streams), np.zeros(streams)
    grown, leak = np.zeros(streams), rng.uniform(1e-5, 1e-4, streams)
    down = np.zeros(streams, int)
    period = rng.integers(40, 400, streams)
    for tick in range(ticks):
        restarts = (rng.random(service[-1] + 1) < 6 / 5760)[service]
        deploys = restarts & (rng.random(service[-1] + 1) < 0.5)[service]
        down = np.where(restarts, rng.integers(1, 4, streams), np.maximum(down - 1, 0))
        level = np.where(deploys, level * np.exp(rng.normal(0, 0.05, streams)), level)
        grown = np.where(restarts, 0.0, grown + leak)
        day = 1 + depth * np.sin(2 * np.pi * tick / 5760 + phase)
        slow += 0.01 * (rng.normal(0, 1, streams) - slow)
        white = rng.normal(0, 1, streams)
        load = base * level * day * np.maximum(1 + noise * (white + 7 * slow), 0)
        counted = np.where(restarts, 0.0, counted) + rng.poisson(np.minimum(load, 1e6))
        busy = (tick // period) % 4 == 0
        values = [
            np.where(down > 0, 0.0, load),
            counted,
            base * level * day * np.exp(0.4 * white) * np.where(down > 0, 3.0, 1.0),
            base * level * (1 + grown + 0.01 * white),
            np.where(busy, base * (1 + 0.05 * white), 0.02 * base),
            np.round(base),
            (rng.random(streams) < 0.002) * 1.0,
        ]
        yield np.choose(kind, values)


def healthy(streams: int, hours: float) -> None:
    ticks = int(hours * 3600 * 1000 / STEP)
    state, sid = MetricState(), np.arange(streams, dtype=np.int32)
    flags, left, spent = np.zeros(streams, int), np.zeros(streams, int), 0.0
    odd = np.array([150, 300, 1_000, 3_000, 10_000, 30_000])
    times = np.zeros(len(odd), int)
    for tick, value in enumerate(fleet(streams, ticks, seed=1)):
        at = np.full(streams, START + tick * STEP, np.int64)
        began = time.process_time()
        scores = step(state, MetricBatch(sid=sid, at=at, value=value))
        spent += time.process_time() - began
        flags += scores.anomaly
        left += scores.turn == Turn.LEFT
        said = scores.score[scores.score > 0]
        times += (said[:, None] >= 1 - 1 / odd).sum(0)
    rng = np.random.default_rng(1)
    kind = rng.choice(len(KINDS), streams, p=SHARES)
    points = streams * ticks
    print(f"fleet: {streams:,} healthy streams, {hours:g} h, {points:,} points")
    rate = 1e3 * flags.sum() / points
    print(f"  findings {left.sum()}, flags {flags.sum():,} ({rate:.3f} a 1,000)")
    for number, name in enumerate(KINDS):
        own = kind == number
        print(
            f"  {name:10s} {own.sum():6,} streams  findings {left[own].sum():4d}"
            f"  flags {1e3 * flags[own].sum() / max(own.sum() * ticks, 1):.3f} a 1,000"
        )
    came = ", ".join(f"{points / max(count, 1):,.0f}" for count in times)
    print(f"  scores of 1 in {', '.join(f'{n:,}' for n in odd)} came once in {came} points")
    print(f"  {points / spent:,.0f} points/s from the first point on")


FAULTS = ("twice the level", "four times", "a third", "stuck at 0", "noise times 5")


def faults(streams: int, hours: float) -> None:
    """In its last half hour every tenth stream of the season and latency kinds has a fault that
    stays. How many are told, how soon, and how many flags they get while they last."""
    ticks, sid = int(hours * 3600 * 1000 / STEP), np.arange(streams, dtype=np.int32)
    rng = np.random.default_rng(1)
    kind = rng.choice(len(KINDS), streams, p=SHARES)
    fault = np.where(np.isin(kind, (0, 2)) & (sid % 10 == 0), sid // 10 % len(FAULTS), -1)
    state, found = MetricState(), np.full(streams, -1)
    flagged, others = np.zeros(streams, bool), 0
    for tick, value in enumerate(fleet(streams, ticks, seed=1)):
        if tick >= ticks - 120:
            recent = state.numbers[LEVEL, state.rows.find(sid.astype(np.int64))]
            broken = [value * 2, value * 4, value / 3, value * 0, recent + 5 * (value - recent)]
            value = np.where(fault < 0, value, np.choose(np.maximum(fault, 0), broken))
        at = np.full(streams, START + tick * STEP, np.int64)
        scores = step(state, MetricBatch(sid=sid, at=at, value=value))
        if tick >= ticks - 120:
            left = (scores.turn == Turn.LEFT) & (found < 0)
            found[left & (fault >= 0)] = tick - (ticks - 120)
            others += int((left & (fault < 0)).sum())
            flagged |= scores.anomaly
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
    state, sid = MetricState(), np.arange(streams, dtype=np.int32)
    batches = [
        MetricBatch(sid=sid, at=np.full(streams, START + tick * STEP, np.int64), value=value)
        for tick, value in enumerate(fleet(streams, ticks, seed=2))
    ]
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
        off = batch.value - mean
        odd = np.abs(off) > 4 * spread
        mean += 0.05 * off
        spread += 0.05 * (np.abs(off) - spread)
    spent = time.process_time() - began
    print(f"EWMA and mean deviation, aligned: {points / spent:,.0f} points/s ({odd.sum()} odd)")


def restart(streams: int) -> None:
    state, batches = warm(streams, 400)
    began = time.process_time()
    saved = state.save()
    between = time.process_time()
    loaded = MetricState.load(saved)
    ended = time.process_time()
    same = all(
        np.array_equal(step(state, batch).score, step(loaded, batch).score) for batch in batches
    )
    print(
        f"restart: save {between - began:.3f} s, load {ended - between:.3f} s,"
        f" {sum(array.nbytes for array in saved.values()) / streams:,.0f} bytes a stream,"
        f" scores after it identical: {same}"
    )
    began = time.process_time()
    row = json.dumps(Odd(state=state).save())
    between = time.process_time()
    Odd.load(json.loads(row))
    ended = time.process_time()
    print(
        f"  as the service's row of {len(row) / 1e6:.1f} MB:"
        f" save {between - began:.3f} s, load {ended - between:.3f} s"
    )


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
    parser.add_argument("what", nargs="*", default=["speed", "restart", "single"])
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--streams", type=int, default=10_000)
    asked = parser.parse_args()
    for what in asked.what:
        {
            "speed": lambda: speed(asked.streams),
            "restart": lambda: restart(asked.streams),
            "single": single,
            "faults": lambda: faults(min(asked.streams, 4_000), min(asked.hours, 8)),
            "fleet": lambda: healthy(asked.streams, asked.hours),
        }[what]()


if __name__ == "__main__":
    main()
