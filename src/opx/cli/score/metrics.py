# SPDX-License-Identifier: Apache-2.0

"""``opx score metrics``: points in, the score of each out at once, by the service's own ``step``.

Reads whatever has come, answers all of it, flushes, and reads on. A line in is a line out, in
order: ``{"stream", "timestamp", "value"}`` becomes ``{"stream", "timestamp", "score": 0..1,
"anomaly": bool}``. What is no point is answered with an ``error`` and a null score. It must
never fall over a line, nor look at one before those before it.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, field
from typing import BinaryIO, cast

import msgspec
import numpy as np

from opx.core.base.time import FIRST, LAST, Ms, from_wire
from opx.core.detect.metrics.state import MOST_STREAMS, MetricState
from opx.core.detect.metrics.stream import step
from opx.core.ingest.signals import MetricBatch

CHUNK = 1 << 18
KEPT = 1 << 16
"""Bytes of a line that are kept: a longer one is no point."""


class Point(msgspec.Struct, gc=False):
    stream: str
    timestamp: int | str
    value: float


class _Scored(msgspec.Struct, gc=False):
    stream: str
    timestamp: int | str
    score: float
    anomaly: bool


class _Bad(msgspec.Struct, gc=False):
    error: str
    stream: str | None = None
    timestamp: int | str | None = None
    score: None = None
    anomaly: bool = False


_read = msgspec.json.Decoder(Point)
_write = msgspec.json.Encoder()


@dataclass(slots=True)
class _Scorer:
    """``sids``: numbers for the streams' names, the least recently seen first: beyond what is
    kept they are forgotten."""

    state: MetricState = field(default_factory=MetricState)
    sids: dict[str, int] = field(default_factory=dict)
    named: int = 0
    bad: int = 0

    def answer(self, lines: list[bytes]) -> bytes:
        """The answers to these lines, in their order."""
        read = [_point(line) for line in lines]
        points = [one for one in read if isinstance(one, tuple)]
        scores = step(
            self.state,
            MetricBatch(
                sid=np.array([self._sid(point.stream) for point, _ in points], np.int32),
                at=np.array([at for _, at in points], np.int64),
                value=np.array([point.value for point, _ in points], np.float64),
            ),
        )
        told = zip(scores.score.tolist(), scores.anomaly.tolist(), strict=True)
        answers: list[_Scored | _Bad] = []
        for one in read:
            if isinstance(one, _Bad):
                self.bad += 1
                answers.append(one)
            else:
                answers.append(_Scored(one[0].stream, one[0].timestamp, *next(told)))
        return _write.encode_lines(answers)

    def _sid(self, stream: str) -> int:
        sid = self.sids.pop(stream, None)
        if sid is None:
            if len(self.sids) >= MOST_STREAMS:
                del self.sids[next(iter(self.sids))]
            sid = self.named
            self.named += 1
        self.sids[stream] = sid
        return sid


def run(lines_in: BinaryIO, out: BinaryIO) -> int:
    """Score every line of ``lines_in``, a buffered stream of bytes, until its end. How many
    were no points."""
    read = cast(io.BufferedReader, lines_in).read1
    scorer = _Scorer()
    rest = b""
    while chunk := read(CHUNK):
        *lines, rest = (rest + chunk).split(b"\n")
        rest = rest[: KEPT + 1]
        out.write(scorer.answer(lines))
        out.flush()
    if rest:
        out.write(scorer.answer([rest]))
        out.flush()
    return scorer.bad


def _point(line: bytes) -> tuple[Point, Ms] | _Bad:
    """A line as a point with its time, or what is wrong with it."""
    if len(line) > KEPT:
        return _Bad(f"a line of more than {KEPT} bytes")
    try:
        point = _read.decode(line)
        at = point.timestamp
        at = from_wire(at) if isinstance(at, str) else at
    except (ValueError, RecursionError) as error:  # msgspec's are ValueErrors too
        return _Bad(str(error))
    if not FIRST <= at <= LAST:
        return _Bad("the timestamp is beyond the years 1 to 9999", point.stream)
    if not math.isfinite(point.value):
        return _Bad("the value is not finite", point.stream, point.timestamp)
    return point, at
