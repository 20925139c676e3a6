# SPDX-License-Identifier: Apache-2.0

"""Arrays as plain JSON, and points that wait to be looked at together.

Beneath ``odd`` and ``predict.ahead``, which are saved with this and take points in pieces. It
must never take for an array what is none.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opx.core.ingest.signals import MetricBatch

MOST_ALIKE = 1_024
"""Points of one stream that are looked at together: a stream is taken a point after the other, so
more of them at one go would hold up all others."""
_COLUMNS = {"sid": np.int32, "at": np.int64, "value": np.float64}
_KINDS = "iuf"


def packed(array: NDArray[Any]) -> list[Any]:
    """As text: the kind of its numbers, its shape, its bytes in base64."""
    kind = array.dtype.newbyteorder("<")
    data = base64.b64encode(array.astype(kind, copy=False).tobytes()).decode()
    return [kind.str, list(array.shape), data]


def unpacked(row: Any) -> NDArray[Any]:
    """``TypeError`` or ``ValueError`` if it is no such row."""
    name, shape, data = row
    kind = np.dtype(str(name))
    if kind.kind not in _KINDS:
        raise ValueError(f"no numbers, but {name}")
    array = np.frombuffer(base64.b64decode(data, validate=True), kind).reshape(shape)
    return array.astype(kind.newbyteorder("="))


def pack_points(points: MetricBatch) -> dict[str, Any]:
    return {name: packed(getattr(points, name)) for name in _COLUMNS}


def unpack_points(saved: Mapping[str, Any]) -> MetricBatch:
    """``KeyError``, ``TypeError`` or ``ValueError`` unless they are three columns of one length,
    of their kinds."""
    columns = {name: unpacked(saved[name]) for name in _COLUMNS}
    alike = {(column.shape, column.dtype == _COLUMNS[name]) for name, column in columns.items()}
    if alike != {((len(columns["sid"]),), True)}:
        raise ValueError("the points that wait are no columns of one length")
    return MetricBatch(**columns)


def joined(batches: Sequence[MetricBatch]) -> MetricBatch:
    """As one, in their order."""
    columns = {
        name: np.concatenate([np.zeros(0, kind), *(getattr(one, name) for one in batches)])
        for name, kind in _COLUMNS.items()
    }
    return MetricBatch(**columns)


def part(points: MetricBatch, which: slice | NDArray[np.bool_] | NDArray[np.int64]) -> MetricBatch:
    """Copies, so that nothing holds the whole."""
    return MetricBatch(**{name: getattr(points, name)[which].copy() for name in _COLUMNS})


def crowded(points: MetricBatch) -> bool:
    """Whether some stream has more than ``MOST_ALIKE`` of them."""
    if len(points) <= MOST_ALIKE:
        return False
    return int(np.unique(points.sid, return_counts=True)[1].max()) > MOST_ALIKE


def ranks(points: MetricBatch) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many of its stream come before each point, and how many after it."""
    _, own, counts = np.unique(points.sid, return_inverse=True, return_counts=True)
    order = np.argsort(own, kind="stable")
    before = np.empty(len(own), np.int64)
    before[order] = np.arange(len(own)) - np.repeat(np.cumsum(counts) - counts, counts)
    return before, counts[own] - before - 1


def newest(points: MetricBatch) -> MetricBatch:
    """Without those of a stream that are followed by ``MOST_ALIKE`` others of it."""
    return part(points, ranks(points)[1] < MOST_ALIKE) if crowded(points) else points
