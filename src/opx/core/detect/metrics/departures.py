# SPDX-License-Identifier: Apache-2.0

"""Streams that are away from all they ever held, as findings of kind EVIDENCE.

Part of ``metrics``: the edges of what ``held`` sees. A stream that leaves fires; it is over
when it is back, when it has stayed so long that this is what it is like now, or when it is
silent. It must never make a finding of a single flagged point: in a fleet there are always
some.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from opx.core.base import canonical
from opx.core.base.time import MINUTE, Ms
from opx.core.detect.finding import ClearReason, Finding, FindingKind, FindingState
from opx.core.detect.metrics.held import Turn
from opx.core.detect.metrics.state import MetricState
from opx.core.detect.metrics.stream import Scores
from opx.core.detect.ruled.judging import finding_from, stream_of
from opx.core.ingest.signals import MetricBatch, Series, Severity

RULE = "metric-odd"
SILENCE: Ms = 15 * MINUTE
"""What brings no points for so long is over, though nobody saw how it ended."""
AGAIN: Ms = MINUTE
"""So much longer an open finding is given when it is extended, so that thousands of them are
not all written anew with every point."""
SUMMARY_LENGTH = 200


@dataclass(slots=True)
class Departures:
    """``open``: the findings that fire, by the number of their stream. ``extended``: those whose
    expiry moved since ``refreshed`` was last asked."""

    open: dict[int, Finding] = field(default_factory=dict)
    extended: dict[int, None] = field(default_factory=dict)

    def save(self) -> list[Any]:
        """Plain JSON values, for ``load``. What ``refreshed`` would give is not in it: it is
        kept in the same commit, or was before."""
        return [[sid, canonical.plain(finding)] for sid, finding in self.open.items()]

    @classmethod
    def load(cls, saved: Iterable[Any]) -> Departures:
        """What was saved. ``KeyError``, ``TypeError`` or ``ValueError`` if it is not that."""
        found = ((int(sid), finding_from(row)) for sid, row in saved)
        return cls(open={sid: finding for sid, finding in found if finding is not None})

    def step(
        self,
        state: MetricState,
        batch: MetricBatch,
        scores: Scores,
        series: Mapping[int, Series],
        now: Ms,
    ) -> list[Finding]:
        """The edges in a batch that ``stream.step`` has just scored, in its order, then what has
        expired by ``now``. ``series``: at least those that leave."""
        edges: list[Finding] = []
        for number, point in enumerate(scores.remarks.point.tolist()):
            turn, sid, at = Turn(scores.turn[point]), int(batch.sid[point]), int(batch.at[point])
            if turn is Turn.LEFT and sid in series and sid not in self.open:
                edges.append(self._begin(series[sid], scores, number, at, now))
            elif turn in (Turn.BACK, Turn.SETTLED) and sid in self.open:
                note = "it is back" if turn is Turn.BACK else "this is what it is like now"
                edges.append(self._end(sid, ClearReason.RESOLVED, at, note))
        if self.open:
            edges += self._follow(state, batch, now)
        return edges + self.tick(now)

    def tick(self, now: Ms) -> list[Finding]:
        """What has expired by ``now``, earliest first."""
        over = [(until, sid) for sid, one in self.open.items() if (until := _until(one)) <= now]
        return [self._end(sid, ClearReason.EXPIRED, at, "it is silent") for at, sid in sorted(over)]

    def refreshed(self) -> list[Finding]:
        """Open findings whose expiry moved since this was last asked."""
        moved = [self.open[sid] for sid in self.extended]
        self.extended.clear()
        return moved

    def keep(self, ids: set[str]) -> None:
        """Forget the open findings that are not among ``ids``: nobody was told of them."""
        self.open = {sid: one for sid, one in self.open.items() if one.id in ids}
        self.extended = {sid: None for sid in self.extended if sid in self.open}

    def _follow(self, state: MetricState, batch: MetricBatch, now: Ms) -> list[Finding]:
        """Those whose streams came stay open; but not those of which all was forgotten."""
        sids = np.array(sorted(self.open), np.int64)
        came = np.isin(sids, batch.sid)
        away = state.away(sids)
        for sid in sids[came & away].tolist():
            if _until(self.open[sid]) < now + SILENCE:
                self.open[sid] = replace(self.open[sid], expires_at=now + SILENCE + AGAIN)
                self.extended[sid] = None
        note = "it is not known any more what it was like"
        lost = sids[came & ~away].tolist()
        return [self._end(sid, ClearReason.WITHDRAWN, now, note) for sid in lost]

    def _begin(self, series: Series, scores: Scores, number: int, at: Ms, now: Ms) -> Finding:
        stream = stream_of(series)
        evidence = _evidence(scores, number, series.sid)
        finding = Finding(
            id=Finding.id_of(RULE, stream, at),
            rule=RULE,
            stream=stream,
            identity=series.identity,
            kind=FindingKind.EVIDENCE,
            state=FindingState.FIRING,
            severity=Severity.SEV4,
            since=min(int(scores.remarks.began[number]), at),
            at=at,
            expires_at=max(now, at) + SILENCE,
            summary=_summary(series.metric, evidence)[:SUMMARY_LENGTH],
            evidence=evidence,
        )
        self.open[series.sid] = finding
        return finding

    def _end(self, sid: int, reason: ClearReason, at: Ms, note: str) -> Finding:
        finding = self.open.pop(sid)
        self.extended.pop(sid, None)
        return finding.clear(reason, at, {**finding.evidence, "note": note})


def _until(finding: Finding) -> Ms:
    assert finding.expires_at is not None
    return finding.expires_at


def _evidence(scores: Scores, number: int, sid: int) -> dict[str, object]:
    """What was expected, what came, and which part found it odd."""
    told = scores.remarks
    shown = {
        name: float(getattr(told, name)[number])
        for name in ("low", "high", "least", "most", "usual", "recent")
    }
    odds = {"place": float(told.place[number]), "level": float(told.level[number])}
    return {
        "sid": sid,
        "expected": {"at_least": shown["low"], "at_most": shown["high"], "usual": shown["usual"]},
        "came": {"least": shown["least"], "most": shown["most"], "recent": shown["recent"]},
        "odds": odds,
    }


def _summary(metric: str, evidence: Mapping[str, object]) -> str:
    expected, came = evidence["expected"], evidence["came"]
    assert isinstance(expected, dict)
    assert isinstance(came, dict)
    held = f"{expected['at_least']:.4g} to {expected['at_most']:.4g}"
    return f"{metric}: {came['least']:.4g} to {came['most']:.4g}, where it always kept to {held}"
