# SPDX-License-Identifier: Apache-2.0

"""What the demo's judge sees of what people were told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from opx.playground import watch
from opx.playground.timeline import Beat, Moment, Story
from opx.playground.watch import Bench, Watch


def test_a_call_of_long_ago_is_one_while_its_incident_goes_on() -> None:
    """However much people were told of others since; and only of that incident."""
    others = [{"incident": "other", "edge": "opened"}] * 400
    told = [*others, {"incident": "mine", "edge": "asks"}]

    def notices(most: int = 50) -> list[dict[str, Any]]:
        return told[:most]

    client = SimpleNamespace(newest=lambda: 0, notices=notices)
    watching = Watch(cast(Bench, SimpleNamespace(client=client)))
    for id, service in (("mine", "observer"), ("other", "orders")):
        story = Story(moments={Beat.DETECTED: Moment(1, "it is lost")})
        watching._cases[id] = watch._Case(services=(service,), story=story)

    assert watching.called(["collector"])
    assert not watching.called(["orders"])
