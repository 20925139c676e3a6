# SPDX-License-Identifier: Apache-2.0

"""``opx doctor``: each thing that can be wrong is found, and its mend is named."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from opx import app, settings
from opx.adapters.anchors import AnchorFile
from opx.adapters.keys import KeyPair
from opx.adapters.link import BrainServer
from opx.adapters.locks import FileLock
from opx.adapters.stores import sqlite
from opx.adapters.stores.sql import SqlStore
from opx.adapters.system import SystemClock
from opx.app import documents
from opx.cli.commands import doctor
from opx.core.ingest import checks
from opx.core.ingest.checks import Reason, Refusal
from opx.core.ingest.signals import Severity
from opx.core.notify.notice import Delivery, DeliveryStatus, Edge, Notice
from opx.engine import documents as kept
from opx.engine.beats.health import BrainState, LoopState
from opx.engine.beats.sealing import Sealer
from opx.errors import Unavailable

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


def test_a_plain_install_is_well(opx: Opx, data: Path, monkeypatch: Any) -> None:
    """supervisord is for the demo and the playground alone: without it nothing is wrong."""
    monkeypatch.setitem(sys.modules, "supervisor", None)  # as where it is not installed

    assert findings(opx) == {}


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


def test_the_port_it_was_last_served_on_is_the_one_that_counts(
    opx: Opx, data: Path, monkeypatch: Any
) -> None:
    """Whatever is configured: it is where its users look for it. Of any free port there is none to
    look at but what is configured."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        app.prepare(settings.load({"port": taken}))
        assert findings(opx)["port"].startswith(f"port {taken} cannot be used")

        app.prepare(settings.load({"port": 0}))
        assert findings(opx) == {}
        monkeypatch.setenv("OPX_PORT", str(taken))
        assert findings(opx)["port"].startswith(f"port {taken} cannot be used")

        monkeypatch.delenv("OPX_PORT")
        with socket.create_server(("127.0.0.1", 0)) as free:
            app.prepare(settings.load({"port": free.getsockname()[1]}))
        monkeypatch.setenv("OPX_PORT", str(taken))
        assert findings(opx) == {}


@pytest.mark.parametrize("said", ['{"port": 8080}', '{"host": 1, "port": "x"}', "[]", "{"])
def test_a_spoilt_word_of_the_last_port_is_passed_over(
    opx: Opx, data: Path, monkeypatch: Any, said: str
) -> None:
    """What is configured counts then."""
    settings.load({}).served.write_text(said)
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
    """A file that is none, and one of tables that are not opx's, are not taken for empty."""
    path = data / "opx.db"
    path.write_bytes(b"this is no database, and never was one" * 100)
    assert "restore" in findings(opx)["database"]
    path.unlink()
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE theirs (id TEXT)")
    assert "does not say of which version" in findings(opx)["database"]


@pytest.fixture
def prepared(opx: Opx, data: Path) -> Path:
    """A data folder as ``opx up`` makes it ready; nothing runs."""
    app.prepare(settings.load({}))
    assert findings(opx) == {}
    return data


def test_a_schema_of_another_version(opx: Opx, prepared: Path) -> None:
    """Older than what is installed, so processes that run are too: start it again."""
    with closing(sqlite3.connect(prepared / "opx.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = 'elsewhere'")
        database.commit()

    assert "its schema is elsewhere" in findings(opx)["database"]


def test_a_database_that_is_locked_is_not_an_empty_one(
    opx: Opx, prepared: Path, monkeypatch: Any
) -> None:
    """While somebody holds it whole it is neither migrated nor called damaged."""
    url = f"sqlite:///{prepared / 'opx.db'}"
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: real(*a, **{**k, "timeout": 0.1}))
    with closing(real(prepared / "opx.db")) as database:
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Unavailable):
            sqlite.schema_state(url)
        assert "end the program" in findings(opx)["database"]


def test_a_damaged_database(opx: Opx, prepared: Path) -> None:
    """A page in the middle that was overwritten is found, and the mend is a backup."""
    path = prepared / "opx.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = database.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'tokens'"
        ).fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)

    assert "backup" in findings(opx)["database"]


@pytest.mark.parametrize("name", ["sign.key", "verify.key"])
def test_a_key_that_is_gone_or_no_key(opx: Opx, prepared: Path, name: str) -> None:
    """Either key, missing or damaged, is named."""
    path = prepared / "keys" / name
    path.write_text("no key")
    assert f"{name} is not a key" in findings(opx)["keys"]
    path.unlink()
    assert f"there is no key at {path}" in findings(opx)["keys"]


