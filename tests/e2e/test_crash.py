# SPDX-License-Identifier: Apache-2.0

"""Kills and torn ends: what was acknowledged is there once, and nothing is done twice.

The short version of ``opx bench crash``. It starts a playground and an opx, kills each of
opx's processes at a random moment and at a failpoint, and counts what there is afterwards.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from opx.adapters.stores.wal import segments
from opx.adapters.stores.wal.appender import WalAppender
from opx.adapters.system import SystemClock
from opx.bench.crash import crash, torn
from opx.bench.crash.crash import Count, Outcome
from opx.bench.crash.numbered import Books
from opx.bench.crash.torn import Cuts
from opx.core.ingest.signals import Identity, MetricBatch, Series, Tick
from opx.engine.ports import Batch

KILLS = 6


def test_six_kills_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    """Each process dies by SIGKILL and at a failpoint, and the disk fills up: every
    acknowledged item is there once, and each fault is repaired by one start."""
    told: list[str] = []
    outcome = crash.run(tmp_path, KILLS, seed=3, tell=told.append, full=1)

    story = "\n".join([*told, str(outcome)])
    assert outcome.kills.total() >= KILLS, story
    assert {role for role, _ in outcome.kills} == {"front", "brain", "hands"}, story
    assert all(count.acked for count in outcome.items.values()), story
    assert outcome.faults > 0, story
    assert (outcome.lost, outcome.doubled, outcome.repeated) == (0, 0, 0), story


def write(folder: Path, batches: list[Batch]) -> None:
    async def append() -> None:
        appender = WalAppender(folder, SystemClock())
        for batch in batches:
            await appender.append(batch)
        await appender.close()

    asyncio.run(append())


def test_a_log_cut_at_any_byte_keeps_every_whole_commit(tmp_path: Path) -> None:
    """Of five commits, cut at every byte of the last ones, exactly the whole ones are read."""
    series = Series(sid=0, metric="m", labels={}, identity=Identity("e", "s"))
    points = MetricBatch(
        sid=np.zeros(3, np.int32), at=np.arange(3, dtype=np.int64), value=np.ones(3)
    )
    batches = [Batch(items=(Tick(n),)) for n in range(4)]
    write(tmp_path, [*batches, Batch(series=(series,), points=points)])
    size = segments.listed(tmp_path)[-1].path.stat().st_size

    cuts = torn.cut(tmp_path, size, torn.recovered)

    assert cuts == Cuts(tried=size + 1, lost=0, doubled=0)


def test_cuts_are_counted_by_what_is_missing(tmp_path: Path) -> None:
    """A log that reads nothing back loses the one whole frame of the last cut, one that reads
    a torn frame doubles at every other."""
    write(tmp_path, [Batch(items=(Tick(1),))])
    size = segments.listed(tmp_path)[-1].path.stat().st_size

    nothing = torn.cut(tmp_path, size, lambda folder, floor: [])
    always = torn.cut(tmp_path, size, lambda folder, floor: [1])

    assert nothing == Cuts(tried=size + 1, lost=1, doubled=0)
    assert always == Cuts(tried=size + 1, lost=0, doubled=size)


def test_what_is_missing_and_what_is_there_twice_is_counted() -> None:
    """Acknowledged 1 to 4 of which 4 is missing; 2 is there twice; of 8 and 9, which were
    never acknowledged, 9 is there, and twice."""
    books = Books(acked={"alert": [1, 2, 3, 4]}, open={"alert": [8, 9]})
    found = Counter({1: 1, 2: 2, 3: 1, 9: 2})
    assert crash.judged(books, "alert", found) == Count(acked=4, lost=1, doubled=2, open=2, kept=1)


def outcome(**known: object) -> Outcome:
    fields: dict[str, object] = {
        "kills": Counter({("front", "SIGKILL"): 3}),
        "items": {"alert": Count(acked=9, lost=0, doubled=0, open=0, kept=0)},
        "tries": 0,
        "faults": 2,
        "left": 0,
        "needed": 2,
        "starts": 2,
        "cuts": Cuts(tried=5, lost=0, doubled=0),
        "full": 1,
    }
    return Outcome(**{**fields, **known})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("known", "counted"),
    [
        ({}, [3, 0, 0, 0]),
        ({"items": {"alert": Count(acked=9, lost=2, doubled=1, open=0, kept=0)}}, [3, 2, 1, 0]),
        ({"cuts": Cuts(tried=5, lost=1, doubled=4)}, [3, 1, 4, 0]),
        ({"starts": 5}, [3, 0, 0, 3]),
    ],
)
def test_the_figures_add_up_what_went_wrong(known: dict[str, object], counted: list[int]) -> None:
    """Kills; items and frames lost; items and frames doubled; starts nobody called for."""
    assert [figure.measured for figure in crash.figures(outcome(**known))] == counted
