# SPDX-License-Identifier: Apache-2.0

"""The SQL store among processes, crashes and full disks; its tables and migrations."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from opx.adapters.stores import migrate, sql, sqlite, tables
from opx.adapters.stores.sql import SqlStore
from opx.adapters.stores.stir import Stir
from opx.core.decide.case import Lease
from opx.core.detect.finding import Finding
from opx.core.notify.notice import Delivery, DeliveryStatus
from opx.engine import records
from opx.engine.ports import Entry, PendingWork, Saved, Where, WriteTx
from opx.errors import Damaged, Unavailable
from opx.testing.contracts.samples import finding

CHILD = Path(__file__).with_name("store_child.py")


@pytest.fixture
def url(tmp_path: Path) -> str:
    made = f"sqlite:///{tmp_path}/opx.db"
    migrate.migrate(made)
    return made


def child(verb: str, url: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(CHILD), verb, url], stdout=subprocess.PIPE)


def test_the_migrations_make_the_tables_there_are(url: str) -> None:
    """From an empty file, every migration in turn gives exactly what the code expects."""
    engine = sqlite.engine(url)
    with engine.begin() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables.METADATA) == []
        names = set(sa.inspect(connection).get_table_names())
    engine.dispose()
    assert names >= {record.table for record in records.RECORDS}


def test_the_schema_knows_where_it_stands(tmp_path: Path) -> None:
    """No file and an empty one are at None, a migrated one at the newest script, for good."""
    made = f"sqlite:///{tmp_path}/opx.db"
    assert sqlite.schema_state(made) == (None, migrate.head())
    assert list(tmp_path.iterdir()) == []
    migrate.migrate(made)
    migrate.migrate(made)
    assert sqlite.schema_state(made) == (migrate.head(), migrate.head())


def test_what_was_written_before_an_update_is_found_by_the_new_fields(tmp_path: Path) -> None:
    """A delivery of before can be found by its notice, and purged work is gone."""
    made = f"sqlite:///{tmp_path}/opx.db"
    delivery = Delivery(
        id="d", notice="n", receiver="r", status=DeliveryStatus.GAVE_UP, tries=20, due_at=None
    )
    body = msgspec.json.encode(delivery).decode()
    migrate.migrate(made, "0001")
    with closing(sqlite3.connect(made.removeprefix("sqlite:///"))) as file, file:
        values = ("d", 1, "gave_up", None, body)
        file.execute(
            "INSERT INTO deliveries (id, version, status, due_at, body) VALUES (?, ?, ?, ?, ?)",
            values,
        )
        file.execute(
            "INSERT INTO pending_work (id, version, state, not_before, body)"
            " VALUES ('w', 2, NULL, 0, '{}')"
        )
    migrate.migrate(made)

    async def read() -> tuple[list[Delivery], list[PendingWork]]:
        store = SqlStore(made)
        try:
            return await store.read(
                lambda tx: (tx.find(Delivery, Where("notice", "eq", "n")), tx.find(PendingWork))
            )
        finally:
            await store.close()

    assert asyncio.run(read()) == ([delivery], [])


def test_the_same_tables_stand_on_postgresql() -> None:
    """Every table and index has PostgreSQL's own statement, bodies as JSONB."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    for table in tables.METADATA.tables.values():
        statement = str(CreateTable(table).compile(dialect=dialect))
        assert "body JSONB NOT NULL" in statement
        for index in table.indexes:
            assert str(CreateIndex(index).compile(dialect=dialect)).startswith("CREATE INDEX")
    journal = str(CreateTable(tables.TABLES[Entry]).compile(dialect=dialect))
    assert "seq BIGSERIAL NOT NULL" in journal


def test_another_database_is_refused(tmp_path: Path) -> None:
    """Only SQLite files are served, and that is said before anything is opened."""
    for other in ("postgresql+psycopg://localhost/opx", "sqlite://", "sqlite:///:memory:"):
        with pytest.raises(ValueError, match="SQLite file"):
            SqlStore(other)


def test_the_file_is_as_durable_as_it_gets(url: str) -> None:
    """Every connection waits for locks, syncs in full and checks keys, in WAL mode."""

    def pragmas(tx: WriteTx) -> list[object]:
        names = ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
        connection = tx.connection  # type: ignore[attr-defined]
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]

    async def main() -> list[object]:
        store = SqlStore(url)
        try:
            return await store.write(pragmas)
        finally:
            await store.close()

    full = 2
    assert asyncio.run(main()) == ["wal", full, 10_000, 1]


def test_two_processes_never_lose_an_update(url: str) -> None:
    """Fifty compare-and-sets from two processes at once are fifty versions."""

    async def lease(expected: int) -> None:
        store = SqlStore(url)
        if expected == 1:
            await store.write(lambda tx: tx.save(Lease(id="t", run="", expires_at=0)))
        row = await store.read(lambda tx: tx.get(Lease, "t"))
        assert row is not None
        assert row.version == expected
        await store.close()

    asyncio.run(lease(1))
    with child("count", url) as one, child("count", url) as two:
        assert (one.wait(30), two.wait(30)) == (0, 0)
    asyncio.run(lease(51))


