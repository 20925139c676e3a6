# SPDX-License-Identifier: Apache-2.0

"""One fault, from injection to the judge's word: a ``Trial``.

Between the playground, which it breaks, and opx, whose journal it reads. Every wait is
bounded; a trial that gets stuck says what it was waiting for and puts things right by hand,
so that the next one starts from health. It must never help opx.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from opx.core.base import time as opx_time
from opx.core.base.time import SECOND, Ms, Window
from opx.core.verify.verdict import VerdictKind
from opx.errors import OpxError
from opx.playground import faults, layout, processes
from opx.playground.faults import ROWS, Row
from opx.playground.faults import Fault as Fault
from opx.playground.shop import load
from opx.playground.system import How
from opx.playground.timeline import Beat, Story
from opx.playground.timeline import Line as Line
from opx.playground.timeline import Mark as Mark
from opx.playground.timeline import Tell as Tell
from opx.playground.watch import Bench as Bench
from opx.playground.watch import Watch

REPAIRED_WITHIN_S = 60.0
"""For each run that is called for."""
PAGED_WITHIN_S = 60.0
WELL_WITHIN_S = 20.0
SUGGESTED_WITHIN_S = 30.0
WATCH_IDLE: Ms = 8 * SECOND
"""So long nothing must be done where nothing needs doing."""
GRACE: Ms = SECOND
"""By so much may the judge call users well later than opx does: the judge sees a request
every quarter of a second on a path, and looks at when it was made."""
STEADY_AFTER: Ms = 2 * SECOND
"""Users must be well for so long after opx said so."""
MIDST_S = 0.3
"""From the order to the middle of its step: a program that hangs is given seconds to end."""
AT_ONCE_S = 0.01
"""Between two looks where a moment is to be hit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What came of one fault for one victim. ``hurt`` and ``healthy`` are the judge's,
    ``starts`` is counted by the service itself, ``by_hand`` of them were the fault's own, the
    rest is opx's timeline. ``elsewhere``: orders given and starts made where nothing was wrong;
    ``false_alarms``: incidents opened there.
    ``paged``: people were called. ``agrees``: the judge agrees with opx. ``problem``: what went
    wrong; empty when nothing did."""

    fault: Fault
    service: str
    injected: Ms
    story: Story = field(default_factory=Story)
    hurt: Ms | None = None
    healthy: Ms | None = None
    starts: int = 0
    by_hand: int = 0
    elsewhere: int = 0
    false_alarms: int = 0
    paged: bool = False
    agrees: bool = False
    problem: str = ""

    @property
    def row(self) -> Row:
        return ROWS[self.fault]

    @property
    def repair(self) -> bool:
        """Whether something had to be repaired, and could be."""
        return self.row.repair

    @property
    def verified(self) -> bool:
        """A repair that opx calls recovered, and the judge too."""
        return self.repair and self.agrees and self.story.verdict == VerdictKind.RECOVERED

    @property
    def needless(self) -> int:
        """Orders beyond those that the fault calls for, here and elsewhere."""
        return max(0, self.story.orders - self.row.orders) + self.elsewhere

    @property
    def ok(self) -> bool:
        return self.agrees and not self.problem and not self.needless


@dataclass(slots=True, kw_only=True)
class Scene:
    """A fault under way: its victims, and what was so before. ``before``: how often every
    service had been started; ``hands``: how often the fault itself started each."""

    bench: Bench
    fault: Fault
    victims: tuple[str, ...]
    watch: Watch
    before: dict[str, int]
    injected: Ms = 0
    hands: dict[str, int] = field(default_factory=dict)

    @property
    def row(self) -> Row:
        return ROWS[self.fault]

    def stories(self) -> list[Story]:
        return [self.watch.story(victim) for victim in self.victims]

    def starts(self, service: str) -> int:
        """How often it was started since."""
        return self.bench.playground.starts(service) - self.before.get(service, 0)

    def elsewhere(self) -> int:
        """Orders to and starts of services that nothing was done to."""
        bystanders = [name for name in layout.EVERY if name not in self.victims]
        orders = self.watch.orders(bystanders)
        return max(orders, sum(self.starts(name) for name in bystanders))


def run(bench: Bench, fault: Fault, service: str) -> Trial:
    """One fault with one victim: ``service``, unless the fault is about another."""
    return run_all(bench, fault, service)[0]


def run_all(bench: Bench, fault: Fault, service: str) -> list[Trial]:
    """Inject ``fault``, into ``service`` unless it is about others, and see what becomes of it:
    a trial for each victim.

    What goes wrong is the trial's ``problem``; ``OpxError`` only when there is no opx to
    begin with.
    """
    victims = faults.victims(fault, service)
    before = {name: bench.playground.starts(name) for name in layout.EVERY}
    watch = Watch(bench)
    scene = Scene(bench=bench, fault=fault, victims=victims, watch=watch, before=before)
    problem = ""
    try:
        _inject(scene)
        _follow(scene)
    except OpxError as error:
        problem = str(error)
    found = [_judged(scene, victim, problem) for victim in victims]
    for trial in found:
        if not trial.ok:
            bench.say(Mark.TROUBLE, f"{fault} {trial.service}: {trial.problem}")
    _put_right(scene, all(trial.ok for trial in found))
    return found


def trouble(found: Sequence[Trial], over: Ms) -> Window | None:
    """When something was wrong in the trials of one fault: until users were well and opx said so,
    else until ``over``, when a person had put it right; None where nothing ever was."""
    if not any(trial.row.verdicts or trial.row.page for trial in found):
        return None
    if all(trial.verified for trial in found):
        over = max(max(trial.story.at(Beat.VERIFIED) or 0, trial.healthy or 0) for trial in found)
    return Window(min(trial.injected for trial in found), over)


def suggest(bench: Bench, service: str) -> Story:
    """What a fresh install does: it says what it would do, and does nothing.

    ``OpxError`` when it acts, or says nothing in time.
    """
    before = bench.playground.starts(service)
    watch = Watch(bench)
    at = bench.playground.break_(service, How.KILL)
    bench.say(Mark.INJECTED, f"{service} is killed, and nobody has allowed opx anything yet", at)
    watch.until(
        lambda: watch.story(service).answer != "" and watch.story(service).runbook != "",
        SUGGESTED_WITHIN_S,
        f"opx to suggest a repair of {service}",
    )
    ends = processes.now() + 2 * SECOND
    watch.until(lambda: processes.now() >= ends, 5, "two seconds to pass")
    story = watch.story(service)
    if story.orders or bench.playground.starts(service) != before:
        raise OpxError(f"opx acted on {service} although nobody had allowed it to")
    bench.say(Mark.NOTE, f"opx suggests {story.runbook}, and only suggests it")
    bench.playground.heal(service)
    bench.say(Mark.PERSON, f"a person starts {service} by hand")
    processes.wait_for(
        lambda: bench.playground.judge.healthy_at(service, at), WELL_WITHIN_S, "users to be well"
    )
    return story


def _inject(scene: Scene) -> None:
    bench = scene.bench
    done = faults.inject(bench.playground, scene.fault, scene.victims)
    scene.injected = scene.watch.since = min(one.at for one in done)
    for victim, one in zip(scene.victims, done, strict=True):
        scene.hands[victim] = one.starts
        bench.say(Mark.INJECTED, f"{victim} {one.words}", one.at)


def _follow(scene: Scene) -> None:
    """Wait until what ought to come of it has come, or something else has."""
    row, watch = scene.row, scene.watch
    if row.meanwhile:
        _cut_short(scene)
    if row.verdicts:
        within = REPAIRED_WITHIN_S * len(row.verdicts)
        watch.until(lambda: _told(scene), within, f"opx's verdict on {_names(scene)}")
    if row.page:
        watch.until(lambda: _called(scene), PAGED_WITHIN_S, "people to be called")
    if not row.repair:
        _leave_alone(scene)
        return
    verified = max(story.at(Beat.VERIFIED) or processes.now() for story in scene.stories())
    judge = scene.bench.playground.judge
    processes.wait_for(
        lambda: judge.seen_until() >= verified + STEADY_AFTER,
        WELL_WITHIN_S,
        "the load generator to have seen enough",
    )


def _called(scene: Scene) -> bool:
    """Whether people were called; where a repair was tried in vain, for that."""
    watch = scene.watch
    return bool(watch.pages) if scene.row.verdicts else watch.called(scene.victims)


def _told(scene: Scene) -> bool:
    """Whether every run that is called for has its verdict. ``OpxError``: opx does not act."""
    stories = scene.stories()
    for victim, story in zip(scene.victims, stories, strict=True):
        guards = "; ".join(story.guards)
        if "symptom_gone" in guards:  # a start that took long: what it was, was not this
            continue
        if not story.verdicts and (story.refused or story.answer == "ask"):
            raise OpxError(f"opx did not act on {victim}: {story.answer} ({guards})")
    return all(len(story.verdicts) >= len(scene.row.verdicts) for story in stories)


def _cut_short(scene: Scene) -> None:
    """Kill a process of opx in the middle of the repair."""
    watch, process = scene.watch, scene.row.meanwhile
    watch.until(
        lambda: all(story.orders for story in scene.stories()),
        REPAIRED_WITHIN_S,
        f"opx to order a repair of {_names(scene)}",
        AT_ONCE_S,
    )
    if process == "hands":
        time.sleep(MIDST_S)
    at = scene.bench.playground.break_(process, How.KILL)
    words = f"opx's {process} {'are' if process == 'hands' else 'is'} killed in the middle of it"
    scene.bench.say(Mark.INJECTED, words, at)


def _leave_alone(scene: Scene) -> None:
    """Watch for a while that nothing more is done."""
    spike = load.SPIKE_S * SECOND if scene.fault is Fault.LOAD_SPIKE else 0
    ends = processes.now() + WATCH_IDLE + int(spike)
    orders, watch = sum(story.orders for story in scene.stories()), scene.watch
    watch.until(
        lambda: processes.now() >= ends or bool(scene.elsewhere()),
        2 * (WATCH_IDLE + spike) / SECOND,
        "opx to leave it alone",
    )
    now = sum(story.orders for story in scene.stories())
    if now == orders and not scene.elsewhere():
        scene.bench.say(Mark.NOTE, f"opx leaves {_names(scene)} alone")


def _judged(scene: Scene, victim: str, problem: str) -> Trial:
    """The trial with the judge's word: is what opx said of the users true."""
    judge, story, at = scene.bench.playground.judge, scene.watch.story(victim), scene.injected
    felt = victim if victim in layout.SERVICES else layout.ENTRANCE
    hurt, healthy = judge.hurt_at(felt, at), judge.healthy_at(felt, at)
    verified = story.at(Beat.VERIFIED)
    if not scene.row.verdicts:
        agrees = judge.well_since(felt, at) is not None and not story.orders
    elif verified is None:
        agrees = False
    elif story.verdict == VerdictKind.RECOVERED:
        well = healthy is not None and healthy <= verified + GRACE
        agrees = well and not judge.failures(felt, verified + GRACE)
    else:
        agrees = bool(judge.failures(felt, verified))
    if healthy is not None and hurt is not None and agrees:
        span = processes.seconds(healthy - hurt)
        scene.bench.say(Mark.WELL, f"users are well again, hurt for {span:.1f} s", healthy)
    first = victim == scene.victims[0]  # what is of no victim is counted once
    trial = Trial(
        fault=scene.fault,
        service=victim,
        injected=at,
        story=story,
        hurt=hurt,
        healthy=healthy,
        starts=scene.starts(victim),
        by_hand=scene.hands.get(victim, 0),
        elsewhere=scene.elsewhere() if first else 0,
        false_alarms=scene.watch.alarms(layout.suffer(scene.victims)) if first else 0,
        paged=_called(scene) if scene.row.page else bool(scene.watch.pages),
        agrees=agrees,
    )
    return replace(trial, problem=problem or _wrong(trial))


