# SPDX-License-Identifier: Apache-2.0

"""The ordeal: opx's processes are killed, again and again, while it has work to do.

A round kills one process twice: with SIGKILL at a random moment, and, once it is back with
a failpoint armed, there. Meanwhile services of the playground die and hang, one at a time,
and opx is to repair each with one start. What had to be started is counted here; how often
it was is counted by the services themselves.
"""

from __future__ import annotations

import contextlib
import random
import resource
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from opx.adapters import locks
from opx.adapters.stores.wal import segments
from opx.bench import rig
from opx.bench.figures import Tell
from opx.core.act.run import OrderStatus
from opx.errors import OpxError, Unavailable
from opx.playground import layout, processes
from opx.playground.demo import Tour
from opx.playground.layout import Started
from opx.playground.system import How

SIGKILL = "SIGKILL"
LONGEST_PAUSE_S = 4.0
BACK_WITHIN_S = 60.0
DEAD_WITHIN_S = 25.0
REPAIRED_WITHIN_S = 60.0
"""After that a person puts the service right, and the fault counts as left to a person."""
LOOK_S = 0.01
FULL_S = 1.5
HUNG_SHARE = 0.25
GOOD = frozenset({"mitigated", "resolved", "closed"})


@dataclass(frozen=True, slots=True)
class Failpoint:
    """``chance``: to die there at a visit. ``repairs``: it is only visited in a repair."""

    name: str
    role: str
    chance: float
    repairs: bool = False


