# SPDX-License-Identifier: Apache-2.0

"""``opx quarantine`` and ``opx unmapped`` against a served ``front``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from opx.adapters.wires import events, metrics
from opx.core.ingest.services import Catalogue
from opx.core.ingest.signals import Rejected
from opx.engine.intake import Intake
from opx.engine.ports import Saved
from opx.engine.quarantine import Quarantine
from opx.testing.memory import MemoryLog

NOW = 1_767_225_600_000
Opx = Callable[..., Any]
POINT = '{"metric": "up", "value": 1, "labels": {"team": "[shop]"}}'


@pytest.fixture
def log(up: Opx, world: Any) -> Iterator[MemoryLog]:
    """The log of a front that takes telemetry, and a brain that has read all of it."""
    log = MemoryLog(world.clock)
    index = metrics.SeriesIndex()
    intake = Intake(
        appender=log,
        clock=world.clock,
        catalogue=Catalogue,
        index=index,
        wires={"metrics": metrics.parser(index), "events": events.parse},
    )
    world.application.state.quarantine = Quarantine(intake=intake, store=world.store)
    world.put(Saved(id="sense", seq=1_000))
    return log


def refused(world: Any, id: str, **more: Any) -> None:
    given = {"at": NOW, "wire": "metrics", "reason": "out_of_scope", "item": POINT, **more}
    world.put(Rejected(id=id, source="agent", **given))


def test_the_list_is_as_it_was(up: Opx, world: Any) -> None:
    """``opx quarantine`` alone lists, in words and in JSON, a page at a time."""
    refused(world, "aaaa1")
    refused(world, "aaaa2")

    assert "out_of_scope" in up("quarantine").out
    page = up("quarantine", "--limit", "1", "--json").json
    assert [row["id"] for row in page["items"]] == ["aaaa2"]
    assert up("quarantine", "--before", page["next"], "--json").json["items"][0]["id"] == "aaaa1"


def test_one_item_is_shown(up: Opx, world: Any) -> None:
    """What is kept of it, as it is, whatever it holds; one that is not there is an error."""
    refused(world, "aaaa1")
    shown = up("quarantine", "show", "aaaa")

    assert shown.code == 0
    assert "refused: out_of_scope" in shown.out
    assert POINT in shown.out.replace("\n", "")
    assert up("quarantine", "show", "aaaa1", "--json").json["source"] == "agent"
    assert up("quarantine", "show", "bbbb").code == 1


def test_one_item_is_replayed(up: Opx, world: Any, log: MemoryLog) -> None:
    """0 when it was taken, however often it is asked; then it says who, when and what."""
    refused(world, "aaaa1")

    for _ in range(2):
        done = up("quarantine", "replay", "aaaa1")
        assert (done.code, done.out) == (0, "1 accepted\n")
    assert sum(len(chunk.points) for chunk in log.read(0, 100) if chunk.points) == 1
    assert "by admin: accepted" in up("quarantine", "show", "aaaa1").out


def test_all_of_a_reason_or_a_wire_are_replayed(up: Opx, world: Any, log: MemoryLog) -> None:
    """Over all pages, those alone, and none that was taken already; 1 when one was not."""
    for number in range(205):
        refused(world, f"m{number:04}")
    refused(world, "old1", reason="too_old", item="{}")
    refused(world, "more", reason="too_old", wire="events", item="5 more items")
    world.put(Rejected(id="and1", at=NOW, wire="events", reason="and_more", item="5 more"))

    done = up("quarantine", "replay", "--reason", "out_of_scope")
    assert (done.code, done.out) == (0, "205 accepted\n")
    again = up("quarantine", "replay", "--reason", "out_of_scope")
    assert (again.code, again.out) == (0, "nothing to replay\n")
    other = up("quarantine", "replay", "--wire", "metrics", "--reason", "too_old", "--json")
    assert other.code == 1
    assert [(row["id"], row["result"]) for row in other.json["items"]] == [("old1", "malformed")]
    events = up("quarantine", "replay", "--wire", "events")
    assert events.code == 1
    assert "1 malformed" in events.out
    assert "nothing was kept that could be sent again" in events.out


def test_what_to_replay_must_be_said(up: Opx) -> None:
    """2 without an id, a reason or a wire, and with both: nobody replays all by a slip."""
    assert up("quarantine", "replay").code == 2
    assert up("quarantine", "replay", "aaaa1", "--wire", "metrics").code == 2


def test_what_is_nobodys_is_listed(up: Opx, world: Any, log: MemoryLog) -> None:
    """The metric, how often it came and its labels, as they are."""
    refused(world, "aaaa1")
    assert "none" in up("unmapped").out
    up("quarantine", "replay", "aaaa1")
    shown = up("unmapped")

    assert "team=[shop]" in shown.out
    assert up("unmapped", "--json").json["items"][0]["labels"] == {"team": "[shop]"}
