# SPDX-License-Identifier: Apache-2.0

"""From a case's metrics to one series for each node and kind, all of a kind in one unit.

The first step of ranking causes. A metric's name says what kind it is; availability and
counts of errors both become the share of requests that fail. It judges nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from opx.core.analyse.causes.case import Case, Measured, Target, Values
from opx.core.base import names

Floats: TypeAlias = NDArray[np.float64]


class Kind(StrEnum):
    """What a metric tells of: SLOW latency, FAILING requests, LOAD traffic, ODD anything else."""

    SLOW = "slow"
    FAILING = "failing"
    LOAD = "load"
    ODD = "odd"


_GOOD = frozenset(
    {"avail", "available", "availability", "success", "successes", "successful", "succeeded"}
)
_NOT = frozenset({"not", "non", "no"})
"""The word after one of these says the opposite."""
_BAD = frozenset(
    {"error", "errors", "errored", "fail", "fails", "failed", "failing", "failure", "failures"}
    | {"fault", "faults", "faulted", "5xx", "exception", "exceptions"}
    | {"unavailable", "unavailability", "unsuccessful"}
)
_SLOW = frozenset({"latency", "latencies", "duration", "durations", "delay", "delays"})
_RESPONSE_TIME = re.compile("(^|_)response_?times?(_|$)")
_LOAD = frozenset(
    {"request", "requests", "traffic", "throughput", "call", "calls", "rps", "qps"}
    | {"invocation", "invocations"}
)
MOST = 1e100
"""Nothing that is measured is as large; what is would only overflow later."""
_MEANS = ("", "average", "avg", "mean")


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One metric of one node. More of it is worse, but for ODD, where any change counts.
    ``during`` is as long as the incident. NaN: not reported."""

    metric: str
    before: Floats
    during: Floats


Tracks: TypeAlias = Mapping[tuple[str, Kind], Track]


def kind_of(metric: str) -> Kind:
    """By whole words in the metric's name, whatever its ``/agg``."""
    words = _words(metric)
    said = frozenset(words)
    if said & _SLOW or _RESPONSE_TIME.search("_".join(words)):
        return Kind.SLOW
    if said & (_GOOD | _BAD):
        return Kind.FAILING
    return Kind.LOAD if said & _LOAD else Kind.ODD


def _words(metric: str) -> list[str]:
    return names.words(metric.partition("/")[0])


def nodes_of(case: Case) -> list[str]:
    """Everything that the graph, the metrics or the target name, in the order of names."""
    called = {callee for callees in case.graph.values() for callee in callees}
    return sorted({*case.graph, *called, *case.baseline, *case.incident, case.target.node})


def steps_of(case: Case) -> int:
    """How long the incident is."""
    lengths = [len(values) for metrics in case.incident.values() for values in metrics.values()]
    return max(lengths, default=0)


def values_of(measured: Measured, node: str, metric: str) -> Floats:
    """As an array; empty where there is none. What is no quantity is NaN."""
    values: Values = measured.get(node, {}).get(metric, ())
    array = np.array(values, dtype=np.float64)
    array[~(np.abs(array) < MOST)] = np.nan
    return array


def tracks(case: Case) -> dict[tuple[str, Kind], Track]:
    """One for each node and kind that it reports: the target's own metric where the node has
    it, otherwise the mean of whatever comes first by name. ODD only for nodes that tell
    nothing of latency or failures."""
    steps = steps_of(case)
    found: dict[tuple[str, Kind], Track] = {}
    for node in nodes_of(case):
        by_kind: dict[Kind, list[str]] = {}
        for metric in sorted({*case.baseline.get(node, {}), *case.incident.get(node, {})}):
            by_kind.setdefault(kind_of(metric), []).append(metric)
        if Kind.SLOW in by_kind or Kind.FAILING in by_kind:
            by_kind.pop(Kind.ODD, None)
        for kind, metrics in by_kind.items():
            metric = min(metrics, key=lambda metric: _preference(metric, case.target))
            during = np.full(steps, np.nan)
            seen = values_of(case.incident, node, metric)
            during[: len(seen)] = seen
            before = values_of(case.baseline, node, metric)
            found[node, kind] = Track(metric=metric, before=before, during=during)
    return _as_shares(found)


def _preference(metric: str, target: Target) -> tuple[bool, bool, bool, str]:
    name, _, agg = metric.partition("/")
    return name != target.metric, agg != target.agg, agg.lower() not in _MEANS, metric


def _as_shares(found: dict[tuple[str, Kind], Track]) -> dict[tuple[str, Kind], Track]:
    """FAILING as the share of requests that fail, 0 to 1."""
    full = max((_most(track) for track in found.values() if _is_good(track)), default=0.0) or 1.0
    for (node, kind), track in list(found.items()):
        if kind is not Kind.FAILING:
            continue
        if _is_good(track):
            before, during = 1 - track.before / full, 1 - track.during / full
        else:
            before, during = _per_request(track, found.get((node, Kind.LOAD)))
        found[node, kind] = Track(metric=track.metric, before=before, during=during)
    return found


def _is_good(track: Track) -> bool:
    """Whether it counts what went well: 1 or 100 of it, whatever the highest is, is all."""
    words = _words(track.metric)
    return any(
        word in _GOOD and before not in _NOT for before, word in pairwise(["", *words])
    ) and not _BAD.intersection(words)


def _per_request(errors: Track, load: Track | None) -> tuple[Floats, Floats]:
    """Without a count of requests (or when errors are a rate already): of the most ever seen."""
    if load is not None and len(load.before) == len(errors.before):
        both = [
            np.divide(bad, of, out=np.full(len(bad), np.nan), where=of > 0)
            for bad, of in ((errors.before, load.before), (errors.during, load.during))
        ]
        if "rate" not in _words(errors.metric):
            return both[0], both[1]
    most = _most(errors) or 1.0
    return errors.before / most, errors.during / most


def _most(track: Track) -> float:
    values = np.concatenate([track.before, track.during])
    return float(np.nanmax(values, initial=0.0)) if len(values) else 0.0
