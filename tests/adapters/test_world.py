# SPDX-License-Identifier: Apache-2.0

"""The fakes of the world outside do what a scenario tells them."""

from __future__ import annotations

import asyncio

import pytest

from opx.core.base.reads import Probe, ProbeKind
from opx.core.ingest.signals import Severity
from opx.core.notify.notice import Edge, Notice
from opx.errors import Unavailable
from opx.testing.memory import ManualClock
from opx.testing.world import FakeAction, FakeProber, FakeReceiver


def test_a_fake_prober_answers_in_the_order_it_was_told() -> None:
    """Scripted answers come one after the other, the last for ever, and are counted."""

    async def main() -> list[bool | None]:
        prober = FakeProber(ManualClock())
        prober.say("a", True, False, None)
        probe = Probe(kind=ProbeKind.TCP, address="a")
        found = [(await prober.ask("k", probe)).ok for _ in range(5)]
        assert prober.asked["a"] == 5
        return found

    assert asyncio.run(main()) == [True, False, None, None, None]


def test_a_fake_action_fails_as_told_and_counts_only_effects() -> None:
    """A failure has no effect; an effect is counted, keeps its key, and may heal the world."""
    healed: list[str] = []
    action = FakeAction(then=healed.append)
    action.failures.append(Unavailable("not now"))

    with pytest.raises(Unavailable):
        asyncio.run(action.apply("t", {}, "k1"))
    asyncio.run(action.apply("t", {}, "k2"))

    assert (action.effects["t"], action.keys["t"], healed) == (1, ["k2"], ["t"])


def test_a_hidden_target_cannot_be_seen() -> None:
    """Hiding a target makes it unobservable until it is shown again."""
    action = FakeAction(hidden={"t"})

    with pytest.raises(Unavailable):
        asyncio.run(action.observe("t", {}))
    action.hidden.clear()
    assert asyncio.run(action.observe("t", {})) == {"effects": "0"}


def test_a_fake_receiver_keeps_what_arrived() -> None:
    """A failed delivery is a try, not an arrival."""
    notice = Notice(
        id="n", incident="i", edge=Edge.OPENED, severity=Severity.SEV3, title="", text="", at=0
    )
    receiver = FakeReceiver()
    receiver.failures.append(Unavailable("busy"))

    with pytest.raises(Unavailable):
        asyncio.run(receiver.deliver(notice))
    asyncio.run(receiver.deliver(notice))

    assert (receiver.tries, receiver.got) == (2, [notice])
