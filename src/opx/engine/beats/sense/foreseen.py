# SPDX-License-Identifier: Apache-2.0

"""What is expected to fail, on its way into the store, in the commit that keeps the position.

Part of the sense beat. A prediction that is held back is kept like any other and told to
nobody before it is over: no notice, and nothing in the journal, which people can watch. It
must never do anything about one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from opx.core.base.time import Ms
from opx.core.detect.predict.prediction import Prediction, Urgency
from opx.core.learn import predictions
from opx.core.notify import edges
from opx.engine import journal
from opx.engine.beats.parts import ACTOR, Parts
from opx.engine.ports import WriteTx

MADE, NEARER, ENDED = "prediction.made", "prediction.nearer", "prediction.ended"
_URGENT = frozenset({Urgency.HIGH, Urgency.CRITICAL})


def keep(tx: WriteTx, parts: Parts, told: Iterable[Prediction], now: Ms) -> None:
    """Keep these edges, in their order; tell people of what is urgent and still open."""
    share = parts.knowledge.policy.held_back
    kept: dict[str, Prediction] = {}
    for edge in told:
        before = kept.get(edge.id) or tx.get(Prediction, edge.id)
        if edge.withdrawn is None and before is None:
            kept[edge.id] = replace(edge, held_back=predictions.held_back(edge.id, share))
            if not kept[edge.id].held_back:
                _say(tx, MADE, kept[edge.id], now)
        elif edge.withdrawn is None and before is not None and before.withdrawn is None:
            kept[edge.id] = replace(before, urgency=edge.urgency, at=edge.at)
            if not before.held_back:
                _say(tx, NEARER, kept[edge.id], now)
        elif edge.withdrawn is not None and before is not None and before.withdrawn is None:
            kept[edge.id] = replace(before, withdrawn=edge.withdrawn, at=edge.at)
            if before.held_back:
                _say(tx, MADE, before, now)
            _say(tx, ENDED, kept[edge.id], now)
    if not kept:
        return
    tx.set(*kept.values())
    urgent = [
        one
        for one in kept.values()
        if one.withdrawn is None and not one.held_back and one.urgency in _URGENT
    ]
    parts.tell(tx, *(edges.predicted(one) for one in urgent))


def _say(tx: WriteTx, kind: str, one: Prediction, now: Ms) -> None:
    tx.append(journal.entry(now, one.identity.service, kind, ACTOR, prediction=one))
