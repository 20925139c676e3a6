# SPDX-License-Identifier: Apache-2.0

"""What a tour counts of what was odd while nothing was wrong, from a small recorded one."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opx.adapters.stores.migrate import migrate
from opx.adapters.stores.sql import SqlStore
from opx.cli.demo import _figures
from opx.core.base import time as opx_time
from opx.core.base.time import Window
from opx.core.detect.finding import Finding, FindingKind, FindingState
from opx.core.ingest.signals import Identity, Severity
from opx.playground import trials
from opx.playground.client import Client
from opx.playground.demo import Report
from opx.playground.faults import Fault
from opx.playground.judging import false_findings
from opx.playground.judging.false_findings import AFTER, outside
from opx.playground.timeline import Beat, Moment, Story
from opx.playground.trials import Trial

T = opx_time.from_wire("2026-03-01T12:00:00.000Z")
SEEN = Window(T, T + 60_000)
TROUBLES = [Window(T, T + 5_000), Window(T + 48_000, T + 50_000)]
QUEUE = {second: 2.0 + second % 2 for second in range(60)} | {45: 40.0, 49: 400.0, 55: 4_000.0}
"""2 and 3 in turn, every second, and three spikes: the second is the fault's."""


class _Handler(http.server.BaseHTTPRequestHandler):
    """opx as it answers a query: one stream of one metric has points."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        step = int(asked["step"].removesuffix("ms"))
        times = range(
            *(opx_time.from_wire(asked[end]) for end in ("start", "end")),
            step,
        )
        recorded = {T + 1_000 * second + 130: value for second, value in QUEUE.items()}
        buckets = [
            {"at": opx_time.to_wire(at), "value": next(
                (value for when, value in recorded.items() if at <= when < at + step), None
            )}
            for at in times
        ]  # fmt: skip
        found = [{"labels": {}, "buckets": buckets}] if "queue" in asked["metric"] else []
        body = json.dumps({"resolution": "raw", "results": found}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *what: Any) -> None:
        """Say nothing."""


@pytest.fixture
def client() -> Iterator[Client]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with Client(f"http://127.0.0.1:{server.server_port}") as made:
        yield made
    server.shutdown()
    server.server_close()


def finding(rule: str, after_s: int) -> Finding:
    since = T + 1_000 * after_s
    return Finding(
        id=Finding.id_of(rule, "a", since),
        rule=rule,
        stream="a",
        identity=Identity("playground", "orders"),
        kind=FindingKind.EVIDENCE,
        state=FindingState.CLEARED,
        severity=Severity.SEV5,
        since=since,
        at=since + 9_000,
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """opx's folder: five findings, of which two are of its own detectors and of no trouble."""
    url = f"sqlite:///{tmp_path}/opx.db"
    migrate(url)

    async def main() -> None:
        store = SqlStore(url)
        found = [
            finding("metric-odd", 30),
            finding("metric-odd", 49),
            finding("log-new-template", 55),
            finding("log-new-template", 2),
            finding("health-probe", 31),
        ]
        try:
            await store.write(lambda tx: tx.add(*found))
        finally:
            await store.close()

    asyncio.run(main())
    return tmp_path


def test_what_is_odd_outside_of_the_troubles_is_counted(client: Client, data: Path) -> None:
    """Of the plain rule two of three spikes; of opx what is its own, and neither what its rules
    and probes found nor what a fault explains."""
    counted = false_findings.count(client, data, SEEN, TROUBLES)

    assert counted == {"opx": 2, "plain_rule": 2}


def test_what_cannot_be_read_is_not_counted(client: Client, data: Path, tmp_path: Path) -> None:
    """No database, or nobody who answers: nothing is said, and nothing is raised."""
    gone = Client("http://127.0.0.1:1")

    assert false_findings.count(client, tmp_path / "none", SEEN, TROUBLES) is None
    assert false_findings.count(gone, data, SEEN, TROUBLES) is None
    gone.close()


def test_what_begins_in_a_trouble_or_just_after_is_not_false() -> None:
    """Before one it is, and from ``AFTER`` its end on."""
    begun = [T + after for after in (5_000 + AFTER - 1, 5_000 + AFTER, 47_999, 48_000, 49_999)]

    assert outside(begun, TROUBLES) == 2
    assert outside(begun, []) == 5


def trial(fault: Fault, verdict: str = "", **known: Any) -> Trial:
    moments = {Beat.VERIFIED: Moment(T + 4_000, "")} if verdict else {}
    story = Story(verdict=verdict, moments=moments)
    whose = {"service": "orders", "injected": T, "agrees": True, "story": story}
    return Trial(**{"fault": fault, **whose, **known})


def test_a_trouble_lasts_until_it_is_known_to_be_over() -> None:
    """Until opx and users say so, by whoever says it last; else until a person was done; and what
    is no trouble at all is none."""
    over = T + 30_000
    both = [
        trial(Fault.TWO_AT_ONCE, "recovered", healthy=T + 3_000),
        trial(Fault.TWO_AT_ONCE, "recovered", healthy=T + 4_500, injected=T - 5),
    ]
    in_vain = [trial(Fault.BROKEN_START, "no_effect")]

    assert trials.trouble(both, over) == Window(T - 5, T + 4_500)
    assert trials.trouble([both[0], trial(Fault.TWO_AT_ONCE)], over) == Window(T, over)
    assert trials.trouble(in_vain, over) == Window(T, over)
    assert trials.trouble([trial(Fault.NO_RUNBOOK)], over) == Window(T, over)
    assert trials.trouble([trial(Fault.LOAD_SPIKE)], over) is None


def test_the_story_ends_with_both_numbers() -> None:
    """In a line of their own, where they were counted; in the report's JSON either way."""
    report = Report(started=T, trials=[trial(Fault.LOAD_SPIKE)])
    assert "plain rule" not in _figures(report)
    assert json.loads(json.dumps(report.plain()))["totals"]["false_findings"] is None

    report.false_findings = {"opx": 2, "plain_rule": 37}
    line = _figures(report).splitlines()[-1]
    assert "2 findings of opx, 37 of the plain rule" in line
    assert report.plain()["totals"]["false_findings"] == {"opx": 2, "plain_rule": 37}
