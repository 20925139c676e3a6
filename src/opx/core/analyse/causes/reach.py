# SPDX-License-Identifier: Apache-2.0

"""How much of all the trouble a cause at a node would explain.

Used by the last step of ranking causes. Who depends on a node is the same for all nodes of a
circle, so it is found once a circle, from that of their callers: a set of ill nodes is the
bits of one number. It weighs trouble and must not judge whether there is any.
"""

from __future__ import annotations

import numpy as np

from opx.core.analyse.causes.reading import Kind
from opx.core.analyse.causes.walk import SYMPTOMS, Scene
from opx.core.base import circles


class Reach:
    """What is at the node and at all who depend on it; for a surge of traffic, also at all it
    calls and who depends on those."""

    def __init__(self, scene: Scene) -> None:
        ill: dict[str, float] = {}
        for (node, kind), moved in scene.shifts.items():
            if kind in SYMPTOMS and moved.proof > 0:
                ill[node] = max(ill.get(node, 0.0), moved.proof)
        names = sorted(ill)
        self._proofs = np.array([ill[node] for node in names])
        self._total = float(self._proofs.sum())
        self._above, self._around = _closures(scene, {node: 1 << n for n, node in enumerate(names)})
        self._known: dict[int, float] = {}

    def covered(self, node: str, kind: Kind) -> float:
        """0 to 1."""
        if not self._total:
            return 1.0
        hit = self._around[node] if kind is Kind.LOAD else self._above[node]
        if hit not in self._known:
            self._known[hit] = self._share(hit)
        return self._known[hit]

    def _share(self, hit: int) -> float:
        size = (len(self._proofs) + 7) // 8
        octets = np.frombuffer(hit.to_bytes(size, "little"), np.uint8)
        bits = np.unpackbits(octets, count=len(self._proofs), bitorder="little")
        return float(self._proofs[bits > 0].sum()) / self._total


def _closures(scene: Scene, bits: dict[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """For every node its own bit and those of all its callers, theirs, and so on; and the same
    of all that it calls directly or not."""
    found = list(circles.circles(scene.callees))
    above: dict[str, int] = {}
    for circle in reversed(found):  # callers first
        mask = 0
        for node in circle:
            mask |= bits.get(node, 0)
            for caller in scene.callers[node]:
                mask |= above.get(caller, 0)  # none yet: in the circle itself
        above.update(dict.fromkeys(circle, mask))
    around: dict[str, int] = {}
    for circle in found:  # callees first
        mask = 0
        for node in circle:
            mask |= above[node]
            for callee in scene.callees[node]:
                mask |= around.get(callee, 0)
        around.update(dict.fromkeys(circle, mask))
    return above, around
