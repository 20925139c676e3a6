# SPDX-License-Identifier: Apache-2.0

"""What the end-to-end tests share: opx as real processes, and other people's programs.

A test starts its own opx on a free loopback port, knows every process of it by its session,
and ends those and no others. Every wait has a bound and says what was awaited.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from opx.errors import OpxError
from opx.playground import processes
from opx.playground.layout import Started

T = TypeVar("T")

ROLES = ("front", "brain", "hands")
READY_S = 90.0
SOON_S = 30.0
"""For what takes opx a second or two when the machine has nothing else to do."""
REQUIRE = "OPX_REQUIRE_PEERS"


def needs(binary: str) -> str:
    """A program of somebody else's; asked for once, where a module of tests begins. Without it
    the module is passed over; where ``OPX_REQUIRE_PEERS=1`` promises it, starting it fails."""
    path = shutil.which(binary)
    if path is None and os.environ.get(REQUIRE) != "1":
        pytest.skip(f"{binary} is not installed", allow_module_level=True)
    return path or binary


def until(condition: Callable[[], T], what: str, within_s: float = SOON_S) -> T:
    """The first true value of ``condition``; an error that names ``what`` when time is up."""
    return processes.wait_for(condition, within_s, what)


class Opx:
    """An ``opx up`` of the test's own. ``http`` has the administrator's token."""

    def __init__(self, data: Path, log: Path, **environment: str) -> None:
        self.data, self.log, self.environment = data, log, environment
        self.port = processes.free_ports(1)[0]
        self.address = f"http://127.0.0.1:{self.port}"
        self._clients = ExitStack()
        self.start()

    def start(self) -> None:
        """Start it, again perhaps, and wait until all three processes are at work."""
        command = [sys.executable, "-m", "opx", "up", "--data", str(self.data)]
        with self.log.open("a") as log:
            self._begun = log.tell()
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port)],
                stdin=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **self.environment},
            )
        self.leader = processes.identify(self.process.pid)
        try:
            until(lambda: "log in (once" in self._running().said(), "opx to be up", READY_S)
            self.http = self.client(self.data.joinpath("admin.token").read_text().strip())
            until(self.complete, "all three processes", READY_S)
        except OpxError as error:
            self.end()
            raise AssertionError(f"{error}\n{processes.tail(self.log, 40)}") from error

    def said(self) -> str:
        """What it has printed since it was started last."""
        return self.log.read_text()[self._begun :]

    def complete(self) -> bool:
        """Whether it answers and says that each of its processes is alive."""
        try:
            alive = self.get("/status")["processes"]
        except (httpx.TransportError, httpx.HTTPStatusError):
            return False
        return bool(alive == dict.fromkeys(ROLES, "alive"))

    def process_of(self, role: str) -> Started:
        return processes.identify(self.pids()[role])

    def pids(self) -> dict[str, int]:
        found: dict[str, int] = json.loads((self.data / "pids.json").read_text())
        return found

    def members(self) -> list[Started]:
        """Every process of it: the watcher and all that came of it."""
        return processes.of_session(self.leader)

    def interrupt(self) -> int:
        """Ctrl-C, as a terminal sends it: to the whole group. Its exit code."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(SOON_S)

    def end(self) -> None:
        """Stop it, and end whatever is left of it."""
        self._clients.close()
        self.process.poll()  # before anybody else asks how it ended
        members = self.members()
        self.process.terminate()
        try:
            self.process.wait(SOON_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for left in members:
            processes.end(left, 0)

    # ------------------------------------------------------------ as its users

    def client(self, token: str = "") -> httpx.Client:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return self._clients.enter_context(
            httpx.Client(base_url=self.address, headers=headers, timeout=30, trust_env=False)
        )

    def member(self, name: str, *roles: str, services: tuple[str, ...] = ()) -> httpx.Client:
        """A client with a new token of these roles."""
        return self.client(self.token(name, *roles, services=services))

    def token(self, name: str, *roles: str, services: tuple[str, ...] = ()) -> str:
        wanted = {"name": name, "roles": roles, "services": services}
        return str(self.post("/tokens", wanted)["token"])

    def get(self, path: str, **params: Any) -> Any:
        return self.http.get(f"/api/v1{path}", params=params).raise_for_status().json()

    def post(self, path: str, body: object) -> Any:
        return self.http.post(f"/api/v1{path}", json=body).raise_for_status().json()

    def apply(self, text: str) -> None:
        headers = {"Content-Type": "application/yaml"}
        answer = self.http.post("/api/v1/documents", content=text, headers=headers)
        assert answer.status_code == 200, answer.text

    def incidents(self, *services: str) -> list[dict[str, Any]]:
        """The newest incidents, of these services or of any."""
        found = self.get("/incidents", limit=200)["items"]
        return [one for one in found if not services or one["group"]["service"] in services]

    def journal(self, *kinds: str, subject: str = "", after: int = 0) -> list[dict[str, Any]]:
        """Entries of these kinds, or of any, oldest first."""
        pages = self._pages(subject, after)
        return [entry for page in pages for entry in page if not kinds or entry["kind"] in kinds]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """``opx ARGUMENTS`` on this data folder and this port, as a process."""
        return command(*arguments, "--data", str(self.data), OPX_PORT=str(self.port))

    def _pages(self, subject: str, after: int) -> Iterator[list[dict[str, Any]]]:
        place: int | None = after
        while place is not None:
            found = self.get("/journal", subject=subject, after=place, limit=1_000)
            yield found["items"]
            place = found["next"]

    def _running(self) -> Opx:
        if self.process.poll() is not None:
            raise OpxError(f"opx up ended with {self.process.returncode}")
        return self


@contextmanager
def running(folder: Path, **environment: str) -> Iterator[Opx]:
    """An opx with a fresh data folder in ``folder``, until the block ends."""
    opx = Opx(folder / "data", folder / "opx.log", **environment)
    try:
        yield opx
    finally:
        opx.end()


def command(
    *arguments: str, within_s: float = 60.0, **environment: str
) -> subprocess.CompletedProcess[str]:
    """``opx ARGUMENTS`` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "opx", *arguments],
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
        env={**os.environ, **environment},
    )


@contextmanager
def program(arguments: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another program as a process, ended with the block."""
    with log.open("ab") as file, subprocess.Popen(arguments, stdout=file, stderr=file) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
