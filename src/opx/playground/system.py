# SPDX-License-Identifier: Apache-2.0

"""``Playground``: brings the six services and their users up, breaks them, heals them.

What a person does at a keyboard, in code: it uses signals, files and the supervisor, never
opx. It starts the collector too, once somebody says where opx is. Whatever it starts it
ends, and it ends nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from opx.core.base.time import SECOND, Ms
from opx.errors import BadInput, Conflict, NotFound, OpxError, Unavailable
from opx.playground import layout, processes
from opx.playground.judging.judge import Judge
from opx.playground.layout import Layout, Started
from opx.playground.shop import files, supervisor, wire
from opx.playground.shop.breaking import Done, Saboteur
from opx.playground.shop.breaking import How as How
from opx.playground.shop.supervisor import Supervisor

UP_WITHIN_S = 15.0
RECENT: Ms = 5 * SECOND
SOCKET = "supervisor.sock"
LONGEST_PATH = 96
"""The kernel takes 107 bytes; supervisord adds its pid while it makes the socket."""
PLAIN = re.compile(r"[A-Za-z0-9/._~+-]+")
OPX_PROCESSES = ("front", "brain", "hands")
USERS, COLLECTOR = "users", "collector"
TARGETS = (*layout.EVERY, USERS, COLLECTOR, *OPX_PROCESSES)
"""What can be broken."""
_SIGNALS = {How.KILL: signal.SIGKILL, How.HANG: signal.SIGSTOP}


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
    collector: bool
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
        """Start everything; return when users are served. ``Conflict`` when it is up already,
        ``Unavailable`` without supervisord."""
        supervisor.require()
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
        processes.end(self.layout.collector, 0)
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
            self.layout = layout.save(
                replace(self.layout, supervisord=None, load=None, collector=None)
            )

    def status(self) -> PlaygroundStatus:
        running = self.running()
        programs = {p.name: p for p in self.supervisor.programs()} if running else {}
        services = []
        for name in layout.EVERY:
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
            collector=processes.alive(self.layout.collector),
            services=tuple(services),
        )

    def starts(self, service: str) -> int:
        """How often the service's process has started, by its own account."""
        file = self.layout.starts(service)
        return len(file.read_text().splitlines()) if file.exists() else 0

    def counted(self) -> bool:
        """Whether every service that runs has counted the start of its process: on a machine that
        is busy with other things it comes to that late."""
        running = [program for program in self.supervisor.programs() if program.pid]
        files = {program.pid: self.layout.starts(program.name) for program in running}
        return all(f.exists() and f" {pid}\n" in f.read_text() for pid, f in files.items())

    def break_(self, target: str, how: How) -> Ms:
        """Do it to one of ``TARGETS``; when it began to take effect.

        ``BadInput`` when there is no such target or that cannot be done to it, ``NotFound``
        when it is opx's and no opx is known, ``Unavailable`` when it does not run.
        """
        return self.broken(target, how).at

    def broken(self, target: str, how: How) -> Done:
        """As ``break_``, with all that is to be known of it."""
        if target in layout.EVERY:
            return Saboteur(self.layout, self.supervisor).break_(target, how)
        if target == USERS and how is How.LOAD_SPIKE:
            words = "come four times as many for ten seconds"
            return Done(at=self._sent(target, signal.SIGUSR1), words=words)
        if target not in TARGETS:
            known = ", ".join(TARGETS)
            raise BadInput(f"there is no {target!r} in the playground", hint=f"one of {known}")
        if how not in _SIGNALS or target == USERS:
            fit = How.LOAD_SPIKE if target == USERS else " or ".join(_SIGNALS)
            raise BadInput(f"{target} cannot be broken by a {how}", hint=f"--how {fit}")
        words = "is killed (SIGKILL)" if how is How.KILL else "hangs (SIGSTOP)"
        return Done(at=self._sent(target, _SIGNALS[how]), words=words)

    def heal(self, target: str) -> None:
        """Undo what was done: what hangs goes on, what is dead is started, files are put right;
        opx restarts its own dead."""
        if target == USERS:
            self._sent(target, signal.SIGUSR2)
        elif target == COLLECTOR:
            self._collect()
        elif target in OPX_PROCESSES:
            self._sent(target, signal.SIGCONT)
        elif target in layout.EVERY:
            Saboteur(self.layout, self.supervisor).mend(target)
        else:
            known = ", ".join(TARGETS)
            raise BadInput(f"there is no {target!r} in the playground", hint=f"one of {known}")

    def restart(self, service: str) -> Ms:
        """What a person does by hand, with nothing wrong; when it began."""
        return self.break_(service, How.BENIGN_RESTART)

    def attach(self, opx_data: Path) -> None:
        """Remember which opx watches this playground, so that it can be broken too."""
        self.layout = layout.save(replace(self.layout, opx_data=str(opx_data.resolve())))

    def watch(self, address: str, token: str) -> None:
        """Have the collector tell the opx at ``address`` what goes on, from now on."""
        self.layout.door.touch(mode=0o600)
        self.layout.door.write_text(json.dumps({"address": address, "token": token}) + "\n")
        self._collect()

    def _collect(self) -> None:
        if not self.layout.door.exists():
            raise NotFound("the collector does not know of an opx: start one with `opx demo`")
        processes.end(self.layout.collector, 0)
        command = ["-m", "opx.playground.shop.collector", "--config", str(self.layout.file)]
        process = processes.spawn(command, self.layout.log(COLLECTOR))
        self.layout = layout.save(replace(self.layout, collector=process))

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
        users = ["-m", "opx.playground.shop.load", "--port", port, "--to", str(self.layout.samples)]
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

    def _sent(self, target: str, number: signal.Signals) -> Ms:
        """When it was sent to a process that is none of the services'."""
        own = {USERS: self.layout.load, COLLECTOR: self.layout.collector}
        process = own[target] if target in own else self._opx_process(target)
        at = processes.now()
        if process is None or not processes.send(process, number):
            raise Unavailable(f"{target} does not run, so it cannot be broken")
        return at

    def _opx_process(self, name: str) -> Started:
        if not self.layout.opx_data:
            raise NotFound("no opx is known to watch this playground: start one with `opx demo`")
        file = Path(self.layout.opx_data) / "pids.json"
        try:
            pid = int(json.loads(file.read_text())[name])
        except (OSError, ValueError, KeyError) as error:
            raise Unavailable(f"{file} does not say which process {name} is") from error
        return processes.identify(pid)


