# SPDX-License-Identifier: Apache-2.0

"""What a saboteur, a deployer or a person does to the shop, and how it is undone.

By signals, by the files that services start from, and through the supervisor: never by way
of opx. What is done to a running process ends with that process; what is done to a file
stays until somebody puts it right. It must never touch what the judge reads.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from opx.core.base.time import SECOND, Ms
from opx.errors import BadInput, Unavailable
from opx.playground import layout, processes
from opx.playground.layout import Layout
from opx.playground.shop import files
from opx.playground.shop.supervisor import Supervisor

DRIFTED: Ms = 2 * SECOND
"""From tampering with a file until the service is started anew, and is hurt by it."""
STARTS_S = 10.0
"""Until a process that was started minds signals: before, they end it."""
SABOTEUR, DEPLOYER, PERSON = "mallory", "deploy-bot", "alice"


class How(StrEnum):
    KILL = "kill"
    """SIGKILL: the process is gone."""
    HANG = "hang"
    """SIGSTOP: the process is there and does nothing."""
    TAMPER = "tamper"
    """Its configuration is spoilt, and it is started anew, which fails."""
    BAD_RELEASE = "bad-release"
    """A release is deployed that answers its users with 500."""
    SLOW = "slow"
    """The process gets slow, until it ends."""
    BROKEN_START = "broken-start"
    """It is killed, and ends at every start from now on."""
    LOAD_SPIKE = "load-spike"
    """Four times as many users come, for a while."""
    BENIGN_CONFIG = "benign-config"
    """A person changes the configuration as it ought to be done: nothing is wrong."""
    BENIGN_RESTART = "benign-restart"
    """A person restarts it: nothing is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """``at``: when it began to take effect. ``starts``: how often a service was started in
    the course of it, which is nobody's repair. ``words``: what was done, for a person."""

    at: Ms
    words: str
    starts: int = 0


