# SPDX-License-Identifier: Apache-2.0

"""``Verdict``: what a repair came to. The noun of stage 8."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from opx.core.base.time import Ms


class VerdictKind(StrEnum):
    RECOVERED = "recovered"
    NO_EFFECT = "no_effect"
    WORSE = "worse"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``yes``, ``no``, ``unknown``: how many answers of each kind it rests on."""

    kind: VerdictKind
    at: Ms
    yes: int
    no: int
    unknown: int
