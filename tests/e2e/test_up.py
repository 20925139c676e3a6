# SPDX-License-Identifier: Apache-2.0

"""``opx up`` as its administrator has it: three processes, watched over, and one folder."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.e2e.support import ROLES, Opx, command, running, until

from opx.playground import processes


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opx]:
    with running(tmp_path_factory.mktemp("up")) as opx:
        yield opx


@pytest.fixture
def up(installed: Opx) -> Opx:
    """All of it runs, whatever the test before did to it."""
    if installed.process.poll() is not None:
        installed.start()
    until(installed.complete, "all three processes")
    return installed


def findings(opx: Opx) -> dict[str, dict[str, str]]:
    """What ``opx doctor`` finds, by check; its exit code says whether there is anything."""
    done = opx.run("doctor", "--json")
    found = {one["check"]: one for one in json.loads(done.stdout)["findings"]}
    assert done.returncode == (1 if found else 0), done.stderr
    return found


def modes(folder: Path) -> dict[str, int]:
    """The permissions of everything in it that is there long enough to be looked at."""
    found = {}
    for path in folder.rglob("*"):
        try:
            found[str(path.relative_to(folder))] = path.lstat().st_mode & 0o777
        except FileNotFoundError:
            continue
    return found


def test_everything_in_the_data_folder_is_for_its_owner_only(up: Opx) -> None:
    """The folder is 0700, and so is each in it; files are 0600, whoever made them."""
    assert up.data.stat().st_mode & 0o777 == 0o700
    found = modes(up.data)
    assert {"opx.db", "admin.token", "keys/sign.key", "wal", "front.json"} <= found.keys()
    strange = {
        name: oct(mode)
        for name, mode in found.items()
        if mode != (0o700 if (up.data / name).is_dir() else 0o600)
    }
    assert strange == {}


def test_the_way_in_is_printed_and_opens_once(up: Opx) -> None:
    """Up prints its address and a login link. The link opens one session and no second."""
    assert f"opx is up: {up.address}\n" in up.said()
    (link,) = re.findall(rf"{up.address}(/login\?code=\S+)", up.said())
    browser = up.client()
    assert browser.get("/").status_code == 401

    opened = browser.get(link)
    assert (opened.status_code, opened.headers["location"]) == (303, "/")
    cookie = opened.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "Automation is" in browser.get("/").raise_for_status().text
    assert up.client().get(link).status_code == 401
    assert up.client(link.partition("=")[2]).get("/api/v1/status").status_code == 401


def test_a_second_one_is_told_who_holds_the_folder(up: Opx) -> None:
    """Another ``opx up`` on the same folder ends with 1 and names the first, which goes on."""
    second = command("up", "--data", str(up.data), "--port", "0")
    assert second.returncode == 1
    assert f"opx is running here already: pid {up.process.pid}, since " in second.stderr
    assert second.stderr.rstrip().endswith(up.address)
    assert up.complete()


@pytest.mark.parametrize("role", ROLES)
def test_whichever_process_is_killed_comes_back(up: Opx, role: str) -> None:
    """The watcher starts the killed one again and leaves the others alone, and an alert that
    is sent then becomes an incident."""
    before = up.pids()
    processes.send(up.process_of(role), signal.SIGKILL)
    until(lambda: up.pids().get(role, before[role]) != before[role], f"another {role}")
    until(up.complete, "all three processes")
    assert {name for name, pid in up.pids().items() if pid != before[name]} == {role}

    service = f"after-{role}"
    alert = {"labels": {"alertname": "Broken", "service": service}}
    assert up.http.post("/api/v2/alerts", json=[alert]).status_code == 200
    until(lambda: len(up.incidents(service)) == 1, "an incident")


def test_the_doctor_names_a_mend_that_mends(up: Opx) -> None:
    """What the doctor says about permissions is a command, and after it all is well."""
    up.data.chmod(0o750)
    (up.data / "keys" / "sign.key").chmod(0o640)
    found = findings(up)
    assert found.keys() == {"folder", "secrets"}
    for one in found.values():
        subprocess.run(one["mend"].split(), check=True)
    assert findings(up) == {}
    assert up.data.stat().st_mode & 0o777 == 0o700


def test_the_doctor_sees_a_process_that_is_dead(up: Opx) -> None:
    """While the watcher itself hangs a dead process stays dead, and the doctor names it; once
    the watcher goes on, so does everything."""
    hands = up.process_of("hands")
    up.process.send_signal(signal.SIGSTOP)
    try:
        processes.send(hands, signal.SIGKILL)
        until(lambda: not processes.alive(hands), "hands to be dead")
        found = findings(up)
    finally:
        up.process.send_signal(signal.SIGCONT)
    assert found.keys() == {"process"}
    assert found["process"]["wrong"] == "hands does not run"
    assert found["process"]["mend"]
    until(lambda: findings(up) == {}, "all to be well")


def test_a_brain_that_hangs_is_found_and_replaced(up: Opx) -> None:
    """A stopped brain: the doctor names it, health is degraded and telemetry is still taken;
    within a minute the watcher has replaced it, and the metrics count the restart."""
    before = up.pids()["brain"]
    processes.send(up.process_of("brain"), signal.SIGSTOP)
    assert findings(up).keys() == {"process", "brain"}
    health = up.http.get("/health")
    assert (health.status_code, health.json()["status"]) == (200, "degraded")
    point = {"metric": "up", "value": 1, "labels": {"service": "orders"}}
    assert up.http.post("/metrics", json=point).is_success

    until(lambda: up.pids().get("brain", before) != before, "another brain", 60)
    until(up.complete, "all three processes")
    assert f"brain (pid {before}) hangs" in up.said()
    shown = up.http.get("/metrics").text
    assert 'opx_process_restarts_total{role="brain"}' in shown
    assert 'opx_process_up{role="brain"} 1.0' in shown
    for family in re.findall(r"^(opx_\w+)", shown, re.MULTILINE):
        assert f"# HELP {family} " in shown
        assert f"# TYPE {family} " in shown
    until(lambda: findings(up) == {}, "all to be well")


def test_nothing_outlives_a_watcher_that_is_killed(up: Opx) -> None:
    """SIGKILL leaves the watcher no time to stop anything, and yet nothing runs on. The doctor
    says how to go on, and what was there before is there again."""
    known = _journal(up)
    members = up.members()
    assert len(members) >= 1 + len(ROLES)
    up.process.kill()
    up.process.wait()
    until(lambda: not any(map(processes.alive, members)), "every process to be gone")
    with pytest.raises(httpx.ConnectError):
        up.client().get("/health")

    found = findings(up)
    assert found.keys() == {"lock"}
    assert found["lock"]["mend"].startswith("opx up")
    up.start()
    assert _journal(up)[: len(known)] == known


def _journal(opx: Opx) -> list[tuple[Any, ...]]:
    return [(entry["seq"], entry["at"], entry["kind"]) for entry in opx.journal()]


def test_ctrl_c_ends_it_all(up: Opx) -> None:
    """Ctrl-C is the way to stop it: exit code 0, no process left, nothing to complain about."""
    members = up.members()
    assert up.interrupt() == 0
    assert not any(map(processes.alive, members))
    assert not os.path.lexists(up.data / "pids.json")
    assert not os.path.lexists(up.data / "front.json")
    assert findings(up) == {}
    assert "Traceback" not in up.log.read_text()