class Saboteur:
    """Breaks and mends the services of one playground."""

    def __init__(self, where: Layout, supervisor: Supervisor) -> None:
        self._where, self._supervisor = where, supervisor

    def break_(self, service: str, how: How) -> Done:
        """``Unavailable``: it does not run, so it cannot be broken. ``BadInput``: not so."""
        deeds = {
            How.KILL: self._kill,
            How.HANG: self._hang,
            How.TAMPER: self._tamper,
            How.BAD_RELEASE: self._deploy,
            How.SLOW: self._slow,
            How.BROKEN_START: self._curse,
            How.BENIGN_CONFIG: self._change,
            How.BENIGN_RESTART: self._restart,
        }
        if how not in deeds:
            raise BadInput(f"{service} cannot be broken by a {how}", hint=", ".join(deeds))
        return deeds[how](service)

    def mend(self, service: str) -> None:
        """Undo whatever was done to it: its files are well, and it runs."""
        self._where.cursed(service).unlink(missing_ok=True)
        file, good = self._where.config(service), self._where.good(service)
        if not file.exists() or file.read_bytes() != good.read_bytes():
            shutil.copyfile(good, file)
        self._note(service).unlink(missing_ok=True)
        bad = files.release(self._where, service).fails
        if bad:
            files.point(self._where, service, self._last_good(service))
        program = self._supervisor.program(service)
        if program.pid:
            self._send(service, signal.SIGCONT)
            if processes.catches(program.pid, signal.SIGUSR2):  # a moment after its start it dies
                self._send(service, signal.SIGUSR2)
        if bad and program.pid:
            self._supervisor.restart(service)
        else:
            self._supervisor.start(service)

    # ------------------------------------------------------------------- deeds

    def _kill(self, service: str) -> Done:
        return Done(at=self._send(service, signal.SIGKILL), words="is killed (SIGKILL)")

    def _hang(self, service: str) -> Done:
        return Done(at=self._send(service, signal.SIGSTOP), words="hangs (SIGSTOP)")

    def _slow(self, service: str) -> Done:
        pid = self._supervisor.program(service).pid
        if pid:
            processes.wait_for(
                lambda: processes.catches(pid, signal.SIGUSR1), STARTS_S, f"{service}'s start"
            )
        return Done(at=self._send(service, signal.SIGUSR1), words="gets slow")

    def _curse(self, service: str) -> Done:
        cursed = self._where.cursed(service)
        cursed.parent.mkdir(exist_ok=True)
        cursed.touch()
        at = self._send(service, signal.SIGKILL)
        return Done(at=at, words="is killed, and ends at every start from now on")

    def _tamper(self, service: str) -> Done:
        file = self._where.config(service)
        value = json.loads(file.read_text())
        del value["currency"]
        _replace(file, json.dumps({**value, "note": "x" * 16}, indent=2) + "\n")
        self._note(service).write_text(f"{SABOTEUR}\n")
        time.sleep(DRIFTED / SECOND)
        at = processes.now()
        self._supervisor.restart(service)
        words = f"is started anew on a configuration that {SABOTEUR} has spoilt, and ends"
        return Done(at=at, starts=1, words=words)

    def _deploy(self, service: str) -> Done:
        previous = files.current(self._where, service)
        release = self._next_release(service, previous)
        files.make_release(self._where, service, release, list(layout.ROUTES[service]))
        files.point(self._where, service, release)
        at = self._restarted(service)
        data = {"release": release, "previous": previous, "actor": DEPLOYER}
        self._say("opx.release.deployed", service, at, data)
        words = f"gets release {release} from {DEPLOYER}, which answers users with 500"
        return Done(at=at, starts=1, words=words)

    def _change(self, service: str) -> Done:
        at = processes.now()
        text = files.good(service, f"hello since {at}")
        _replace(self._where.good(service), text)
        _replace(self._where.config(service), text)
        data = {"path": str(self._where.config(service)), "actor": PERSON}
        self._say("opx.config.changed", service, at, data)
        return Done(at=at, words=f"gets another greeting from {PERSON}: nothing is wrong")

    def _restart(self, service: str) -> Done:
        at = self._restarted(service)
        return Done(at=at, starts=1, words=f"is restarted by {PERSON}: nothing is wrong")

    # ------------------------------------------------------------------- means

    def _restarted(self, service: str) -> Ms:
        at = processes.now()
        self._supervisor.restart(service)
        return at

    def _send(self, service: str, number: signal.Signals) -> Ms:
        pid = self._supervisor.program(service).pid
        at = processes.now()
        if not pid or not processes.send(processes.identify(pid), number):
            raise Unavailable(f"{service} does not run, so it cannot be broken")
        return at

    def _note(self, service: str) -> Path:
        file = self._where.config(service)
        return file.with_name(file.name + files.BY)

    def _next_release(self, service: str, current: str) -> str:
        """A name after the current one; what was deployed after it and taken back goes."""
        for name in self._releases(service):
            if _number(name) > _number(current):
                shutil.rmtree(self._where.app(service) / "releases" / name)
        return f"v{_number(current) + 1}"

    def _last_good(self, service: str) -> str:
        folder = self._where.app(service) / "releases"
        well = [
            name
            for name in self._releases(service)
            if not json.loads((folder / name / files.RELEASE).read_text())["fails"]
        ]
        return max(well, key=_number)

    def _releases(self, service: str) -> list[str]:
        return [path.name for path in (self._where.app(service) / "releases").iterdir()]

    def _say(self, type: str, service: str, at: Ms, data: dict[str, str]) -> None:
        """Leave word of it, as good tools do."""
        line = {"type": type, "service": service, "at": at, "data": data}
        with self._where.changes.open("a") as changes:
            changes.write(json.dumps(line) + "\n")


def _number(release: str) -> int:
    found = re.search(r"[0-9]+", release)
    return int(found[0]) if found else 0


def _replace(file: Path, text: str) -> None:
    draft = file.with_name(f".{file.name}.draft")
    draft.write_text(text)
    draft.replace(file)
