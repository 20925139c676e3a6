# SPDX-License-Identifier: Apache-2.0

"""A trend that is likely to end in a failure, put as a ``Prediction``.

Part of ``predict``: numbers turned back into the units of the stream, with what they rest on.
"""

from __future__ import annotations

import math

from opx.core.base.time import MINUTE, Ms
from opx.core.detect.predict import fields as of
from opx.core.detect.predict.odds import KINDS
from opx.core.detect.predict.prediction import Prediction, urgency
from opx.core.detect.predict.state import PredictState
from opx.core.detect.predict.trends import Seen
from opx.core.ingest.signals import Series

WITHIN = 2
"""A prediction is judged after twice the time that it gave."""
AT_LEAST: Ms = 10 * MINUTE


def say(state: PredictState, series: Series, seen: Seen, number: int, at: Ms) -> Prediction:
    """Of stream ``number`` among those seen."""
    f = seen.numbers[:, number]
    kind = KINDS[int(f[of.KIND])]
    probability, horizon = float(seen.probability[number]), int(seen.eta[0, number] * MINUTE)
    return Prediction(
        id=Prediction.id_of(series.identity, kind, at),
        identity=series.identity,
        kind=kind,
        probability=probability,
        cases=state.odds.cases(int(f[of.KIND]), float(seen.now[number])),
        horizon_ms=horizon,
        urgency=urgency(probability, horizon),
        made_at=at,
        expires_at=at + max(WITHIN * horizon, AT_LEAST),
        at=at,
        evidence=_evidence(state, series, seen, number),
    )


def _evidence(state: PredictState, series: Series, seen: Seen, number: int) -> dict[str, object]:
    f, (pace, soon, late) = seen.numbers[:, number], seen.eta[:, number].tolist()
    sign = float(f[of.SIGN])
    learned = math.isnan(f[of.TOLD_LIMIT])
    return {
        "sid": series.sid,
        "metric": series.metric,
        "labels": dict(series.labels),
        "level": sign * float(seen.level[number]),
        "usual": sign * float(f[of.MIDDLE]),
        "held": sign * float(f[of.HELD]),
        "limit": sign * float(f[of.LIMIT]),
        "limit_from": len(state.failures.get(series.metric, [])) if learned else "told",
        "per_minute": sign * float(seen.slope[number]),
        "lasted_minutes": float(seen.lasted[number]),
        "minutes_left": pace,
        "minutes_left_at_least": soon,
        "minutes_left_at_most": late if math.isfinite(late) else None,
    }
