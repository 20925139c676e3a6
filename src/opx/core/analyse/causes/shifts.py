# SPDX-License-Identifier: Apache-2.0

"""How far each series moved while the target suffered, and who went silent.

The second step of ranking causes. A shift is a difference of medians over a robust scale.
It must stand out twice: from the healthy baseline, and from the rest of the incident, so
that what was already different before the trouble began is no news.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

from opx.core.analyse.causes import reading
from opx.core.analyse.causes.case import Case
from opx.core.analyse.causes.reading import Floats, Kind, Track, Tracks

FLOOR = 0.05
"""Of its level: a series never counts as steadier than this."""
FAILING_FLOOR = 0.005
"""The same for shares of failures, whose usual level is 0."""
HALF = 2.0
"""A shift of so many scales is half a proof. One scale happens by chance."""
MANY = 1e6
"""Stands for infinitely many times as much."""

OFTEN = 0.8
"""The share of the baseline with requests; without any now, it is idle."""
CHANCE = 0.2
"""What is missing anyway by such a chance is not news."""

Mask = NDArray[np.bool_]


class Presence(Enum):
    """SILENT: it stopped reporting, or what tells of its latency or failures did. IDLE: it gets
    no requests any more. IDLED: no more than follows from a caller that stopped or turned
    elsewhere. NEW: it reports since the incident only. UNSEEN: it never reported."""

    HERE = auto()
    SILENT = auto()
    IDLE = auto()
    IDLED = auto()
    NEW = auto()
    UNSEEN = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """``came`` less ``expected`` is ``delta``, over 0 for worse. ``proof``: 0 to 1, how surely
    it moved. ``onset``: the first step of the incident that is half way there."""

    metric: str
    expected: float
    came: float
    delta: float
    proof: float
    onset: int | None

    @property
    def rise(self) -> float:
        """``delta`` as a share of what was expected, 0 to ``MANY``."""
        if self.delta <= 0:
            return 0.0
        return min(MANY, self.delta / self.expected) if self.expected > 0 else MANY


def suffering(case: Case, tracks: Tracks) -> Mask:
    """The steps of the incident at which the target's metric is at least half as bad as it
    gets. All of them, when it is never worse than usual or was not measured."""
    everything = np.ones(reading.steps_of(case), dtype=np.bool_)
    kind = reading.kind_of(case.target.metric)
    track = tracks.get((case.target.node, kind))
    if track is None or not np.isfinite(track.during).any():
        return everything
    usual = _median(track.before)
    if np.isnan(usual):
        usual = float(np.nanmin(track.during))
    worse = track.during - usual
    if kind in (Kind.ODD, Kind.LOAD):
        worse = np.abs(worse)
    most = np.nanmax(worse)
    return worse >= most / 2 if most > 0 else everything


def shift(track: Track, kind: Kind, mask: Mask) -> Shift | None:
    """None: nothing was reported while the target suffered, or there is nothing to compare
    with."""
    came, before, rest = (
        _median(values) for values in (track.during[mask], track.before, track.during[~mask])
    )
    if np.isfinite(track.during[~mask]).sum() < 2:
        rest = np.nan  # one point is no level
    usual = [level for level in (before, rest) if not np.isnan(level)]
    if np.isnan(came) or not usual:
        return None
    if kind is Kind.ODD:
        expected = min(usual, key=lambda level: abs(came - level))
        sign = 1.0 if came >= expected else -1.0
    else:
        expected, sign = max(usual), 1.0
    delta = sign * (came - expected)
    known = track.before if not np.isnan(before) else track.during[~mask]
    scale = _spread(known) + FLOOR * abs(usual[0]) + (FAILING_FLOOR * (kind is Kind.FAILING))
    return Shift(
        metric=track.metric,
        expected=expected,
        came=came,
        delta=delta,
        proof=_proof(delta, scale),
        onset=_onset(sign * (track.during - expected), delta),
    )


def presences(case: Case, tracks: Tracks, mask: Mask) -> dict[str, Presence]:
    """Of every node."""
    found = {node: _presence(case, node, tracks, mask) for node in reading.nodes_of(case)}
    gone = (Presence.SILENT, Presence.IDLE, Presence.IDLED)
    for caller, callees in case.graph.items():
        turned = any(found[callee] is Presence.NEW for callee in callees)
        if turned or found[caller] in gone:
            for callee in callees:
                if found[callee] is Presence.IDLE:
                    found[callee] = Presence.IDLED
    return found


def _presence(case: Case, node: str, tracks: Tracks, mask: Mask) -> Presence:
    before = [reading.values_of(case.baseline, node, m) for m in case.baseline.get(node, ())]
    if not any(np.isfinite(values).any() for values in before):
        during = [reading.values_of(case.incident, node, m) for m in case.incident.get(node, ())]
        reports = any(np.isfinite(values).any() for values in during)
        return Presence.NEW if reports else Presence.UNSEEN
    own = {kind: tracks[node, kind] for kind in Kind if (node, kind) in tracks}
    load = own.pop(Kind.LOAD, None)
    if load is not None and _stopped(load, mask):
        return Presence.IDLE
    # what takes requests and finishes none has no latency; what is gone has nothing at all
    if any(_vanished(track, mask) for track in own.values()):
        return Presence.SILENT
    return Presence.SILENT if load is not None and _vanished(load, mask) else Presence.HERE


def _stopped(load: Track, mask: Mask) -> bool:
    """Whether it reports no requests, having had some nearly always."""
    left, had = (values[np.isfinite(values)] for values in (load.during[mask], load.before))
    return bool(len(left) and len(had) and not left.any() and (had > 0).mean() > OFTEN)


def _vanished(track: Track, mask: Mask) -> bool:
    """Whether it is not reported while the target suffers, which is no accident."""
    if not len(track.before) or np.isfinite(track.during[mask]).any():
        return False
    missing = 1 - float(np.isfinite(track.before).mean())
    return bool(missing ** int(mask.sum()) < CHANCE)


def _median(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else np.nan


def _spread(values: Floats) -> float:
    """Between the quartiles; of one value, none."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0
    low, high = np.percentile(finite, (25, 75))
    return float(high - low)


def _proof(delta: float, scale: float) -> float:
    if delta <= 0:
        return 0.0
    if scale <= 0:
        return 1.0
    scales = min(MANY, delta / scale)
    return scales**2 / (HALF**2 + scales**2)


def _onset(worse: Floats, delta: float) -> int | None:
    if delta <= 0:
        return None
    there = np.flatnonzero(worse >= delta / 2)
    return int(there[0]) if len(there) else None