def _prepare(folder: Path) -> Layout:
    """An empty playground: a folder of its own, free ports, a socket for the supervisor."""
    if "%" in str(folder):
        raise BadInput(f"supervisord cannot be told of a folder with a % in its name: {folder}")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for part in ("starts", "logs"):
        (folder / part).mkdir(exist_ok=True)
    ports = processes.free_ports(len(layout.EVERY))
    where = Layout(
        folder=folder,
        ports=dict(zip(layout.EVERY, ports, strict=True)),
        socket=_socket(folder),
    )
    for stale in (where.samples, where.changes, where.door):
        stale.unlink(missing_ok=True)
    for name in layout.EVERY:
        where.starts(name).unlink(missing_ok=True)
        where.cursed(name).unlink(missing_ok=True)
    shutil.rmtree(where.shop, ignore_errors=True)
    files.lay_out(where, layout.EVERY)
    return layout.save(where)


def _socket(folder: Path) -> Path:
    """The supervisor's socket in ``folder``, or, where its path would be too long for one or
    could not stand in a URL, in a folder of its own that is as private."""
    inside = folder / SOCKET
    if len(os.fsencode(inside)) <= LONGEST_PATH and PLAIN.fullmatch(str(inside)):
        return inside
    return Path(tempfile.mkdtemp(prefix="opx-playground-")) / SOCKET
