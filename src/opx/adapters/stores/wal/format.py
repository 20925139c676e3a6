# SPDX-License-Identifier: Apache-2.0

"""The bytes of the write-ahead log: frames, and what a commit looks like inside one.

A frame is ``magic, length, crc32, seq, at`` and the payload; the crc covers everything
after itself. A commit's payload is the length of its series (JSON), the number of its
points, the series, the three columns of the points and its items (JSON): runs of one kind with
its name (older logs have one item in the place of a run). Little endian. A reader stops at the
first frame that is not whole; ``followed`` tells a torn end, which is to be expected, from
damage, which is not.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from types import GenericAlias

import msgspec
import numpy as np

from opx.core.base.time import Ms
from opx.core.ingest.signals import (
    Alert,
    Event,
    Item,
    LogLine,
    MetricBatch,
    Rejected,
    Series,
    Tick,
)
from opx.engine.ports import Chunk

MAGIC = b"\xf5opx"
"""0xF5 never occurs in UTF-8, so no text that was sent to us looks like a frame."""
HEADER = struct.Struct("<4sIIQq")
_CHECKED = struct.Struct("<Qq")
_COUNTS = struct.Struct("<II")
MAX_PAYLOAD = 64 << 20
POINT = 20
"""Bytes of one point: sid int32, at int64, value float64."""

_encode = msgspec.json.Encoder().encode
_decode_series = msgspec.json.Decoder(list[Series]).decode
_decode_tagged = msgspec.json.Decoder(list[tuple[str, msgspec.Raw]]).decode
_TAGS: dict[type[Item], str] = {
    Alert: "alert",
    Event: "event",
    LogLine: "log",
    Rejected: "rejected",
    Tick: "tick",
}
_DECODERS = {
    tag: msgspec.json.Decoder(GenericAlias(list, (kind,)) | kind) for kind, tag in _TAGS.items()
}


@dataclass(frozen=True, slots=True)
class Frame:
    """``end``: where the next frame begins."""

    seq: int
    at: Ms
    payload: memoryview
    end: int


def frame(seq: int, at: Ms, payload: bytes) -> bytes:
    checked = _CHECKED.pack(seq, at)
    crc = zlib.crc32(payload, zlib.crc32(checked))
    return HEADER.pack(MAGIC, len(payload), crc, seq, at) + payload


def whole(data: memoryview, offset: int) -> Frame | None:
    """The frame at ``offset``; None when there is no whole and undamaged one."""
    start = offset + HEADER.size
    if start > len(data):
        return None
    magic, length, crc, seq, at = HEADER.unpack_from(data, offset)
    if magic != MAGIC or length > MAX_PAYLOAD or start + length > len(data):
        return None
    payload = data[start : start + length]
    if zlib.crc32(payload, zlib.crc32(_CHECKED.pack(seq, at))) != crc:
        return None
    return Frame(seq, at, payload, start + length)


def wanted(data: memoryview, offset: int) -> int:
    """How many bytes from ``offset`` its frame needs, by its header, if that can be so."""
    if offset + HEADER.size > len(data):
        return HEADER.size
    magic, length, *_ = HEADER.unpack_from(data, offset)
    return HEADER.size + length if magic == MAGIC and length <= MAX_PAYLOAD else HEADER.size


def followed(data: bytes, offset: int, after: int) -> bool:
    """Whether a whole frame younger than ``after`` stands anywhere behind ``offset``: then
    what is at ``offset`` is damage, for a frame is written only when the last is safe."""
    view = memoryview(data)
    at = data.find(MAGIC, offset + 1)
    while at >= 0:
        found = whole(view, at)
        if found is not None and found.seq > after:
            return True
        at = data.find(MAGIC, at + 1)
    return False


# ---------------------------------------------------------------- what a commit holds


def encode_series(series: Sequence[Series]) -> bytes:
    return _encode(series)


def decode_series(data: bytes | memoryview) -> list[Series]:
    return _decode_series(data)


def encode_items(items: Sequence[Item]) -> bytes:
    """Items without the brackets around them, so that several batches' can be joined."""
    return _encode([(_TAGS[kind], list(run)) for kind, run in groupby(items, type)])[1:-1]


def columns(points: MetricBatch | None) -> tuple[bytes, bytes, bytes]:
    """The points as packed columns. ``ValueError`` when they differ in length."""
    if points is None:
        return b"", b"", b""
    if not len(points.sid) == len(points.at) == len(points.value):
        raise ValueError("the columns of a batch differ in length")
    return (
        points.sid.astype("<i4", copy=False).tobytes(),
        points.at.astype("<i8", copy=False).tobytes(),
        points.value.astype("<f8", copy=False).tobytes(),
    )


def commit(
    series: Sequence[Series],
    points: Iterable[tuple[bytes, bytes, bytes]],
    items: Iterable[bytes],
) -> bytes:
    """The payload of one commit of any number of batches."""
    packed = list(points)
    sids = b"".join(columns[0] for columns in packed)
    defined = _encode(series) if series else b""
    return b"".join(
        (
            _COUNTS.pack(len(defined), len(sids) // 4),
            defined,
            sids,
            *(columns[1] for columns in packed),
            *(columns[2] for columns in packed),
            b",".join(filter(None, items)),
        )
    )


def chunk(found: Frame) -> Chunk:
    """A commit's frame, read. Nothing in it refers to the frame's bytes any more."""
    payload = found.payload
    defined, count = _COUNTS.unpack_from(payload)
    at = _COUNTS.size
    series = _decode_series(payload[at : at + defined]) if defined else []
    at += defined
    points = None
    if count:
        sids, times, values = at, at + 4 * count, at + 12 * count
        points = MetricBatch(
            sid=np.frombuffer(payload[sids:times], "<i4").copy(),
            at=np.frombuffer(payload[times:values], "<i8").copy(),
            value=np.frombuffer(payload[values : values + 8 * count], "<f8").copy(),
        )
    tagged = _decode_tagged(b"[%b]" % bytes(payload[at + POINT * count :]))
    items: list[Item] = []
    for tag, raw in tagged:
        run = _DECODERS[tag].decode(raw)
        items += run if isinstance(run, list) else (run,)
    return Chunk(
        seq=found.seq, at=found.at, series=tuple(series), points=points, items=tuple(items)
    )
