# SPDX-License-Identifier: Apache-2.0

"""What every ``Workflows`` must do. Give each of ``CHECKS`` a fresh ``Bench``."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from opx.core.base.time import SECOND, Ms
from opx.engine.ports import Clock, Segment, SegmentState, StartRequest, Store, Workflows

PATIENCE_S = 15.0


class Bench(Protocol):
    """A store with workflows on it. The workflows run by themselves once they are open."""

    store: Store
    clock: Clock

    async def open(self, segments: dict[str, Segment]) -> Workflows: ...
    async def crash(self) -> Workflows:
        """Drop the workflows as a crash would, and open others on the same store."""
        ...


@dataclass
class Recorder:
    """Segments that note when they ran, by id. ``fail``: how often an id still raises."""

    clock: Clock
    ran: list[tuple[str, Ms]] = field(default_factory=list)
    fail: Counter[str] = field(default_factory=Counter)
    hold: set[str] = field(default_factory=set)
    requests: dict[str, StartRequest] = field(default_factory=dict)

    async def segment(self, request: StartRequest) -> None:
        self.ran.append((request.id, self.clock.now()))
        self.requests[request.id] = request
        if request.id in self.hold:
            await asyncio.Event().wait()
        if self.fail[request.id] > 0:
            self.fail[request.id] -= 1
            raise RuntimeError("this segment was told to fail")

    @property
    def segments(self) -> dict[str, Segment]:
        return {"note": self.segment}

    def times(self, id: str) -> int:
        return sum(1 for ran, _ in self.ran if ran == id)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until ``condition`` holds; ``TimeoutError`` when it does not come to."""
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():
            await asyncio.sleep(0.01)


async def ended(workflows: Workflows, id: str) -> SegmentState:
    async def is_over() -> bool:
        return await workflows.state(id) in (SegmentState.DONE, SegmentState.FAILED)

    await until(is_over)
    state = await workflows.state(id)
    assert state is not None
    return state


async def start(bench: Bench, workflows: Workflows, *ids: str, after: Ms | None = None) -> None:
    due = None if after is None else bench.clock.now() + after
    requests = [StartRequest(id=id, kind="note", args={"a": id}, not_before=due) for id in ids]
    for request in requests:
        await bench.store.write(lambda tx, one=request: workflows.start(one, tx))  # type: ignore[misc]


async def what_is_started_runs(bench: Bench) -> None:
    """A segment that was started runs once, with its id, kind and arguments."""
    recorder = Recorder(bench.clock)
    workflows = await bench.open(recorder.segments)

    await start(bench, workflows, "run/1/2")

    assert await ended(workflows, "run/1/2") is SegmentState.DONE
    assert recorder.times("run/1/2") == 1
    request = recorder.requests["run/1/2"]
    assert (request.id, request.kind, request.args) == ("run/1/2", "note", {"a": "run/1/2"})


async def the_same_id_runs_once(bench: Bench) -> None:
    """Starting an id again, before or after it ran, changes nothing."""
    recorder = Recorder(bench.clock)
    workflows = await bench.open(recorder.segments)

    await start(bench, workflows, "one", "one", "other")
    assert await ended(workflows, "one") is SegmentState.DONE
    await start(bench, workflows, "one", "last")
    await ended(workflows, "other")
    await ended(workflows, "last")

    assert [recorder.times(id) for id in ("one", "other", "last")] == [1, 1, 1]


async def nothing_runs_before_its_time(bench: Bench) -> None:
    """A segment with a ``not_before`` runs then or later, never earlier."""
    recorder = Recorder(bench.clock)
    workflows = await bench.open(recorder.segments)
    began = bench.clock.now()

    await start(bench, workflows, "later", after=600)
    await start(bench, workflows, "now")
    await ended(workflows, "now")
    assert recorder.times("later") == 0

    assert await ended(workflows, "later") is SegmentState.DONE
    assert dict(recorder.ran)["later"] >= began + 600


