# SPDX-License-Identifier: Apache-2.0

"""The promotion gate: whether an episode becomes an incident, with a coded reason.

Stage 5. One symptom is enough, however mild; evidence must weigh enough and be more than
one detection. It must never look at severity.
"""

from __future__ import annotations

from opx.core.base.time import Ms
from opx.core.correlate import score
from opx.core.correlate.episode import Episode
from opx.core.incident.incident import (
    OVER,
    Incident,
    Promotion,
    PromotionReason,
    PromotionVerdict,
)

SENTENCES: dict[PromotionReason, tuple[str, str]] = {
    PromotionReason.SYMPTOM: ("one symptom is enough, however mild", ""),
    PromotionReason.INCIDENT_EXISTS: (
        "the episode has its incident already, and what came is part of it",
        "",
    ),
    PromotionReason.SCORE_TOO_LOW: (
        "there is no symptom, and the evidence weighs too little",
        "A symptom, or more and worse evidence",
    ),
    PromotionReason.TOO_FEW_DETECTIONS: (
        "there is no symptom, and the evidence is a single detection",
        "A symptom, or a second detection",
    ),
    PromotionReason.EVIDENCE_SCORE: ("there is no symptom, but the evidence weighs enough", ""),
    PromotionReason.MERGED: ("an episode that people know of has become part of this one", ""),
    PromotionReason.RESOLVED: (
        "a person has resolved its incident, and nothing has begun since that was not known then",
        "A new symptom",
    ),
}
"""What a reason means, and what would change it; the words of ``docs/reasons.md``."""
LEAST_SCORE = 0.6
LEAST_BAND = score.Band.HIGH
LEAST_DETECTIONS = 2


def promote(
    episode: Episode,
    incident: Incident | None,
    now: Ms,
    *,
    merged: bool = False,
    fresh: bool = False,
) -> Promotion:
    """``incident``: the one this episode already has, if any. ``merged``: one that became part
    of it has an incident. ``fresh``: a symptom has just begun in it; one that people have ended
    opens another by that alone."""
    verdict, reason = _judge(episode, incident, merged, fresh)
    return Promotion(
        episode=episode.id, verdict=verdict, reason=reason, score=episode.score, at=now
    )


def _judge(
    episode: Episode, incident: Incident | None, merged: bool, fresh: bool
) -> tuple[PromotionVerdict, PromotionReason]:
    if incident is not None and incident.status not in OVER:
        return PromotionVerdict.ATTACH, PromotionReason.INCIDENT_EXISTS
    if incident is not None and not fresh:
        return PromotionVerdict.WAIT, PromotionReason.RESOLVED
    if episode.symptoms > 0:
        return PromotionVerdict.OPEN, PromotionReason.SYMPTOM
    if merged:
        return PromotionVerdict.OPEN, PromotionReason.MERGED
    if episode.score < LEAST_SCORE or score.band(episode.score) < LEAST_BAND:
        return PromotionVerdict.WAIT, PromotionReason.SCORE_TOO_LOW
    if episode.evidence < LEAST_DETECTIONS:
        return PromotionVerdict.WAIT, PromotionReason.TOO_FEW_DETECTIONS
    return PromotionVerdict.OPEN, PromotionReason.EVIDENCE_SCORE
