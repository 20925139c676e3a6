# SPDX-License-Identifier: Apache-2.0

"""Where belief ends up that starts at the target and asks, at each node, what explains it.

The third step of ranking causes: an absorbing Markov chain. At a symptom of a node a part of
the belief goes on to the callees' symptoms, each by the share of this one that it explains,
and the unexplained rest stays. Where more traffic explains the node, it goes up instead, to
the callers that send it. Cycles do no harm: something stays at every turn.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from opx.core.analyse.causes.reading import Kind
from opx.core.analyse.causes.shifts import Presence, Shift

CROSS = 0.5
"""How well another kind of symptom explains this one: latency failures, or the other way."""
UNSEEN = 0.5
"""A node that never reported, against one that does: it was not seen to be ill either."""
STAYS = 0.02
"""At least so much of the belief stays, however well callees explain it."""
LATER = 0.9
"""What explains another thing does not begin after it; for each step that it does beyond the
first, which sampling alone can cause."""
SURGE = 0.5
"""So much more traffic is as likely as not to be the trouble itself."""
SLOWER = 3.0
"""Latency that rises by so many times its level: half of it times out somewhere."""
ROUNDS = 300
SYMPTOMS = (Kind.SLOW, Kind.FAILING, Kind.ODD)

State: TypeAlias = tuple[str, Kind]
Shares: TypeAlias = dict[State, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What is known of every node. ``traffic``: requests while the target suffered; a node
    whose traffic is not known has none here. ``asked``: of such a node, the traffic of all its
    callers together."""

    callees: Mapping[str, Sequence[str]]
    callers: Mapping[str, Sequence[str]]
    presence: Mapping[str, Presence]
    shifts: Mapping[State, Shift]
    traffic: Mapping[str, float]
    asked: Mapping[str, float]

    def risen(self, node: str) -> float | None:
        """How much its traffic rose, as a share. None: not known."""
        load = self.shifts.get((node, Kind.LOAD))
        return None if load is None else load.rise

    def per_request(self, caller: str, callee: str) -> float:
        """Calls of ``callee`` for a request of ``caller``: its requests are taken to come from
        all its callers alike. 1 where traffic is not known."""
        if callee not in self.traffic or not self.traffic.get(caller):
            return 1.0
        return self.traffic[callee] / self.asked[callee]


def absorbed(scene: Scene, start: Shares) -> Shares:
    """The belief that stays at each state, from ``start``; adds up to as much, nearly."""
    demands = demand(scene)
    number = {state: i for i, state in enumerate(start)}
    states, staying = list(start), []
    source, sink, weight = [], [], []
    for i, state in enumerate(states):  # grows while it is walked
        if state[1] is Kind.LOAD:
            stays, shares = _load_from(scene, state[0])
        else:
            stays, shares = _explained(scene, state, demands[state[0]])
        total = stays + sum(shares.values())
        staying.append(stays / total)
        for other, share in shares.items():
            if other not in number:
                number[other] = len(states)
                states.append(other)
            source.append(i)
            sink.append(number[other])
            weight.append(share / total)
    belief = np.array([start.get(state, 0.0) for state in states])
    kept = np.zeros(len(states))
    here, there = np.array(source, dtype=np.intp), np.array(sink, dtype=np.intp)
    for _ in range(ROUNDS):
        kept += belief * staying
        moved = belief[here] * weight
        belief = np.bincount(there, moved, len(states))
    return dict(zip(states, kept.tolist(), strict=True))


def demand(scene: Scene) -> dict[str, float]:
    """For each node the share (0 to 1) of its rise in traffic that came down from outside. A
    retry storm rises in the middle: there it is the consequence, not the cause."""
    found = {node: 0.0 if callers else 1.0 for node, callers in scene.callers.items()}
    waiting = [(-1.0, node) for node, share in found.items() if share]
    heapq.heapify(waiting)
    while waiting:  # the largest share first, as Dijkstra (1959): it grows no more
        lost, node = heapq.heappop(waiting)
        if -lost < found[node]:
            continue  # a larger one came after it had been noted
        for callee in scene.callees[node]:
            share = _sent(scene, node, callee) * -lost
            if share > found[callee]:
                found[callee] = share
                heapq.heappush(waiting, (-share, callee))
    return found