def _wrong(trial: Trial) -> str:
    """What did not come as it ought to; empty when all did."""
    row, story = trial.row, trial.story
    if not trial.agrees:
        return f"the load generator does not agree with opx ({story.verdict or 'idle'})"
    if story.verdicts != row.verdicts:
        return f"the verdicts are {', '.join(story.verdicts) or 'none'}"
    if trial.starts - trial.by_hand != row.starts:
        return f"opx started {trial.service} {trial.starts - trial.by_hand} times, not {row.starts}"
    if trial.elsewhere:
        return f"opx acted {trial.elsewhere} times where nothing was wrong"
    if trial.paged != row.page:
        return "people were called" if trial.paged else "nobody was called"
    return ""


def _put_right(scene: Scene, ok: bool) -> None:
    """What opx was not to repair, or has not, a person repairs."""
    if ok and not scene.row.page:
        return
    bench, client = scene.bench, scene.bench.client
    try:
        for victim in scene.victims:
            bench.playground.heal(victim)
            bench.say(Mark.PERSON, f"puts {victim} right by hand")
        for breaker in client.open_breakers():
            client.close_breaker(breaker)
            bench.say(Mark.PERSON, f"closes the breaker of {breaker.replace('|', ' ')}")
        for waiting in client.waiting():
            client.reject(waiting, "done by hand")
        now = processes.now()
        processes.wait_for(
            lambda: bench.playground.judge.well_since(layout.ENTRANCE, now),
            WELL_WITHIN_S,
            "users to be well",
        )
    except OpxError as error:
        bench.say(Mark.TROUBLE, f"{_names(scene)} cannot be put right by hand: {error}")


def _names(scene: Scene) -> str:
    return " and ".join(scene.victims)


def wire(at: Ms | None) -> str | None:
    """An instant as it stands in the report."""
    return None if at is None else opx_time.to_wire(at)
