# SPDX-License-Identifier: Apache-2.0

"""Ids: derived things hash their identity, things that happen get a UUIDv7.

Of what is kept by the hundred thousand the id begins with its time, derived or not: such ids
come in order, and an index takes them at its end. Random ones go to pages all over it.

Beneath all stages. Nothing here reads a clock or a random source; both are arguments.
"""

from __future__ import annotations

import hashlib
import uuid

from opx.core.base import canonical
from opx.core.base.time import Ms

_INSTANT = (1 << 48) - 1
"""The bits of an instant that an id has room for: they are enough until the year 10889."""


def derived(*identity: object) -> str:
    """SHA-256, 64 lower-case hex digits, of the canonical JSON of ``identity``."""
    return hashlib.sha256(canonical.dumps(list(identity))).hexdigest()


def timed(at: Ms, *identity: object) -> str:
    """64 lower-case hex digits: 12 of the instant, as in a UUIDv7, and the first 52 of the
    ``derived`` id of ``identity``, which has to say the instant, too."""
    return f"{at & _INSTANT:012x}{derived(*identity)[:52]}"


def uuid7(now: Ms, entropy: bytes) -> str:
    """A UUIDv7 (RFC 9562 5.7) from an instant and at least 10 random bytes."""
    if len(entropy) < 10:
        raise ValueError("a UUIDv7 needs 10 random bytes")
    number = (now & _INSTANT) << 80 | int.from_bytes(entropy[:10], "big")
    number = number & ~(0xF << 76) | 0x7 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=number))