def test_keys_that_do_not_fit(opx: Opx, prepared: Path, tmp_path: Path) -> None:
    """Two good keys of two pairs."""
    KeyPair.create(tmp_path / "other")
    (tmp_path / "other" / "verify.key").replace(prepared / "keys" / "verify.key")

    assert "do not belong together" in findings(opx)["keys"]


def test_a_stored_document_that_cannot_be_read(opx: Opx, prepared: Path) -> None:
    """A document written by another version is named with what it means."""
    with closing(sqlite3.connect(prepared / "opx.db")) as database:
        database.execute(
            "UPDATE documents SET body = json_set(body, '$.text', 'kind: Nothing')"
            " WHERE id = (SELECT min(id) FROM documents)"
        )
        database.commit()

    assert "cannot be read any more" in findings(opx)["documents"]


def teach(data: Path, *services: tuple[str, str, str]) -> None:
    """Keep Service documents in shop: name, target and health, as they are written."""
    text = "---".join(
        f"""
apiVersion: opx/v1
kind: Service
metadata: {{name: {name}}}
spec: {{environment: shop, target: "{target}", health: {health}}}
"""
        for name, target, health in services
    )
    checked = documents.check(text, "shop.yaml", [])

    async def once() -> None:
        store = SqlStore(f"sqlite:///{data / 'opx.db'}")
        try:
            await store.write(lambda tx: tx.add(*(kept.stored(one, "a", 0) for one in checked)))
        finally:
            await store.close()

    asyncio.run(once())


def test_a_target_that_cannot_be_asked(opx: Opx, prepared: Path, daemon: Any) -> None:
    """Before a repair needs it: no supervisord, a program that it does not know, a login that is
    not there. A program that is there is well, running or not; one that is down has an incident,
    and so has what refuses its health probe."""
    refused = '{http: "http://127.0.0.1:1/health"}'
    gone = f"unix://{prepared}/none.sock"
    teach(
        prepared,
        ("runs", daemon.target("web"), refused),
        ("stopped", daemon.target("idle"), refused),
        ("gone", f"{gone}#web", refused),
        ("strange", daemon.target("nobody"), refused),
        ("locked", f"{daemon.url}#web", refused),
        ("mute", daemon.target("web"), f'{{process: "{gone}#web"}}'),
    )

    result = opx("doctor", "--json")

    found = {one["wrong"]: one["mend"] for one in result.json["findings"]}
    assert result.code == 1
    assert [wrong.partition(": ")[0] for wrong in found] == [
        "the target of shop/gone cannot be asked",
        "the target of shop/locked cannot be asked",
        "the health of shop/mute cannot be asked",
        "the target of shop/strange cannot be asked",
    ]
    assert all("opx apply" in mend for mend in found.values())
    words = " ".join(found)
    assert f"supervisord does not answer for web at {prepared}/none.sock" in words
    assert f"supervisord knows no program nobody at {daemon.folder}/s.sock" in words
    assert "supervisord wants a login" in words


def test_only_so_many_addresses_are_asked(opx: Opx, prepared: Path, monkeypatch: Any) -> None:
    """The first by name, however many services there are."""
    monkeypatch.setattr("opx.cli.checks.MOST_ASKED", 2)
    health = '{http: "http://127.0.0.1:1/health"}'
    teach(prepared, *((name, f"unix://{prepared}/s.sock#web", health) for name in "abc"))

    wrong = [one["wrong"] for one in opx("doctor", "--json").json["findings"]]

    assert [one.partition(": ")[0] for one in wrong] == ["the target of shop/a cannot be asked"]


def seal(data: Path) -> None:
    """What brain does every second."""

    async def once() -> None:
        store = SqlStore(f"sqlite:///{data / 'opx.db'}")
        try:
            await Sealer(store, SystemClock(), AnchorFile(data / "journal.heads")).seal()
        finally:
            await store.close()

    asyncio.run(once())


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE journal SET body = json_set(body, '$.actor', 'nobody')",
        "DELETE FROM journal",
        "DELETE FROM seals",
        "UPDATE seals SET body = json_set(body, '$.hash', 'x')",
    ],
)
def test_a_journal_that_was_rewritten(opx: Opx, prepared: Path, statement: str) -> None:
    """An entry or a seal that is not what was written, or is gone, shows at the chain's head."""
    seal(prepared)
    assert findings(opx) == {}
    with closing(sqlite3.connect(prepared / "opx.db")) as database:
        database.execute(statement)
        database.commit()

    found = findings(opx)
    if statement == "DELETE FROM seals":  # brain makes it again, and the anchor vouches
        assert found == {}
    else:
        assert "the journal is not what was written" in found["journal"]


