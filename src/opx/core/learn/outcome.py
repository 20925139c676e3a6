# SPDX-License-Identifier: Apache-2.0

"""``Outcome``: what a person says an incident really was. The noun of stage 9, append-only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from opx.core.base.time import Ms


class OutcomeKind(StrEnum):
    TRUE_POSITIVE = "true_positive"
    FALSE_POSITIVE = "false_positive"
    BENIGN = "benign"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """``id``: derived from (incident, by, at). ``cause``, ``fixed_by``: in their words."""

    id: str
    incident: str
    kind: OutcomeKind
    by: str
    at: Ms
    cause: str = ""
    fixed_by: str = ""
    note: str = ""
