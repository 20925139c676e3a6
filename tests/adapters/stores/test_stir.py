# SPDX-License-Identifier: Apache-2.0

"""Being told by the system that something happened in a folder."""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from opx.adapters.stores import stir as stirring
from opx.adapters.stores.stir import Stir, tell
from opx.core.base.time import HOUR


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Stir]:
    made = Stir(tmp_path)
    yield made
    made.close()


def stirred(stir: Stir) -> bool:
    return bool(select.select([stir.descriptor], [], [], 0)[0])


def test_who_is_told_is_stirred_until_it_settles(told: Stir, tmp_path: Path) -> None:
    """Once for all that was said; what is only written says nothing."""
    assert not stirred(told)
    (tmp_path / "file").write_bytes(b"x")
    assert not stirred(told)
    for _ in range(3):
        tell(tmp_path)
    assert stirred(told)
    told.settle()
    assert not stirred(told)
    told.settle()


def test_who_listens_for_writes_hears_of_each(tmp_path: Path) -> None:
    """Also of one to a file that was not there before."""
    file, stir = tmp_path / "file", Stir(tmp_path, writes=True)
    for _ in range(2):
        with file.open("ab") as opened:
            opened.write(b"x")
        assert stirred(stir)
        stir.settle()
        assert not stirred(stir)
    stir.close()


def test_nobody_waits_for_what_has_happened(told: Stir, tmp_path: Path) -> None:
    """What was told before is not forgotten; what is told meanwhile ends the waiting, and
    nothing else does within the time."""

    async def main() -> None:
        tell(tmp_path)
        async with asyncio.timeout(20):
            await told.wait(HOUR)
        assert not stirred(told)
        waiting = asyncio.create_task(told.wait(HOUR))
        await asyncio.sleep(0)
        assert not waiting.done()
        tell(tmp_path)
        async with asyncio.timeout(20):
            await waiting
        await told.wait(1)
        assert not stirred(told)

    asyncio.run(main())


def test_where_nothing_is_told_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is not there, or of a file system that takes the order and never tells; no
    descriptor is left open."""
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="nothing is told of"):
        Stir(tmp_path / "nowhere")
    monkeypatch.setattr(stirring, "tell", lambda _: None)
    with pytest.raises(BlockingIOError):
        Stir(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before