def test_an_anchor_that_is_gone(opx: Opx, prepared: Path) -> None:
    """Nothing outside the database vouches for it any more."""
    seal(prepared)
    (prepared / "journal.heads").unlink()

    assert "vouches" in findings(opx)["journal"]


def put(data: Path, *rows: object) -> None:
    async def once() -> None:
        store = SqlStore(f"sqlite:///{data / 'opx.db'}")
        try:
            await store.write(lambda tx: tx.add(*rows))
        finally:
            await store.close()

    asyncio.run(once())


def test_notices_that_reached_nobody(opx: Opx, prepared: Path) -> None:
    """A delivery that gave up within the day is told with its error; an older one is not."""
    now = int(time.time() * 1000)
    for id, at in (("old", now - 2 * 86_400_000), ("new", now)):
        notice = Notice(
            id=id, incident="i", edge=Edge.OPENED, severity=Severity.SEV1, title="", text="", at=at
        )
        put(
            prepared,
            notice,
            Delivery(
                id=id,
                notice=id,
                receiver="webhook",
                status=DeliveryStatus.GAVE_UP,
                tries=20,
                due_at=None,
                error="410 Gone",
            ),
        )

    assert findings(opx)["notices"].startswith("1 notices of the last day reached nobody: 410 Gone")


def test_a_quarantine_that_grows(opx: Opx, prepared: Path) -> None:
    """Nine refused items in an hour are somebody's mistake, ten are told."""
    now = int(time.time() * 1000)
    for number in range(10):
        assert findings(opx) == {}
        put(
            prepared,
            checks.rejected(
                Refusal(index=0, reason=Reason.AND_MORE, detail="", item=b"x"),
                id=str(number),
                at=now,
                wire="metrics",
                source="somebody",
            ),
        )

    assert findings(opx)["quarantine"].startswith("10 items")


@pytest.fixture
def brain_lock(prepared: Path) -> Iterator[FileLock]:
    lock = FileLock(prepared / "brain.lock")
    lock.acquire({"pid": os.getpid()})
    yield lock
    lock.release()


def test_a_brain_without_its_socket(opx: Opx, prepared: Path, brain_lock: FileLock) -> None:
    """It runs, and nobody can ask it: the mend is to have it started again."""
    assert f"kill {os.getpid()}" in findings(opx)["brain"]


def test_a_brain_that_does_not_answer(opx: Opx, prepared: Path, brain_lock: FileLock) -> None:
    """A socket that takes the question and says nothing, as a stopped process's does."""
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(prepared / "brain.sock"))
        silent.listen()

        assert "runs and does not answer" in findings(opx)["brain"]


def test_a_brain_that_is_late_and_fails(opx: Opx, prepared: Path, brain_lock: FileLock) -> None:
    """What it says of itself is told: half a minute of waiting telemetry, a loop that fails
    now with its last error, and no loop that is well again."""
    said = BrainState(
        lag=31_000,
        loops={
            "sense": LoopState(failures=7, since=1_767_225_600_000, error="disk is full"),
            "seal": LoopState(failures=1),
        },
    )
    stop, ready = threading.Event(), threading.Event()

    async def serve() -> None:
        server = BrainServer(prepared / "brain.sock", cast("Any", None), lambda: said)
        await server.open()
        ready.set()
        await asyncio.to_thread(stop.wait)
        await server.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(20)
        found = findings(opx)
    finally:
        stop.set()
        thread.join()

    assert found.keys() == {"lag", "loop"}
    assert "came 31 s ago" in found["lag"]
    assert found["loop"].startswith("sense fails since")
    assert "(7 times): disk is full" in found["loop"]


def test_a_clock_that_went_back(opx: Opx, data: Path) -> None:
    """Files from the future mean that the clock was set back."""
    path = data / "opx.db-wal"
    path.touch()
    later = time.time() + 3_600
    os.utime(path, (later, later))

    assert "clock stands" in findings(opx)["clock"]
