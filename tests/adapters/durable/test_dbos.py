# SPDX-License-Identifier: Apache-2.0

"""DBOS beside opx's own tables: real kills, the shared file, and the traps it must not spring."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from opx.adapters.durable.dbos import DbosWorkflows
from opx.adapters.stores.migrate import migrate
from opx.adapters.stores.sql import SqlStore
from opx.adapters.system import SystemClock
from opx.engine.ports import Entry, SegmentState, StartRequest, Where
from opx.errors import OpxError, Refused
from opx.testing.contracts.workflows import ended, until
from opx.testing.memory import MemoryStore

CHILD = Path(__file__).with_name("child.py")


@pytest.fixture
def url(tmp_path: Path) -> str:
    found = f"sqlite:///{tmp_path / 'opx.db'}"
    migrate(found)
    return found


@contextmanager
def child(folder: Path, part: str) -> Iterator[subprocess.Popen[str]]:
    """The child process; whatever happens, it is dead afterwards."""
    command = [sys.executable, str(CHILD), str(folder), part]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def lines_until(process: subprocess.Popen[str], wanted: set[str]) -> list[str]:
    """Its lines up to the moment when all that are ``wanted`` have come."""
    assert process.stdout is not None
    seen: list[str] = []
    while not wanted <= set(seen):
        line = process.stdout.readline()
        assert line, f"it ended after {seen}"
        seen.append(line.strip())
    return seen


def test_a_killed_process_leaves_nothing_undone_and_repeats_nothing_done(
    url: str, tmp_path: Path
) -> None:
    """After SIGKILL the next process runs what was running, and not what had ended or waits."""
    with child(tmp_path, "first") as first:
        lines_until(first, {"done quick", "begun slow"})
        first.kill()

    with child(tmp_path, "second") as second:
        seen = lines_until(second, {"done slow"})

    assert seen.count("begun slow") == 1
    assert "begun quick" not in seen
    assert "begun later" not in seen


def test_writers_and_dbos_share_one_file_without_waiting_for_each_other(url: str) -> None:
    """Forty segments that write, beside a task that writes all the time, all come to an end;
    the file stays in WAL mode and is sound."""

    async def main() -> None:
        store, clock = SqlStore(url), SystemClock()
        workflows = DbosWorkflows(url, clock)

        def entry(subject: str, kind: str) -> Entry:
            return Entry(at=clock.now(), subject=subject, kind=kind, actor="test")

        async def work(request: StartRequest) -> None:
            for _ in range(3):
                await store.write(lambda tx: tx.append(entry(request.id, "worked")))

        async def chatter(stop: asyncio.Event) -> None:
            while not stop.is_set():
                await store.write(lambda tx: tx.append(entry("chatter", "said")))

        await workflows.open({"work": work})
        stop = asyncio.Event()
        talking = asyncio.create_task(chatter(stop))
        ids = [f"w{n}" for n in range(40)]
        for id in ids:
            request = StartRequest(id=id, kind="work")
            await store.write(lambda tx, one=request: workflows.start(one, tx))
        states = [await ended(workflows, id) for id in ids]
        stop.set()
        await talking
        worked = await store.read(lambda tx: tx.find(Entry, Where("kind", "eq", "worked")))
        await workflows.close()
        await store.close()

        assert states == [SegmentState.DONE] * 40
        assert len(worked) == 120

    asyncio.run(main())
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_segment_may_start_the_next_one(url: str) -> None:
    """A start from inside a segment is one like any other."""

    async def main() -> None:
        store, ran = SqlStore(url), []
        workflows = DbosWorkflows(url, SystemClock())

        async def work(request: StartRequest) -> None:
            ran.append(request.id)
            if len(ran) < 3:
                then = StartRequest(id=f"w{len(ran)}", kind="work")
                await store.write(lambda tx: workflows.start(then, tx))

        await workflows.open({"work": work})
        await store.write(lambda tx: workflows.start(StartRequest(id="w0", kind="work"), tx))

        async def all_ran() -> bool:
            return len(ran) == 3

        await until(all_ran)
        assert await ended(workflows, "w2") is SegmentState.DONE
        assert ran == ["w0", "w1", "w2"]
        await workflows.close()
        await store.close()

    asyncio.run(main())


def test_the_event_loop_keeps_its_threads_when_dbos_goes(url: str) -> None:
    """After workflows ran and were closed, the loop's own thread pool still works."""

    async def main() -> None:
        store = SqlStore(url)
        workflows = DbosWorkflows(url, SystemClock())

        async def work(_: StartRequest) -> None:
            return

        await workflows.open({"work": work})
        await store.write(lambda tx: workflows.start(StartRequest(id="a", kind="work"), tx))
        await ended(workflows, "a")
        await workflows.close()
        await store.close()

        assert await asyncio.to_thread(lambda: 42) == 42

    asyncio.run(main())


def test_dbos_writes_nothing_to_the_terminal_by_itself(
    url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its log goes where opx's log goes, from WARNING on; opening and closing say nothing."""

    async def main() -> None:
        workflows = DbosWorkflows(url, SystemClock())
        await workflows.open({})
        await workflows.close()

    asyncio.run(main())

    dbos = logging.getLogger("dbos")
    assert {type(handler) for handler in dbos.handlers} == {logging.NullHandler}
    assert dbos.propagate
    assert dbos.level == logging.WARNING
    assert capfd.readouterr() == ("", "")


def test_it_must_be_open_and_needs_the_sql_store(url: str) -> None:
    """Starting before ``open``, or in a transaction of another store, is an error."""

    async def main() -> None:
        workflows = DbosWorkflows(url, SystemClock())
        request = StartRequest(id="a", kind="work")
        store, memory = SqlStore(url), MemoryStore()

        with pytest.raises(OpxError, match="not open"):
            await store.write(lambda tx: workflows.start(request, tx))
        await workflows.open({})
        with pytest.raises(OpxError, match="SQL store"):
            await memory.write(lambda tx: workflows.start(request, tx))
        await workflows.close()
        await store.close()

    asyncio.run(main())


def test_it_does_not_run_inside_the_vendors_cloud(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the vendor's cloud variable set, opening is refused."""
    monkeypatch.setenv("DBOS__CLOUD", "true")

    with pytest.raises(Refused):
        asyncio.run(DbosWorkflows(url, SystemClock()).open({}))
