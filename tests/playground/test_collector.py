# SPDX-License-Identifier: Apache-2.0

"""opx's eyes in the playground, against a door that somebody else holds."""

from __future__ import annotations

import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opx.playground import layout, processes
from opx.playground.layout import Layout
from opx.playground.shop import files
from opx.playground.shop.collector import Collector, Door, Tail, digest

METRICS = b"""\
# TYPE playground_requests_total counter
playground_requests_total{environment="playground",service="orders"} 7
playground_request_seconds_sum{environment="playground",service="orders"} 0.250000
"""


class Sink(http.server.ThreadingHTTPServer):
    """Takes what is posted, or refuses it with ``status``; serves one service's metrics."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 202
        self.posted: list[tuple[str, str, str]] = []

    def bodies(self, path: str) -> list[str]:
        return [body for where, _, body in self.posted if where == path]

    def events(self) -> list[dict[str, Any]]:
        return [one for body in self.bodies("/events") for one in json.loads(body)]


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Sink
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.server.status < 300:
            self.server.posted.append((self.path, self.headers["Authorization"], body))
        self._answer(self.server.status, b"{}")

    def do_GET(self) -> None:
        self._answer(200, METRICS)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def where(tmp_path: Path, sink: Sink) -> Layout:
    """A shop of which only orders answers."""
    ports = dict.fromkeys(layout.EVERY, processes.free_ports(1)[0])
    ports["orders"] = sink.server_address[1]
    shop = Layout(folder=tmp_path, ports=ports, socket=tmp_path / "s.sock")
    files.lay_out(shop, layout.EVERY)
    (tmp_path / "logs").mkdir()
    return shop


@pytest.fixture
def collector(where: Layout, sink: Sink) -> Iterator[Collector]:
    door = Door(f"http://127.0.0.1:{sink.server_address[1]}", "secret")
    yield Collector.of(where, door)
    door.close()


def test_metrics_are_sent_as_they_were_scraped_in_one_request(
    collector: Collector, sink: Sink
) -> None:
    """A service that answers is told of, with its labels; the others cost nobody anything."""
    collector.send_metrics()
    ((path, login, body),) = sink.posted
    assert (path, login) == ("/metrics", "Bearer secret")
    points = json.loads(body)
    labels = {"environment": "playground", "service": "orders"}
    assert [(one["metric"], one["value"], one["labels"]) for one in points] == [
        ("playground_requests_total", 7, labels),
        ("playground_request_seconds_sum", 0.25, labels),
    ]
    assert len({one["timestamp"] for one in points}) == 1


def test_a_file_that_drifts_is_told_once_and_again_when_it_is_well(
    collector: Collector, where: Layout, sink: Sink
) -> None:
    """Drift is an event with both hashes and whoever left word of it; each other content is
    another, and so is the end of it."""
    file, expected = where.config("orders"), digest(where.good("orders"))
    collector.round()
    assert sink.events() == []

    file.write_text("spoilt")
    file.with_name("orders.json.changed-by").write_text("mallory\n")
    collector.round()
    collector.round()
    found = digest(file)
    (drifted,) = sink.events()
    assert (drifted["type"], drifted["environment"]) == ("opx.file.drifted", "playground")
    assert (drifted["service"], drifted["subject"]) == ("orders", str(file))
    told = {"path": str(file), "expected": expected, "found": found, "actor": "mallory"}
    assert drifted["data"] == told

    file.unlink()
    collector.round()
    shutil.copyfile(where.good("orders"), file)
    collector.round()
    collector.round()
    assert [one["type"] for one in sink.events()[1:]] == ["opx.file.drifted", "opx.file.restored"]
    assert sink.events()[1]["data"]["found"] == "missing"


def test_what_was_not_taken_is_sent_again_and_is_the_same_event(
    collector: Collector, where: Layout, sink: Sink
) -> None:
    """While opx cannot take them, events and log lines wait, metrics do not; nothing is told
    twice, and a collector that begins anew tells the same change under the same id."""
    where.log("orders").write_text('{"message": "one"}\n')
    said = {"type": "opx.config.changed", "service": "orders", "at": 1_000, "data": {"actor": "a"}}
    where.changes.write_text(json.dumps(said) + "\n")
    sink.status = 503
    collector.round()
    sink.status = 202
    collector.round()
    collector.round()
    assert sink.bodies("/logs") == ['{"message": "one"}\n']
    assert len(sink.bodies("/metrics")) == 2
    (first,) = sink.events()
    assert (first["time"], first["data"]) == ("1970-01-01T00:00:01.000+00:00", {"actor": "a"})

    Collector.of(where, collector.door).round()
    assert [one["id"] for one in sink.events()] == [first["id"]] * 2


def test_a_refusal_for_good_is_said_and_left_behind(
    collector: Collector, where: Layout, sink: Sink, capsys: pytest.CaptureFixture[str]
) -> None:
    """What opx will never take holds up nothing else."""
    where.log("orders").write_text("no JSON\n")
    sink.status = 422
    collector.send_logs()
    collector.send_logs()
    sink.status = 202
    collector.send_logs()
    assert sink.posted == []
    assert capsys.readouterr().err.count("/logs: 422") == 1


def test_a_line_that_is_no_json_is_sent_as_the_service_s(
    collector: Collector, where: Layout, sink: Sink
) -> None:
    """A traceback is not lost: each of its lines is a message of that service."""
    where.log("orders").write_text("Traceback (most recent call last):\n")
    collector.send_logs()
    (line,) = [json.loads(line) for body in sink.bodies("/logs") for line in body.splitlines()]
    assert line["message"] == "Traceback (most recent call last):"
    assert line["labels"] == {"service": "orders", "environment": "playground"}


def test_a_tail_gives_whole_lines_and_begins_anew_with_its_file(tmp_path: Path) -> None:
    """Half a line waits for its end; a log that was rotated is read from its beginning."""
    tail = Tail(tmp_path / "log")
    assert tail.lines() == ([], 0)
    tail.file.write_text("one\ntw")
    assert tail.lines() == (["one"], 4)
    tail.offset = 4
    tail.file.write_text("one\ntwo\n")
    assert tail.lines() == (["two"], 8)
    tail.offset = 8
    tail.file.write_text("new\n")
    assert tail.lines() == (["new"], 4)
