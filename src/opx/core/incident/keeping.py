# SPDX-License-Identifier: Apache-2.0

"""How long what is over is kept, and what of it may go. Stage 5.

Only what has ended and what nothing lives on goes, an incident with all that hangs on it or
not at all. The journal and its seals are not for these rules: they are kept for ever.
"""

from __future__ import annotations

from dataclasses import dataclass

from opx.core.base.time import DAY, Ms
from opx.core.correlate.episode import Episode
from opx.core.incident.incident import OVER, Incident

LEAST: Ms = 2 * DAY
"""An episode that has just ended is still asked for by the one that follows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """For how long, each at least ``LEAST``. ``incidents``: and what hangs on them, from when
    they ended or were last touched. ``telemetry``: points. ``records``: what was quarantined,
    carried out or has expired."""

    incidents: Ms = 400 * DAY
    telemetry: Ms = 30 * DAY
    records: Ms = 30 * DAY

    def __post_init__(self) -> None:
        if min(self.incidents, self.telemetry, self.records) < LEAST:
            raise ValueError(f"nothing can be forgotten before {LEAST // DAY} days have passed")


def may_go(
    episode: Episode, incident: Incident | None, after: Episode | None, firing: bool, before: Ms
) -> bool:
    """Whether an episode may be forgotten with the incident it came to, if any: it was over
    and left alone by ``before``, nothing in it is ``firing`` and the episode ``after`` it,
    which names it, is over too."""
    if firing or episode.ended_at is None or episode.ended_at > before:
        return False
    if incident is not None and (incident.status not in OVER or incident.updated_at > before):
        return False
    return after is None or after.ended_at is not None
