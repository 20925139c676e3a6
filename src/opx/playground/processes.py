# SPDX-License-Identifier: Apache-2.0

"""Starting, recognising and ending processes, and waiting with a bound.

Beneath the playground and the demo. A process is ended only when it is the one that was
started: its pid and its start time must both agree. Every wait ends; when it ends badly
the error says what was awaited.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from opx.core.base.time import SECOND, Ms
from opx.errors import Unavailable
from opx.playground.layout import Started

T = TypeVar("T")

POLL_S = 0.05
PORTS = range(20_000, 32_000)
"""Below the ports that the kernel gives to outgoing connections: a connection could
otherwise sit on the port of a service that is down, and keep it from coming back."""


def now() -> Ms:
    """Epoch milliseconds, by the same clock as every process on this machine."""
    return time.time_ns() // 1_000_000


def wait_for(condition: Callable[[], T], within_s: float, what: str, every_s: float = POLL_S) -> T:
    """The first true value of ``condition``; ``Unavailable``, naming ``what``, when time is up."""
    ends = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= ends:
            raise Unavailable(f"waited {within_s:g} s for {what}, in vain")
        time.sleep(every_s)


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody listens on now."""
    found: list[int] = []
    candidates = random.sample(PORTS, 50 * count)
    while len(found) < count and candidates:
        port = candidates.pop()
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
    if len(found) < count:
        raise Unavailable(f"no {count} free ports between {PORTS.start} and {PORTS.stop}")
    return found


def spawn(arguments: Sequence[str], log: Path) -> Started:
    """``python ARGUMENTS`` in a session of its own, so that a Ctrl-C meant for us is not
    for it; what it prints is added to ``log``."""
    write = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, *arguments],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), write, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    return identify(pid)


def identify(pid: int) -> Started:
    """The process with this pid now; ``Unavailable`` when there is none."""
    stat = _stat(pid)
    if stat is None:
        raise Unavailable(f"there is no process {pid}")
    return Started(pid=pid, ticks=int(stat[19]))


def alive(process: Started | None) -> bool:
    """Whether that very process still runs; a zombie does not, once all of its threads have
    ended: until then what it had open is open, a port that it listens on too."""
    if process is None:
        return False
    _reap(process.pid)
    stat = _stat(process.pid)
    if stat is None or int(stat[19]) != process.ticks:
        return False
    return stat[0] not in "ZX" or int(stat[17]) > 1


def stopped(pid: int) -> bool:
    """Whether it stands still by SIGSTOP."""
    stat = _stat(pid)
    return stat is not None and stat[0] == "T"


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether it does something of its own when that signal comes. A fork that has not become
    its own program yet does not: what it seems to catch is its parent's, and goes with the
    parent's words, which is why the words are read first."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        says = dict(line.split(":", 1) for line in lines)
        parent = Path(f"/proc/{int(says['PPid'])}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return words not in (b"", parent) and bool(int(says["SigCgt"], 16) >> (number - 1) & 1)


def send(process: Started, signal_: signal.Signals) -> bool:
    """Whether the process was there to get it."""
    if not alive(process):
        return False
    try:
        os.kill(process.pid, signal_)
    except ProcessLookupError:
        return False
    return True


def end(process: Started | None, patience_s: float = 5.0) -> None:
    """Ask it to end; after ``patience_s``, make it."""
    if process is None or not send(process, signal.SIGTERM):
        return
    try:
        wait_for(lambda: not alive(process), patience_s, f"process {process.pid} to end")
    except Unavailable:
        send(process, signal.SIGKILL)
        wait_for(lambda: not alive(process), 5, f"process {process.pid} to be gone")


def of_session(leader: Started | None) -> list[Started]:
    """What ``spawn`` started and all that it started in turn, wherever it was left behind."""
    if leader is None or (not alive(leader) and _stat(leader.pid) is not None):
        return []  # its pid is somebody else's by now
    found = []
    for folder in Path("/proc").iterdir():
        stat = _stat(int(folder.name)) if folder.name.isdigit() else None
        if stat is not None and int(stat[3]) == leader.pid and int(stat[19]) >= leader.ticks:
            found.append(Started(pid=int(folder.name), ticks=int(stat[19])))
    return found


def end_session(leader: Started | None, patience_s: float = 5.0) -> None:
    """End a process that ``spawn`` started, and after it whatever it has left."""
    members = of_session(leader)
    end(leader, patience_s)
    for process in {*members, *of_session(leader)}:
        end(process, 0)


def tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log; a remark when there is none."""
    if not log.exists():
        return f"({log.name}: nothing was written)"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 16_384))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])


def seconds(span: Ms) -> float:
    return round(span / SECOND, 3)


def _stat(pid: int) -> list[str] | None:
    """``/proc/PID/stat`` after the command's name: [0] state, [3] session, [17]
    threads, [19] start time."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def _reap(pid: int) -> None:
    """A child of ours that has ended stays a zombie until it is waited for."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
