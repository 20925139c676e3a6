# SPDX-License-Identifier: Apache-2.0

"""opx as its users have it: a process to start and stop, and an HTTP API.

The playground's only way to opx. It must never look into opx's data, beyond the files
that are meant for the administrator: the token, and which processes there are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from opx.core.base import time as opx_time
from opx.core.base.time import Ms, Window
from opx.errors import NotAllowed, NotFound, OpxError, Unavailable
from opx.playground import processes
from opx.playground.layout import ENVIRONMENT, Started

TIMEOUT_S = 10.0
READY_WITHIN_S = 45.0
STOPPED_WITHIN_S = 20.0
"""It gives its own processes fifteen."""
PAGE = 1_000


class Client:
    """The few verbs of opx's API that a tour needs. ``Unavailable`` when it cannot answer
    now, ``NotAllowed``, ``NotFound`` or ``OpxError`` with opx's own words when it says no."""

    def __init__(self, address: str, token: str = "") -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=address, headers=headers, timeout=TIMEOUT_S)
        self._newest = 0

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def alive(self) -> bool:
        """Whether it answers ``GET /health`` with a yes."""
        try:
            self._ask("GET", "/health")
        except OpxError:
            return False
        return True

    def status(self) -> dict[str, Any]:
        return dict(self._ask("GET", "/api/v1/status"))

    def apply(self, text: str) -> list[dict[str, Any]]:
        """Apply YAML documents; what became of each."""
        answer = self._ask(
            "POST",
            "/api/v1/documents",
            content=text.encode(),
            headers={"Content-Type": "application/yaml"},
        )
        return list(answer["applied"])

    def grant_probation(self, runbook: str, service: str, ttl_s: int) -> None:
        """Let ``runbook`` act on a service of the playground, although nothing is proven."""
        body = {
            "runbook": runbook,
            "environment": ENVIRONMENT,
            "service": service,
            "autonomy": "auto",
            "probation": True,
            "ttl_s": ttl_s,
        }
        self._ask("POST", "/api/v1/grants", json=body)

    def make_token(self, name: str, role: str, services: Sequence[str] = ()) -> str:
        """A new token's secret. ``services``: what it may send for; none is any."""
        body = {"name": name, "roles": [role], "services": list(services)}
        return str(self._ask("POST", "/api/v1/tokens", json=body)["token"])

    def waiting(self) -> list[str]:
        """The runs that wait for a person's answer."""
        return [str(one["id"]) for one in self._ask("GET", "/api/v1/approvals")["items"]]

    def reject(self, run: str, reason: str) -> None:
        self._ask("POST", f"/api/v1/approvals/{run}/reject", json={"reason": reason})

    def switch(self, to: str, reason: str) -> None:
        """``halt`` or ``resume`` everything."""
        self._ask("POST", f"/api/v1/automation/{to}", json={"scope": "all", "reason": reason})

    def runbooks(self) -> list[str]:
        """The names of the runbooks in force."""
        found = self._ask("GET", "/api/v1/documents")["items"]
        return sorted(str(one["name"]) for one in found if one["kind"] == "Runbook")

    def open_breakers(self) -> list[str]:
        """The ids of the breakers that are open."""
        found = self._ask("GET", "/api/v1/breakers")["items"]
        return [str(one["id"]) for one in found if one["opened_at"] is not None]

    def close_breaker(self, breaker: str) -> None:
        self._ask("POST", "/api/v1/breakers/close", json={"id": breaker})

    def counts(self, metric: str, labels: dict[str, str], window: Window) -> list[int]:
        """How many points one series has in each millisecond of ``window``."""
        body = {
            "metric": metric,
            "labels": labels,
            "start": opx_time.to_wire(window.start),
            "end": opx_time.to_wire(window.end),
            "step": "1ms",
            "stat": "count",
        }
        found = self._ask("POST", "/api/v1/query", json=body)
        return [int(bucket["value"]) for bucket in found["buckets"]]

    def points(self, metric: str, seen: Window, step: Ms) -> list[list[float | None]]:
        """Of each series of a metric its largest point in each ``step`` of ``seen``, or None."""
        body = {
            "metric": metric,
            "by": "series",
            "start": opx_time.to_wire(seen.start),
            "end": opx_time.to_wire(seen.end),
            "step": f"{step}ms",
            "stat": "max",
        }
        found = self._ask("POST", "/api/v1/query", json=body)
        return [[bucket["value"] for bucket in one["buckets"]] for one in found["results"]]

    def incidents(self, service: str) -> list[dict[str, Any]]:
        """The newest incidents of a service of the playground, newest first."""
        found = self._ask("GET", "/api/v1/incidents", params={"service": service, "limit": 20})
        ours = [one for one in found["items"] if one["group"]["service"] == service]
        return sorted(ours, key=lambda one: str(one["opened_at"]), reverse=True)

    def incident(self, id: str) -> dict[str, Any]:
        """One incident; ``NotFound``."""
        return dict(self._ask("GET", f"/api/v1/incidents/{id}"))

    def notices(self, most: int = 50) -> list[dict[str, Any]]:
        """What people were told of late, newest first."""
        return list(self._ask("GET", "/api/v1/notices", params={"limit": most})["items"])

    def timeline(self, incident: str, after: int) -> list[dict[str, Any]]:
        """The journal's entries about an incident that follow ``after``, oldest first."""
        return [entry for page in self._pages(after, incident) for entry in page]

    def journal(self, after: int) -> list[dict[str, Any]]:
        """The journal's entries that follow ``after``, oldest first; at most a page of them."""
        return next(self._pages(after, ""), [])

    def newest(self) -> int:
        """The number of the journal's newest entry."""
        for page in self._pages(self._newest, ""):
            self._newest = int(page[-1]["seq"])
        return self._newest

    def _pages(self, after: int, subject: str) -> Iterator[list[dict[str, Any]]]:
        place: int | None = after
        while place is not None:
            where: dict[str, str | int] = {"subject": subject, "after": place, "limit": PAGE}
            found = self._ask("GET", "/api/v1/journal", params=where)
            if found["items"]:
                yield found["items"]
            place = found["next"]

    def _ask(self, method: str, path: str, **what: Any) -> Any:
        try:
            answer = self._http.request(method, path, **what)
        except httpx.TransportError as error:
            raise Unavailable(f"opx does not answer {method} {path}: {error!r}") from error
        if answer.is_success:
            return answer.json()
        said = f"opx answered {method} {path} with {answer.status_code}: {_problem(answer)}"
        kinds = {401: NotAllowed, 403: NotAllowed, 404: NotFound}
        if answer.status_code >= 500 or answer.status_code == 429:
            raise Unavailable(said)
        raise kinds.get(answer.status_code, OpxError)(said)


