# SPDX-License-Identifier: Apache-2.0
"""Tables that must name the same things do."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from pathlib import Path

import opx
from opx.adapters.probes.network import NetworkProber
from opx.adapters.system import SystemClock
from opx.api import ingest
from opx.app import front
from opx.core.base import addresses
from opx.core.base.reads import ProbeKind
from opx.core.decide.case import Breaker, Grant, Mode, TrackRecord
from opx.core.ingest.services import Catalogue
from opx.engine import records
from opx.engine.beats import forget
from opx.engine.beats.sense import memory
from opx.engine.ports import Entry, Saved, Seal
from opx.testing.memory import ManualClock, MemoryLog


def test_every_kind_of_probe_can_be_written_and_asked() -> None:
    """A member of ``ProbeKind`` has an address form and a way to ask it."""
    asked = NetworkProber(SystemClock())._kinds

    assert set(addresses.FORMS) == set(ProbeKind) == set(asked)


def test_every_wire_has_a_route_and_a_parser() -> None:
    """What ``app`` wires is what the routes serve."""
    clock = ManualClock()
    intake = front._intake(MemoryLog(clock), clock, 1000, Catalogue)

    assert set(intake.wires) == set(ingest.MEDIA_TYPES)


NEVER_GOES = {
    Entry: "the truth",
    Seal: "the proof of it",
    Mode: "one for each scope that was ever halted",
    Grant: "one for each runbook and service, and what somebody took back stays so",
    TrackRecord: "one for each runbook and service, and experience does not age",
    Breaker: "one for each runbook and service",
    Saved: "a few positions, by name",
}
"""Why rows of these may stay for ever."""


def calls(of: object) -> list[ast.Call]:
    tree = ast.parse(of.read_text() if isinstance(of, Path) else inspect.getsource(of))  # type: ignore[arg-type]
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def test_every_table_is_forgotten_or_has_a_reason_to_stay() -> None:
    """With its incident, by its age, by whoever made it, or never: a disk fills up silently."""
    root = Path(opx.__file__).parent
    dropped = {kind.__name__ for kind, _ in forget._AGES} | {
        call.args[0].id
        for folder in ("engine", "adapters/durable")
        for path in (root / folder).rglob("*.py")
        for call in calls(path)
        if isinstance(call.func, ast.Attribute) and call.func.attr == "drop"
        if isinstance(call.args[0], ast.Name)
    }
    kept = {kind.__name__ for kind in NEVER_GOES}

    assert {record.kind.__name__ for record in records.RECORDS} - dropped == kept


BEGUN_ANEW = {
    "metrics_at": "set where the metrics are read, beside it",
    "metrics_points": "likewise",
    "metrics_time": "likewise",
    "catalogue": "of the documents in force",
    "series": "the log has them",
    "responses": "an incident that grows is responded to once more",
}
"""What of ``Memory`` a restart does not read back, and why it need not."""


def test_everything_that_sensing_remembers_survives_a_restart() -> None:
    """A field of ``Memory`` is one that ``_stored`` fills, or it says why not."""
    (made,) = (
        call
        for call in calls(memory._stored)
        if isinstance(call.func, ast.Name) and call.func.id == "Memory"
    )
    filled = {keyword.arg for keyword in made.keywords}
    fields = {one.name for one in dataclasses.fields(memory.Memory)}

    assert fields - filled == set(BEGUN_ANEW)
