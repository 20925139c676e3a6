# SPDX-License-Identifier: Apache-2.0

"""How ``brain`` is, as it knows itself: what ``front``, scrapers and the doctor ask it for."""

from __future__ import annotations

from dataclasses import dataclass, field

from opx.core.base.time import SECOND, Ms

MOST_LAG: Ms = 30 * SECOND
"""What waits for longer than this in the log is told of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopState:
    """One of brain's loops that has failed. ``failures``: so far. ``since``: since when it
    fails without a success in between, None when it is well again; ``error``: the last."""

    failures: int
    since: Ms | None = None
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrainState:
    """What ``brain`` knows of itself. ``lag``: how long the oldest commit of the log that is
    not taken in has waited. ``loops``: those that have failed, by name."""

    lag: Ms = 0
    loops: dict[str, LoopState] = field(default_factory=dict)
