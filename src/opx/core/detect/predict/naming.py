# SPDX-License-Identifier: Apache-2.0

"""What a stream measures, by its name: which trend it can show, and the limit its unit has.

Part of ``predict``. Words as Prometheus and OpenTelemetry use them. A name that says nothing
is not watched unless somebody gave it a limit; it must never guess a limit from values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from opx.core.base import names
from opx.core.detect.predict.prediction import Kind

WORDS: tuple[tuple[Kind, frozenset[str]], ...] = (
    (Kind.REFUSED, frozenset({"refused", "rejected", "dropped", "throttled", "shed"})),
    (Kind.RETRIES, frozenset({"retry", "retries", "retried", "reconnects"})),
    (Kind.ERRORS, frozenset({"error", "errors", "failed", "failure", "failures", "5xx"})),
    (Kind.DISK, frozenset({"disk", "filesystem", "inode", "inodes", "volume"})),
    (Kind.LEAK, frozenset({"memory", "heap", "rss", "handles", "descriptors", "fds"})),
    (Kind.QUEUE, frozenset({"queue", "queued", "backlog", "lag", "pending", "waiting"})),
)
"""In this order: what is said of errors in a queue is said of errors."""
LEFT = frozenset({"free", "available", "avail", "remaining", "headroom"})
"""What fails at nothing left."""
COUNTED = frozenset({"total", "count", "sum"})
"""How the name of a counter ends: its growth per second is looked at."""
IO = frozenset({"read", "reads", "write", "writes", "written", "latency", "seconds", "io", "iops"})
"""Work that is done and not room that is taken."""
PERCENT = frozenset({"percent", "percentage", "pct"})
SHARE = frozenset({"ratio", "share", "fraction", "utilization"})
HALF = 0.5
"""Who fails every second request has failed, whatever else still works."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """``sign``: 1 where the limit lies above, -1 where it lies below. ``limit``: NaN for none."""

    kind: Kind
    sign: float
    counter: bool
    limit: float


def meaning(metric: str, told: float | None = None) -> Meaning | None:
    """What this metric is watched for; None: for nothing. ``told``: the limit it was given."""
    words = names.words(metric)
    said = frozenset(words)
    kind = next((kind for kind, known in WORDS if said & known), None)
    if kind in (Kind.DISK, Kind.LEAK, Kind.QUEUE) and said & IO:
        kind = None
    if kind is None:
        if told is None:
            return None
        kind = Kind.LEVEL
    left = bool(said & LEFT)
    counter = words[-1] in COUNTED
    limit = told if told is not None else _limit(kind, said, left, counter)
    return Meaning(kind, -1.0 if left else 1.0, counter, limit)


def _limit(kind: Kind, said: frozenset[str], left: bool, counter: bool) -> float:
    if left:
        return 0.0
    full = 100.0 if said & PERCENT else 1.0 if said & SHARE else math.nan
    if counter:
        return math.nan
    return full * HALF if kind in (Kind.ERRORS, Kind.REFUSED) else full
