# SPDX-License-Identifier: Apache-2.0

"""A real supervisord with tiny programs, for every test that acts on processes or probes them."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import ssl
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# Where bytecode is not kept, each process of the tests, and of each opx that they start, compiles
# all that it loads anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Each HTTP client, and each request of the command, loads all authorities of the web before it
# speaks to a loopback port: they are loaded once.
ssl.create_default_context = functools.cache(ssl.create_default_context)

# How long an example takes is for the machine to say, which others use too. Every run draws
# others, so that half as many as usual find the same in twice as many runs.
hypothesis.settings.register_profile(
    "opx",
    deadline=None,
    max_examples=50,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("opx")

LONGEST_FIRST = (
    "e2e/test_demo.py",
    "e2e/",
    "scenarios/",
    "core/laws/",
    "adapters/stores/",
    "core/detect/",
)
"""The demo waits for minutes, and all that runs end to end mostly waits: begun first, the others
run meanwhile. Small files come last, so that no worker is left alone with a long one."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def turn(item: pytest.Item) -> int:
        return next((n for n, part in enumerate(LONGEST_FIRST) if part in item.nodeid), 9)

    items.sort(key=turn)


PROGRAM = """\
import os, pathlib, signal, sys, time
name, folder = sys.argv[1:]
if name == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
with pathlib.Path(folder, name + ".starts").open("a") as file:
    file.write(f"{os.getpid()}\\n")
if name == "broken":
    sys.exit(3)
while True:
    time.sleep(60)
"""

DAEMON = """\
[supervisord]
nodaemon=true
silent=true
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
childlogdir={folder}
[inet_http_server]
port=127.0.0.1:{port}
username=opx
password=s3cret
[unix_http_server]
file={folder}/s.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""

# A stop may take 30 s by this: whoever must not wait so long has to use force.
SECTION = """
[program:{name}]
command={python} -S {folder}/program.py {name} {folder}
autostart={autostart}
autorestart=false
startsecs={startsecs}
startretries={retries}
stopwaitsecs=30
"""


RUNNING = {"web": True, "stubborn": True, "idle": False, "broken": False}
"""The programs, and whether they run at first. ``stubborn`` ignores SIGTERM; ``broken`` ends
at once, and supervisord tries it again and again."""


@dataclass(frozen=True)
class Daemon:
    """A running supervisord: at ``url`` with the login in the file ``logins``, and on a Unix
    socket without one, which is how ``target`` names its programs."""

    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def logins(self) -> Path:
        return self.folder / "supervisors.toml"

    def target(self, program: str) -> str:
        return f"unix://{self.folder}/s.sock#{program}"

    def starts(self, program: str) -> int:
        """How often it was started, as it counts itself; the one that runs now is counted."""
        pid = str(self.pid(program))
        wait_for(lambda: pid == "0" or pid in self._started(program))
        return len(self._started(program))

    def pid(self, program: str) -> int:
        return int(self.call("getProcessInfo", program)["pid"])

    def state(self, program: str) -> str:
        return str(self.call("getProcessInfo", program)["statename"])

    def call(self, method: str, *arguments: Any) -> Any:
        with xmlrpc.client.ServerProxy(f"http://opx:s3cret@127.0.0.1:{self.port}/RPC2") as server:
            return getattr(server.supervisor, method)(*arguments)

    def answers(self) -> bool:
        with contextlib.suppress(OSError):
            return bool(self.call("getState")["statename"] == "RUNNING")
        return False

    def tidy(self) -> None:
        """As it was at first: ``web`` and ``stubborn`` run, the others do not."""
        for name, running in RUNNING.items():
            if running and not self.pid(name):
                self.call("startProcess", name)
            elif not running and self.state(name) not in ("STOPPED", "EXITED", "FATAL"):
                self.call("stopProcess", name)

    def _started(self, program: str) -> list[str]:
        file = self.folder / f"{program}.starts"
        return file.read_text().split() if file.exists() else []


def wait_for(condition: Any, within_s: float = 10.0) -> None:
    """Until it holds; an error when it does not come to."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.01)


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("supervisord")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "program.py").write_text(PROGRAM)
    text = DAEMON.format(folder=folder, port=port)
    for name, running in RUNNING.items():
        text += SECTION.format(
            name=name,
            folder=folder,
            python=sys.executable,
            autostart=str(running).lower(),
            startsecs=60 * int(name == "broken"),
            retries=5 * int(name == "broken"),
        )
    config = folder / "supervisord.conf"
    config.write_text(text)
    command = [sys.executable, "-W", "ignore", "-m", "supervisor.supervisord", "-c", str(config)]
    daemon = Daemon(folder, port)
    daemon.logins.touch(0o600)
    daemon.logins.write_text(f'["{daemon.url}/"]\nuser = "opx"\npassword = "s3cret"\n')
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            wait_for(daemon.answers)
            yield daemon
        finally:
            with contextlib.suppress(OSError):
                daemon.call("signalAllProcesses", "KILL")
            process.terminate()


@pytest.fixture
def supervisord(daemon: Daemon) -> Daemon:
    daemon.tidy()
    return daemon
