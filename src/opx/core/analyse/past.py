# SPDX-License-Identifier: Apache-2.0

"""What helped before: verified repairs of the same kind of trouble on the same service.

Part of stage 4. Only what was verified counts, either way; what opx only hoped for does
not. It shows what was, with numbers; it must never turn them into a probability.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from opx.core.base.time import Ms

MOST = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """One repair that was verified. ``type``: what the trouble was held to be; ``helped``:
    whether it was over afterwards; ``took``: from the proposal to the verdict."""

    run: str
    incident: str
    type: str
    runbook: str
    helped: bool
    took: Ms
    at: Ms


def similar(cases: Iterable[Past], type: str) -> tuple[Past, ...]:
    """Those of this type, newest first, at most ``MOST``."""
    alike = [case for case in cases if case.type == type]
    return tuple(sorted(alike, key=lambda case: (-case.at, case.run))[:MOST])
