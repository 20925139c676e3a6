# SPDX-License-Identifier: Apache-2.0

"""Threshold rules over metric streams.

A detector of stage 2. Each (rule, series) has one window at a time, aligned to the epoch;
the first point after it closes it, so what comes out depends on the points alone and not
on how the log was cut. A window without points says nothing; a firing series that stays
silent for long expires. What is known belongs to a rule's hash: a rule that was changed
starts anew, and what the old one had open is withdrawn. The rules in force are saved with
what they made, so that a restart goes on by them and takes up changed ones as a running
``brain`` does. It must never look back: a point of a closed window is counted as late and
not used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from opx.core.base import canonical
from opx.core.base.reads import Stat
from opx.core.base.time import MINUTE, Ms
from opx.core.detect.finding import ClearReason, Finding, FindingKind, FindingState
from opx.core.detect.rules import PREFIX, Side, ThresholdRule
from opx.core.ingest.signals import Identity, MetricBatch, Series, Severity

SILENCE: Ms = 15 * MINUTE
"""A firing series without points for this long, and two windows, has expired."""
HUGE = 1.7976931348623157e308
"""Sums stop here: an infinity could not be saved."""


@dataclass(slots=True)
class _Track:
    """One series under one rule. ``start``: its window's, -1 while it has no points."""

    start: Ms = -1
    count: int = 0
    sum: float = 0.0
    min: float = 0.0
    max: float = 0.0
    last_at: Ms = 0
    breached_since: Ms | None = None
    firing: Finding | None = None


@dataclass(frozen=True, slots=True)
class _Watch:
    """A track with what is known of its rule and its series."""

    rule: ThresholdRule
    series: Series
    track: _Track


@dataclass(slots=True)
class ThresholdState:
    """``rules`` in force by hash, ``tracks`` by (rule hash, sid) and the counters are saved;
    the rest is found again.

    ``late``: points of closed windows. ``nameless``: batches with a series nobody named.
    ``strays``: open findings that no track knows of.
    """

    rules: dict[str, ThresholdRule] = field(default_factory=dict)
    tracks: dict[tuple[str, int], _Track] = field(default_factory=dict)
    late: int = 0
    nameless: int = 0
    strays: list[Finding] = field(default_factory=list)
    known: set[int] = field(default_factory=set)
    watches: dict[int, tuple[_Watch, ...]] = field(default_factory=dict)
    firing: set[tuple[str, int]] = field(default_factory=set)


def in_force(state: ThresholdState, rules: Sequence[ThresholdRule]) -> bool:
    """Whether these are the rules it works by already, with nothing left to withdraw."""
    return not state.strays and {rule.hash for rule in rules} == state.rules.keys()


def bind(state: ThresholdState, rules: Sequence[ThresholdRule], now: Ms) -> list[Finding]:
    """Work by these rules from now on: what is open of others is withdrawn, and every
    series is matched anew. To be saved in the commit that keeps the findings."""
    state.rules = {rule.hash: rule for rule in rules}
    state.known.clear()
    state.watches.clear()
    open_ = state.strays
    state.strays = []
    for key in sorted(key for key in state.tracks if key[0] not in state.rules):
        firing = state.tracks.pop(key).firing
        if firing is not None:
            open_.append(firing)
            state.firing.discard(key)
    note: dict[str, object] = {"note": "the rule was changed or removed"}
    return [firing.clear(ClearReason.WITHDRAWN, now, note) for firing in open_]


def step(
    state: ThresholdState, series: Mapping[int, Series], points: MetricBatch | None, now: Ms
) -> list[Finding]:
    """The edges in these points, in their order, then what has expired by ``now``.

    ``series``: by sid, at least those of ``points``.
    """
    edges: list[Finding] = []
    if points is not None and state.rules:
        _take(state, series, points, edges)
    for key in sorted(state.firing):
        rule, track = state.rules[key[0]], state.tracks[key]
        if now >= track.last_at + _silence(rule):
            edges.append(_silenced(rule, track))
            state.firing.discard(key)
    return edges


def save(state: ThresholdState) -> dict[str, Any]:
    """Plain JSON values; ``load`` of them goes on exactly where ``state`` was."""
    tracks = [
        {"rule": rule, "sid": sid, **canonical.plain(track)}
        for (rule, sid), track in sorted(state.tracks.items())
    ]
    rules = canonical.plain(list(state.rules.values()))
    return {"rules": rules, "tracks": tracks, "late": state.late, "nameless": state.nameless}


def load(saved: Mapping[str, Any]) -> ThresholdState:
    """The state that was saved; an empty one from ``{}``."""
    state = ThresholdState(late=saved.get("late", 0), nameless=saved.get("nameless", 0))
    for row in saved.get("rules", ()):
        state.rules[row["hash"]] = _rule(row)
    for row in saved.get("tracks", ()):
        values = dict(row)
        key = values.pop("rule"), values.pop("sid")
        if values["firing"] is not None:
            values["firing"] = _finding(values["firing"])
            state.firing.add(key)
        state.tracks[key] = _Track(**values)
    return state


def missed(state: ThresholdState, findings: Iterable[Finding]) -> None:
    """Find the strays among stored open findings, once ``load`` has caught up with them."""
    known = {firing.id for track in state.tracks.values() if (firing := track.firing)}
    state.strays = [f for f in findings if f.rule.startswith(PREFIX) and f.id not in known]


