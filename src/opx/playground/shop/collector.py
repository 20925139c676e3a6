# SPDX-License-Identifier: Apache-2.0

"""opx's eyes in the playground: ``python -m opx.playground.shop.collector --config FILE``.

Once a second it asks every service for its metrics and sends them in one request, sends on
the lines that services have logged, watches their configurations by hash, and passes on what
deployers and people say they have changed. What opx could not take is sent again, metrics
excepted: those of a second ago are of no use. The only process of the playground that knows
of an opx; it has a token that lets it send for these services and do nothing else.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import re
import signal
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from opx.playground import layout
from opx.playground.layout import ENVIRONMENT, Layout
from opx.playground.shop import files

EVERY_S = 1.0
SCRAPE_WITHIN_S = 0.3
"""A service that hangs must not hold up the others for long."""
SEND_WITHIN_S = 5.0
MOST_BYTES = 256 << 10
"""Of one log that are sent at once."""
LOOK_AGAIN_S = 0.1
"""A file and its good copy are changed one after the other: what differs is looked at twice."""
SOURCE = "urn:opx:playground"
_SAMPLE = re.compile(r"([a-z_]+)\{(.*)\} (\S+)")
_LABEL = re.compile(r'([a-z_]+)="([^"]*)"')


@dataclass(slots=True)
class Door:
    """The connection to opx, which is made anew when it breaks."""

    address: str
    token: str
    _connection: http.client.HTTPConnection | None = None
    _complained: set[tuple[str, int]] = field(default_factory=set)

    def send(self, path: str, body: str, kind: str = "application/json") -> bool:
        """Whether that is done with: taken, or refused for good."""
        headers = {"Content-Type": kind, "Authorization": f"Bearer {self.token}"}
        try:
            if self._connection is None:
                host = self.address.removeprefix("http://")
                self._connection = http.client.HTTPConnection(host, timeout=SEND_WITHIN_S)
            self._connection.request("POST", path, body.encode(), headers)
            answer = self._connection.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException):
            self.close()
            return False
        if answer.status >= 400 and (path, answer.status) not in self._complained:
            self._complained.add((path, answer.status))
            sys.stderr.write(f"{path}: {answer.status} {said[:500].decode(errors='replace')}\n")
        return answer.status < 500 and answer.status != 429

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


@dataclass(slots=True)
class Tail:
    """A growing file, read on from ``offset``; it may be begun anew."""

    file: Path
    offset: int = 0

    def lines(self) -> tuple[list[str], int]:
        """The whole lines since ``offset``, at most ``MOST_BYTES``, and where they end."""
        try:
            with self.file.open("rb") as file:
                if file.seek(0, 2) < self.offset:
                    self.offset = 0
                file.seek(self.offset)
                data = file.read(MOST_BYTES)
        except FileNotFoundError:
            return [], 0
        whole = data[: data.rfind(b"\n") + 1]
        return whole.decode(errors="replace").splitlines(), self.offset + len(whole)


@dataclass(slots=True)
class Collector:
    """``drifted``: the hash with which each service's file was reported to have drifted."""

    where: Layout
    door: Door
    logs: dict[str, Tail] = field(default_factory=dict)
    changes: Tail = field(default_factory=lambda: Tail(Path()))
    drifted: dict[str, str] = field(default_factory=dict)
    unsent: list[str] = field(default_factory=list)
    _labels: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, where: Layout, door: Door) -> Collector:
        """One that has seen nothing yet; of logs it takes what is written from now on."""
        logs = {}
        for name in layout.EVERY:
            file = where.log(name)
            logs[name] = Tail(file, file.stat().st_size if file.exists() else 0)
        return cls(where, door, logs, Tail(where.changes))

    def round(self) -> None:
        """One second's work: first what says most about what happened."""
        self.look_at_files()
        self.send_events()
        self.send_metrics()
        self.send_logs()

    # ------------------------------------------------------------------ metrics

    def send_metrics(self) -> None:
        at = time.time_ns() // 1_000_000
        points = [point for name in layout.EVERY for point in self.scraped(name, at)]
        if points:
            self.door.send("/metrics", f"[{','.join(points)}]")

    def scraped(self, service: str, at: int) -> list[str]:
        """The points of one service, as JSON; none when it does not say."""
        port = self.where.ports[service]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SCRAPE_WITHIN_S)
        try:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException):
            return []
        finally:
            connection.close()
        return [
            f'{{"metric":"{name}","value":{value},"timestamp":{at},"labels":{self.named(labels)}}}'
            for name, labels, value in _SAMPLE.findall(text)
        ]

    def named(self, labels: str) -> str:
        """Labels in Prometheus' form as JSON."""
        if labels not in self._labels:
            self._labels[labels] = json.dumps(dict(_LABEL.findall(labels)))
        return self._labels[labels]

    # --------------------------------------------------------------------- logs

    def send_logs(self) -> None:
        sent: dict[str, int] = {}
        lines: list[str] = []
        for name, tail in self.logs.items():
            found, sent[name] = tail.lines()
            lines += [line if line.startswith("{") else _wrapped(name, line) for line in found]
        if not lines or self.door.send("/logs", "\n".join(lines) + "\n", "application/x-ndjson"):
            for name, offset in sent.items():
                self.logs[name].offset = offset

    # ------------------------------------------------------------------- events

    def look_at_files(self) -> None:
        """Which configurations are not what they ought to be, and which are so again."""
        for service in layout.EVERY:
            expected, found = self._hashes(service)
            if found == self.drifted.get(service, expected):
                continue
            if found != expected:
                time.sleep(LOOK_AGAIN_S)
                expected, found = self._hashes(service)
            path = str(self.where.config(service))
            data = {"path": path, "expected": expected, "found": found}
            if found != expected:
                self.drifted[service] = found
                self.tell("opx.file.drifted", service, path, data | self._actor(service))
            elif self.drifted.pop(service, None) is not None:
                self.tell("opx.file.restored", service, path, data)

    def _hashes(self, service: str) -> tuple[str, str]:
        return digest(self.where.good(service)), digest(self.where.config(service))

    def _actor(self, service: str) -> dict[str, str]:
        """Who changed the file, if the change has left word of it."""
        file = self.where.config(service)
        note = file.with_name(file.name + files.BY)
        return {"actor": note.read_text().strip()} if note.exists() else {}

    def tell(self, type: str, service: str, subject: str, data: dict[str, str]) -> None:
        now = time.time_ns() // 1_000_000
        self.unsent.append(_event(type, service, subject, now, data))

    def send_events(self) -> None:
        lines, offset = self.changes.lines()
        told = []
        for line in lines:
            said = json.loads(line)
            subject = said["data"].get("path", said["service"])
            told.append(_event(said["type"], said["service"], subject, said["at"], said["data"]))
        events = [*self.unsent, *told]
        if not events or self.door.send("/events", f"[{','.join(events)}]"):
            self.unsent.clear()
            self.changes.offset = offset