class Product:
    """``opx up`` as a process of ours, in a session of its own. ``roots``: the folders below
    which it may change files, if anybody may tell it to."""

    def __init__(self, data: Path, port: int, log: Path, roots: Sequence[Path] = ()) -> None:
        self.data, self.log = data, log
        if roots:
            data.mkdir(mode=0o700)
            listed = json.dumps([str(root) for root in roots])  # TOML writes it like JSON
            (data / "opx.toml").write_text(f"action_roots = {listed}\n")
        self.address = f"http://127.0.0.1:{port}"
        command = ["-m", "opx", "up", "--data", str(data), "--port", str(port)]
        self._process: Started | None = processes.spawn(command, log)

    def client(self) -> Client:
        """A client with the administrator's token, once all three processes are at work."""
        token_file = self.data / "admin.token"
        processes.wait_for(lambda: self.runs() and token_file.exists(), READY_WITHIN_S, "a token")
        client = Client(self.address, token_file.read_text().strip())
        try:
            processes.wait_for(
                lambda: self.runs() and _complete(client),
                READY_WITHIN_S,
                f"opx at {self.address} to be ready",
            )
        except OpxError:
            client.close()
            raise
        return client

    def stop(self) -> None:
        """Ask it to stop; end whatever is left of it afterwards."""
        processes.end_session(self._process, STOPPED_WITHIN_S)

    def runs(self) -> bool:
        """True; ``Unavailable`` when it has ended."""
        if not processes.alive(self._process):
            raise Unavailable("opx ended before it was ready")
        return True


def _complete(client: Client) -> bool:
    """Whether opx answers and says that each of its processes is alive."""
    try:
        said = client.status()["processes"] if client.alive() else {}
    except Unavailable:
        return False
    return bool(said) and all(state == "alive" for state in said.values())


def _problem(answer: httpx.Response) -> str:
    """The words of an RFC 9457 problem, or what came instead."""
    try:
        value = answer.json()
        return f"{value['title']}: {value.get('detail', '')}"
    except (ValueError, KeyError, TypeError):
        return answer.text[:200]
