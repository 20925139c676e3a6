# SPDX-License-Identifier: Apache-2.0

"""One fault, from injection to the judge's word: a ``Trial``.

Between the playground, which it breaks, and opx, whose timeline it reads. Every wait is
bounded; a trial that gets stuck says what it was waiting for and puts the service right by
hand, so that the next one starts from health. It must never help opx.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from opx.core.base import time as opx_time
from opx.core.base.time import SECOND, Ms
from opx.core.verify.verdict import VerdictKind
from opx.errors import OpxError, Unavailable
from opx.playground import processes, timeline
from opx.playground.client import Client
from opx.playground.system import How, Playground
from opx.playground.timeline import Beat, Story

REPAIRED_WITHIN_S = 60.0
WELL_WITHIN_S = 15.0
SUGGESTED_WITHIN_S = 30.0
WATCH_IDLE: Ms = 8 * SECOND
"""So long nothing must be done where nothing needs doing."""
GRACE: Ms = SECOND
"""By so much may the judge call users well later than opx does: the judge sees a request
every tenth of a second on a path, and looks at when it was made."""
STEADY_AFTER: Ms = 2 * SECOND
"""Users must be well for so long after opx said so."""
LOOK_S = 0.1
AT_ONCE_S = 0.01
"""Between two looks where a moment is to be hit."""


class Fault(StrEnum):
    KILL = "kill"
    """SIGKILL: the process is gone."""
    HANG = "hang"
    """SIGSTOP: the process is there and does nothing."""
    KILL_BRAIN = "kill-brain"
    """Kill a service, and opx's brain as soon as it has ordered the repair."""
    BENIGN_RESTART = "benign-restart"
    """A person restarts a service: there is nothing to repair."""


class Mark(StrEnum):
    """What a line of the story is about."""

    STEP = "step"
    PERSON = "person"
    INJECTED = "injected"
    DETECTED = "detected"
    INCIDENT = "incident"
    DECIDED = "decided"
    ACTED = "acted"
    VERIFIED = "verified"
    WELL = "well"
    NOTE = "note"
    TROUBLE = "trouble"


@dataclass(frozen=True, slots=True)
class Line:
    at: Ms
    mark: Mark
    text: str


