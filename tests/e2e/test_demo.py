# SPDX-License-Identifier: Apache-2.0

"""``opx demo`` as a newcomer runs it: real faults, repaired, and confirmed by the users."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from opx.core.base import time as opx_time
from opx.playground.trials import Fault

WITHIN_S = 180
TOP = {"ok", "problem", "address", "seed", "started", "faults", "totals"}
BEATS = ("injected", "detected", "incident", "decided", "acted", "verified")
FAULT = {
    *BEATS,
    *("fault", "service", "hurt", "healthy", "verdict", "guards", "orders", "starts", "agrees"),
    "problem",
}
TOTALS = {
    *("trials", "repairs", "verified_success", "false_actions", "mttd_s", "mttr_s"),
    "first_verified_s",
}


@dataclass(frozen=True, slots=True)
class Told:
    """One whole tour: its report, the story told meanwhile, and where it may write."""

    report: dict[str, Any]
    story: str
    folder: Path


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Told:
    folder = tmp_path_factory.mktemp("demo")
    with subprocess.Popen(
        [sys.executable, "-m", "opx", "demo", "--once", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
    ) as process:
        try:
            report, story = process.communicate(timeout=WITHIN_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # so that it ends what it has started
            report, story = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0, report + story
    return Told(json.loads(report), story, folder)


def test_every_fault_is_repaired_once_and_nothing_else_is_done(demo: Told) -> None:
    """The four faults of the tour end as they should by the word of the load generator: three
    are repaired by one order and one start each, and the benign restart is left alone."""
    report = demo.report
    assert (report["ok"], report["problem"]) == (True, "")
    faults = {one["fault"]: one for one in report["faults"]}
    assert list(faults) == [fault.value for fault in Fault]
    assert all(one["agrees"] and one["problem"] == "" for one in faults.values())
    benign = faults.pop("benign-restart")
    assert (benign["orders"], benign["starts"], benign["verdict"]) == (0, 1, "")
    assert [benign[beat] for beat in BEATS[1:]] == [None] * 5
    for one in faults.values():
        assert (one["verdict"], one["orders"], one["starts"]) == ("recovered", 1, 1)

    totals = report["totals"]
    assert (totals["trials"], totals["repairs"]) == (4, 3)
    assert (totals["verified_success"], totals["false_actions"]) == (3, 0)
    assert demo.story.count("RECOVERED, 3 of 3 probes said yes") >= 3


def test_the_report_has_the_fields_it_is_known_for(demo: Told) -> None:
    """Whoever reads the JSON finds each documented field, and figures that are numbers."""
    report = demo.report
    assert report.keys() == TOP
    assert {frozenset(one) for one in report["faults"]} == {frozenset(FAULT)}
    assert report["totals"].keys() == TOTALS
    for name in ("mttd_s", "mttr_s", "first_verified_s"):
        assert report["totals"][name] > 0


def test_every_repair_went_step_by_step(demo: Told) -> None:
    """A fault is injected, detected, an incident, decided upon, acted upon and verified, in
    this order; users are hurt only after it was injected, and well when opx says so."""
    repairs = [one for one in demo.report["faults"] if one["fault"] != "benign-restart"]
    for one in repairs:
        times = [opx_time.from_wire(one[beat]) for beat in BEATS]
        assert times == sorted(times), one
        hurt, healthy = (opx_time.from_wire(one[name]) for name in ("hurt", "healthy"))
        assert times[0] <= hurt < healthy
        assert healthy <= times[-1] + 1_000


def test_nothing_is_left_of_a_tour(demo: Told) -> None:
    """A tour that went well takes its folder and every process with it."""
    assert list(demo.folder.iterdir()) == []
    assert [line for line in _commands() if str(demo.folder) in line] == []


def _commands() -> list[str]:
    """The command line of every process of this machine."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found