async def what_fails_is_tried_again(bench: Bench) -> None:
    """A segment that raises twice is run a third time, and is DONE when that succeeds."""
    recorder = Recorder(bench.clock, fail=Counter(shaky=2))
    workflows = await bench.open(recorder.segments)

    await start(bench, workflows, "shaky")

    assert await ended(workflows, "shaky") is SegmentState.DONE
    assert recorder.times("shaky") == 3


async def what_always_fails_is_given_up(bench: Bench) -> None:
    """A segment that never succeeds, or that nobody knows, ends FAILED; others run on."""
    recorder = Recorder(bench.clock, fail=Counter(broken=1_000))
    workflows = await bench.open(recorder.segments)
    unknown = StartRequest(id="strange", kind="unheard-of")

    await start(bench, workflows, "broken")
    await bench.store.write(lambda tx: workflows.start(unknown, tx))
    await start(bench, workflows, "sound")

    assert await ended(workflows, "sound") is SegmentState.DONE
    assert await ended(workflows, "broken") is SegmentState.FAILED
    assert await ended(workflows, "strange") is SegmentState.FAILED
    assert 1 < recorder.times("broken") < 10


async def what_is_rolled_back_never_ran(bench: Bench) -> None:
    """A start in a transaction that fails has not happened, and its id is free."""
    recorder = Recorder(bench.clock)
    workflows = await bench.open(recorder.segments)

    def start_and_fail(tx: object) -> None:
        workflows.start(StartRequest(id="undone", kind="note"), tx)  # type: ignore[arg-type]
        raise LookupError("the caller changes its mind")

    try:
        await bench.store.write(start_and_fail)
    except LookupError:
        pass
    else:
        raise AssertionError("the error of the transaction must reach its caller")
    await start(bench, workflows, "done")
    await ended(workflows, "done")

    assert await workflows.state("undone") is None
    assert recorder.times("undone") == 0


async def a_crash_repeats_only_what_was_running(bench: Bench) -> None:
    """What was RUNNING when the process died runs again; what had ended does not."""
    recorder = Recorder(bench.clock, hold={"slow"})
    workflows = await bench.open(recorder.segments)
    await start(bench, workflows, "quick", "slow")
    await ended(workflows, "quick")

    async def slow_runs() -> bool:
        return await workflows.state("slow") is SegmentState.RUNNING and recorder.times("slow") == 1

    await until(slow_runs)
    await start(bench, workflows, "waiting", after=300)

    recorder.hold.clear()
    workflows = await bench.crash()

    assert await ended(workflows, "slow") is SegmentState.DONE
    assert await ended(workflows, "waiting") is SegmentState.DONE
    assert [recorder.times(id) for id in ("quick", "slow", "waiting")] == [1, 2, 1]


async def a_purge_forgets_what_ended(bench: Bench) -> None:
    """``purge`` forgets what ended before its instant (to the second) and nothing else; the
    id is free again."""
    recorder = Recorder(bench.clock)
    workflows = await bench.open(recorder.segments)
    began = bench.clock.now()
    await start(bench, workflows, "old")
    await start(bench, workflows, "later", after=3_600_000)
    await ended(workflows, "old")

    assert await workflows.purge(before=began - 2 * SECOND) == 0
    assert await workflows.state("old") is SegmentState.DONE
    await bench.clock.sleep(2)
    assert await workflows.purge(before=bench.clock.now()) == 1

    assert await workflows.state("old") is None
    assert await workflows.state("later") is SegmentState.WAITING
    await start(bench, workflows, "old")
    assert await ended(workflows, "old") is SegmentState.DONE
    assert recorder.times("old") == 2


async def an_unknown_id_has_no_state(bench: Bench) -> None:
    """What was never started has no state."""
    workflows = await bench.open(Recorder(bench.clock).segments)

    assert await workflows.state("never") is None


CHECKS: tuple[Callable[[Bench], Awaitable[None]], ...] = (
    what_is_started_runs,
    the_same_id_runs_once,
    nothing_runs_before_its_time,
    what_fails_is_tried_again,
    what_always_fails_is_given_up,
    what_is_rolled_back_never_ran,
    a_crash_repeats_only_what_was_running,
    a_purge_forgets_what_ended,
    an_unknown_id_has_no_state,
)
