# SPDX-License-Identifier: Apache-2.0

"""What ``opx up`` makes ready: a data folder that was there already, too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from opx import app, settings
from opx.adapters.anchors import AnchorFile
from opx.adapters.stores.sql import SqlStore
from opx.app import Heart, front
from opx.engine import queries
from opx.engine.hands import EPOCH
from opx.engine.journal.audit import Anchor
from opx.engine.ports import Entry, ReadTx, Saved
from opx.settings import Settings

T = TypeVar("T")


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: Any) -> Settings:
    monkeypatch.setenv("OPX_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir(mode=0o700)
    made = settings.load({"port": 0})
    app.prepare(made)
    return made


def read(made: Settings, fn: Callable[[ReadTx], T]) -> T:
    async def main() -> T:
        store = SqlStore(made.database_url)
        try:
            return await store.read(fn)
        finally:
            await store.close()

    return asyncio.run(main())


def epoch(made: Settings) -> int:
    saved = read(made, lambda tx: tx.get(Saved, EPOCH))
    assert saved is not None
    return saved.seq


def test_a_database_that_was_put_back_begins_a_new_epoch(prepared: Settings) -> None:
    """Its journal ends before what was anchored: orders in it may have been carried out since.
    Once, and said; the anchors of the journal that goes on from there change nothing."""
    anchors, newest = AnchorFile(prepared.anchors), read(prepared, queries.newest)
    anchors.append(Anchor(last=newest, hash="0" * 64, at=1))
    app.prepare(prepared)
    assert epoch(prepared) == 1

    newest = read(prepared, queries.newest)
    anchors.append(Anchor(last=newest + 100, hash="0" * 64, at=1))
    app.prepare(prepared)
    told = read(prepared, lambda tx: tx.find(Entry, order="seq"))
    assert epoch(prepared) == 2
    [begun] = [one for one in told if one.kind == "epoch.begun"]
    assert begun.body == {"epoch": 2, "journalled": newest, "anchored": newest + 100}

    anchors.append(Anchor(last=begun.seq, hash="0" * 64, at=1))
    app.prepare(prepared)
    assert epoch(prepared) == 2


def test_anchors_that_cannot_be_read_keep_nothing_from_starting(prepared: Settings) -> None:
    """What is wrong with them is for ``opx doctor`` to say."""
    prepared.anchors.write_text("no anchor\n")
    assert app.prepare(prepared)
    assert epoch(prepared) == 1


def test_the_heart_of_front_stops_with_its_log(prepared: Settings) -> None:
    """A front that can keep nothing any more is as good as one that hangs."""
    heart = Heart(-1)
    assert heart.well is None, "it has not begun"

    async def main() -> None:
        stop = asyncio.Event()
        stop.set()
        await front.main(prepared, stop, heart)

    asyncio.run(main())
    assert heart.well is not None
    assert not heart.well(), "the log is closed"
