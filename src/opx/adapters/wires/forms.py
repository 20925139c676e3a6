# SPDX-License-Identifier: Apache-2.0

"""The forms in which ``POST /metrics`` takes points. The body says which it is:

    point    {"metric": "up", "value": 1, "timestamp": ..., "labels": {...}}
    column   {"metric": "up", "labels": {...}, "timestamps": [...], "values": [...]}
    stream   {"stream_id": "s1", "timestamp": ..., "latency_p99": 4.2, "utilization": 61, ...}
    node     {"nodeId": "n1", "timestamp": ..., "iops": 900, "latency": 3.1, ...}

One alone, a list, which may mix them, or either under ``metrics``. Of a stream's or a node's
sample every number, true and false is a point of a series of its own, and every text beside
them a label of all; its id is the series' ``resource``. The units of what is known to be
measured there go into the metric's name (``latency`` of a node becomes ``latency_ms``);
what is not known keeps its name. A point's time is in ms or RFC 3339, a sample's in any unit
that its size tells; without one it is now. A field that a point or a column does not have is
an error. A body of points alone is decoded in one go; nothing here may slow that down.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from opx.adapters.wires import bodies
from opx.adapters.wires.bodies import MAX_ITEMS, Found
from opx.core.ingest import checks
from opx.core.ingest.checks import Reason, Refusal, Unfit
from opx.errors import TooLarge

MAX_LABEL_BYTES = 16_384
MAX_SAMPLES_BYTES = 8 << 20
"""Each point of a sample carries all its labels: how much that may come to in one body."""
_ANY_SIZE = 1 << 40
_MISNAMED = ("time", "ts", "@timestamp")
"""What others name a time: taken for something else, a point of then would be one of now."""


class WirePoint(msgspec.Struct, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    metric: str
    value: float
    timestamp: Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)] | str | None = None
    labels: msgspec.Raw = msgspec.Raw(b"{}")


class WireColumn(msgspec.Struct, forbid_unknown_fields=True):
    metric: str
    timestamps: list[Annotated[int, msgspec.Meta(ge=-1 << 53, lt=1 << 53)] | str]
    values: list[float | None]
    labels: msgspec.Raw = msgspec.Raw(b"{}")


class _Envelope(msgspec.Struct):
    metrics: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True, slots=True)
class Sampled:
    """``label``: what the thing's id becomes besides its ``resource``, so that things of two
    kinds with one id stay two. ``names``: a field's metric, where that is another word."""

    label: str
    names: Mapping[str, str]


SAMPLED: Mapping[str, Sampled] = {
    "stream_id": Sampled(
        "stream_id",
        {
            "latency_p99": "latency_p99_us",
            "latency_p99_baseline": "latency_p99_baseline_us",
            "utilization": "utilization_percent",
            "utilization_baseline": "utilization_baseline_percent",
            "error_rate": "error_rate_percent",
        },
    ),
    "nodeId": Sampled(
        "node_id",
        {
            "latency": "latency_ms",
            "errorRate": "error_rate_percent",
            "throughput": "throughput_mb_per_s",
            "queueDepth": "queue_depth",
            "activeConnections": "active_connections",
        },
    ),
}

# A point is as large as its labels, and those are measured when they are first seen.
_shape = bodies.Shape(WirePoint, most=_ANY_SIZE)
_column = bodies.Shape(WireColumn, most=_ANY_SIZE)
_sample = bodies.Shape(dict[str, Any])
_envelope = msgspec.json.Decoder(_Envelope)
_labels = msgspec.json.Decoder(dict[str, str])
_keys = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode


def points(body: bytes) -> Found[WirePoint]:
    """Every point of the body, numbered through. ``BadInput`` when it is not JSON, ``TooLarge``
    when it comes to more than ``MAX_ITEMS`` points."""
    body = _inside(body)
    whole = _shape.whole(body)
    if whole is not None:
        return Found(range(len(whole)), whole, [])
    numbers: list[int] = []
    found: list[WirePoint] = []
    refusals: list[Refusal] = []
    place = spread = 0
    for item in bodies.raws(body):
        try:
            read = _read(item)
        except Unfit as error:
            refusals.append(bodies.unread(place, error, item))
            place += 1
        else:
            numbers += range(place, place + len(read.points))
            found += read.points
            place += len(read.points)
            spread += read.spread
        if place > MAX_ITEMS or spread > MAX_SAMPLES_BYTES:
            raise _too_many()
    return Found(numbers, found, refusals)


