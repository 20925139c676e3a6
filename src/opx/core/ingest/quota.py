# SPDX-License-Identifier: Apache-2.0

"""How fast one caller may send: a token bucket as a value.

Stage 1, before a body is even read. Time is an argument and the state is returned, so
the same calls at the same instants always get the same answers.
"""

from __future__ import annotations

from dataclasses import dataclass

from opx.core.base.time import Ms

_ONE = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """``rate``: requests a second for ever. ``burst``: how many at once. Both at least 1."""

    rate: int = 20_000
    burst: int = 40_000


@dataclass(frozen=True, slots=True)
class Bucket:
    """``level``: what is left at ``at``, in thousandths of a request, so that it is exact."""

    level: int
    at: Ms


def take(bucket: Bucket | None, now: Ms, quota: Quota) -> tuple[Bucket, Ms]:
    """One request: the bucket after it, and 0, or how many ms to wait when it is empty.

    A clock that goes backwards neither gives anything nor takes it.
    """
    full = quota.burst * _ONE
    if bucket is None:
        bucket = Bucket(full, now)
    level = min(full, bucket.level + max(0, now - bucket.at) * quota.rate)
    at = max(now, bucket.at)
    if level >= _ONE:
        return Bucket(level - _ONE, at), 0
    return Bucket(level, at), -(-(_ONE - level) // quota.rate)
