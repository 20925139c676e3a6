# SPDX-License-Identifier: Apache-2.0
"""What a step says while it is at work is journaled as it comes, masked and bounded."""

from __future__ import annotations

import asyncio

from opx.engine.hands import saying
from opx.testing import virtual


def heard(*lines: str, pause: bool = False) -> list[list[str]]:
    """What was kept, batch by batch."""
    kept: list[list[str]] = []

    async def keep(some: list[str]) -> None:
        kept.append(some)

    async def main() -> None:
        async with saying.listening(keep) as say:
            for line in lines:
                say(line)
                if pause:
                    await asyncio.sleep(1)

    virtual.run(main())
    return kept


def test_each_line_is_kept_as_it_comes() -> None:
    """Spoken apart they are kept apart, in order; in one breath they are kept together."""
    assert heard("stopping", "starting", pause=True) == [["stopping"], ["starting"]]
    assert [line for some in heard("stopping", "starting") for line in some] == [
        "stopping",
        "starting",
    ]
    assert heard() == []


def test_it_is_bounded_and_says_so() -> None:
    """Fifty lines of five hundred characters, then one line for all the rest."""
    lines = [line for some in heard(*("x" * 501 for _ in range(70))) for line in some]
    assert lines == ["x" * 500] * 50 + [saying.MORE]


def test_a_secret_is_masked() -> None:
    """What looks like one never reaches the journal."""
    [[line]] = heard("connecting with password=hunter2")
    assert "hunter2" not in line
