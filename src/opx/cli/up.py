# SPDX-License-Identifier: Apache-2.0

"""``opx up``: starts the three processes of opx and keeps them running.

The watcher does nothing else and knows nothing else: standard library only, so that it
stays small and has little to fail with. Each child is this command again with ``--role``;
one that dies is started again, one that hangs (its heart beats into a pipe, once a second)
is killed first, and none outlives the watcher. It never reads telemetry.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from opx import settings as opx_settings
from opx.adapters.locks import FileLock, said
from opx.errors import Conflict, OpxError
from opx.settings import Settings, publish, resolve

ROLES = ("front", "brain", "hands")
BACK_OFF_FIRST_S = 0.1
BACK_OFF_MOST_S = 10.0
STEADY_AFTER_S = 30.0
"""A child that lived so long is started at once when it dies."""
LISTEN_EVERY_S = 1.0
SILENT_S = 20.0
"""A child without a heartbeat for so long hangs, and is killed."""
START_WITHIN_S = 120.0
"""For its first heartbeat it may load libraries and wait for a slow disk."""
HELD_UP_S = 5.0
"""A watcher that comes so late was itself stopped, and with it perhaps everybody."""
PORT_PATIENCE_S = 2.0
RESTARTS = "restarts.json"
"""How often each role was started again since the watcher began, for ``GET /metrics``."""
STOP_WITHIN_S = 15.0
TICK_S = 0.1
READY_WITHIN_S = 60.0
PR_SET_PDEATHSIG = 1


def run(argv: Sequence[str]) -> int:
    """``opx up ...``; returns the exit code."""
    os.umask(0o077)  # libraries make files in the data folder too
    flags = _flags(argv[1:])
    try:
        settings = opx_settings.load(
            {
                "data": flags.data,
                "host": flags.host,
                "port": flags.port,
                "behind_proxy": flags.behind_proxy or None,
            }
        )
        _die_with(flags.watcher)
        if flags.prepare:
            return _prepare(settings)
        if flags.role:
            return _role(settings, flags)
        return Watcher(settings=settings).run()
    except OpxError as error:
        _say(f"opx up: {error}" + (f" ({error.hint})" if error.hint else ""))
    except OSError as error:
        where = f"{error.filename or 'the data folder'}: {error.strerror}"
        _say(f"opx up: {where} (make room, give it to uid {os.geteuid()}, or choose --data)")
    except KeyboardInterrupt:
        _say("opx up: stopped before it began")
    return 1


def _flags(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="opx up", description="Start opx and watch over it. Ctrl-C stops it."
    )
    parser.add_argument("--role", choices=ROLES, help="run one of the three processes only")
    parser.add_argument("--data", help="the data folder (OPX_DATA, ~/.local/share/opx)")
    parser.add_argument("--host", help="the address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, help=f"0 is any free one ({opx_settings.DEFAULT_PORT})")
    parser.add_argument(
        "--behind-proxy", action="store_true", help="a proxy that ends TLS stands in front"
    )
    parser.add_argument("--prepare", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--watcher", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--after", type=int, default=-1, help=argparse.SUPPRESS)
    parser.add_argument("--beat", type=int, default=-1, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


# ---------------------------------------------------------------- in a child


def _prepare(settings: Settings) -> int:
    """Make the data folder ready and print a fresh login code."""
    folder(settings.data)
    print(importlib.import_module("opx.app").prepare(settings))  # noqa: T201
    return 0


def _role(settings: Settings, flags: argparse.Namespace) -> int:
    """Be one of the three processes until told to stop. ``after``: a pipe whose end says
    that the data folder is ready; until then there are libraries to load. ``beat``: the pipe
    its heart beats into."""
    role = str(flags.role)
    folder(settings.data)
    importlib.import_module(f"opx.app.{role}")
    if flags.after >= 0:
        os.read(flags.after, 1)
    lock = FileLock(settings.data / f"{role}.lock")
    lock.acquire({"pid": os.getpid(), "role": role, "since": int(time.time() * 1000)})
    try:
        importlib.import_module("opx.app").run_role(role, settings, flags.beat)
    finally:
        lock.release()
    return 0


def _die_with(watcher: int) -> None:
    """Have the kernel kill this process when its watcher is gone; at once if it is already."""
    if not watcher:
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != watcher:
        os.kill(os.getpid(), signal.SIGKILL)


# ---------------------------------------------------------------- the watcher


@dataclass(slots=True)
class Child:
    """``due``: when to start it (again), on the monotonic clock. ``heart``: our end of its
    pipe. ``silent_at``: when it has been silent for too long."""

    role: str
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    due: float = 0.0
    back_off: float = BACK_OFF_FIRST_S
    restarts: int = 0
    heart: int = -1
    silent_at: float = 0.0

    def heard(self) -> bool:
        """Whether its heart has beaten since this was last asked."""
        try:
            return bool(os.read(self.heart, 1 << 16))
        except BlockingIOError:
            return False

    def ended(self) -> None:
        self.process = None
        os.close(self.heart)


@dataclass(slots=True, kw_only=True)
class Watcher:
    settings: Settings
    children: list[Child] = field(default_factory=lambda: [Child(role) for role in ROLES])
    stopping: bool = False
    login: str = ""
    deadline: float = 0.0
    listened: float = 0.0

    def run(self) -> int:
        """Start everything and keep it running until SIGINT or SIGTERM."""
        folder(self.settings.data)
        lock = FileLock(self.settings.lock)
        holder = {"pid": os.getpid(), "since": int(time.time() * 1000), "address": ""}
        try:
            lock.acquire(holder)
        except Conflict:
            _say(f"opx is running here already: {_who(said(self.settings.lock))}")
            return 1
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, self._stop)
        woken = _signalled()
        try:
            self.settings.front_file.unlink(missing_ok=True)
            self._port()
            self.login = self._prepared()
            self.deadline = time.monotonic() + READY_WITHIN_S
            while not self.stopping:
                self._listen(time.monotonic())
                self._tend()
                self._announce(lock, holder)
                self._rest(woken)
        finally:
            self._end()
            lock.release()
        return 0

    def _rest(self, woken: int) -> None:
        """Until there is something to do: at once when a child dies or we are told to stop."""
        soon = self.deadline or any(child.process is None for child in self.children)
        if select.select([woken], [], [], TICK_S if soon else LISTEN_EVERY_S)[0]:
            os.read(woken, 1 << 10)

    def _port(self) -> None:
        """``OpxError`` when it cannot be listened on; ours of a moment ago may still end."""
        settings = self.settings
        resolve(settings.host)
        address = (settings.host.strip("[]"), settings.port)
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        until = time.monotonic() + PORT_PATIENCE_S
        while not self.stopping:
            try:
                socket.create_server(address, family=family).close()
                return
            except OSError as error:
                if time.monotonic() > until:
                    raise OpxError(
                        f"{settings.host} port {settings.port} cannot be had:"
                        f" {os.strerror(error.errno or 0)}",
                        hint="stop what uses it, or choose another: --port N",
                    ) from error
            time.sleep(TICK_S)

    def _stop(self, number: int, frame: object) -> None:
        self.stopping = True

    def _prepared(self) -> str:
        """Migrate, make keys and the admin token, in a child that takes its libraries along.
        ``front`` loads its own meanwhile."""
        ready, make_ready = os.pipe()
        self._start(self.children[0], time.monotonic(), ready)
        os.close(ready)
        # In a group of its own, like every child: Ctrl-C is ours to pass on.
        preparing = subprocess.Popen(
            self._command("--prepare", "--watcher", str(os.getpid())),
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        try:
            while preparing.poll() is None and not self.stopping:
                time.sleep(TICK_S / 2)
            if self.stopping:
                return ""
            if preparing.returncode:
                raise OpxError(
                    "the data folder could not be made ready", hint="the reason is above"
                )
            said_last = preparing.communicate()[0].split()
            return said_last[-1] if said_last else ""
        finally:
            preparing.kill()
            preparing.wait()
            os.close(make_ready)

    def _command(self, *more: str) -> list[str]:
        settings = self.settings
        flags = ["--data", str(settings.data)]
        flags += ["--host", settings.host, "--port", str(settings.port)]
        if settings.behind_proxy:
            flags.append("--behind-proxy")
        return [sys.executable, "-m", "opx", "up", *flags, *more]

    def _tend(self) -> None:
        """Start what is not running and due; note what has died."""
        now = time.monotonic()
        changed = False
        for child in self.children:
            if child.process is not None and child.process.poll() is not None:
                self._died(child, child.process.returncode, now)
                changed = True
            if child.process is None and child.due <= now and not self.stopping:
                self._start(child, now)
                changed = True
        if changed or not self.settings.pids.exists():
            self._write_pids()

    def _start(self, child: Child, now: float, after: int = -1) -> None:
        child.heart, beat = os.pipe()
        os.set_blocking(child.heart, False)
        os.set_blocking(beat, False)
        pipes = [beat, after] if after >= 0 else [beat]
        command = self._command("--role", child.role, "--watcher", str(os.getpid()))
        # Its own group: Ctrl-C reaches the watcher alone, which then stops the children in order.
        child.process = subprocess.Popen(
            [*command, "--after", str(after), "--beat", str(beat)],
            process_group=0,
            pass_fds=pipes,
        )
        os.close(beat)
        child.started, child.silent_at = now, now + START_WITHIN_S

    def _listen(self, now: float) -> None:
        """Kill what hangs. Whoever was held up with us begins to count anew."""
        if now - self.listened < LISTEN_EVERY_S:
            return
        late = now - self.listened > HELD_UP_S
        self.listened = now
        for child in self.children:
            if child.process is None:
                continue
            if child.heard():
                child.silent_at = now + SILENT_S
            elif late:
                child.silent_at = max(child.silent_at, now + SILENT_S)
            elif now > child.silent_at:
                _say(f"{child.role} (pid {child.process.pid}) hangs: killing it")
                child.process.kill()
                child.silent_at = now + SILENT_S

    def _died(self, child: Child, code: int, now: float) -> None:
        if now - child.started >= STEADY_AFTER_S:
            child.back_off = BACK_OFF_FIRST_S
        child.ended()
        child.restarts += 1
        child.due = now + child.back_off
        _say(f"{child.role} ended with {code}; starting it again in {child.back_off:g} s")
        child.back_off = min(child.back_off * 2, BACK_OFF_MOST_S)

    def _write_pids(self) -> None:
        pids = {child.role: child.process.pid for child in self.children if child.process}
        publish(self.settings.pids, {"watcher": os.getpid(), **pids})
        publish(self.settings.data / RESTARTS, {one.role: one.restarts for one in self.children})

    def _announce(self, lock: FileLock, holder: dict[str, object]) -> None:
        """Once ``front`` answers: where it is, and the way in."""
        if not self.deadline:
            return
        address = said(self.settings.front_file).get("url", "")
        if address and answers(address):
            self.deadline = 0.0
            lock.describe({**holder, "address": address})
            _say(f"opx is up: {address}")
            if self.login:
                _say(f"log in (once, within 10 minutes): {address}/login?code={self.login}")
        elif time.monotonic() > self.deadline:
            self.deadline = 0.0
            _say("front does not answer yet: opx doctor says why")

    def _end(self) -> None:
        """Ask every child to stop, wait, and kill what has not."""
        running = [child.process for child in self.children if child.process]
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        until = time.monotonic() + STOP_WITHIN_S
        for process in running:
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for path in (self.settings.pids, self.settings.front_file, self.settings.data / RESTARTS):
            path.unlink(missing_ok=True)


def _signalled() -> int:
    """A pipe that can be read from after a signal that is handled, or that a child has died."""
    woken, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return woken


def folder(data: Path) -> None:
    """Make the data folder, open to its owner alone."""
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    if data.stat().st_uid == os.geteuid():
        data.chmod(0o700)


def answers(url: str) -> bool:
    """Whether an HTTP server at ``url`` says 200 to ``GET /health``."""
    host, _, port = url.rpartition("//")[2].rpartition(":")
    name = host.strip("[]")
    request = f"GET /health HTTP/1.0\r\nHost: {host}:{port}\r\n\r\n"
    try:
        with socket.create_connection((name, int(port)), timeout=2) as connection:
            connection.sendall(request.encode())
            return b" 200 " in connection.recv(64).partition(b"\r\n")[0]
    except (OSError, ValueError):
        return False


def _who(holder: dict[str, object]) -> str:
    if not holder:
        return "it is just starting, or stopping"
    since = int(str(holder.get("since", 0))) / 1000
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(since))
    return f"pid {holder.get('pid', '?')}, since {at}, {holder.get('address') or 'not ready yet'}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201
