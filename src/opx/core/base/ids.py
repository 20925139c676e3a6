# SPDX-License-Identifier: Apache-2.0

"""Ids: derived things hash their identity, things that happen get a UUIDv7.

Beneath all stages. Nothing here reads a clock or a random source; both are arguments.
"""

from __future__ import annotations

import hashlib
import uuid

from opx.core.base import canonical
from opx.core.base.time import Ms


def derived(*identity: object) -> str:
    """SHA-256, 64 lower-case hex digits, of the canonical JSON of ``identity``."""
    return hashlib.sha256(canonical.dumps(list(identity))).hexdigest()


def uuid7(now: Ms, entropy: bytes) -> str:
    """A UUIDv7 (RFC 9562 5.7) from an instant and at least 10 random bytes."""
    if len(entropy) < 10:
        raise ValueError("a UUIDv7 needs 10 random bytes")
    number = (now & ((1 << 48) - 1)) << 80 | int.from_bytes(entropy[:10], "big")
    number = number & ~(0xF << 76) | 0x7 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=number))