def digest(file: Path) -> str:
    """SHA-256 in hex; ``missing`` where there is no file."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except FileNotFoundError:
        return "missing"


def _event(type: str, service: str, subject: str, at: int, data: dict[str, str]) -> str:
    """A CloudEvent as JSON. The same happening has the same id, however often it is told."""
    name = json.dumps([type, service, at, data], sort_keys=True)
    return json.dumps(
        {
            "specversion": "1.0",
            "id": hashlib.sha256(name.encode()).hexdigest()[:32],
            "source": SOURCE,
            "type": type,
            "subject": subject,
            "time": datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds"),
            "environment": ENVIRONMENT,
            "service": service,
            "data": data,
        }
    )


def _wrapped(service: str, line: str) -> str:
    """A line that a service did not write as JSON: most often a traceback's."""
    labels = {"service": service, "environment": ENVIRONMENT}
    return json.dumps({"level": "error", "message": line, "labels": labels})


def main() -> None:
    parser = argparse.ArgumentParser(prog="opx.playground.shop.collector")
    parser.add_argument("--config", type=Path, required=True, help="playground.json")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    where = layout.load(given.config.parent)
    door = json.loads(where.door.read_text())
    collector = Collector.of(where, Door(door["address"], door["token"]))
    due = time.monotonic()
    while True:
        collector.round()
        due = max(due + EVERY_S, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    main()
