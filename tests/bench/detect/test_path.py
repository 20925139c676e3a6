# SPDX-License-Identifier: Apache-2.0
"""What is measured is what runs: ``opx score``, the bench's feed and the service agree."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from opx.adapters.wires import metrics as wire
from opx.bench.detect import metrics as bench
from opx.bench.detect.nab import Recording
from opx.cli.detect import SCORERS
from opx.cli.score import metrics as score
from opx.core.base.time import MINUTE, to_wire
from opx.core.detect import flow
from opx.core.detect.flow import Flow
from opx.core.detect.metrics import stream
from opx.core.detect.metrics.state import MetricState
from opx.core.detect.metrics.stream import Scores, step
from opx.core.ingest.signals import MetricBatch, Series, Tick
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


def through_the_service(
    sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> tuple[list[float], list[bool]]:
    """As ``brain`` has it: bodies as they were posted, read by the wire, each with a stranger's
    points in it, and given to ``flow`` with a tick after every other one."""
    scored: list[tuple[MetricBatch, Scores]] = []

    def watched(state: MetricState, batch: MetricBatch) -> Scores:
        scored.append((batch, step(state, batch)))
        return scored[-1][1]

    monkeypatch.setattr(stream, "step", watched)
    index, known, start = wire.SeriesIndex(), Flow(), 0
    series: dict[int, Series] = {}
    strangers = values(2).tolist()
    for number, size in enumerate(sizes):
        points = [
            {"metric": name, "labels": {"service": "a"}, "timestamp": int(AT[n]), "value": v[n]}
            for n in range(start, start + size)
            for name, v in (("other", strangers), ("mine", VALUE.tolist()))
        ]
        start += size
        batch = wire.parse(index, json.dumps(points).encode(), Incoming(now=NOW)).batch
        series |= {one.sid: one for one in batch.series}
        flow.step(known, series, batch.points, [Tick(NOW + number)] if number % 2 else [], NOW)
    flow.step(known, series, None, [Tick(NOW + len(sizes))], NOW)
    (mine,) = (sid for sid, one in series.items() if one.metric == "mine")
    own = [(found, batch.sid == mine) for batch, found in scored]
    return (
        [score for found, where in own for score in found.score[where].tolist()],
        [flag for found, where in own for flag in found.anomaly[where].tolist()],
    )


def test_the_service_and_opx_score_say_the_same_bit_for_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stream posted in bodies of one, many and very many points, in company, scores as it does
    from a file by itself."""
    scores, flags = through_the_service([1, 2, 300, 7, 590], monkeypatch)
    lines = "".join(
        json.dumps({"stream": "x", "timestamp": to_wire(int(at)), "value": value}) + "\n"
        for at, value in zip(AT, VALUE.tolist(), strict=True)
    )
    out = io.BytesIO()

    assert score.run(io.BufferedReader(io.BytesIO(lines.encode())), out).bad == 0

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