def _sent(scene: Scene, caller: str, callee: str) -> float:
    """The share of the callee's rise that its caller's explains."""
    above, below = scene.risen(caller), scene.risen(callee)
    if above is None:
        return UNSEEN
    return min(1.0, above / below) if below else 0.0


def _explained(scene: Scene, state: State, demand: float) -> tuple[float, Shares]:
    """What stays at a symptom, and what goes on where."""
    node, kind = state
    shares: Shares = {}
    unseen = []
    for callee in scene.callees[node]:
        if scene.presence[callee] is Presence.UNSEEN:
            unseen.append(callee)
        elif scene.presence[callee] is not Presence.NEW:  # who turned to it has changed, not it
            for other in SYMPTOMS:
                share = _share(scene, state, (callee, other))
                if share > 0:
                    shares[callee, other] = share
    # squared: a rest that is small is more likely an error of the estimate than a cause
    rest = max(0.0, 1 - sum(shares.values())) ** 2
    stays = rest / (1 + UNSEEN * len(unseen))
    shares |= {(callee, kind): UNSEEN * stays for callee in unseen}
    stays = max(stays, STAYS)
    risen = scene.risen(node)
    if risen:
        surge = demand * risen**2 / (SURGE**2 + risen**2)
        if surge > 0:
            shares[node, Kind.LOAD] = stays * surge
            stays *= 1 - surge
    return stays, shares


def _load_from(scene: Scene, node: str) -> tuple[float, Shares]:
    """Whose traffic explains that this node's rose."""
    callers = scene.callers[node]
    shares = {
        (caller, Kind.LOAD): share
        for caller in callers
        if scene.risen(caller) and (share := _sent(scene, caller, node)) > 0
    }
    unseen = [caller for caller in callers if scene.presence[caller] is Presence.UNSEEN]
    rest = max(STAYS, max(0.0, 1 - sum(shares.values())) ** 2)
    stays = rest / (1 + UNSEEN * len(unseen))
    return stays, shares | {(caller, Kind.LOAD): UNSEEN * stays for caller in unseen}


def _share(scene: Scene, state: State, other: State) -> float:
    """The share (0 to 1) of a node's symptom that one of a callee's explains."""
    callee = other[0]
    if scene.presence[callee] in (Presence.SILENT, Presence.IDLE):
        # it reports nothing that could be compared; that it stopped is enough
        whole = 1.0 if scene.presence[callee] is Presence.SILENT else 0.5
        return whole if other[1] is Kind.FAILING else 0.0
    mine, its = scene.shifts.get(state), scene.shifts.get(other)
    if its is None or its.delta <= 0:
        return 0.0
    share = its.proof * _enough(scene, state, other)
    if mine is not None and mine.onset is not None and its.onset is not None:
        share *= LATER ** max(0, its.onset - mine.onset - 1)
    return share


def _enough(scene: Scene, state: State, other: State) -> float:
    """How much of the symptom (0 to 1) the callee's would make, were it certain."""
    mine, its = scene.shifts.get(state), scene.shifts[other]
    same = state[1] is other[1]
    if mine is None or mine.delta <= 0 or Kind.ODD in (state[1], other[1]):
        return 1.0 if same else CROSS  # nothing to compare it with
    calls = scene.per_request(state[0], other[0])
    if state[1] is Kind.FAILING:
        if same:
            return min(1.0, its.delta * min(1.0, calls) / mine.delta)
        return CROSS * its.rise / (its.rise + SLOWER)
    if same:
        return min(1.0, its.delta * calls / mine.delta)
    # each failure is a call made again
    slow = scene.shifts.get((other[0], Kind.SLOW))
    again = mine.delta if slow is None else slow.came
    return CROSS * min(1.0, its.delta * calls * again / mine.delta)
