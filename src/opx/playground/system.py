# SPDX-License-Identifier: Apache-2.0

"""``Playground``: brings the five services and their users up, breaks them, heals them.

What a person does at a keyboard, in code: it uses signals and the supervisor, never opx.
Whatever it starts it ends, and it ends nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import tempfile
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from opx.core.base.time import SECOND, Ms
from opx.errors import BadInput, Conflict, NotFound, OpxError, Unavailable
from opx.playground import layout, processes, supervisor, wire
from opx.playground.judge import Judge
from opx.playground.layout import Layout, Started
from opx.playground.supervisor import Supervisor

UP_WITHIN_S = 15.0
RECENT: Ms = 5 * SECOND
SOCKET = "supervisor.sock"
LONGEST_PATH = 96
"""The kernel takes 107 bytes; supervisord adds its pid while it makes the socket."""
PLAIN = re.compile(r"[A-Za-z0-9/._~+-]+")
OPX_PROCESSES = ("front", "brain", "hands")


class How(StrEnum):
    KILL = "kill"
    HANG = "hang"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """``starts``: how often it has been started. ``failures``: users' requests that needed
    it and failed, of late."""

    name: str
    state: str
    pid: int
    hung: bool
    address: str
    starts: int
    failures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaygroundStatus:
    folder: str
    running: bool
    load: bool
    services: tuple[ServiceStatus, ...]

    def plain(self) -> dict[str, object]:
        return asdict(self)


class Playground:
    """A playground in ``folder``, up or not."""

    def __init__(self, where: Layout) -> None:
        self.layout = where
        self.supervisor = Supervisor(where.socket)
        self.judge = Judge(where.samples)

    @classmethod
    def up(cls, folder: Path) -> Playground:
        """Start everything; return when users are served. ``Conflict`` when it is up already."""
        folder = folder.resolve()
        if layout.file_in(folder).exists() and cls.open(folder).running():
            raise Conflict(f"the playground in {folder} is up already")
        playground = cls(_prepare(folder))
        with contextlib.ExitStack() as undo:
            undo.callback(playground.down)
            playground._start()
            undo.pop_all()
        return playground

    @classmethod
    def open(cls, folder: Path) -> Playground:
        """The playground that was started in ``folder``; ``NotFound`` when there is none."""
        return cls(layout.load(folder.resolve()))

    def running(self) -> bool:
        return processes.alive(self.layout.supervisord)

    def down(self) -> None:
        """End everything that was started here; nothing of it runs afterwards."""
        processes.end(self.layout.load)
        with contextlib.suppress(OpxError):
            self.supervisor.stop_all()
        # Nothing is left for supervisord to do, and it takes seconds to notice.
        processes.end_session(self.layout.supervisord, 0)
        self.layout.socket.unlink(missing_ok=True)
        if self.layout.socket.parent != self.layout.folder:
            with contextlib.suppress(OSError):
                self.layout.socket.parent.rmdir()
        if self.layout.file.exists():
            self.layout = layout.save(replace(self.layout, supervisord=None, load=None))

    def status(self) -> PlaygroundStatus:
        running = self.running()
        programs = {p.name: p for p in self.supervisor.programs()} if running else {}
        services = []
        for name in layout.SERVICES:
            program = programs.get(name)
            pid = program.pid if program else 0
            services.append(
                ServiceStatus(
                    name=name,
                    state=program.state if program else "DOWN",
                    pid=pid,
                    hung=bool(pid) and processes.stopped(pid),
                    address=self.layout.address(name),
                    starts=self.starts(name),
                    failures=self.judge.failures(name, processes.now() - RECENT),
                )
            )
        return PlaygroundStatus(
            folder=str(self.layout.folder),
            running=running,
            load=processes.alive(self.layout.load),
            services=tuple(services),
        )

    def starts(self, service: str) -> int:
        """How often the service's process has started, by its own account."""
        file = self.layout.starts(service)
        return len(file.read_text().splitlines()) if file.exists() else 0

    def break_(self, target: str, how: How) -> Ms:
        """SIGKILL or SIGSTOP a service, or a process of opx; when that was done.

        ``NotFound`` when there is no such target, ``Unavailable`` when it does not run.
        """
        victim = self._victim(target)
        at = processes.now()
        if not processes.send(victim, signal.SIGKILL if how is How.KILL else signal.SIGSTOP):
            raise Unavailable(f"{target} does not run, so it cannot be broken")
        return at

    def heal(self, target: str) -> None:
        """Make what is hung go on, and start what is dead; opx restarts its own dead."""
        if target in OPX_PROCESSES:
            processes.send(self._victim(target), signal.SIGCONT)
            return
        program = self.supervisor.program(self._service(target))
        if program.pid:
            processes.send(processes.identify(program.pid), signal.SIGCONT)
        self.supervisor.start(target)

    def restart(self, service: str) -> Ms:
        """What a person does by hand, with nothing wrong; when it began."""
        at = processes.now()
        self.supervisor.restart(self._service(service))
        return at

    def attach(self, opx_data: Path) -> None:
        """Remember which opx watches this playground, so that it can be broken too."""
        self.layout = layout.save(replace(self.layout, opx_data=str(opx_data.resolve())))

    def _start(self) -> None:
        conf = self.layout.folder / "supervisord.conf"
        conf.touch(mode=0o600)
        conf.write_text(supervisor.configuration(self.layout))
        daemon = processes.spawn(
            ["-m", "supervisor.supervisord", "-n", "-c", str(conf)], self.layout.log("daemon")
        )
        self.layout = layout.save(replace(self.layout, supervisord=daemon))
        processes.wait_for(self._daemon_answers, UP_WITHIN_S, "supervisord to answer")
        processes.wait_for(self._serves, UP_WITHIN_S, "the services to serve")
        port = str(self.layout.ports[layout.ENTRANCE])
        users = ["-m", "opx.playground.load", "--port", port, "--to", str(self.layout.samples)]
        load = processes.spawn(users, self.layout.log("load"))
        self.layout = layout.save(replace(self.layout, load=load))

    def _serves(self) -> bool:
        port = self.layout.ports[layout.ENTRANCE]
        paths = layout.ROUTES[layout.ENTRANCE]
        return all(asyncio.run(wire.ask(port, path, 1.0)) == 200 for path in paths)

    def _daemon_answers(self) -> bool:
        if not self.running():
            said = processes.tail(self.layout.log("daemon"))
            raise Unavailable(f"supervisord ended before it was ready:\n{said}")
        return self.supervisor.answers()

    def _victim(self, target: str) -> Started:
        if target in OPX_PROCESSES:
            return self._opx_process(target)
        pid = self.supervisor.program(self._service(target)).pid
        if not pid:
            raise Unavailable(f"{target} does not run, so it cannot be broken")
        return processes.identify(pid)

    def _opx_process(self, name: str) -> Started:
        if not self.layout.opx_data:
            raise NotFound("no opx is known to watch this playground: start one with `opx demo`")
        file = Path(self.layout.opx_data) / "pids.json"
        try:
            pid = int(json.loads(file.read_text())[name])
        except (OSError, ValueError, KeyError) as error:
            raise Unavailable(f"{file} does not say which process {name} is") from error
        return processes.identify(pid)

    def _service(self, target: str) -> str:
        if target not in layout.SERVICES:
            known = ", ".join((*layout.SERVICES, *OPX_PROCESSES))
            raise BadInput(f"there is no {target!r} in the playground", hint=f"one of {known}")
        return target


def _prepare(folder: Path) -> Layout:
    """An empty playground: a folder of its own, free ports, a socket for the supervisor."""
    if "%" in str(folder):
        raise BadInput(f"supervisord cannot be told of a folder with a % in its name: {folder}")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for part in ("starts", "logs"):
        (folder / part).mkdir(exist_ok=True)
    ports = processes.free_ports(len(layout.SERVICES))
    where = Layout(
        folder=folder,
        ports=dict(zip(layout.SERVICES, ports, strict=True)),
        socket=_socket(folder),
    )
    where.samples.unlink(missing_ok=True)
    for name in layout.SERVICES:
        where.starts(name).unlink(missing_ok=True)
    return layout.save(where)


def _socket(folder: Path) -> Path:
    """The supervisor's socket in ``folder``, or, where its path would be too long for one or
    could not stand in a URL, in a folder of its own that is as private."""
    inside = folder / SOCKET
    if len(os.fsencode(inside)) <= LONGEST_PATH and PLAIN.fullmatch(str(inside)):
        return inside
    return Path(tempfile.mkdtemp(prefix="opx-playground-")) / SOCKET
