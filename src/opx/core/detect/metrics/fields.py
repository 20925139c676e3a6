# SPDX-License-Identifier: Apache-2.0

"""The numbers that are kept of each stream, as rows of one block of float64.

Part of ``metrics``. One block, so that a round of points fetches and stores all of them at
once. Counts and times are whole numbers below 2**53, which float64 holds exactly.
"""

from __future__ import annotations

SEEN, AT, LATE, RAW, UPS, DOWNS, KIND, TOUCHED = range(8)
"""Of the stream as it comes: points taken, the newest one's time and value, how many came late
in a row, how often it rose and fell, what it is (``counters``), and when it was used last,
in points of all streams."""

TAKEN, LEFT, NEWEST, LEVEL, PLACE_LO, PLACE_WIDTH, LEVEL_LO, LEVEL_WIDTH = range(8, 16)
"""Points learned from; of what the hour leaves over the recent level and the newest; the recent
level of the value itself; the frames of the two territories (lower edge, width of a cell)."""

HOUR, MEAN, COUNT, BEFORE, USUAL, KNOWN = range(16, 22)
"""The current hour since the epoch, its points' mean and number, the mean of the hour before;
what that hour of the day usually brings, and whether that is known."""

ODDEST_BEFORE, ODDEST, SPOKEN = range(22, 25)
"""The record gate: the least odds of the last block of points and of this one; how often the
stream spoke lately."""

BEGAN, LEAST, MOST, HELD_LOW, HELD_HIGH, SPREAD, BLOCKS, AWAY, QUIET = range(25, 34)
"""Of this block of points the first one's time, the least and the most; the lowest and the
highest level that was ever held for a block; the mean spread of a block; the number of blocks;
for how many of them the stream is away, and of the last of those how many were not."""

FIELDS = 34
LEARNED = slice(TAKEN, FIELDS)
"""What is forgotten when it turns out that the stream is something else."""