def named(metric: str, raw: bytes) -> dict[str, str]:
    """The labels of a series. ``Unfit`` unless they and its name are fit to be kept."""
    checks.name(metric)
    if len(raw) > MAX_LABEL_BYTES:
        raise Unfit(Reason.TOO_LARGE, f"labels have at most {MAX_LABEL_BYTES} bytes")
    try:
        return checks.labels(_labels.decode(raw))
    except (ValueError, RecursionError):
        raise Unfit(Reason.MALFORMED, "labels must be an object of texts") from None


def _too_many() -> TooLarge:
    return TooLarge(f"a request holds at most {MAX_ITEMS} points, and few labels for each")


@dataclass(frozen=True, slots=True)
class _Read:
    """``spread``: the bytes of labels that were written once and are now on each point."""

    points: list[WirePoint]
    spread: int = 0


def _inside(body: bytes) -> bytes:
    if body.lstrip(b" \t\r\n").startswith(b"{"):
        envelope, sent = bodies.decoded(_envelope, body)
        if isinstance(envelope.metrics, msgspec.Raw):
            return sent(envelope.metrics)
    return body


def _read(item: bytes) -> _Read:
    """One item in whichever form it is. ``Unfit`` as a point when it is in none."""
    try:
        return _Read([_shape.read(item)])
    except Unfit:
        keys = _keys_of(item)
        if "values" in keys and "metric" in keys:
            return _of_column(_column.read(item))
        misnamed = next((key for key in _MISNAMED if key in keys), "")
        if misnamed and "timestamp" not in keys:
            said = f"{misnamed} is no field: a time is named timestamp"
            raise Unfit(Reason.MALFORMED, said) from None
        kind = next((key for key in SAMPLED if key in keys and "metric" not in keys), None)
        if kind is None:
            raise
        return _of_sample(_sample.read(item), kind)


def _keys_of(item: bytes) -> dict[str, msgspec.Raw]:
    try:
        return _keys.decode(item)
    except (ValueError, RecursionError):
        return {}


def _of_column(column: WireColumn) -> _Read:
    if len(column.timestamps) != len(column.values):
        raise Unfit(Reason.MALFORMED, "timestamps and values differ in number")
    if len(column.values) > MAX_ITEMS:  # before a point is made of each
        raise _too_many()
    if not column.values:  # or no point of it would be looked at
        named(column.metric, bytes(column.labels))
    return _Read(
        [
            WirePoint(column.metric, math.nan if value is None else value, at, column.labels)
            for at, value in zip(column.timestamps, column.values, strict=True)
        ]
    )


def _of_sample(sample: dict[str, Any], kind: str) -> _Read:
    id, when = sample.pop(kind), sample.pop("timestamp", None)
    if not isinstance(id, str | int) or isinstance(id, bool) or id == "":
        raise Unfit(Reason.MALFORMED, f"{kind} must be a text or a number")
    at = None if when is None else checks.moment(when)
    labels, measured = _parts(sample, SAMPLED[kind].names)
    labels = {"resource": str(id), **labels, SAMPLED[kind].label: str(id)}
    raw = _encode(labels)
    return _Read(
        [WirePoint(name, value, at, msgspec.Raw(raw)) for name, value in measured.items()],
        spread=len(raw) * len(measured),
    )


def _parts(
    sample: dict[str, Any], names: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, float]]:
    """The labels of a sample, and what was measured, by metric."""
    labels: dict[str, str] = {}
    measured: dict[str, float] = {}
    for field, value in sample.items():
        metric = names.get(field, field)
        if isinstance(value, str):
            labels[field] = value
        elif isinstance(value, int | float) and metric not in measured:
            measured[metric] = _number(value)
        elif field == "labels" and _are_texts(value):
            labels |= value
        elif value is not None:
            raise Unfit(Reason.MALFORMED, f"{field[:100]} is no number or text, or is there twice")
    if not measured:
        raise Unfit(Reason.MALFORMED, "nothing is measured in it")
    return labels, measured


def _number(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _are_texts(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())
