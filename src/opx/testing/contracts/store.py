# SPDX-License-Identifier: Apache-2.0

"""What every ``Store`` must do. Give each of ``CHECKS`` an empty one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from opx.core.act.run import OrderRecord, Run, RunStatus
from opx.core.base.time import SECOND
from opx.core.decide.case import Automation, Lease, Mode
from opx.core.decide.decision import Answered, Decision, GuardResult, Reason
from opx.core.detect.finding import Finding, FindingState
from opx.core.incident.incident import Incident, Status
from opx.core.ingest.signals import Severity
from opx.engine.ports import Entry, ReadTx, Saved, Seal, Store, Where, WriteTx
from opx.errors import Conflict
from opx.testing.contracts.samples import AT, entry, finding, incident, order, run


class Stop(Exception):
    """Raised in a transaction, to see it undone."""


async def what_is_written_is_read_back_equal(store: Store) -> None:
    """Nested records, enums, tuples, nulls and free-form evidence survive unchanged."""
    decision = Decision(
        id="d",
        incident="i",
        run="r",
        answer=Answered.ASK,
        results=(GuardResult(guard="mode", answer=Answered.ASK, reason=Reason.HALTED),),
        plan="p",
        at=AT,
    )
    rows = (finding("f"), run("r", None), order("o", AT), decision)
    await store.write(lambda tx: tx.add(*rows))

    def read(tx: ReadTx) -> tuple[object, ...]:
        return tuple(tx.get(type(row), row.id) for row in rows)

    assert await store.read(read) == rows
    assert await store.read(lambda tx: tx.get(Finding, "other")) is None


async def a_fact_is_added_once(store: Store) -> None:
    """``add`` keeps the first of each id, in one call or many, and counts what was new."""
    first, again = finding("f", AT), finding("f", AT + 1)

    assert await store.write(lambda tx: tx.add(first, again, finding("g"))) == 2
    assert await store.write(lambda tx: tx.add(again)) == 0
    assert await store.read(lambda tx: tx.get(Finding, "f")) == first


async def a_set_replaces(store: Store) -> None:
    """``set`` inserts what is new and replaces what is not, also its indexed fields."""
    await store.write(lambda tx: tx.set(finding("f"), Saved(id="sense", seq=1)))
    cleared = finding("f", AT + 1, FindingState.CLEARED)
    await store.write(lambda tx: tx.set(cleared, Saved(id="sense", seq=2, state={"a": [1]})))

    firing = Where("state", "eq", FindingState.FIRING)
    assert await store.read(lambda tx: tx.find(Finding, firing)) == []
    assert await store.read(lambda tx: tx.find(Finding)) == [cleared]
    saved = await store.read(lambda tx: tx.get(Saved, "sense"))
    assert saved == Saved(id="sense", seq=2, state={"a": [1]})


def _save(row: object, tx: WriteTx) -> None:
    tx.save(row)


async def a_save_compares_versions(store: Store) -> None:
    """Version 1 must be new, version n must replace n-1; anything else is a conflict."""
    first = incident("i")
    await store.write(lambda tx: tx.save(first))
    second = replace(first, status=Status.MITIGATING, version=2)
    await store.write(lambda tx: tx.save(second))

    for late in (first, second, replace(first, version=4), replace(incident("j"), version=2)):
        assert await _raises(Conflict, store, partial(_save, late))
    assert await store.read(lambda tx: tx.get(Incident, "i")) == second


async def saves_in_a_row_see_each_other(store: Store) -> None:
    """One transaction may save several versions, and reads what it wrote."""

    def twice(tx: WriteTx) -> Incident | None:
        tx.save(incident("i"))
        tx.save(replace(incident("i"), version=2), replace(incident("i"), version=3))
        return tx.get(Incident, "i")

    last = await store.write(twice)
    assert last is not None
    assert last.version == 3


async def an_exception_undoes_everything(store: Store) -> None:
    """What a transaction did before it raised did not happen, the journal included."""
    await store.write(lambda tx: tx.append(entry("kept")))

    def fail(tx: WriteTx) -> None:
        tx.add(finding("f"))
        tx.save(incident("i"))
        tx.set(Saved(id="sense", seq=9))
        tx.append(entry("undone"))
        raise Stop

    assert await _raises(Stop, store, fail)
    await store.write(lambda tx: tx.append(entry("next")))
    assert await store.read(lambda tx: tx.find(Finding) + tx.find(Incident)) == []
    assert await store.read(lambda tx: tx.get(Saved, "sense")) is None
    entries = await store.read(lambda tx: tx.find(Entry))
    assert [(one.seq, one.kind) for one in entries] == [(1, "kept"), (2, "next")]


async def a_conflict_undoes_everything(store: Store) -> None:
    """A lost compare-and-set takes the rest of its transaction with it."""
    await store.write(lambda tx: tx.save(incident("i")))

    def lose(tx: WriteTx) -> None:
        tx.append(entry("undone"))
        tx.save(incident("j"), incident("i"))

    assert await _raises(Conflict, store, lose)
    assert await store.read(lambda tx: tx.find(Entry)) == []
    assert await store.read(lambda tx: tx.get(Incident, "j")) is None


async def the_journal_is_numbered_in_order(store: Store) -> None:
    """Entries are numbered from 1 without gaps and found by subject, kind and seq."""
    await store.write(lambda tx: tx.append(entry("a", "x"), entry("b", "y")))
    await store.write(lambda tx: tx.append(entry("a", "x")))

    entries = await store.read(lambda tx: tx.find(Entry, Where("subject", "eq", "x")))
    assert [one.seq for one in entries] == [1, 3]
    assert entries[0] == replace(entry("a", "x"), seq=1)
    later = await store.read(
        lambda tx: tx.find(Entry, Where("seq", "gt", 1), order="-seq", limit=1)
    )
    assert [one.seq for one in later] == [3]


async def a_find_is_whole(store: Store) -> None:
    """Who names no limit gets every row, however many; who names one, the first so many."""
    rows = [finding(f"{number:04d}", at=number) for number in range(1_500)]
    await store.write(lambda tx: tx.add(*rows))

    assert await store.read(lambda tx: tx.find(Finding)) == rows
    assert await store.read(lambda tx: tx.find(Finding, order="-at", limit=1)) == rows[-1:]
    assert await store.read(lambda tx: tx.find(Finding, limit=0)) == []


async def what_is_dropped_is_gone(store: Store) -> None:
    """``drop`` forgets what fits and counts it, with its transaction or not at all; its id is
    free again."""
    await store.write(lambda tx: tx.add(finding("a"), finding("b", AT + 1), finding("c", AT + 2)))

    def fail(tx: WriteTx) -> None:
        tx.drop(Finding, Where("at", "ge", AT))
        raise Stop

    assert await _raises(Stop, store, fail)
    late = Where("at", "gt", AT)
    assert await store.write(lambda tx: tx.drop(Finding, late, Where("id", "in", ("a", "b")))) == 1
    assert await store.write(lambda tx: tx.drop(Finding, Where("id", "in", ()))) == 0
    assert [row.id for row in await store.read(lambda tx: tx.find(Finding))] == ["a", "c"]
    await store.write(lambda tx: tx.save(incident("i")))
    assert await store.write(lambda tx: tx.drop(Incident, Where("id", "eq", "i"))) == 1
    await store.write(lambda tx: tx.save(incident("i")))


async def an_entry_is_read_where_it_was_written(store: Store) -> None:
    """A transaction finds its own entries, numbered, in the order they were appended."""

    def both(tx: WriteTx) -> list[tuple[int, str]]:
        tx.append(entry("a"))
        tx.append(entry("b"))
        return [(one.seq, one.kind) for one in tx.find(Entry)]

    assert await store.write(both) == [(1, "a"), (2, "b")]


async def every_condition_means_what_it_says(store: Store) -> None:
    """Each operator, alone and together; a null is found by ``null`` only."""
    rows = (run("a", 10), run("b", 20, probation=True), run("c", None))
    await store.write(lambda tx: tx.add(*rows))

    async def ids(*where: Where) -> str:
        found = await store.read(lambda tx: tx.find(Run, *where))
        return "".join(row.id for row in found)

    assert await ids(Where("due_at", "eq", 10)) == "a"
    assert await ids(Where("due_at", "in", (20, 30))) == "b"
    assert await ids(Where("due_at", "in", ())) == ""
    assert await ids(Where("due_at", "lt", 20)) == "a"
    assert await ids(Where("due_at", "le", 20)) == "ab"
    assert await ids(Where("due_at", "gt", 10)) == "b"
    assert await ids(Where("due_at", "ge", 10)) == "ab"
    assert await ids(Where("due_at", "null")) == "c"
    assert await ids(Where("due_at", "not_null")) == "ab"
    assert await ids(Where("probation", "eq", True)) == "b"
    assert await ids(Where("status", "in", {RunStatus.PROPOSED, RunStatus.ACTING})) == "abc"
    assert await ids(Where("group.service", "eq", "orders"), Where("due_at", "gt", 15)) == "b"
    assert await ids(Where("id", "ge", "b"), Where("id", "lt", "b\x7f")) == "b"


async def rows_come_in_the_order_asked(store: Store) -> None:
    """By id if nothing is said; by a field, ties by id; descending turns both."""
    rows = (
        incident("a", 3, Severity.SEV1),
        incident("b", 1, Severity.SEV5),
        incident("c", 3, Severity.SEV2),
        incident("d", 2, Severity.SEV3),
    )
    await store.write(lambda tx: tx.save(*reversed(rows)))

    async def ids(order: str, limit: int | None = None) -> str:
        found = await store.read(lambda tx: tx.find(Incident, order=order, limit=limit))
        return "".join(row.id for row in found)

    assert await ids("") == "abcd"
    assert await ids("opened_at") == "bdac"
    assert await ids("-opened_at") == "cadb"
    assert await ids("severity", limit=2) == "ac"
    await store.write(lambda tx: tx.add(order("late", 20), order("soon", 10)))
    orders = await store.read(lambda tx: tx.find(OrderRecord, order="order.issued_at"))
    assert [one.id for one in orders] == ["soon", "late"]


async def a_mistake_is_told_clearly(store: Store) -> None:
    """Fields without an index, types nobody keeps and wrong verbs are a ``ValueError``."""
    mistakes: tuple[Callable[[WriteTx], object], ...] = (
        lambda tx: tx.find(Finding, Where("summary", "eq", "x")),
        lambda tx: tx.find(Finding, order="-summary"),
        lambda tx: tx.find(Severity),
        lambda tx: tx.add("text"),
        lambda tx: tx.set(entry("a")),
        lambda tx: tx.add(entry("a")),
        lambda tx: tx.save(finding("f")),
        lambda tx: tx.drop(Finding),
        lambda tx: tx.drop(Finding, Where("summary", "eq", "x")),
        lambda tx: tx.drop(Entry, Where("seq", "gt", 0)),
        lambda tx: tx.drop(Seal, Where("last", "gt", 0)),
    )
    for mistake in mistakes:
        assert await _raises(ValueError, store, mistake)


async def a_read_is_one_consistent_view(store: Store) -> None:
    """A write that ends while a read goes on is not seen half-way through the read."""
    await store.write(lambda tx: tx.save(Lease(id="t", run="a", expires_at=1)))
    loop = asyncio.get_running_loop()
    written = asyncio.Event()

    async def other() -> None:
        await store.write(lambda tx: tx.save(Lease(id="t", run="b", expires_at=2, version=2)))
        written.set()

    def read(tx: ReadTx) -> list[Lease | None]:
        first = tx.get(Lease, "t")
        loop.call_soon_threadsafe(lambda: tasks.append(loop.create_task(other())))
        return [first, tx.get(Lease, "t")]

    tasks: list[asyncio.Task[None]] = []
    first, second = await store.read(read)
    assert first == second
    await asyncio.wait_for(written.wait(), 10)
    now = await store.read(lambda tx: tx.get(Lease, "t"))
    assert now is not None
    assert now.run == "b"


async def writers_take_turns(store: Store) -> None:
    """Many who count up by read, then compare-and-set, in one transaction, all count."""
    halted = Mode(id="all", automation=Automation.HALTED, by="x", reason="y", at=0)
    await store.write(lambda tx: tx.save(halted))

    def up(tx: WriteTx) -> None:
        mode = tx.get(Mode, "all")
        assert mode is not None
        tx.save(replace(mode, version=mode.version + 1))

    await asyncio.gather(*(store.write(up) for _ in range(20)))
    mode = await store.read(lambda tx: tx.get(Mode, "all"))
    assert mode is not None
    assert mode.version == 21


async def a_change_wakes_who_waits(store: Store) -> None:
    """``changed`` is False when nothing happened, True on a commit, and forgets none that
    came between two calls."""

    await store.read(lambda tx: tx.find(Mode))
    assert not await store.changed(within=1)
    writing = asyncio.create_task(store.write(lambda tx: tx.append(entry("one"))))
    assert await store.changed(within=10 * SECOND)
    await writing
    await store.changed(within=1)
    await asyncio.create_task(store.write(lambda tx: tx.append(entry("two"))))
    assert await store.changed(within=10 * SECOND)
    assert not await store.changed(within=1)


async def each_task_has_its_own_place(store: Store) -> None:
    """A change that one task has seen is still news to another that waits for it."""

    async def look() -> bool:
        await store.read(lambda tx: tx.find(Mode))
        looked.set()
        await written.wait()
        return await store.changed(within=10 * SECOND)

    looked, written = asyncio.Event(), asyncio.Event()
    other = asyncio.create_task(look())
    await looked.wait()
    await store.write(lambda tx: tx.append(entry("one")))
    await store.changed(within=1)
    written.set()

    assert await other


async def _raises(kind: type[Exception], store: Store, change: Callable[[WriteTx], object]) -> bool:
    try:
        await store.write(change)
    except kind:
        return True
    return False


CHECKS: tuple[Callable[[Store], Awaitable[None]], ...] = (
    what_is_written_is_read_back_equal,
    a_fact_is_added_once,
    a_set_replaces,
    a_save_compares_versions,
    saves_in_a_row_see_each_other,
    an_exception_undoes_everything,
    a_conflict_undoes_everything,
    the_journal_is_numbered_in_order,
    a_find_is_whole,
    what_is_dropped_is_gone,
    an_entry_is_read_where_it_was_written,
    every_condition_means_what_it_says,
    rows_come_in_the_order_asked,
    a_mistake_is_told_clearly,
    a_read_is_one_consistent_view,
    writers_take_turns,
    a_change_wakes_who_waits,
    each_task_has_its_own_place,
)