def _rule(row: Mapping[str, Any]) -> ThresholdRule:
    typed = {
        "stat": Stat(row["stat"]),
        "side": Side(row["side"]),
        "severity": Severity(row["severity"]),
        "kind": FindingKind(row["kind"]),
    }
    return ThresholdRule(**{**row, **typed})


def _finding(row: Mapping[str, Any]) -> Finding:
    typed = {
        "identity": Identity(**row["identity"]),
        "kind": FindingKind(row["kind"]),
        "state": FindingState(row["state"]),
        "severity": Severity(row["severity"]),
    }
    return Finding(**{**row, **typed})


def _take(
    state: ThresholdState, series: Mapping[int, Series], points: MetricBatch, edges: list[Finding]
) -> None:
    sids = set(points.sid.tolist())
    for sid in sids - state.known:
        _learn(state, series, sid)
    watched = sids & state.watches.keys()
    if not watched:
        return
    where = np.flatnonzero(np.isin(points.sid, np.fromiter(watched, np.int32)))
    columns = (points.sid[where], points.at[where], points.value[where])
    for sid, at, value in zip(*(column.tolist() for column in columns), strict=True):
        for watch in state.watches[sid]:
            edge = _point(state, watch, at, value)
            if edge:
                edges += edge
                key = watch.rule.hash, sid
                (state.firing.discard if watch.track.firing is None else state.firing.add)(key)


def _learn(state: ThresholdState, series: Mapping[int, Series], sid: int) -> None:
    one = series.get(sid)
    if one is None:
        state.nameless += 1
        return
    state.known.add(sid)
    matching = [rule for rule in state.rules.values() if rule.matches(one)]
    if matching:
        state.watches[sid] = tuple(
            _Watch(rule, one, state.tracks.setdefault((rule.hash, sid), _Track()))
            for rule in matching
        )


def _point(state: ThresholdState, watch: _Watch, at: Ms, value: float) -> list[Finding]:
    rule, track = watch.rule, watch.track
    start = at - at % rule.window
    if start < track.start:
        state.late += 1
        return []
    edges: list[Finding] = []
    if track.firing is not None and at >= track.last_at + _silence(rule):
        edges.append(_silenced(rule, track))
    if start > track.start or not track.count:
        edges += _closed(watch)
        track.start, track.count, track.sum, track.min, track.max = start, 0, 0.0, value, value
    track.count += 1
    track.sum = max(-HUGE, min(HUGE, track.sum + value))
    track.min = min(track.min, value)
    track.max = max(track.max, value)
    track.last_at = max(track.last_at, at)
    return edges


def _closed(watch: _Watch) -> list[Finding]:
    """Judge the window that is full; nothing when it had no points."""
    rule, track = watch.rule, watch.track
    if not track.count:
        return []
    if not rule.breached(_value(track, rule.stat)):
        return _well(rule, track)
    end = track.start + rule.window
    if track.breached_since is None:
        track.breached_since = track.start
    if track.firing is not None or end - track.breached_since < rule.hold:
        return []
    track.firing = _fired(watch, track.breached_since, end)
    return [track.firing]


def _well(rule: ThresholdRule, track: _Track) -> list[Finding]:
    firing, track.firing, track.breached_since = track.firing, None, None
    if firing is None:
        return []
    end = track.start + rule.window
    return [firing.clear(ClearReason.RESOLVED, end, _evidence(rule, track))]


def _silenced(rule: ThresholdRule, track: _Track) -> Finding:
    """End what fires without points: well if what there was of its last window says so."""
    firing, expired_at = track.firing, track.last_at + _silence(rule)
    if firing is None:
        raise ValueError("only a firing series can fall silent")
    if track.count and not rule.breached(_value(track, rule.stat)):
        edge = _well(rule, track)[0]
    else:
        edge = firing.clear(ClearReason.EXPIRED, expired_at, {"note": "no points"})
    # its window is over: a late point of it must not tell it again, under the same id
    track.start, track.count = track.start + rule.window, 0
    track.breached_since, track.firing = None, None
    return edge


def _fired(watch: _Watch, since: Ms, end: Ms) -> Finding:
    rule, series = watch.rule, watch.series
    labels = ",".join(f"{name}={value}" for name, value in sorted(series.labels.items()))
    stream = f"{series.metric}{{{labels}}}"
    value = _value(watch.track, rule.stat)
    said = f"{rule.stat} of {rule.metric} is {value:g}, {rule.side} {rule.limit:g}"
    return Finding(
        id=Finding.id_of(f"{rule.rule}/{rule.hash}", stream, end),
        rule=rule.rule,
        stream=stream,
        identity=series.identity,
        kind=rule.kind,
        state=FindingState.FIRING,
        severity=rule.severity,
        since=since,
        at=end,
        summary=f"{rule.name}: {said}",
        evidence=_evidence(rule, watch.track),
    )


def _evidence(rule: ThresholdRule, track: _Track) -> dict[str, object]:
    return {
        "expected": f"{rule.stat} not {rule.side} {rule.limit:g}",
        "value": _value(track, rule.stat),
        "points": track.count,
        "window": [track.start, track.start + rule.window],
        "justification": rule.justification,
    }


def _value(track: _Track, stat: Stat) -> float:
    if stat is Stat.COUNT:
        return float(track.count)
    if stat is Stat.SUM:
        return track.sum
    if stat is Stat.AVG:
        return track.sum / track.count
    return track.min if stat is Stat.MIN else track.max


def _silence(rule: ThresholdRule) -> Ms:
    return max(SILENCE, 2 * rule.window)
