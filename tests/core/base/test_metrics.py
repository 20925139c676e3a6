# SPDX-License-Identifier: Apache-2.0
"""Which series a query means, whatever keeps them."""

from __future__ import annotations

import pytest

from opx.core.base import metrics
from opx.core.base.expressions import Pattern
from opx.core.base.metrics import Chooser, MetricQuery
from opx.core.base.reads import Stat
from opx.core.base.time import Window


def test_a_pattern_is_compiled_once_however_many_values_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a pattern costs to compile is paid per query, not per series."""
    compiled: list[str] = []

    def counted(text: str) -> Pattern:
        compiled.append(text)
        return Pattern(text)

    monkeypatch.setattr(metrics, "Pattern", counted)
    chooser = Chooser(
        MetricQuery(
            metric="requests",
            matching={"path": "/[a-z]+", "zone": ".*"},
            window=Window(0, 1_000),
            step=1_000,
            stat=Stat.SUM,
        )
    )
    for number in range(1_000):
        chooser.offer(number, {"path": f"/{number}", "zone": f"z{number}"})
    chooser.offer(1_000, {"path": "/orders"})

    assert chooser.chosen == {1_000: 0}
    assert compiled == ["/[a-z]+", ".*"]
