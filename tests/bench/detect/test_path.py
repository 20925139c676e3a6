# SPDX-License-Identifier: Apache-2.0
"""What is measured is what runs: ``opx score``, the bench's feed and the service agree."""

from __future__ import annotations

import io
import json

import numpy as np

from opx.adapters.wires import metrics as wire
from opx.bench.detect import metrics as bench
from opx.bench.detect.nab import Recording
from opx.cli.detect import SCORERS
from opx.cli.score import metrics as score
from opx.core.base.time import MINUTE, to_wire
from opx.core.detect.metrics.state import MetricState
from opx.core.detect.metrics.stream import step
from opx.core.ingest.signals import MetricBatch
from opx.engine.intake import Incoming

NOW = 1_800_000_000_000
POINTS = 900


def values(seed: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    rng = np.random.default_rng(seed)
    made = 40 + 10 * np.sin(np.arange(POINTS) / 50) + rng.normal(0, 1, POINTS)
    made[[500, 501, 750]] = 140.0, 3.0, np.pi * 1e5
    return made


VALUE = values(1)
AT = NOW - POINTS * MINUTE + np.arange(POINTS) * MINUTE


def through_the_service(sizes: list[int]) -> tuple[list[float], list[bool]]:
    """As ``brain`` has it: bodies as they were posted, read by the wire, each with a stranger's
    points in it, and scored batch by batch."""
    index, state = wire.SeriesIndex(), MetricState()
    scores: list[float] = []
    flags: list[bool] = []
    start = 0
    for size in sizes:
        piece = range(start, start + size)
        start += size
        points = [
            {"metric": name, "labels": {"service": "a"}, "timestamp": int(AT[n]), "value": v[n]}
            for n in piece
            for name, v in (("other", values(2).tolist()), ("mine", VALUE.tolist()))
        ]
        parsed = wire.parse(index, json.dumps(points).encode(), Incoming(now=NOW))
        assert parsed.refusals == []
        batch = parsed.batch.points
        assert isinstance(batch, MetricBatch)
        found = step(state, batch)
        own = batch.sid == batch.sid[1]
        scores += found.score[own].tolist()
        flags += found.anomaly[own].tolist()
    return scores, flags


def test_the_service_and_opx_score_say_the_same_bit_for_bit() -> None:
    """A stream posted in bodies of one, many and very many points, in company, scores as it does
    from a file by itself."""
    scores, flags = through_the_service([1, 2, 300, 7, 590])
    lines = "".join(
        json.dumps({"stream": "x", "timestamp": to_wire(int(at)), "value": value}) + "\n"
        for at, value in zip(AT, VALUE.tolist(), strict=True)
    )
    out = io.BytesIO()

    assert score.run(io.BufferedReader(io.BytesIO(lines.encode())), out) == 0

    told = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [row["score"] for row in told] == scores
    assert [row["anomaly"] for row in told] == flags
    assert any(flags)


def test_the_bench_scores_side_by_side_what_would_be_scored_alone() -> None:
    """Two recordings of different length, in one feed: each as if it were alone."""
    at = tuple(to_wire(int(one)) for one in AT)
    first = Recording(name="", at=at, value=VALUE, windows=())
    second = Recording(name="", at=at[:400], value=values(2)[:400], windows=())

    both = bench.feed([first, second], SCORERS)

    for one, told in zip((first, second), both, strict=True):
        (alone,) = bench.feed([one], SCORERS)
        assert np.array_equal(told.score, alone.score)
        assert np.array_equal(told.flagged, alone.flagged)
    assert both[0].flagged.any()
