# SPDX-License-Identifier: Apache-2.0
"""Tables that must name the same things do."""

from __future__ import annotations

from opx.adapters.probes.network import NetworkProber
from opx.adapters.system import SystemClock
from opx.api import ingest
from opx.app import front
from opx.core.base import addresses
from opx.core.base.reads import ProbeKind
from opx.core.ingest.services import Catalogue
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
