# SPDX-License-Identifier: Apache-2.0

"""The journal's chain as a law, its anchors on disk, and locks between processes."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opx.adapters import locks
from opx.adapters.anchors import AnchorFile
from opx.adapters.locks import FileLock
from opx.engine import journal
from opx.engine.journal import audit
from opx.engine.journal.audit import Anchor
from opx.engine.ports import Entry, Seal
from opx.errors import Conflict, Damaged

NOW = 1_767_225_600_000


def written(n: int) -> list[Entry]:
    return [
        replace(journal.entry(NOW + k, "s", "thing.happened", "brain", n=k), seq=k + 1)
        for k in range(n)
    ]


def chain(entries: list[Entry], sizes: list[int]) -> list[Seal]:
    """Seals over batches of these sizes."""
    seals: list[Seal] = []
    start = 0
    for size in sizes:
        before = seals[-1] if seals else None
        seals.append(audit.seal(before, entries[start : start + size], NOW))
        start += size
    return seals


SIZES = st.lists(st.integers(1, 6), min_size=1, max_size=6)


@given(SIZES, st.integers(0, 4))
def test_what_was_sealed_is_proven(sizes: list[int], more: int) -> None:
    """However it was batched, an untouched journal is whole."""
    entries = written(sum(sizes) + more)
    seals = chain(entries, sizes)

    report = audit.verify(seals, entries, [audit.anchor(one) for one in seals])

    assert report == audit.Report(
        ok=True, sealed=sum(sizes), waiting=more, anchors=len(seals), head=seals[-1].hash
    )


def piece_by_piece(
    seals: list[Seal], entries: list[Entry], anchors: list[Anchor], most: int
) -> audit.Report:
    """The last report of many, each of which went on where the one before it ended."""
    place = audit.Place()
    while True:
        report = audit.verify(
            [one for one in seals if one.first > place.seq],
            [one for one in entries if one.seq > place.seq],
            anchors,
            place,
            most,
        )
        if not (report.ok and report.more):
            return report
        assert place.seq + most <= report.sealed < place.seq + most + max(map(len_of, seals))
        place = audit.Place(report.sealed, report.head)


def len_of(seal: Seal) -> int:
    return seal.last - seal.first + 1


@given(SIZES, st.integers(0, 4), st.integers(1, 9), st.data())
def test_piece_by_piece_finds_what_all_at_once_does(
    sizes: list[int], more: int, most: int, data: st.DataObject
) -> None:
    """Whole, changed anywhere, cut off at its end or without a seal: the same report."""
    entries = written(sum(sizes) + more)
    seals = chain(entries, sizes)
    anchors = [audit.anchor(one) for one in seals if data.draw(st.booleans())]
    harm = data.draw(st.sampled_from(["none", "changed", "cut", "unsealed"]))
    if harm == "changed":
        place = data.draw(st.integers(0, len(entries) - 1))
        entries[place] = replace(entries[place], actor="x")
    elif harm == "cut":
        kept = data.draw(st.integers(0, len(seals) - 1))
        entries, seals = entries[: seals[kept].first - 1], seals[:kept]
    elif harm == "unsealed":
        del seals[data.draw(st.integers(0, len(seals) - 1))]

    assert piece_by_piece(seals, entries, anchors, most) == audit.verify(seals, entries, anchors)


@given(SIZES, st.data())
def test_a_changed_entry_never_passes(sizes: list[int], data: st.DataObject) -> None:
    """Changing anything in any sealed entry is found in the seal that covers it."""
    entries = written(sum(sizes))
    seals = chain(entries, sizes)
    place = data.draw(st.integers(0, len(entries) - 1))
    field, value = data.draw(
        st.sampled_from(
            [("actor", "x"), ("at", 0), ("subject", "x"), ("kind", "x"), ("body", {"n": -1})]
        )
    )
    entries[place] = replace(entries[place], **{field: value})

    report = audit.verify(seals, entries, [])

    covering = next(one for one in seals if one.first <= place + 1 <= one.last)
    assert not report.ok
    assert (report.bad, report.through) == (covering.first, covering.last)


@given(SIZES, st.data())
def test_a_missing_entry_is_named(sizes: list[int], data: st.DataObject) -> None:
    """The first seq that is gone is the first that is bad, sealed or not."""
    entries = written(sum(sizes) + 2)
    seals = chain(entries, sizes)
    place = data.draw(st.integers(0, len(entries) - 2))
    del entries[place]

    report = audit.verify(seals, entries, [])

    assert (report.ok, report.bad) == (False, place + 1)


@given(SIZES.filter(lambda sizes: len(sizes) > 1), st.data())
def test_a_missing_seal_is_found(sizes: list[int], data: st.DataObject) -> None:
    """A gap in the seals is found by the seal after it."""
    entries = written(sum(sizes))
    seals = chain(entries, sizes)
    gone = seals.pop(data.draw(st.integers(0, len(seals) - 2)))

    report = audit.verify(seals, entries, [])

    assert (report.ok, report.bad, report.through) == (False, gone.first, gone.last)


@given(SIZES, st.data())
def test_a_journal_cut_off_at_its_end_is_found(sizes: list[int], data: st.DataObject) -> None:
    """Whoever drops the newest entries and their seals still has the anchors against them."""
    entries = written(sum(sizes))
    seals = chain(entries, sizes)
    anchors = [audit.anchor(one) for one in seals]
    kept = data.draw(st.integers(0, len(seals) - 1))
    left = entries[: seals[kept].first - 1]

    report = audit.verify(seals[:kept], left, anchors)

    assert (report.ok, report.bad, report.through) == (False, len(left) + 1, len(entries))


@given(SIZES, st.integers(1, 5))
def test_a_crash_between_anchor_and_seal_is_no_alarm(sizes: list[int], more: int) -> None:
    """An anchor whose seal was never kept stays good when the seal is made anew, larger."""
    entries = written(sum(sizes) + more)
    seals = chain(entries, sizes)
    anchors = [audit.anchor(one) for one in seals]
    before = seals[-2] if len(seals) > 1 else None
    anew = audit.seal(before, entries[seals[-1].first - 1 :], NOW)

    assert audit.verify([*seals[:-1], anew], entries, anchors).ok
    assert audit.verify(seals[:-1], entries, anchors).ok
    entries[seals[-1].last - 1] = replace(entries[seals[-1].last - 1], actor="x")
    assert not audit.verify(seals[:-1], entries, anchors).ok


def test_a_chain_that_was_forged_whole_does_not_match_its_anchors() -> None:
    """Whoever rewrites an entry and every seal after it still has the anchors against them."""
    entries = written(9)
    anchors = [audit.anchor(one) for one in chain(entries, [3, 3, 3])]
    entries[4] = replace(entries[4], actor="nobody")
    forged = chain(entries, [3, 3, 3])

    assert audit.verify(forged, entries, []).ok
    report = audit.verify(forged, entries, anchors)
    assert (report.ok, report.bad, report.through) == (False, 4, 6)


def test_a_journal_without_anchors_says_so() -> None:
    """Whole, but with nothing outside the database to vouch for it."""
    entries = written(3)
    report = audit.verify(chain(entries, [3]), entries, [])

    assert (report.ok, report.detail) == (True, "nothing outside the database vouches for it")
    assert audit.verify([], [], []) == audit.Report(ok=True, sealed=0, waiting=0, anchors=0)


def test_sealing_refuses_a_gap() -> None:
    """A seal is never made over entries that do not follow the last one."""
    entries = written(4)
    with pytest.raises(Damaged, match="entry 3 is missing"):
        audit.seal(chain(entries, [2])[0], entries[3:], NOW)
    with pytest.raises(ValueError, match="nothing to seal"):
        audit.seal(None, [], NOW)


def test_anchors_stay_in_order(tmp_path: Path) -> None:
    """What is appended is read back, also by another process's eyes."""
    file = AnchorFile(tmp_path / "journal.heads")
    kept = [Anchor(last=n, hash=f"{n:064x}", at=NOW + n) for n in (3, 8, 9)]
    assert file.read() == []

    for one in kept:
        file.append(one)

    assert AnchorFile(tmp_path / "journal.heads").read() == kept
    assert (tmp_path / "journal.heads").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_a_torn_anchor_is_passed_over(tmp_path: Path, cut: int) -> None:
    """A line cut short by a crash costs neither the lines before it nor the one after."""
    path = tmp_path / "journal.heads"
    file = AnchorFile(path)
    first, torn, last = (Anchor(last=n, hash="ab" * 32, at=NOW) for n in (1, 2, 3))
    file.append(first)
    file.append(torn)
    path.write_bytes(path.read_bytes()[:-cut])
    survives = [torn] if cut == 1 else []

    file.append(last)

    assert file.read() == [first, *survives, last]


def test_a_line_that_is_no_anchor_is_damage(tmp_path: Path) -> None:
    """Somebody else's writing in the file is told with its line."""
    path = tmp_path / "journal.heads"
    AnchorFile(path).append(Anchor(last=1, hash="a", at=NOW))
    with path.open("a") as file:
        file.write("hello\n")

    with pytest.raises(Damaged, match=r"journal\.heads:2"):
        AnchorFile(path).read()


def test_a_lock_has_one_holder_and_dies_with_it(tmp_path: Path) -> None:
    """A second holder is told who has it; when that process is killed the lock is free."""
    path = tmp_path / "opx.lock"
    program = (
        "import pathlib, sys, time; from opx.adapters.locks import FileLock;"
        "FileLock(pathlib.Path(sys.argv[1])).acquire({'pid': 42}); print('held', flush=True);"
        "time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert locks.held(path)
        with pytest.raises(Conflict, match='"pid": 42'):
            FileLock(path).acquire({})
        holder.kill()
    assert not locks.held(path)
    mine = FileLock(path)
    mine.acquire({"pid": 1})
    assert locks.said(path) == {"pid": 1}
    mine.release()
    assert not locks.held(path)
    assert locks.said(path) == {}
