# SPDX-License-Identifier: Apache-2.0

"""``opx demo`` as a newcomer runs it: every kind of trouble, each ended as it ought to be, and
confirmed by the users."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from opx.core.base import time as opx_time
from opx.playground import faults
from opx.playground.faults import ROWS, Fault

WITHIN_S = 480
"""The whole story is told in eight minutes."""
FIRST_WITHIN_S = 90
TOP = {"ok", "problem", "address", "seed", "started", "faults", "totals"}
BEATS = ("injected", "detected", "incident", "explained", "decided", "acted", "verified")
FAULT = {
    *BEATS,
    *("fault", "service", "hurt", "healthy", "verdict", "verdicts", "runbook", "guards", "orders"),
    *("starts", "by_hand", "elsewhere", "false_alarms", "paged", "agrees", "problem"),
}
TOTALS = {
    *("trials", "repairs", "verified_success", "pages", "false_actions", "false_actions_at_most"),
    *("false_alarms", "false_findings"),
    *("mttd_s", "mttd_p90_s", "mttr_s", "mttr_p90_s", "first_verified_s"),
}
REPAIRED_BY = {
    Fault.TAMPER: "restore-file",
    Fault.BAD_RELEASE: "rollback-release",
}
"""Where a restart alone would not do."""
CAUSES = {
    Fault.KILL: "process down: playground/{}, the process is not running",
    Fault.HANG: "process hung: playground/{}, the process runs and does not answer",
    Fault.TAMPER: "/{}.json, the file was changed by mallory",
    Fault.BAD_RELEASE: "{}: bad release: v",
    Fault.SLOW_STORE: "latency: playground/{}, it answers slowly",
    Fault.BROKEN_START: "process down: playground/{}, the process is not running",
    Fault.KILL_BRAIN: "process down: playground/{}, the process is not running",
    Fault.KILL_HANDS: "process hung: playground/{}, the process runs and does not answer",
    Fault.TELEMETRY_LOSS: "telemetry loss: opx/observer",
    Fault.NO_RUNBOOK: "process down: playground/{}, the process is not running",
    Fault.TWO_AT_ONCE: "playground/{}, the process ",
}
"""What the story has to blame, where something was wrong."""
_CHAPTER = re.compile(r"^\d+ of \d+: .*\((\S+)\)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Told:
    """One whole tour: its report, the story told meanwhile, and where it may write."""

    report: dict[str, Any]
    story: str
    folder: Path

    def of(self, fault: Fault) -> list[dict[str, Any]]:
        return [one for one in self.report["faults"] if one["fault"] == fault]

    @property
    def repairs(self) -> list[dict[str, Any]]:
        return [one for fault in Fault if ROWS[fault].repair for one in self.of(fault)]


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


def test_every_kind_of_trouble_ends_as_it_ought_to(demo: Told) -> None:
    """By the word of the load generator each fault of the table came to the verdicts, orders and
    starts that it calls for, people were called where they were needed, and nowhere was
    anything done that nothing called for."""
    assert (demo.report["ok"], demo.report["problem"]) == (True, "")
    for fault, row in ROWS.items():
        found = demo.of(fault)
        assert len(found) == len(faults.victims(fault, "any")), fault
        for one in found:
            assert (one["agrees"], one["problem"]) == (True, "")
            assert one["verdicts"] == [verdict.value for verdict in row.verdicts]
            assert one["orders"] <= row.orders
            assert one["starts"] - one["by_hand"] == row.starts
            assert (one["elsewhere"], one["paged"]) == (0, row.page)
            if row.verdicts:
                assert one["runbook"].startswith(REPAIRED_BY.get(fault, "restart-"))

    totals = demo.report["totals"]
    assert (totals["trials"], totals["repairs"]) == (15, 9)
    assert (totals["verified_success"], totals["false_actions"], totals["pages"]) == (9, 0, 3)
    assert totals["false_alarms"] == 0
    false = totals["false_findings"]
    assert false.keys() == {"opx", "plain_rule"}
    assert 0 <= false["opx"] <= false["plain_rule"]


def test_the_first_recovery_is_seen_soon(demo: Told) -> None:
    """A newcomer sees a verified recovery within a minute and a half."""
    assert demo.report["totals"]["first_verified_s"] < FIRST_WITHIN_S


def test_the_report_has_the_fields_it_is_known_for(demo: Told) -> None:
    """Whoever reads the JSON finds each documented field, and figures that are numbers."""
    report = demo.report
    assert report.keys() == TOP
    assert {frozenset(one) for one in report["faults"]} == {frozenset(FAULT)}
    assert report["totals"].keys() == TOTALS
    for name in ("mttd_s", "mttd_p90_s", "mttr_s", "mttr_p90_s", "first_verified_s"):
        assert report["totals"][name] > 0
    assert 0 < report["totals"]["false_actions_at_most"] < 1


def test_every_repair_went_step_by_step(demo: Told) -> None:
    """A fault is injected, detected, an incident, explained, decided upon, acted upon and
    verified, in this order; users are hurt only after it was injected, and well when opx says
    so."""
    for one in demo.repairs:
        times = [opx_time.from_wire(one[beat]) for beat in BEATS]
        assert times == sorted(times), one
        hurt, healthy = (opx_time.from_wire(one[name]) for name in ("hurt", "healthy"))
        assert times[0] <= hurt < healthy
        assert healthy <= times[-1] + 1_000


def test_the_cause_is_named(demo: Told) -> None:
    """The story of each fault blames what was broken: the process, who spoilt the file, which
    release is bad, and the store among all that look guilty when it is slow. Where nothing is
    wrong nothing is blamed."""
    _, *parts = _CHAPTER.split(demo.story)
    chapters = dict(zip(parts[::2], parts[1::2], strict=True))
    assert chapters.keys() == set(Fault)
    for fault, chapter in chapters.items():
        blamed = [line for line in chapter.splitlines() if " explained " in line]
        assert bool(blamed) is (fault in CAUSES), chapter
        for one in demo.of(Fault(fault)):
            if fault in CAUSES:
                cause = CAUSES[Fault(fault)].format(one["service"])
                assert [line for line in blamed if cause in line], (cause, chapter)


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
