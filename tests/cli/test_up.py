# SPDX-License-Identifier: Apache-2.0

"""The watcher of ``opx up``, with small children in place of the three roles."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from opx import app
from opx.cli import up
from opx.cli.up import Child, Watcher
from opx.settings import Settings

CHILD = """\
import http.server, json, os, pathlib, signal, sys, threading, time
from opx.cli import up
from opx.settings import publish
data, arguments = pathlib.Path(sys.argv[1]), sys.argv[2:]
if "--prepare" in arguments:
    if (data / "broken").exists():
        sys.exit("it is broken")
    if (data / "slow").exists():
        (data / ".pid").write_text(str(os.getpid()))
        (data / ".pid").replace(data / "preparing")
        time.sleep(60)
    print("one-time-code")
    sys.exit(0)
up._die_with(int(arguments[arguments.index("--watcher") + 1]))
role = arguments[arguments.index("--role") + 1]
beat = int(arguments[arguments.index("--beat") + 1])
threading.Thread(target=lambda: [(os.write(beat, b"."), time.sleep(0.1)) for _ in iter(int, 1)],
    daemon=True).start()
if role == "brain" and (data / "stubborn").exists():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if role == "front":
    class Health(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
        def log_message(self, *what): pass
    server = http.server.HTTPServer(("127.0.0.1", 0), Health)
    url = f"http://127.0.0.1:{server.server_port}"
    publish(data / "front.json", {"url": url})
    server.serve_forever()
while True:
    time.sleep(60)
"""
WATCHER = """\
import pathlib, sys
from opx.cli import up
from opx.settings import Settings
up.STOP_WITHIN_S = 1.0
up.LISTEN_EVERY_S, up.SILENT_S, up.HELD_UP_S, up.START_WITHIN_S = 0.1, 2.0, 1.0, 9.0
if (pathlib.Path(sys.argv[1]) / "patient").exists():
    up.LISTEN_EVERY_S = 3_600.0
class Small(up.Watcher):
    def _command(self, *more):
        return [sys.executable, sys.argv[2], str(self.settings.data), *more]
sys.exit(Small(settings=Settings(data=pathlib.Path(sys.argv[1]), port=0)).run())
"""


def wait_for(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether it runs; one that has ended and was not waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


class Running:
    """A watcher in a process of its own, and its data folder."""

    def __init__(self, folder: Path) -> None:
        (folder / "child.py").write_text(CHILD)
        (folder / "watcher.py").write_text(WATCHER)
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "log"
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            command = [str(self.folder / "watcher.py"), str(self.data)]
            child = str(self.folder / "child.py")
            return subprocess.Popen([sys.executable, *command, child], stderr=log)

    def pids(self) -> dict[str, int]:
        with contextlib.suppress(OSError):
            return dict(json.loads((self.data / "pids.json").read_text()))
        return {}

    def ready(self) -> dict[str, int]:
        wait_for(lambda: "log in" in self.log.read_text())
        return self.pids()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path)
    yield made
    made.process.kill()
    made.process.wait()


def test_it_starts_three_and_says_where(running: Running) -> None:
    """Three children, the address and the way in; the folder is its owner's alone; the
    watcher itself stays small."""
    pids = running.ready()

    assert set(pids) == {"watcher", "front", "brain", "hands"}
    assert all(alive(pid) for pid in pids.values())
    url = json.loads((running.data / "front.json").read_text())["url"]
    told = running.log.read_text()
    assert f"opx is up: {url}" in told
    assert f"{url}/login?code=one-time-code" in told
    assert running.data.stat().st_mode & 0o777 == 0o700
    status = Path(f"/proc/{pids['watcher']}/status").read_text()
    resident = int(status.split("VmRSS:")[1].split()[0])
    assert resident < 30 * 1024


def test_a_second_one_is_told_who_is_there(running: Running) -> None:
    """One watcher a data folder: the second ends with 1 and names pid and address."""
    pids = running.ready()
    url = json.loads((running.data / "front.json").read_text())["url"]

    second = running.start()

    assert second.wait(20) == 1
    told = running.log.read_text()
    assert f"running here already: pid {pids['watcher']}, since" in told
    assert told.rstrip().endswith(url)
    assert all(alive(pid) for pid in pids.values())


def test_one_that_dies_is_started_again(running: Running) -> None:
    """A killed child comes back with another pid; the others go on as they were."""
    before = running.ready()
    os.kill(before["hands"], signal.SIGKILL)

    wait_for(lambda: running.pids().get("hands", before["hands"]) != before["hands"])

    after = running.pids()
    assert alive(after["hands"])
    assert {name: after[name] for name in ("front", "brain")} == {
        name: before[name] for name in ("front", "brain")
    }
    assert "hands ended with -9" in running.log.read_text()


def test_it_rests_until_something_happens(tmp_path: Path) -> None:
    """With an hour between two looks, one that dies is started again all the same, more than
    once, and who stops it does not wait for the next look."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "patient").touch()
    running = Running(tmp_path)
    pids = running.ready()
    for role in ("hands", "brain"):
        os.kill(pids[role], signal.SIGKILL)
        wait_for(lambda role=role: running.pids().get(role, pids[role]) != pids[role])  # type: ignore[misc]
    running.process.terminate()

    assert running.process.wait(20) == 0
    assert running.pids() == {}


def test_one_that_hangs_is_killed_and_started_again(running: Running) -> None:
    """A child that is stopped makes no heartbeat: the watcher says so, kills it and starts
    another, and the restart is counted."""
    before = running.ready()
    os.kill(before["brain"], signal.SIGSTOP)

    wait_for(lambda: running.pids().get("brain", before["brain"]) != before["brain"])

    assert not alive(before["brain"])
    assert f"brain (pid {before['brain']}) hangs" in running.log.read_text()
    restarts = json.loads((running.data / "restarts.json").read_text())
    assert restarts == {"front": 0, "brain": 1, "hands": 0}


def test_a_watcher_that_was_stopped_kills_nobody(running: Running) -> None:
    """However long it and everybody else stood still, all go on as they were."""
    before = running.ready()
    everybody = list(before.values())
    for pid in everybody:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(3.0)
    os.kill(before["watcher"], signal.SIGCONT)
    for pid in everybody:
        os.kill(pid, signal.SIGCONT)
    listened = (running.data / "pids.json").stat().st_mtime_ns
    (running.data / "pids.json").unlink()  # written again by a watcher that goes on

    wait_for(lambda: (running.data / "pids.json").exists())

    assert (running.data / "pids.json").stat().st_mtime_ns > listened
    assert running.pids() == before
    assert "hangs" not in running.log.read_text()


def test_what_waits_in_the_pipe_is_heard_before_anybody_is_judged(tmp_path: Path) -> None:
    """A beat that came in time counts, however late it is listened to; silence after it does
    not, and a start has a grace of its own."""
    watcher = Watcher(settings=Settings(data=tmp_path))
    with subprocess.Popen(["sleep", "60"]) as process:
        child = watcher.children[1]
        child.process = process
        child.heart, beat = os.pipe()
        os.set_blocking(child.heart, False)
        child.silent_at = 120.0
        for now in (1.0, 2.0, 119.0, 120.0):
            watcher._listen(now)
        assert process.poll() is None
        os.write(beat, b".")
        watcher._listen(121.0)  # late for the last, but it beats
        watcher._listen(122.0)
        assert (process.poll(), child.silent_at) == (None, 141.0)
        for now in range(123, 143):
            watcher._listen(float(now))
        assert process.wait(20) == -signal.SIGKILL
        child.ended()
        os.close(beat)


def test_ctrl_c_while_the_folder_is_made_ready(tmp_path: Path) -> None:
    """It ends at once, says nothing of a failure and leaves nothing running."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "slow").touch()
    running = Running(tmp_path)
    wait_for(lambda: (tmp_path / "data" / "preparing").exists())
    preparing = int((tmp_path / "data" / "preparing").read_text())

    running.process.send_signal(signal.SIGINT)

    assert running.process.wait(20) == 0
    assert not alive(preparing)
    assert running.log.read_text() == ""


def test_two_that_race_for_a_folder(tmp_path: Path) -> None:
    """One of them gets it; the other says so in one line and ends with 1."""
    running = Running(tmp_path)
    second = running.start()

    wait_for(lambda: running.process.poll() is not None or second.poll() is not None)

    loser, winner = (second, running.process) if second.poll() else (running.process, second)
    assert loser.poll() == 1
    assert "running here already" in running.log.read_text()
    winner.terminate()
    assert winner.wait(20) == 0


def up_for_real(data: Path, *flags: str, **limits: int) -> subprocess.CompletedProcess[str]:
    """``opx up`` to its end; ``file``: how large a file may become."""

    def limit() -> None:
        if "file" in limits:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limits["file"], limits["file"]))

    command = [sys.executable, "-m", "opx", "up", "--data", str(data), *flags]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, preexec_fn=limit, check=False
    )


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    """Nothing is started, nothing is tried for ever: the reason, the mend, and 1."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        done = up_for_real(tmp_path / "data", "--port", str(other.getsockname()[1]))

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "cannot be had: Address already in use" in done.stderr
    assert "--port N" in done.stderr


@pytest.mark.parametrize("proxy", [[], ["--behind-proxy"]], ids=["alone", "behind a proxy"])
def test_a_host_that_does_not_resolve_is_one_line(tmp_path: Path, proxy: list[str]) -> None:
    """With its name, whether or not opx may be reached from elsewhere."""
    done = up_for_real(tmp_path / "data", "--host", "nosuchhost.invalid", *proxy)

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "the host 'nosuchhost.invalid' does not resolve: " in done.stderr


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """The kernel's own folders let nobody in, not even root."""
    done = up_for_real(Path("/sys/opx"), "--port", "0")

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "/sys/opx" in done.stderr


@pytest.mark.parametrize("name", ["sign.key", "verify.key"])
def test_a_key_that_others_can_read_starts_nothing(tmp_path: Path, name: str) -> None:
    """Neither brain nor hands could work with it: the reason, the mend, and 1; no process is
    started, and no way in is printed."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    app.prepare(Settings(data=data))
    path = data / "keys" / name
    path.chmod(0o644)

    done = up_for_real(data, "--port", "0")

    assert done.returncode == 1
    assert f"{path} is open to other users (mode 0644) (chmod 600 {path})" in done.stderr
    assert "opx is up" not in done.stderr
    assert not (data / "brain.lock").exists()


@pytest.mark.parametrize("room", [0, 40_000])
def test_a_full_disk_at_start_is_told_without_a_traceback(tmp_path: Path, room: int) -> None:
    """No room at all, or too little for the database: the reason, and 1."""
    done = up_for_real(tmp_path / "data", "--port", "0", file=room)

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "opx up:" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_whole(running: Running, number: signal.Signals) -> None:
    """Told to stop, it ends every child and takes its traces away; the folder can be used again."""
    pids = running.ready()

    running.process.send_signal(number)

    assert running.process.wait(20) == 0
    assert not any(alive(pid) for pid in pids.values())
    assert not (running.data / "pids.json").exists()
    assert not (running.data / "front.json").exists()
    assert (running.data / "opx.lock").read_text() == ""


def test_no_child_outlives_it(running: Running) -> None:
    """Killed outright, it takes every child along."""
    pids = running.ready()

    running.process.kill()
    running.process.wait()

    wait_for(lambda: not any(alive(pid) for pid in pids.values()))


def test_a_child_that_will_not_stop_is_killed(tmp_path: Path) -> None:
    """After the time it was given, a stubborn child is ended without being asked."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "stubborn").touch()
    running = Running(tmp_path)
    pids = running.ready()

    running.process.terminate()

    assert running.process.wait(20) == 0
    assert not alive(pids["brain"])


def test_without_a_ready_folder_nothing_starts(tmp_path: Path) -> None:
    """When preparing fails it ends with an error and has started no role."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "broken").touch()
    running = Running(tmp_path)

    assert running.process.wait(20) != 0
    assert "could not be made ready" in running.log.read_text()
    assert running.pids() == {}


def test_the_back_off_doubles_to_ten_seconds_and_starts_anew(tmp_path: Path) -> None:
    """0.1 s doubling to 10 s; a child that lived for half a minute begins at 0.1 s again."""
    watcher = Watcher(settings=Settings(data=tmp_path))
    child = Child("brain")
    waits = []
    for _ in range(9):
        child.heart = os.open(os.devnull, os.O_RDONLY)
        watcher._died(child, 1, now=0.0)
        waits.append(child.due)

    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    child.started = 100.0
    child.heart = os.open(os.devnull, os.O_RDONLY)
    watcher._died(child, 1, now=129.9)
    assert child.due == pytest.approx(139.9)
    child.heart = os.open(os.devnull, os.O_RDONLY)
    watcher._died(child, 1, now=130.0)
    assert child.due == pytest.approx(130.1)


@pytest.mark.parametrize("flags", [["--host", "0.0.0.0"], ["--port", "70000"]])
def test_settings_that_are_refused_start_nothing(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """1 and the reason; another interface without ``--behind-proxy`` is one of them."""
    assert up.run(["up", "--data", str(tmp_path / "data"), *flags]) == 1
    assert not (tmp_path / "data").exists()
    assert "opx up:" in capsys.readouterr().err
