# SPDX-License-Identifier: Apache-2.0

"""``opx score metrics``: points in, the score of each out at once, by the service's own ``step``.

Reads whatever has come, answers all of it, flushes, and reads on. A line in is a line out, in
order: ``{"stream", "timestamp", "value"}`` becomes ``{"stream", "timestamp", "score": 0..1,
"anomaly": bool}``. A point without a value scores 0 and says so in a ``note``. What is no point
is answered with an ``error`` and a null score. It must never fall over a line, nor look at
one before those before it.
"""

from __future__ import annotations

import io
import json
import math
from dataclasses import dataclass, field
from typing import Any, BinaryIO, TypeAlias, cast

import msgspec
import numpy as np

from opx.core.base.time import FIRST, LAST, Ms, from_wire
from opx.core.detect.metrics.state import MOST_STREAMS, MetricState
from opx.core.detect.metrics.stream import step
from opx.core.ingest.signals import MetricBatch

CHUNK = 1 << 18
KEPT = 1 << 16
"""Bytes of a line that are kept: a longer one is no point."""


Time: TypeAlias = int | float | str
"""As it was written: ms, of which a fraction is cut, or RFC 3339."""


class Point(msgspec.Struct, gc=False):
    stream: str
    timestamp: Time
    value: float


class _Scored(msgspec.Struct, gc=False):
    stream: str
    timestamp: Time
    score: float
    anomaly: bool


class _Missing(msgspec.Struct, gc=False):
    note: str
    stream: str
    timestamp: Time
    score: float = 0.0
    anomaly: bool = False


class _Bad(msgspec.Struct, gc=False):
    error: str
    stream: str | None = None
    timestamp: Time | None = None
    score: None = None
    anomaly: bool = False


_read = msgspec.json.Decoder(Point)
_write = msgspec.json.Encoder()


@dataclass(slots=True)
class _Scorer:
    """``sids``: numbers for the streams' names. Those whose rows the state has let go are forgotten
    when there are twice as many as it keeps."""

    state: MetricState
    sids: dict[str, int] = field(default_factory=dict)
    named: int = 0
    bad: int = 0

    def answer(self, lines: list[bytes]) -> bytes:
        """The answers to these lines, in their order."""
        if len(self.sids) > 2 * self.state.most:
            kept = set(self.state.rows.sids.tolist())
            self.sids = {stream: sid for stream, sid in self.sids.items() if sid in kept}
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
        answers: list[_Scored | _Missing | _Bad] = []
        for one in read:
            if isinstance(one, tuple):
                answers.append(_Scored(one[0].stream, one[0].timestamp, *next(told)))
            else:
                self.bad += isinstance(one, _Bad)
                answers.append(one)
        return _write.encode_lines(answers)

    def _sid(self, stream: str) -> int:
        sid = self.sids.get(stream)
        if sid is None:
            sid = self.sids[stream] = self.named
            self.named += 1
        return sid


@dataclass(frozen=True, slots=True)
class Done:
    """``bad``: lines that were no points. ``forgotten``: streams that made room for others."""

    bad: int
    forgotten: int


def run(lines_in: BinaryIO, out: BinaryIO, most: int = MOST_STREAMS) -> Done:
    """Score every line of ``lines_in``, a buffered stream of bytes, until its end. ``most``:
    streams that are known at once."""
    read = cast(io.BufferedReader, lines_in).read1
    scorer = _Scorer(MetricState(most))
    rest = b""
    while chunk := read(CHUNK):
        *lines, rest = (rest + chunk).split(b"\n")
        rest = rest[: KEPT + 1]
        out.write(scorer.answer(lines))
        out.flush()
    if rest:
        out.write(scorer.answer([rest]))
        out.flush()
    return Done(scorer.bad, scorer.state.evicted)


def _point(line: bytes) -> tuple[Point, Ms] | _Missing | _Bad:
    """A line as a point with its time, or what is wrong with it."""
    if len(line) > KEPT:
        return _Bad(f"a line of more than {KEPT} bytes")
    try:
        point = _read.decode(line)
    except (ValueError, RecursionError) as error:  # msgspec's are ValueErrors too
        return _loosely(line, str(error))
    at = point.timestamp
    if type(at) is int and FIRST <= at <= LAST and math.isfinite(point.value):
        return point, at
    return _timed(point)


def _timed(point: Point) -> tuple[Point, Ms] | _Missing | _Bad:
    """With its time, unless that is none, or there is no value."""
    at = point.timestamp
    if type(at) is not int:
        try:
            at = from_wire(at) if isinstance(at, str) else math.floor(at)
        except (ValueError, OverflowError) as error:
            return _Bad(str(error), point.stream, at)
    if not FIRST <= at <= LAST:
        return _Bad("the timestamp is beyond the years 1 to 9999", point.stream, point.timestamp)
    if not math.isfinite(point.value):
        return _Missing("the value is not finite", point.stream, point.timestamp)
    return point, at


def _loosely(line: bytes, error: str) -> tuple[Point, Ms] | _Missing | _Bad:
    """What can be made of a line that is no ``Point``: one whose value is NaN or no number is
    a missing one."""
    try:
        told = json.loads(line.decode())
    except (ValueError, RecursionError):
        return _Bad(error)
    if not isinstance(told, dict):
        return _Bad(error)
    stream, timestamp = _echo(told.get("stream"), str), _echo(told.get("timestamp"), Time)
    if stream is None or timestamp is None:
        return _Bad(error, stream, timestamp)
    value = _echo(told.get("value"), float)
    found = _timed(Point(stream, timestamp, math.nan if value is None else value))
    if value is None and isinstance(found, _Missing):
        found.note = "the value is no number"
    return found


def _echo(told: object, kind: Any) -> Any:
    """``told`` if it is of this kind and can be written, else None."""
    try:
        _write.encode(told)
        return msgspec.convert(told, kind)
    except (ValueError, OverflowError, TypeError):
        return None
