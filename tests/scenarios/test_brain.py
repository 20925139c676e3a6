# SPDX-License-Identifier: Apache-2.0

"""What brain says of itself, and how it leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from opx.adapters.durable.inline import InlineWorkflows
from opx.core.base.reads import Answer, Probe, ProbeKind
from opx.core.base.time import SECOND, Ms
from opx.core.ingest.services import Catalogue, Health, Service
from opx.core.ingest.signals import Alert, Identity, Severity, Tick
from opx.engine.beats.case import Knowledge
from opx.engine.beats.parts import RESPOND, Parts
from opx.engine.brain import Brain, Failing
from opx.engine.ports import Batch, PendingWork, WriteTx
from opx.errors import Unavailable
from opx.testing import virtual
from opx.testing.memory import MemoryLog, MemoryStore, MemoryTelemetry
from opx.testing.world import FakeProber, PlainSigner


class FullStore(MemoryStore):
    """Set ``full`` to have it refuse to write, as a full disk does."""

    full = False

    async def write(self, fn: Callable[[WriteTx], Any]) -> Any:
        if self.full:
            raise Unavailable("no space left")
        return await super().write(fn)


class Made:
    """A brain on fakes, in virtual time."""

    def __init__(self) -> None:
        self.clock = virtual.LoopClock()
        self.store, self.log = FullStore(), MemoryLog(self.clock)
        self.telemetry = MemoryTelemetry()
        self.complaints: list[str] = []
        self.stop = asyncio.Event()
        self.brain = Brain(
            parts=Parts(
                store=self.store,
                clock=self.clock,
                prober=FakeProber(self.clock),
                workflows=InlineWorkflows(self.store, self.clock),
                signer=PlainSigner(),
                knowledge=Knowledge(),
            ),
            tail=self.log,
            telemetry=self.telemetry,
            receivers={},
            reload=lambda _: Knowledge(),
            seal=_nothing,
            complain=lambda name, _: self.complaints.append(name),
        )
        self.running = asyncio.create_task(self.brain.run(self.stop))

    async def tick(self) -> Ms:
        await self.log.append(Batch(items=(Tick(self.clock.now()),)))
        return self.clock.now()

    async def leave(self) -> None:
        self.stop.set()
        await self.running


async def _nothing() -> None:
    return None


def test_a_loop_that_fails_says_since_when_and_how_until_it_does_not() -> None:
    """While the disk is full sensing fails since the first time, and what waits grows older by
    the second; once it is not, neither is told any more."""

    async def main() -> None:
        made = Made()
        await made.clock.sleep(SECOND)
        assert (made.brain.failing, made.brain.lag()) == ({}, 0)
        made.store.full = True
        since = await made.tick()
        await made.clock.sleep(4 * SECOND)
        failing = made.brain.failing["sense"]
        assert failing == Failing(since=failing.since, error="no space left")
        assert since <= failing.since <= since + 50
        assert made.brain.lag() == 4 * SECOND
        made.store.full = False
        await made.clock.sleep(6 * SECOND)
        assert (made.brain.failing, made.brain.lag()) == ({}, 0)
        await made.leave()

    virtual.run(main())


class Prober(FakeProber):
    """Set ``broken`` to have it raise, as one does that the machine gives no more sockets."""

    broken = False

    async def ask(self, key: str, probe: Probe) -> Answer:
        if self.broken:
            raise OSError("too many open files")
        return await super().ask(key, probe)


def test_the_probe_loop_fails_no_more_once_answers_are_taken_in() -> None:
    """It ends no turn while all is well; so after a failure it is well when it has heard
    answers again. The next failure is a new one: told since then, and backed off from anew."""

    async def main() -> None:
        made = Made()
        prober = Prober(made.clock)
        prober.say("s:1", True)
        probe = Probe(kind=ProbeKind.TCP, address="s:1")
        service = Service(name="s", environment="prod", health=Health(probe=probe))
        known = Knowledge(catalogue=Catalogue(services={("prod", "s"): service}))
        made.brain.parts.prober, made.brain.parts.knowledge = prober, known
        prober.broken = True
        await made.clock.sleep(30 * SECOND)
        assert set(made.brain.failing) == {"probe"}
        prober.broken = False
        await made.clock.sleep(30 * SECOND)
        assert made.brain.failing == {}

        made.complaints.clear()
        prober.broken, again = True, made.clock.now()
        await made.clock.sleep(10 * SECOND)
        assert made.brain.failing["probe"].since >= again
        assert made.complaints.count("probe") > 3, "five seconds apart it would be two"
        await made.leave()

    virtual.run(main())


def test_the_probe_loop_fails_no_more_when_there_is_nothing_to_ask() -> None:
    """Without services there is no answer to be heard: that it could look is enough."""

    async def main() -> None:
        made = Made()
        made.brain.failing["probe"] = Failing(since=made.clock.now(), error="no space left")
        await made.clock.sleep(SECOND)
        assert made.brain.failing == {}
        await made.leave()

    virtual.run(main())


def test_brain_keeps_what_it_took_in_before_it_leaves() -> None:
    """After a stop telemetry is flushed as far as the log was read; a disk that does not take
    it is complained of and holds nothing up."""

    async def main() -> None:
        made = Made()
        await made.clock.sleep(500)
        await made.tick()
        await made.clock.sleep(100)
        assert made.telemetry.committed() == 0
        await made.leave()
        assert (made.telemetry.committed(), made.complaints) == (1, [])

        full = Made()
        await full.clock.sleep(500)
        await full.tick()
        await full.clock.sleep(100)
        full.store.full = True
        await full.leave()
        assert full.complaints == ["leave"]

    virtual.run(main())


def test_a_storm_is_responded_to_many_at_a_time_and_woken_again_only_when_it_is_lost() -> None:
    """Fifty incidents of one commit are three segments. While those wait, nothing wakes them a
    second time for a minute; then those that nobody explained are woken again."""

    async def main() -> None:
        made = Made()
        await made.clock.sleep(500)
        now = made.clock.now()
        alerts = [
            Alert(
                fingerprint=f"{number}",
                identity=Identity("prod", f"service-{number}"),
                severity=Severity.SEV3,
                labels={},
                starts_at=now,
                ends_at=now + 600 * SECOND,
                received_at=now,
            )
            for number in range(50)
        ]
        await made.log.append(Batch(items=tuple(alerts)))
        await made.clock.sleep(30 * SECOND)
        first = await made.store.read(lambda tx: tx.find(PendingWork))
        assert {one.kind for one in first} == {RESPOND}
        assert sorted(len(one.args["incident"].split()) for one in first) == [10, 20, 20]
        await made.clock.sleep(120 * SECOND)
        assert len(await made.store.read(lambda tx: tx.find(PendingWork))) == 2 * len(first)
        await made.leave()

    virtual.run(main())
