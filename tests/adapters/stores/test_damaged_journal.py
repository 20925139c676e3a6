# SPDX-License-Identifier: Apache-2.0

"""A journal that somebody edited in its table: whoever reads it is told where, and so is whoever
asks for the proof; a replay says which line cannot be read."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from opx.adapters.stores import migrate
from opx.adapters.stores.sql import SqlStore
from opx.app import documents
from opx.core.correlate.episode import Group
from opx.core.incident.incident import Incident, Priority, Status
from opx.core.ingest.signals import Severity
from opx.engine import journal, queries
from opx.engine.journal import audit, replay
from opx.engine.ports import Entry, ReadTx
from opx.errors import Damaged

T = TypeVar("T")
NOW = 1_767_225_600_000
COUNT = 1_203
"""More than are read at once."""

EDITS = {
    "the subject it is found by": "subject = 'hidden'",
    "the kind it is found by": "kind = 'nothing'",
    "the time it is found by": "at = at - 1",
    "a field more": """body = replace(body, '"seq":0', '"seq":0,"extra":1')""",
    "a field twice": """body = replace(body, '"seq":0', '"seq":0,"actor":"x"')""",
    "another number": """body = replace(body, '"seq":0', '"seq":7')""",
    "a space": """body = replace(body, '"seq":0', '"seq": 0')""",
    "no JSON": "body = 'not json'",
    "nothing": "body = '{}'",
    "a list": "body = '[1]'",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A database whose journal has ``COUNT`` entries, of which all but three are sealed."""
    url = f"sqlite:///{tmp_path}/opx.db"
    migrate.migrate(url)
    entries = [journal.entry(NOW + n, "s", "thing.happened", "brain", n=n) for n in range(COUNT)]

    async def main() -> None:
        store = SqlStore(url)
        await store.write(lambda tx: tx.append(*entries))
        kept = await store.read(lambda tx: tx.find(Entry, order="seq"))
        first = audit.seal(None, kept[:1_000], NOW)
        second = audit.seal(first, kept[1_000:-3], NOW)
        await store.write(lambda tx: tx.add(first, second))
        await store.close()

    asyncio.run(main())
    return tmp_path / "opx.db"


def edit(file: Path, statement: str) -> None:
    with closing(sqlite3.connect(file)) as database, database:
        assert database.execute(statement).rowcount == 1


def read(file: Path, fn: Callable[[ReadTx], T]) -> T:
    async def main() -> T:
        store = SqlStore(f"sqlite:///{file}")
        try:
            return await store.read(fn)
        finally:
            await store.close()

    return asyncio.run(main())


def proof(file: Path) -> audit.Report:
    return read(file, lambda tx: queries.verified(tx, [], audit.Place()))


def test_an_untouched_journal_is_proven(file: Path) -> None:
    """Whole, from the first entry to the last."""
    report = proof(file)

    assert (report.ok, report.sealed, report.waiting, report.more) == (True, COUNT - 3, 3, False)


@pytest.mark.parametrize("how", EDITS.values(), ids=EDITS)
@pytest.mark.parametrize("seq", [1, 1_000, 1_150, COUNT])
def test_the_proof_names_the_entry_that_was_edited(file: Path, seq: int, how: str) -> None:
    """Anything in its row, sealed or not yet: the proof is an answer, and says which it is."""
    edit(file, f"UPDATE journal SET {how} WHERE seq = {seq}")

    report = proof(file)

    assert (report.ok, report.bad, report.through) == (False, seq, seq)
    assert f"Entry {seq} " in report.detail


@pytest.mark.parametrize("how", EDITS.values(), ids=EDITS)
def test_who_reads_an_edited_entry_is_told_which(file: Path, how: str) -> None:
    """Not its text as if nothing were; what does not read it reads on."""
    edit(file, f"UPDATE journal SET {how} WHERE seq = 1200")

    with pytest.raises(Damaged, match=r"^Entry 1200 "):
        read(file, lambda tx: queries.entries_before(tx, 0, 10))
    assert len(read(file, lambda tx: queries.entries(tx, 0, 1_000))) == 1_000


def test_the_first_of_two_is_named(file: Path) -> None:
    """What was changed before what cannot be read is what the proof tells of."""
    edit(file, "UPDATE journal SET body = '{}' WHERE seq = 400")
    edit(file, "UPDATE journal SET subject = 'x' WHERE seq = 399")

    assert proof(file).bad == 399


def test_a_seal_that_cannot_be_read_is_told(file: Path) -> None:
    """From the first entry on that it was to vouch for."""
    edit(file, "UPDATE seals SET body = '{}' WHERE last = 1200")

    report = proof(file)

    assert (report.ok, report.sealed, report.bad) == (False, 1_000, 1_001)
    assert "Seal" in report.detail


# ---------------------------------------------------------------- replay

INCIDENT = Incident(
    id="i",
    episode="e",
    group=Group(environment="shop", service="orders"),
    severity=Severity.SEV2,
    priority=Priority.P2,
    status=Status.OPEN,
    title="orders is down",
    opened_at=NOW,
    updated_at=NOW,
)


def about(kind: str, **body: object) -> Entry:
    return replace(journal.entry(NOW, "i", kind, "brain", **body), seq=7)


@pytest.mark.parametrize(
    "kind", [replay.OPENED, replay.CHANGED, "insight.made", "run.proposed"], ids=str
)
def test_a_replay_says_which_entry_cannot_be_read(kind: str) -> None:
    """Its body is empty: the replay is an answer, and not that all is well."""
    opened = replace(about(replay.OPENED, incident=INCIDENT), seq=1)
    library = replay.Library(documents.bind, [], {})

    found = replay.replay(INCIDENT, [opened, about(kind)], library)

    assert (found["ok"], [one["seq"] for one in found["broken"]][-1]) == (False, 7)


def test_a_replay_says_which_decision_cannot_be_read() -> None:
    """It is among those that are not the same, with the reason."""
    opened = replace(about(replay.OPENED, incident=INCIDENT), seq=1)
    library = replay.Library(documents.bind, [], {})

    found = replay.replay(INCIDENT, [opened, about(replay.DECIDED)], library)

    (row,) = found["decisions"]
    assert (found["ok"], row["seq"], row["same"]) == (False, 7, False)
    assert "cannot be read" in row["why"]


@pytest.mark.parametrize("body", [{}, {"hash": 7}, {"hash": "h", "text": 7}], ids=str)
def test_a_document_of_the_journal_that_cannot_be_read_is_damage(body: dict[str, object]) -> None:
    """Which documents were in force is not guessed."""
    library = replay.Library(documents.bind, [about("document.applied", **body)], {})

    with pytest.raises(Damaged, match=r"^Entry 7 "):
        library.at(replace(about(replay.DECIDED), seq=8))
