# SPDX-License-Identifier: Apache-2.0

"""What is expected to fail, and what such predictions were worth."""

from __future__ import annotations

from collections.abc import Iterable

from opx.core.base import canonical
from opx.core.base.time import DAY, Ms
from opx.core.correlate.episode import Group
from opx.core.detect.predict import wording
from opx.core.detect.predict.prediction import Happened, Prediction
from opx.core.learn import predictions as learn
from opx.engine.beats import happened
from opx.engine.ports import ReadTx, Where
from opx.engine.queries import paging
from opx.engine.queries.one import Plain
from opx.engine.queries.paging import Page

_OPEN, _OVER = Where("withdrawn", "null"), Where("withdrawn", "not_null")
EXPECTED = (_OPEN, Where("held_back", "eq", False))
"""The open ones that people may know of."""
_HELD_BACK = (_OPEN, Where("held_back", "eq", True))


def predictions(tx: ReadTx, every: bool, limit: int, cursor: str = "") -> Page:
    """The open ones, then those that are over, each newest first. ``every``: also the open ones
    that are held back."""
    more, before = paging.read(cursor) if cursor else ([], paging.BEYOND)
    found: list[Prediction] = []
    if not more or more == [True]:
        ranges = (EXPECTED, _HELD_BACK) if every else (EXPECTED,)
        found = _newest(tx, ranges, before, limit + 1)
        before = paging.BEYOND
    if len(found) <= limit:
        found += _newest(tx, [[_OVER]], before, limit + 1 - len(found))
    last = found[:limit][-1:]
    place = [(one.withdrawn is None, one.made_at, one.id) for one in last]
    return Page(
        items=[_shown(one) for one in found[:limit]],
        next=paging.cursor(*place[0]) if len(found) > limit else None,
    )


def expected(tx: ReadTx, limit: int) -> list[Plain]:
    """The open ones that people may know of, newest first."""
    return [_shown(one) for one in _newest(tx, (EXPECTED,), paging.BEYOND, limit)]


def predictions_score(tx: ReadTx, days: int, now: Ms) -> Plain:
    """What those were worth that were made in the last ``days``; null where there is nothing to
    say it from. What is not decided yet is left out, on both sides: a prediction whose time is
    not over, and a failure that it may have told of."""
    since = now - days * DAY
    made = tx.find(Prediction, Where("made_at", "ge", since), order="made_at")
    groups = {Group(one.identity.environment, one.identity.service) for one in made}
    acts = happened.acts(tx, since)
    for group in groups:
        acts += happened.changes_of(tx, group, since)
    pending = [one for one in made if one.expires_at > now]
    failures = [one for one in happened.failures(tx, since) if not _told_by(pending, one)]
    judged = learn.judge(made, failures, acts, now)
    score = canonical.plain(learn.score(judged, failures))
    return {
        "days": days,
        "predictions": len(made),
        "judged": len(judged) - score["unjudged"],
        "unjudged": score["unjudged"],
        "held_back": sum(one.prediction.held_back for one in judged),
        **{name: score[name] for name in ("precision", "recall", "brier")},
        "lead_ms": score["lead"],
        "lead_p10_ms": score["lead_p10"],
        "reliability": [
            {"told": told, "came": canonical.plain(came)}
            for told, came in learn.reliability(judged)
        ],
        "prevention": canonical.plain(learn.prevention(judged)),
    }


def _newest(
    tx: ReadTx, ranges: paging.Ranges, before: paging.Place, limit: int
) -> list[Prediction]:
    return paging.newest(tx, Prediction, ranges, "made_at", before, limit)


def _shown(one: Prediction) -> Plain:
    return {**canonical.plain(one), "why": wording.why(one)}


def _told_by(pending: Iterable[Prediction], failure: Happened) -> bool:
    who = failure.identity.environment, failure.identity.service
    return any(
        (one.identity.environment, one.identity.service) == who
        and one.made_at < failure.at <= one.expires_at
        for one in pending
    )
