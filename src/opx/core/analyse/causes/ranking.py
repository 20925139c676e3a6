# SPDX-License-Identifier: Apache-2.0

"""``rank``: the nodes of a case, likeliest cause first, each with what speaks for and against.

The last step of ranking causes, and the one to call. Belief walks from the target
(``walk.py``) and is weighed by how much of all the trouble a node would explain. Scores are
shares of belief, not calibrated: they must never be shown as a probability. Pure; it takes
any input, empty or full of gaps, and raises nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from opx.core.analyse.causes import reading, shifts, walk
from opx.core.analyse.causes.case import Case
from opx.core.analyse.causes.reach import Reach
from opx.core.analyse.causes.reading import Kind
from opx.core.analyse.causes.shifts import Presence, Shift
from opx.core.analyse.causes.walk import SYMPTOMS, Scene, Shares

COVERS = 2
"""The power of the share of all trouble that a cause explains: the rest of it speaks against
the cause once for itself, and once because it asks for a second cause at the same time."""
SURE = 0.2
"""Proof over this is worth a line of evidence: a shift of one scale."""


class EvidenceKind(StrEnum):
    """For: SLOWER, FAILS_MORE, ODD, MORE_TRAFFIC, SILENT (stopped reporting), IDLE (gets no
    requests any more), NEW_CALLEE (calls what it never called). Against: STEADY (that metric is
    as usual), LATER (it began after the target's trouble), OTHERS (``came`` is the share of all
    trouble that is at nodes that it cannot explain), UNSEEN (it never reported)."""

    SLOWER = "slower"
    FAILS_MORE = "fails_more"
    ODD = "odd"
    MORE_TRAFFIC = "more_traffic"
    SILENT = "silent"
    IDLE = "idle"
    NEW_CALLEE = "new_callee"
    STEADY = "steady"
    LATER = "later"
    OTHERS = "others"
    UNSEEN = "unseen"

    @property
    def against(self) -> bool:
        return self in _AGAINST


_AGAINST = frozenset(
    (EvidenceKind.STEADY, EvidenceKind.LATER, EvidenceKind.OTHERS, EvidenceKind.UNSEEN)
)
_MOVED = {
    Kind.SLOW: EvidenceKind.SLOWER,
    Kind.FAILING: EvidenceKind.FAILS_MORE,
    Kind.ODD: EvidenceKind.ODD,
    Kind.LOAD: EvidenceKind.MORE_TRAFFIC,
}
_PRESENCE = {
    Presence.SILENT: EvidenceKind.SILENT,
    Presence.IDLE: EvidenceKind.IDLE,
    Presence.UNSEEN: EvidenceKind.UNSEEN,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """``expected`` and ``came`` in the metric's own unit, failures as a share of requests.
    ``onset``: the step of the incident, from 0. None: does not apply."""

    kind: EvidenceKind
    metric: str = ""
    expected: float | None = None
    came: float | None = None
    onset: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """``score``: the share of belief, 0 to 1; those of a case add up to at most 1."""

    node: str
    score: float
    evidence: tuple[Evidence, ...]


def rank(case: Case) -> list[Cause]:
    """Every node that the case names, best first; equals by name.

    The scores add up to how surely the target suffers at all (0 to 1).
    """
    tracks = reading.tracks(case)
    mask = shifts.suffering(case, tracks)
    moved = {
        state: found
        for state, track in tracks.items()
        if (found := shifts.shift(track, state[1], mask)) is not None
    }
    scene = _scene(case, shifts.presences(case, tracks, mask), moved)
    start, surely = _start(case, moved)
    reach = Reach(scene)
    weighed = dict.fromkeys(scene.callees, 0.0)
    for (node, kind), belief in walk.absorbed(scene, start).items():
        weighed[node] += belief * reach.covered(node, kind) ** COVERS
    total = sum(weighed.values())
    causes = [
        Cause(
            node=node,
            score=surely * weight / total if total > 0 else 0.0,
            evidence=tuple(_evidence(case, scene, reach, node)),
        )
        for node, weight in weighed.items()
    ]
    return sorted(causes, key=lambda cause: (-cause.score, cause.node))


def _scene(
    case: Case, presence: Mapping[str, Presence], moved: Mapping[tuple[str, Kind], Shift]
) -> Scene:
    callees = {node: sorted({*case.graph.get(node, ())} - {node}) for node in presence}
    callers: dict[str, list[str]] = {node: [] for node in presence}
    for caller, called in callees.items():
        for callee in called:
            callers[callee].append(caller)
    traffic = {node: max(0.0, s.came) for (node, kind), s in moved.items() if kind is Kind.LOAD}
    return Scene(
        callees=callees,
        callers=callers,
        presence=presence,
        shifts=moved,
        traffic=traffic,
        asked={node: sum(traffic.get(one, 0.0) for one in callers[node]) for node in traffic},
    )


def _start(case: Case, moved: Mapping[tuple[str, Kind], Shift]) -> tuple[Shares, float]:
    """Where belief starts, adding up to 1, and how surely there is trouble at all: at the
    target's metric, or, where that is no symptom or was not measured, at all of its symptoms,
    or else at everybody's."""
    own = (case.target.node, reading.kind_of(case.target.metric))
    if own[1] in SYMPTOMS and own in moved:
        return {own: 1.0}, moved[own].proof
    symptoms = {state: s.proof for state, s in moved.items() if state[1] in SYMPTOMS and s.proof}
    here = {state: proof for state, proof in symptoms.items() if state[0] == case.target.node}
    start = here or symptoms
    total = sum(start.values())
    if not total:
        return {(case.target.node, Kind.FAILING): 1.0}, 0.0
    return {state: proof / total for state, proof in start.items()}, max(start.values())


def _evidence(case: Case, scene: Scene, reach: Reach, node: str) -> Iterable[Evidence]:
    """For first, then against."""
    found = [
        _told(kind, moved)
        for kind in Kind
        if (moved := scene.shifts.get((node, kind))) is not None
        if kind is not Kind.LOAD or moved.proof > SURE
    ]
    if scene.presence[node] in _PRESENCE:
        found.append(Evidence(kind=_PRESENCE[scene.presence[node]]))
    if any(scene.presence[callee] is Presence.NEW for callee in scene.callees[node]):
        found.append(Evidence(kind=EvidenceKind.NEW_CALLEE))
    target = scene.shifts.get((case.target.node, reading.kind_of(case.target.metric)))
    begun = [one.onset for one in found if one.onset is not None]
    if target is not None and target.onset is not None and begun and min(begun) > target.onset + 1:
        found.append(Evidence(kind=EvidenceKind.LATER, onset=min(begun)))
    others = 1 - max(reach.covered(node, Kind.SLOW), _surging(scene, node, reach))
    if others > SURE:
        found.append(Evidence(kind=EvidenceKind.OTHERS, came=round(others, 3)))
    return sorted(found, key=lambda one: one.kind.against)


def _told(kind: Kind, moved: Shift) -> Evidence:
    sure = moved.proof > SURE
    return Evidence(
        kind=_MOVED[kind] if sure else EvidenceKind.STEADY,
        metric=moved.metric,
        expected=moved.expected,
        came=moved.came,
        onset=moved.onset if sure else None,
    )


def _surging(scene: Scene, node: str, reach: Reach) -> float:
    """What it explains by its traffic, if that rose."""
    load = scene.shifts.get((node, Kind.LOAD))
    return reach.covered(node, Kind.LOAD) if load is not None and load.proof > SURE else 0.0
