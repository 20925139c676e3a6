# SPDX-License-Identifier: Apache-2.0

"""How patient the workflows are with a segment that raises: the same for every engine.

A segment that has used up its attempts is FAILED and stays so; the sweep of ``brain``
starts a new one for whatever is still due.
"""

from __future__ import annotations

from opx.core.base.time import Ms

ATTEMPTS = 5
FIRST_PAUSE: Ms = 100


def pause(failures: int) -> Ms:
    """How long to wait after that many failures in a row, from 1: 100 ms, doubling."""
    return FIRST_PAUSE << (failures - 1)
