# SPDX-License-Identifier: Apache-2.0

"""``Case``: one complaint, who calls whom, and what was measured before and during it.

What the ranking of causes takes; also what the simulator makes. Nothing here computes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Values: TypeAlias = Sequence[float | None] | NDArray[np.float64]
"""One value a period, oldest first. None or NaN: nothing was reported."""

Measured: TypeAlias = Mapping[str, Mapping[str, Values]]
"""{node: {metric: values}}. A metric is ``name`` or ``name/agg``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Who complains, and by which metric."""

    node: str
    metric: str
    agg: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """``graph``: {caller: [callee]}. ``baseline``: from a healthy time; ``incident``: around
    and during the trouble; the two need not be of one length or follow on each other.
    ``period_s``: seconds from one value to the next, over 0."""

    target: Target
    graph: Mapping[str, Sequence[str]]
    baseline: Measured
    incident: Measured
    period_s: float