def test_opening_and_closing_never_gets_in_the_way(url: str) -> None:
    """Four processes open the store, write, read and close it, a hundred times each: the last
    to close takes the log away and the next makes it anew, and nobody is refused."""
    processes = [child("churn", url) for _ in range(4)]
    codes = [process.wait(120) for process in processes]
    for process in processes:
        assert process.stdout is not None
        process.stdout.close()

    assert codes == [0] * 4
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file:
        assert file.execute("SELECT count(*) FROM journal").fetchone() == (400,)
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_commit_wakes_another_process(url: str) -> None:
    """Who waits for a change hears of one that another process made."""

    async def commit() -> None:
        store = SqlStore(url)
        await store.write(lambda tx: tx.set(Saved(id="sense", seq=1)))
        await store.close()

    with child("watch", url) as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline() == b"ready\n"
        asyncio.run(commit())
        assert watching.stdout.readline() == b"True\n"


async def noticing(url: str) -> None:
    """Three commits of another process are noticed."""
    store = SqlStore(url)
    await store.read(lambda tx: tx.get(Saved, "sense"))
    with child("write", url) as writing:
        assert writing.stdout is not None
        for _ in range(3):
            assert await store.changed(within=20_000)
        writing.kill()
    await store.close()


def test_a_commit_of_another_process_stirs_who_waits(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system tells of commits nobody looks in vain: with an hour between two looks
    one is noticed all the same, and so is the next."""
    monkeypatch.setattr(sql, "POLL_S", 3_600.0)

    asyncio.run(noticing(url))


def test_where_the_system_does_not_tell_it_is_looked(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without anybody to tell of it a commit of another process is noticed all the same."""

    def silent(_: Path) -> Stir:
        raise OSError("there is no inotify")

    monkeypatch.setattr(sql, "Stir", silent)

    asyncio.run(noticing(url))


def test_a_killed_writer_leaves_whole_transactions(url: str) -> None:
    """Killed while it commits, three times: what was acknowledged is there, and every
    transaction is there whole or not at all."""
    acknowledged = 0
    for lines in (1, 30, 111):
        with child("write", url) as writer:
            assert writer.stdout is not None
            heard = [writer.stdout.readline() for _ in range(lines)]
            writer.kill()
            heard += writer.stdout.readlines()
        acknowledged = int([line for line in heard if line.endswith(b"\n")][-1])

    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file:
        entries, last, first = file.execute(
            "SELECT count(*), max(at), max(seq) FROM journal"
        ).fetchone()
        findings = file.execute("SELECT count(*) FROM findings").fetchone()[0]
        seq = file.execute("SELECT body ->> 'seq' FROM positions").fetchone()[0]
    assert acknowledged > 140
    assert seq in (acknowledged, acknowledged + 1)
    assert (entries, last, first, findings) == (seq, seq, seq, 50 * seq)


def test_a_full_disk_is_unavailable_and_undoes_everything(url: str) -> None:
    """When the file may not grow, the transaction fails whole and the store goes on."""

    def fill(tx: WriteTx) -> None:
        connection = tx.connection  # type: ignore[attr-defined]
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 5}")
        tx.add(*(finding(str(n)) for n in range(1000)))

    def empty(tx: WriteTx) -> int:
        connection = tx.connection  # type: ignore[attr-defined]
        connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
        return len(tx.find(Finding))

    async def main() -> None:
        store = SqlStore(url)
        with pytest.raises(Unavailable, match="full"):
            await store.write(fill)
        assert await store.write(empty) == 0
        assert await store.write(lambda tx: tx.add(finding("f"))) == 1
        await store.close()

    asyncio.run(main())


def test_what_fails_says_nothing_of_what_is_stored(url: str) -> None:
    """The database's own words and no more: no statement, no values, no library's links; the
    values are not in what is logged either."""

    def wrong(tx: WriteTx) -> None:
        assert isinstance(tx, sql.SqlWriteTx)
        tx.connection.exec_driver_sql("INSERT INTO nowhere VALUES (?)", ("hunter2",))

    async def main() -> None:
        store = SqlStore(url)
        with pytest.raises(Unavailable) as raised:
            await store.write(wrong)
        assert str(raised.value) == "the database does not answer: no such table: nowhere"
        assert "hunter2" not in str(raised.value.__cause__)
        await store.close()

    asyncio.run(main())


def test_many_findings_are_one_cheap_statement(url: str) -> None:
    """A transaction takes thousands of records at once, and finds them again."""

    async def main() -> None:
        store = SqlStore(url)
        rows = [finding(f"{n:05d}", at=n) for n in range(5_000)]
        assert await store.write(lambda tx: tx.add(*rows)) == 5_000
        await store.write(lambda tx: tx.set(*rows))
        found = await store.read(lambda tx: tx.find(Finding))
        assert found == rows
        await store.close()

    asyncio.run(main())


def test_what_cannot_be_read_is_damage(url: str) -> None:
    """A record somebody broke, or a file that is no database, is not taken for absent."""
    path = Path(url.removeprefix("sqlite:///"))

    async def read() -> None:
        store = SqlStore(url)
        try:
            await store.read(lambda tx: tx.find(Saved))
        finally:
            await store.close()

    with closing(sqlite3.connect(path)) as file, file:
        file.execute("INSERT INTO positions (id, body) VALUES ('sense', '{\"id\": 7}')")
    with pytest.raises(Damaged):
        asyncio.run(read())


def test_a_closed_store_says_so(url: str) -> None:
    """After ``close`` nothing is read, written or waited for."""

    async def main() -> None:
        store = SqlStore(url)
        await store.close()
        await store.close()
        with pytest.raises(Unavailable):
            await store.read(lambda tx: tx.find(Saved))
        with pytest.raises(Unavailable):
            await store.write(lambda tx: tx.find(Saved))
        with pytest.raises(Unavailable):
            await store.changed(within=1)

    asyncio.run(main())