FAILPOINTS = (
    Failpoint("appended", "front", 0.05),
    Failpoint("claimed", "hands", 0.7, repairs=True),
    Failpoint("applied", "hands", 0.7, repairs=True),
    Failpoint("derived", "brain", 0.05),
    Failpoint("committed", "brain", 0.05),
    Failpoint("flushed", "brain", 0.5),
    Failpoint("saved", "brain", 0.8),
    Failpoint("decided", "brain", 0.7, repairs=True),
    Failpoint("verified", "brain", 0.4, repairs=True),
)
"""Where a process dies between an effect and the book that says so, or just before."""
_SAID = 500
"""Characters of what opx said last that are told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """``before``: how often the service had been started until then."""

    service: str
    how: How
    before: int
    at: float


@dataclass(slots=True, kw_only=True)
class Ordeal:
    """``kills``: by (process, how). ``needed``: starts that were called for, by service.
    ``left``: faults that opx left to a person. ``full``: times that the disk was."""

    tour: Tour
    log: Path
    chance: random.Random
    tell: Tell
    kills: Counter[tuple[str, str]] = field(default_factory=Counter)
    needed: Counter[str] = field(default_factory=Counter)
    faults: int = 0
    left: int = 0
    full: int = 0
    _fault: Fault | None = None
    _last: str = ""

    @property
    def data(self) -> Path:
        return Path(self.tour.bench.playground.layout.opx_data)

    def plan(self, rounds: int) -> list[Failpoint]:
        """The three processes in turn, their failpoints in random order."""
        roles = ("front", "hands", "brain")
        decks: dict[str, list[Failpoint]] = {role: [] for role in roles}
        drawn = []
        for number in range(rounds):
            role = roles[number % len(roles)]
            if not decks[role]:
                own = [point for point in FAILPOINTS if point.role == role]
                decks[role] = self.chance.sample(own, len(own))
            drawn.append(decks[role].pop())
        return drawn

    def endure(self, point: Failpoint) -> None:
        """One round: a SIGKILL, then death at ``point``."""
        role, before = point.role, self._deaths(point.role)
        self._break()
        time.sleep(self.chance.uniform(0, LONGEST_PAUSE_S))
        self._arm(f"{point.name}={point.chance}")
        victim = self._kill(role)
        self._successor(role, victim)
        self._arm("")
        sent = 1
        if not self._dies(point, before + 2):
            self._kill(role)
            sent += 1
        processes.wait_for(
            lambda: self._deaths(role) >= before + 2, BACK_WITHIN_S, f"the end of {role}", LOOK_S
        )
        processes.wait_for(lambda: self._well(role), BACK_WITHIN_S, f"{role} to be back")
        there = self._deaths(role) - before - sent
        self.kills += Counter({(role, SIGKILL): sent, (role, point.name): there})
        self.tell(f"{role} was killed by {SIGKILL} {sent} times, {there} times at {point.name}")

    def fill(self, kill: bool) -> None:
        """No more disk for ``front``: first in the middle of a frame, then none at all, and
        then it is killed, or there is room again."""
        front = self._running("front")
        if front is None:
            raise Unavailable("front does not run, so its disk cannot be filled")
        self.full += 1
        whole = resource.prlimit(front.pid, resource.RLIMIT_FSIZE)
        size = segments.listed(self.data / "wal")[-1].path.stat().st_size
        for most in (size + self.chance.randrange(2_000), 0):
            resource.prlimit(front.pid, resource.RLIMIT_FSIZE, (most, whole[1]))
            time.sleep(FULL_S)
        if kill:
            self._kill("front")
            self.kills["front", SIGKILL] += 1
        else:
            resource.prlimit(front.pid, resource.RLIMIT_FSIZE, whole)
        processes.wait_for(lambda: self._well("front"), BACK_WITHIN_S, "front to be back")

    def finish(self) -> None:
        """Wait until the last fault is repaired, by whomever."""
        self._arm("")
        processes.wait_for(self._idle, 2 * REPAIRED_WITHIN_S, "the last repair")

    # ------------------------------------------------------------ killing opx

    def _arm(self, text: str) -> None:
        """What the next process that starts reads."""
        beside = self.data / ".opx.toml"
        beside.write_text(f'failpoints = "{text}"\n')
        beside.replace(self.data / "opx.toml")

    def _running(self, role: str) -> Started | None:
        """The process that holds the role's lock; it has read its settings by then."""
        pid = locks.said(self.data / f"{role}.lock").get("pid")
        if not isinstance(pid, int):
            return None
        try:
            process = processes.identify(pid)
        except Unavailable:
            return None
        return process if processes.alive(process) else None

    def _successor(self, role: str, victim: Started) -> Started:
        def found() -> Started | None:
            now = self._running(role)
            return now if now != victim else None

        successor = processes.wait_for(found, BACK_WITHIN_S, f"another {role}", LOOK_S)
        assert successor is not None
        return successor

    def _kill(self, role: str) -> Started:
        """SIGKILL to the process that has the role, as soon as there is one."""
        victim = processes.wait_for(lambda: self._shot(role), BACK_WITHIN_S, role, LOOK_S)
        assert victim is not None
        return victim

    def _shot(self, role: str) -> Started | None:
        victim = self._running(role)
        return victim if victim and processes.send(victim, signal.SIGKILL) else None

    def _dies(self, point: Failpoint, deaths: int) -> bool:
        """Whether it dies at the failpoint in time; there is something to repair if need be."""
        ends = time.monotonic() + DEAD_WITHIN_S
        while time.monotonic() < ends:
            if self._deaths(point.role) >= deaths:
                return True
            if point.repairs:
                self._break()
            time.sleep(LOOK_S)
        return False

    def _deaths(self, role: str) -> int:
        """How often the watcher saw it killed."""
        return self.log.read_text(errors="replace").count(f"{role} ended with -9;")

    def _well(self, role: str) -> bool:
        try:
            return str(self.tour.bench.client.status()["processes"][role]) == "alive"
        except OpxError:
            return False

    # ------------------------------------------------------------ breaking services

    def _break(self) -> None:
        """Kill or hang a service, unless one is still being repaired."""
        if not self._idle():
            return
        playground = self.tour.bench.playground
        service = self.chance.choice([one for one in layout.SERVICES if one != self._last])
        how = How.HANG if self.chance.random() < HUNG_SHARE else How.KILL
        before = playground.starts(service)
        with contextlib.suppress(Unavailable):  # it does not run: then it is not broken now
            playground.break_(service, how)
            self._last, self.faults = service, self.faults + 1
            self._fault = Fault(service=service, how=how, before=before, at=time.monotonic())

    def _idle(self) -> bool:
        """Whether nothing is broken; what has been for too long is put right by hand."""
        fault = self._fault
        if fault is None:
            return True
        if self._repaired(fault):
            self.needed[fault.service] += 1
            self._fault = None
        elif time.monotonic() - fault.at > REPAIRED_WITHIN_S:
            with contextlib.suppress(Unavailable):
                self._by_hand(fault)
                self._fault = None
        return self._fault is None

    def _repaired(self, fault: Fault) -> bool:
        bench = self.tour.bench
        if bench.playground.starts(fault.service) == fault.before:
            return False
        try:
            found = bench.client.incidents(fault.service)
        except Unavailable:
            return False
        return bool(found) and found[0]["status"] in GOOD

    def _by_hand(self, fault: Fault) -> None:
        """A person looks after it: halts opx, so that not both of them start it, lets what it has
        begun come to an end, says no to what is still waiting, and lets opx go on when all is well.
        """
        client, playground = self.tour.bench.client, self.tour.bench.playground
        client.switch("halt", "done by hand")
        try:
            processes.wait_for(
                lambda: not rig.orders(self.data, OrderStatus.READY, OrderStatus.CLAIMED),
                BACK_WITHIN_S,
                "the step to end",
            )
            for run in client.waiting():
                client.reject(run, "done by hand")
            self.tell(f"{fault.service} ({fault.how}) is left to a person: {self._why(fault)}")
            at = processes.now()
            playground.heal(fault.service)
            processes.wait_for(
                lambda: playground.judge.well_since(fault.service, at), BACK_WITHIN_S, "its users"
            )
        finally:
            client.switch("resume", "done by hand")
        started = playground.starts(fault.service) != fault.before
        self.needed[fault.service] += started
        self.left += 1

    def _why(self, fault: Fault) -> str:
        """The last thing opx said about it."""
        client = self.tour.bench.client
        found = client.incidents(fault.service)
        said = client.timeline(found[0]["id"], 0) if found else []
        ends = [entry for entry in said if entry["kind"] in ("run.ended", "run.decided")]
        return str(ends[-1]["body"])[:_SAID] if ends else "it said nothing"
