# SPDX-License-Identifier: Apache-2.0

"""The numbers that are kept of each watched stream, as rows of one block of float64.

Part of ``predict``. Minutes are counted from the epoch. Values are turned round (``SIGN``)
where the limit lies below, so that trouble always lies above.
"""

from __future__ import annotations

KIND, SIGN, COUNTER, TOLD_LIMIT, LIMIT = range(5)
"""What it is: ``odds.KINDS``'s number, 1 or -1, 0 or 1; the limit it was told or its unit has,
NaN for none; the one that holds, turned round like the values."""

AT, LATE, RAW, MINUTE, SUM, COUNT = range(5, 11)
"""The newest point's time, NaN before the first; late points in a row; the counter as it stood,
NaN if unknown; the minute that runs, and the sum and number of what came in it."""

TAKEN, MIDDLE, SPREAD, HELD, HELD_AT = range(11, 16)
"""What is usual: minutes learned, their level, their mean distance from it, and the highest
level that was held or come back from, and when it was last reached."""

ONSET, BEGAN, PEAK, CLIMBED, CLIMBED_AT, FARTHEST, SAID = range(16, 23)
"""The trend: the last minute that was no higher than usual; since when it is one, 0 if there is
none; the highest level in it; the level when it last rose by more than the spread, and when;
how far it got at most (``trends``); whether it was told, or ``trends.SETTLED``."""

FIELDS = 23
LEARNED = slice(AT, FIELDS)
