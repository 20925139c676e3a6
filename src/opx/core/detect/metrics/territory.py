# SPDX-License-Identifier: Apache-2.0

"""Where a stream has been: occupied cells in one or two dimensions, and how odd a new one is.

Part of ``metrics``. Every stream has a frame of ``side`` cells along each axis, in its own
units. A point in an occupied cell is nothing new. Another is as odd as its distance from
the nearest occupied cell is rare among the distances so far; then its cell is occupied
too. A point outside of the frame doubles it, once: a wild value costs one bit of
resolution, not the eyesight. Nothing is forgotten: it is 512 bytes in two dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Words: TypeAlias = NDArray[np.uint64]

OCTAVES = 16
"""Distances are kept as powers of two of a cell, up to here."""
_BINS = np.arange(OCTAVES)
_FARTHEST = 2.0 ** (OCTAVES - 1)
_BIT = np.uint64(1) << np.arange(64, dtype=np.uint64)
_FOLDS = [
    (np.uint64(shift), np.uint64(mask))
    for shift, mask in (
        (1, 0x3333333333333333),
        (2, 0x0F0F0F0F0F0F0F0F),
        (4, 0x00FF00FF00FF00FF),
        (8, 0x0000FFFF0000FFFF),
        (16, 0x00000000FFFFFFFF),
    )
]
_EVEN, _ONE, _HALF = np.uint64(0x5555555555555555), np.uint64(1), np.uint64(32)


@dataclass(slots=True)
class Territory:
    """Cells of many streams. ``bits``: (streams, planes, words) uint64, a bit each; ``counts``:
    (streams, ``OCTAVES``) uint32, how often each distance came.

    ``planes`` cells along the first axis, which is none when it is 1, and 64 times ``words``
    along the other; with two axes both are 64, in the same units.
    """

    planes: int
    words: int
    bits: Words = field(init=False)
    counts: NDArray[np.uint32] = field(init=False)
    near: Words = field(init=False)
    top: float = field(init=False)

    def __post_init__(self) -> None:
        self.bits = np.zeros((0, self.planes, self.words), np.uint64)
        self.counts = np.zeros((0, OCTAVES), np.uint32)
        self.near = _boxes(self.side)
        self.top = float(np.nextafter(self.side, 0.0))

    @property
    def side(self) -> int:
        return 64 * self.words

    def look(self, rows: Ints, frame: Floats, values: Floats, taken: Floats) -> Floats:
        """The odds of each point, in (0, 1]: 1 for nothing new. Learns them.

        ``rows``: whose they are, each once. ``frame``: (2, k) the lower edge and the width of
        a cell, changed in place. ``values``: (axes, k). ``taken``: points so far, these too.
        """
        odds = np.ones(len(rows))
        width = frame[1]
        begun = width > 0
        idle = (~begun).nonzero()[0]
        if idle.size:
            self._begin(rows, frame, values, taken, idle)
            begun = width > 0
        place = self._place(frame, values)
        bounded = np.minimum(np.maximum(place, 0.0), self.top)
        grown = _outside(place, bounded).nonzero()[0]
        if grown.size:
            self._grow(rows, frame, values, grown)
            place[:, grown] = self._place(frame[:, grown], values[:, grown])
            bounded = np.minimum(np.maximum(place, 0.0), self.top)
        cells = bounded.astype(np.int64)
        last = cells[-1]
        first = cells[0] if self.planes > 1 else np.zeros_like(last)
        cell = (rows * self.planes + first) * self.side + last
        new = (self.bits.reshape(-1)[cell >> 6] & _BIT[cell & 63]) == 0
        if grown.size:
            new |= _outside(place, bounded)
        if idle.size:
            new &= begun
        novel = new.nonzero()[0]
        if novel.size:
            over = np.abs(place[:, novel] - bounded[:, novel]).max(0)
            odds[novel] = self._judge((rows[novel], first[novel], last[novel]), over, taken[novel])
        return odds

    def _place(self, frame: Floats, values: Floats) -> Floats:
        """In cells from the lower edge of the frame; in its middle where there is none yet."""
        lo, width = frame
        if width.all():
            place: Floats = (values - lo) / width
            return place
        place = (values - lo) / np.where(width > 0, width, 1.0)
        return np.where(width > 0, place, self.side / 2)

    def _begin(self, rows: Ints, frame: Floats, values: Floats, taken: Floats, idle: Ints) -> None:
        """The first value is the middle of the frame; the first difference gives its size."""
        fresh = idle[taken[idle] == 1]
        frame[0, fresh] = values[-1, fresh]
        span = np.abs(values[:, idle] - frame[0, idle]).max(0)
        begun, width = idle[span > 0], span[span > 0] / (self.side / 4)
        middle = self.side // 2
        frame[1, begun] = width
        # in the middle of a cell, so that rounding in other units moves nothing across an edge
        frame[0, begun] -= width * (middle + 0.5)
        first = middle if self.planes > 1 else 0
        self.bits[rows[begun], first, middle >> 6] |= _BIT[middle & 63]

    def _grow(self, rows: Ints, frame: Floats, values: Floats, which: Ints) -> None:
        """Double the frame on the side where most is missing."""
        lo, width, size = frame[0, which], frame[1, which], self.side
        up = values[:, which].max(0) - (lo + size * width) >= lo - values[:, which].min(0)
        frame[0, which] = np.where(up, lo, lo - size * width)
        frame[1, which] = 2.0 * width
        own = rows[which]
        old = self.bits[own]
        new = np.zeros_like(old)
        if self.planes > 1:
            half = _fold(old[:, 0::2, 0] | old[:, 1::2, 0])
            new[up, : self.planes // 2, 0] = half[up]
            new[~up, self.planes // 2 :, 0] = half[~up] << _HALF
        else:
            half = _fold(old[:, 0, :])
            joined = half[:, 0::2] | half[:, 1::2] << _HALF
            new[up, 0, : self.words // 2] = joined[up]
            new[~up, 0, self.words // 2 :] = joined[~up]
        self.bits[own] = new
        counts = self.counts[own]
        counts[:, :-1] = counts[:, 1:]  # a distance is half as many cells now
        counts[:, -1] = 0
        self.counts[own] = counts

    def _judge(self, at: tuple[Ints, Ints, Ints], over: Floats, taken: Floats) -> Floats:
        """The odds of new places, which are then known.

        How often it came so far from home, once more for this time (Laplace); beyond all that
        ever came, half of that for every doubling of the distance (a Pareto tail).
        """
        rows, first, last = at
        octave = self._octave(rows, first, last)
        mantissa, power = np.frexp(np.minimum(over + 2.0**octave, _FARTHEST))
        octave = np.where(over > 0, power - (mantissa == 0.5), octave)
        counts = self.counts[rows]
        as_far = np.where(octave[:, None] <= _BINS, counts, 0).sum(1).astype(np.float64)
        beyond = np.zeros(len(rows), np.int64)
        records = (as_far == 0).nonzero()[0]
        if records.size:
            farthest = ((counts[records] > 0) * (_BINS + 1)).max(1) - 1
            beyond[records] = np.where(farthest >= 0, octave[records] - farthest, 0)
        self.counts[rows, octave] += np.uint32(1)
        self.bits[rows, first, last >> 6] |= _BIT[last & 63]
        odds: Floats = np.ldexp((as_far + 1.0) / (taken + 1.0), -beyond)
        return odds

    def _octave(self, rows: Ints, first: Ints, last: Ints) -> Ints:
        """How far the nearest occupied cell is: within 1, 2, 4, ... cells along each axis."""
        octave = np.zeros(len(rows), np.int64)
        open_ = np.arange(len(rows))
        for power in range(len(self.near)):
            if not open_.size:
                break
            box = self.near[power, last[open_]]
            if self.planes > 1:
                reach = np.arange(-(1 << power), (1 << power) + 1)
                planes = np.clip(first[open_][:, None] + reach, 0, self.planes - 1)
                within = self.bits[rows[open_][:, None], planes, 0] & box
            else:
                within = self.bits[rows[open_], 0] & box
            found = within.any(1)
            octave[open_] = power
            open_ = open_[~found]
        return octave


def _outside(place: Floats, bounded: Floats) -> NDArray[np.bool_]:
    """Which points lie outside of their frame along some axis."""
    off: NDArray[np.bool_] = place != bounded
    return off.reshape(-1) if len(off) == 1 else np.logical_or(off[0], off[1])


def _boxes(side: int) -> Words:
    """(powers, side, words): the cells within 1, 2, 4, ... of each."""
    cells = np.arange(side)
    away = np.abs(cells[:, None] - cells)
    rings = [away <= (1 << power) for power in range(side.bit_length())]
    packed = [np.packbits(ring, axis=1, bitorder="little").view("<u8") for ring in rings]
    return np.array(packed).astype(np.uint64)


def _fold(words: Words) -> Words:
    """Every two neighbouring bits become one, in the lower half."""
    folded = (words | words >> _ONE) & _EVEN
    for shift, mask in _FOLDS:
        folded = (folded | folded >> shift) & mask
    return folded
