# SPDX-License-Identifier: Apache-2.0

"""``opx doctor``: each thing that can be wrong is found, and its mend is named."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from opx.adapters.locks import FileLock
from opx.adapters.stores import tables
from opx.cli.commands import doctor

Opx = Callable[..., Any]


@pytest.fixture
def data(opx: Opx, tmp_path: Path, monkeypatch: Any) -> Path:
    """An empty data folder with a port of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        monkeypatch.setenv("OPX_PORT", str(free.getsockname()[1]))
    return tmp_path / "data"


def findings(opx: Opx) -> dict[str, str]:
    """What is wrong by the check that found it; the exit code says whether anything is."""
    result = opx("doctor", "--json")
    found = {one["check"]: f"{one['wrong']} / {one['mend']}" for one in result.json["findings"]}
    assert result.code == (1 if found else 0)
    return found


def test_nothing_wrong_is_zero(opx: Opx, data: Path) -> None:
    """A folder in order, a free port: all is well."""
    assert findings(opx) == {}
    assert "all is well" in opx("doctor").out


def test_a_folder_others_can_read(opx: Opx, data: Path) -> None:
    """An open folder and an open secret are told with the command that closes them."""
    secret = data / "admin.token"
    secret.write_text("x")
    secret.chmod(0o644)
    data.chmod(0o755)

    found = findings(opx)

    assert found["folder"].endswith(f"chmod 700 {data}")
    assert found["secrets"].endswith(f"chmod 600 {secret}")


def test_a_folder_that_is_not_there(opx: Opx, data: Path) -> None:
    """Before the first start, the mend is the first start."""
    data.rmdir()

    assert findings(opx)["folder"].endswith("opx up makes it")


def test_a_full_disk(opx: Opx, data: Path, monkeypatch: Any) -> None:
    """Too little room is told with how much there must be."""
    monkeypatch.setattr(doctor, "LEAST_FREE", 1 << 60)

    assert "make room" in findings(opx)["disk"]


def test_a_port_that_somebody_uses(opx: Opx, data: Path, monkeypatch: Any) -> None:
    """A port in other hands is found before opx stumbles over it."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setenv("OPX_PORT", str(other.getsockname()[1]))

        assert "cannot be used" in findings(opx)["port"]


def test_a_lock_left_behind(opx: Opx, data: Path) -> None:
    """A watcher that was killed has left its name, and is not mistaken for a running one."""
    (data / "opx.lock").write_text(json.dumps({"pid": 4_000_000}))

    assert "pid 4000000" in findings(opx)["lock"]


def test_a_dead_process(opx: Opx, data: Path) -> None:
    """Under a running watcher, a role without a process and a silent front are told."""
    lock = FileLock(data / "opx.lock")
    lock.acquire({"pid": os.getpid()})
    pids = {"front": os.getpid(), "hands": os.getpid(), "brain": 4_000_000}
    (data / "pids.json").write_text(json.dumps(pids))
    (data / "front.json").write_text(json.dumps({"url": "http://127.0.0.1:9"}))
    try:
        found = findings(opx)
    finally:
        lock.release()

    assert found["process"].startswith("brain does not run")
    assert "does not answer" in found["front"]


def test_a_running_opx_is_well(up: Opx, data: Path) -> None:
    """A lock that is held, three processes and a front that answers."""
    lock = FileLock(data / "opx.lock")
    lock.acquire({"pid": os.getpid()})
    me = os.getpid()
    (data / "pids.json").write_text(json.dumps({"front": me, "brain": me, "hands": me}))
    (data / "admin.token").chmod(0o600)
    try:
        assert findings(up) == {}
    finally:
        lock.release()


def test_a_database_that_is_none(opx: Opx, data: Path) -> None:
    """A damaged file, one of another version and a good one are told apart."""
    path = data / "opx.db"
    path.write_bytes(b"this is no database, and never was one" * 100)
    assert "restore" in findings(opx)["database"]
    path.unlink()
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
        database.execute("INSERT INTO alembic_version VALUES ('elsewhere')")
        database.commit()
        assert "its schema is elsewhere" in findings(opx)["database"]
        database.execute("UPDATE alembic_version SET version_num = ?", (tables.HEAD,))
        database.commit()
        assert findings(opx) == {}


def test_a_clock_that_went_back(opx: Opx, data: Path) -> None:
    """Files from the future mean that the clock was set back."""
    path = data / "opx.db-wal"
    path.touch()
    later = time.time() + 3_600
    os.utime(path, (later, later))

    assert "clock stands" in findings(opx)["clock"]
