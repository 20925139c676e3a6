# SPDX-License-Identifier: Apache-2.0

"""A real Prometheus server that takes opx for its Alertmanager."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from tests.e2e.support import Opx, needs, program, until

from opx.playground import processes

BINARY = needs("prometheus")
AT_ONCE, MEASURED = "prom-checkout", "prom-search"
RESENDS = 4


class Exporter:
    """A tiny exporter of one gauge. ``broken`` is what it says."""

    def __init__(self) -> None:
        exporter, self.broken = self, 1

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = f"shop_broken {exporter.broken}\n".encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.place = f"127.0.0.1:{self.server.server_address[1]}"


@contextmanager
def exporting() -> Iterator[Exporter]:
    exporter = Exporter()
    thread = threading.Thread(target=exporter.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield exporter
    finally:
        exporter.server.shutdown()
        thread.join()
        exporter.server.server_close()


class Prometheus:
    """A server with a folder of its own, and what it answers. ``pid``: once it runs."""

    def __init__(self, folder: Path, opx: Opx, exporter: Exporter) -> None:
        self.folder, self.opx, self.exporter, self.pid = folder, opx, exporter, 0
        self.port = processes.free_ports(1)[0]
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", trust_env=False)

    def configure(self) -> None:
        place = self.opx.address.removeprefix("http://")
        jobs = {"shop": self.exporter.place, "opx": place}
        configuration = {
            "global": dict.fromkeys(
                ("scrape_interval", "scrape_timeout", "evaluation_interval"), "1s"
            ),
            "rule_files": [str(self.folder / "rules.yml")],
            "alerting": {
                "alertmanagers": [
                    {
                        "authorization": {"credentials_file": str(self.folder / "token")},
                        "static_configs": [{"targets": [place]}],
                    }
                ]
            },
            "scrape_configs": [
                {"job_name": name, "static_configs": [{"targets": [target]}]}
                for name, target in jobs.items()
            ],
        }
        groups = {"groups": [{"name": "shop", "rules": [ALWAYS, WHILE]}]}
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
        (self.folder / "rules.yml").write_text(yaml.safe_dump(groups))

    def command(self) -> list[str]:
        return [
            BINARY,
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--rules.alert.resend-delay=1s",
        ]

    def value(self, query: str) -> float:
        """An instant query's one value; -1 while there is none."""
        try:
            answer = self.http.get("/api/v1/query", params={"query": query})
        except httpx.TransportError:
            return -1
        found = answer.json()["data"]["result"] if answer.status_code == 200 else []
        return float(found[0]["value"][1]) if found else -1

    def own(self, name: str) -> float:
        """One of its own counters, summed over its labels."""
        lines = self.http.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


def rule(name: str, expression: str, service: str) -> dict[str, Any]:
    return {
        "alert": name,
        "expr": expression,
        "labels": {"service": service, "environment": "shop", "severity": "critical"},
        "annotations": {"summary": f"{service} is broken"},
    }


ALWAYS = rule("AlwaysBroken", "vector(1)", AT_ONCE)
WHILE = rule("BrokenWhileItSaysSo", "shop_broken == 1", MEASURED)


def lines(opx: Opx, incident: str, what: str) -> list[dict[str, Any]]:
    """What the timeline says of an incident's findings that have fired, or cleared."""
    told = opx.journal("findings.attached", subject=incident)
    return [line for line in told if line["body"][what]]


def attached(opx: Opx, incident: str, what: str) -> int:
    """How many findings of an incident have fired, or cleared."""
    return sum(int(line["body"][what]) for line in lines(opx, incident, what))


@pytest.fixture(scope="module")
def prometheus(opx: Opx, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    token = opx.token("prometheus", "ingest", services=(AT_ONCE, MEASURED))
    (folder / "token").write_text(token)
    with exporting() as exporter:
        server = Prometheus(folder, opx, exporter)
        server.configure()
        with server.http, program(server.command(), folder / "log") as process:
            server.pid = process.pid
            yield server


def test_prometheus_can_scrape_opx(opx: Opx, prometheus: Prometheus) -> None:
    """opx's own metrics are what a Prometheus server expects: it takes them, and they count
    the alerts that the same server sends."""
    until(lambda: prometheus.value('up{job="opx"}') == 1, "Prometheus to have scraped opx")
    count = 'opx_ingest_items_total{wire="alerts",outcome="accepted"}'
    until(lambda: prometheus.value(count) > 0, "alerts to be counted")


def test_what_fires_is_one_incident_and_clears_when_it_stops(
    opx: Opx, prometheus: Prometheus
) -> None:
    """However often a Prometheus server repeats what fires, it is one finding of one incident.
    When it says that it is over, the finding clears; and when the server dies and says nothing
    any more, as an Alertmanager would have it."""
    for service in (AT_ONCE, MEASURED):
        until(lambda name=service: opx.incidents(name), f"an incident of {service}")
    sent = prometheus.own("prometheus_notifications_sent_total")
    until(
        lambda: prometheus.own("prometheus_notifications_sent_total") >= sent + 2 * RESENDS,
        "both to have been sent again and again",
    )
    incidents = {name: opx.incidents(name) for name in (AT_ONCE, MEASURED)}
    assert [len(found) for found in incidents.values()] == [1, 1]
    first, second = (found[0] for found in incidents.values())
    assert first["title"] == f"{AT_ONCE} is broken"
    assert (first["severity"], first["group"]["environment"]) == (2, "shop")
    for incident in (first, second):
        assert attached(opx, incident["id"], "firing") == 1
        assert attached(opx, incident["id"], "cleared") == 0

    prometheus.exporter.broken = 0
    until(lambda: attached(opx, second["id"], "cleared"), "what was measured to clear")
    assert attached(opx, first["id"], "cleared") == 0
    assert prometheus.own("prometheus_notifications_errors_total") == 0
    os.kill(prometheus.pid, signal.SIGKILL)
    until(lambda: attached(opx, first["id"], "cleared"), "what nobody says any more to clear")

    for incident, reason in ((first, "expired"), (second, "resolved")):
        assert attached(opx, incident["id"], "firing") == 1
        (cleared,) = lines(opx, incident["id"], "cleared")
        assert cleared["body"]["first"]["cleared"] == reason
    assert [len(opx.incidents(name)) for name in (AT_ONCE, MEASURED)] == [1, 1]
