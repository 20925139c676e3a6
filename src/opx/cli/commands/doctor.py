# SPDX-License-Identifier: Apache-2.0

"""``opx doctor``: looks at what opx stands on, and names the mend for what is wrong.

Needs no running opx; what it finds wrong it does not change.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import typer

from opx import settings as opx_settings
from opx.adapters import locks
from opx.cli import show
from opx.cli.client import FAILED
from opx.cli.show import AsJson, Data
from opx.settings import Settings

LEAST_FREE = 512 << 20
SECRET_FILES = ("admin.token", "supervisors.toml", "keys/sign.key", "keys/verify.key")
EARLIEST_CLOCK_S = 1_767_225_600
"""2026-01-01: a clock before it was never set."""


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    wrong: str
    mend: str


def doctor(as_json: AsJson = False, data: Data = None) -> None:
    """Look for what keeps opx from working well. Exits with 1 when there is something."""
    settings = opx_settings.load({"data": data})
    findings = [finding for check in CHECKS for finding in check(settings)]
    if as_json:
        show.as_json(
            {"findings": [{"check": f.check, "wrong": f.wrong, "mend": f.mend} for f in findings]}
        )
    else:
        for finding in findings:
            show.line(f"[bold red]{finding.check}[/] {show.plain(finding.wrong)}")
            show.line(f"  [green]mend:[/] {show.plain(finding.mend)}")
        if not findings:
            show.line(f"all is well in {show.plain(settings.data)}")
    if findings:
        raise typer.Exit(FAILED)


def _folder(settings: Settings) -> Iterator[Finding]:
    data = settings.data
    if not data.is_dir():
        yield Finding("folder", f"{data} is not there", "opx up makes it")
        return
    if data.stat().st_mode & 0o077:
        yield Finding("folder", f"others can look into {data}", f"chmod 700 {data}")
    if not os.access(data, os.W_OK):
        yield Finding("folder", f"{data} cannot be written", f"chown it to uid {os.geteuid()}")
    for name in SECRET_FILES:
        path = data / name
        if path.exists() and path.stat().st_mode & 0o077:
            yield Finding("secrets", f"others can read {path}", f"chmod 600 {path}")


def _disk(settings: Settings) -> Iterator[Finding]:
    place = next(path for path in (settings.data, *settings.data.parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free < LEAST_FREE:
        wrong = f"{free >> 20} MiB are free for {settings.data}"
        yield Finding("disk", wrong, f"make room: {LEAST_FREE >> 20} MiB at least")


def _port(settings: Settings) -> Iterator[Finding]:
    """Whether what this folder was last served on can be had, else what is configured."""
    host, port = settings.host, settings.port
    last = locks.said(settings.served)
    if isinstance(last.get("host"), str) and last.get("port") in range(1, 1 << 16):
        host, port = last["host"], last["port"]
    if port == 0 or locks.held(settings.lock):
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
        except OSError as error:
            wrong = f"port {port} cannot be used: {error.strerror}"
            yield Finding("port", wrong, "stop what uses it, or opx up --port N")


def _processes(settings: Settings) -> Iterator[Finding]:
    """Whether what the lock promises is there: watcher, three processes, an answering front."""
    said = locks.said(settings.lock)
    if not locks.held(settings.lock):
        if said:
            wrong = f"opx (pid {said.get('pid')}) ended without stopping"
            yield Finding("lock", wrong, "opx up: it starts over from what is on disk")
        return
    try:
        pids = json.loads(settings.pids.read_text())
    except (OSError, ValueError):
        pids = {}
    for role in ("front", "brain", "hands"):
        state = _state(pids.get(role, 0))
        if state in "ZX":
            yield Finding("process", f"{role} does not run", "see its last words in opx's output")
        elif state in "Tt":
            yield Finding("process", f"{role} is stopped", f"kill -CONT {pids[role]}")
    address = str(locks.said(settings.front_file).get("url", ""))
    try:
        httpx.get(f"{address}/health", timeout=5, trust_env=False).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        wrong = f"front does not answer at {address or 'any address'}: {error}"
        yield Finding("front", wrong, "wait a moment, or stop opx up and start it again")


def _state(pid: int) -> str:
    """The state of this process as the kernel names it; X when it is not there."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "X"
    return stat.rpartition(")")[2].split()[0]


def _inside(settings: Settings) -> Iterator[Finding]:
    """What can be read in the folder, and what brain says."""
    # Loaded here: no other command should wait for everything that reads a database.
    for check in importlib.import_module("opx.cli.checks").CHECKS:
        yield from check(settings)


def _clock(settings: Settings) -> Iterator[Finding]:
    now = time.time()
    if now < EARLIEST_CLOCK_S:
        yield Finding("clock", "the clock was never set", "set it, best by NTP")
    newest = max(
        (path.stat().st_mtime for path in settings.data.glob("*") if path.is_file()), default=0.0
    )
    if newest > now + 60:
        wrong = f"the clock stands {newest - now:.0f} s before opx's newest file"
        yield Finding("clock", wrong, "set it, best by NTP, before opx goes on")


CHECKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    _folder,
    _disk,
    _port,
    _processes,
    _inside,
    _clock,
)