Tell = Callable[[Line], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What came of one fault. ``hurt`` and ``healthy`` are the judge's, ``starts`` is counted
    by the service itself, the rest is opx's timeline. ``agrees``: the judge agrees with opx.
    ``problem``: what went wrong; empty when nothing did."""

    fault: Fault
    service: str
    injected: Ms
    story: Story = field(default_factory=Story)
    hurt: Ms | None = None
    healthy: Ms | None = None
    starts: int = 0
    agrees: bool = False
    problem: str = ""

    @property
    def repair(self) -> bool:
        """Whether something had to be repaired."""
        return self.fault is not Fault.BENIGN_RESTART

    @property
    def verified(self) -> bool:
        """A repair that opx calls recovered, and the judge too."""
        return self.repair and self.agrees and self.story.verdict == VerdictKind.RECOVERED

    @property
    def needless(self) -> int:
        """Orders beyond the one that a fault calls for: none, where nothing was broken."""
        return max(0, self.story.orders - self.repair)

    @property
    def ok(self) -> bool:
        return self.agrees and not self.problem and not self.needless


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What a trial works with."""

    playground: Playground
    client: Client
    tell: Tell

    def say(self, mark: Mark, text: str, at: Ms | None = None) -> None:
        self.tell(Line(processes.now() if at is None else at, mark, text))


class Watch:
    """Follows opx's timeline about one service from now on, and tells what is new."""

    def __init__(self, bench: Bench, service: str) -> None:
        self._bench, self._service = bench, service
        self._after = bench.client.newest()
        self.since = processes.now()
        self.story = Story()

    def look(self) -> Story:
        """The story so far; as it was, while opx cannot be asked."""
        with contextlib.suppress(Unavailable):  # its brain may just have been killed
            self._read()
        return self.story

    def until(
        self,
        holds: Callable[[Story], bool],
        within_s: float,
        what: str,
        every_s: float = LOOK_S,
    ) -> Story:
        """The first story that ``holds``; ``Unavailable``, naming ``what``, when time is up."""
        processes.wait_for(lambda: holds(self.look()), within_s, what, every_s)
        return self.story

    def _read(self) -> None:
        for incident in self._bench.client.incidents(self._service)[:2]:
            entries = self._bench.client.timeline(incident["id"], self._after)
            story = timeline.read(entries, self.since)
            if story.moments:
                self._tell_news(story)
                self.story = story
                return

    def _tell_news(self, story: Story) -> None:
        for beat, moment in story.moments.items():
            if self.story.moments.get(beat) != moment:
                self._bench.say(Mark(beat.value), moment.text, moment.at)


def run(bench: Bench, fault: Fault, service: str) -> Trial:
    """Inject ``fault`` into ``service`` and see what becomes of it.

    What goes wrong is the trial's ``problem``; ``OpxError`` only when there is no opx to
    begin with.
    """
    before = bench.playground.starts(service)
    watch = Watch(bench, service)
    problem = ""
    try:
        if fault is Fault.BENIGN_RESTART:
            _leave_alone(bench, watch, service)
        else:
            _repair(bench, watch, fault, service)
    except OpxError as error:
        problem = str(error)
    trial = _judged(bench, watch, fault, service)
    trial = _counted(trial, bench.playground.starts(service) - before, problem)
    if not trial.ok:
        bench.say(Mark.TROUBLE, f"{fault} {service}: {trial.problem}")
        _put_right(bench, service)
    return trial


def suggest(bench: Bench, service: str) -> Story:
    """What a fresh install does: it says what it would do, and does nothing.

    ``OpxError`` when it acts, or says nothing in time.
    """
    before = bench.playground.starts(service)
    watch = Watch(bench, service)
    at = bench.playground.break_(service, How.KILL)
    bench.say(Mark.INJECTED, f"{service} is killed, and nobody has allowed opx anything yet", at)
    watch.until(
        lambda story: story.answer != "" and story.runbook != "",
        SUGGESTED_WITHIN_S,
        f"opx to suggest a repair of {service}",
    )
    ends = processes.now() + 2 * SECOND
    story = watch.until(lambda _: processes.now() >= ends, 5, "two seconds to pass")
    if story.orders or bench.playground.starts(service) != before:
        raise OpxError(f"opx acted on {service} although nobody had allowed it to")
    bench.say(Mark.NOTE, f"opx suggests {story.runbook}, and only suggests it")
    bench.playground.heal(service)
    bench.say(Mark.PERSON, f"a person starts {service} by hand")
    processes.wait_for(
        lambda: bench.playground.judge.healthy_at(service, at), WELL_WITHIN_S, "users to be well"
    )
    return story


def _repair(bench: Bench, watch: Watch, fault: Fault, service: str) -> None:
    how = How.HANG if fault is Fault.HANG else How.KILL
    at = bench.playground.break_(service, how)
    words = "hangs (SIGSTOP)" if how is How.HANG else "is killed (SIGKILL)"
    bench.say(Mark.INJECTED, f"{service} {words}", at)
    if fault is Fault.KILL_BRAIN:
        ordered = f"opx to order a repair of {service}"
        watch.until(lambda s: s.orders > 0, REPAIRED_WITHIN_S, ordered, AT_ONCE_S)
        killed = bench.playground.break_("brain", How.KILL)
        bench.say(Mark.INJECTED, "opx's brain is killed in the middle of the repair", killed)
    story = watch.until(
        lambda s: s.verdict != "" or s.refused or s.answer == "ask",
        REPAIRED_WITHIN_S,
        f"opx's verdict on {service}",
    )
    if not story.verdict:
        raise OpxError(f"opx did not act: {story.answer} ({'; '.join(story.guards)})")
    verified = story.at(Beat.VERIFIED) or processes.now()
    processes.wait_for(
        lambda: bench.playground.judge.seen_until() >= verified + STEADY_AFTER,
        WELL_WITHIN_S,
        "the load generator to have seen enough",
    )


def _leave_alone(bench: Bench, watch: Watch, service: str) -> None:
    at = bench.playground.restart(service)
    bench.say(Mark.INJECTED, f"a person restarts {service}: nothing is wrong", at)
    ends = at + WATCH_IDLE
    watch.until(
        lambda story: story.orders > 0 or processes.now() >= ends,
        2 * WATCH_IDLE / SECOND,
        "opx to leave it alone",
    )
    if not watch.story.orders:
        bench.say(Mark.NOTE, f"opx left {service} alone")


def _judged(bench: Bench, watch: Watch, fault: Fault, service: str) -> Trial:
    """The trial with the judge's word: is what opx said of the users true."""
    judge, story, since = bench.playground.judge, watch.story, watch.since
    hurt, healthy = judge.hurt_at(service, since), judge.healthy_at(service, since)
    verified = story.at(Beat.VERIFIED)
    if fault is Fault.BENIGN_RESTART:
        agrees = judge.well_since(service, since) is not None and not story.orders
    elif verified is None:
        agrees = False
    elif story.verdict == VerdictKind.RECOVERED:
        well = healthy is not None and healthy <= verified + GRACE
        agrees = well and not judge.failures(service, verified + GRACE)
    else:
        agrees = bool(judge.failures(service, verified))
    if healthy is not None and hurt is not None and agrees:
        span = processes.seconds(healthy - hurt)
        bench.say(Mark.WELL, f"users are well again, hurt for {span:.1f} s", healthy)
    return Trial(
        fault=fault,
        service=service,
        injected=since,
        story=story,
        hurt=hurt,
        healthy=healthy,
        agrees=agrees,
    )


def _counted(trial: Trial, starts: int, problem: str) -> Trial:
    """The trial with the service's own count, and its problem put into words."""
    if not problem and not trial.agrees:
        problem = f"the load generator does not agree with opx ({trial.story.verdict or 'idle'})"
    if not problem and starts != 1:
        problem = f"{trial.service} was started {starts} times, not once"
    return replace(trial, starts=starts, problem=problem)


def _put_right(bench: Bench, service: str) -> None:
    try:
        bench.playground.heal(service)
    except OpxError as error:
        bench.say(Mark.TROUBLE, f"{service} cannot be put right by hand: {error}")


def wire(at: Ms | None) -> str | None:
    """An instant as it stands in the report."""
    return None if at is None else opx_time.to_wire(at)
