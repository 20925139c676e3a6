# SPDX-License-Identifier: Apache-2.0

"""What stands where in a playground: its services, its folder, its ports.

``ROUTES`` is the whole shop: who calls whom on behalf of which path. Dependencies and the
paths that a service's users take are read off it, so they cannot drift apart. Imported by
every service process, so it needs nothing but the standard library.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from opx.errors import NotFound

ENVIRONMENT = "playground"

ROUTES: dict[str, dict[str, tuple[str, str] | None]] = {
    "gateway": {"/buy": ("orders", "/order"), "/jobs": ("worker", "/work")},
    "orders": {"/order": ("payments", "/pay")},
    "payments": {"/pay": ("store", "/put")},
    "worker": {"/work": ("store", "/take")},
    "store": {"/put": None, "/take": None},
    "mailer": {},
}
"""Service -> path -> the service and path it calls next; None: answered here."""

SERVICES = tuple(name for name, paths in ROUTES.items() if paths)
"""Those that users need. Each of them can be repaired."""
MAILER = "mailer"
"""Nobody's path leads through it, and nobody may restart it."""
EVERY = tuple(ROUTES)
ENTRANCE = "gateway"
STORE = "store"


def depends_on(service: str) -> tuple[str, ...]:
    """The services that ``service`` calls, sorted."""
    return tuple(sorted({step[0] for step in ROUTES[service].values() if step is not None}))


def suffer(services: Collection[str]) -> frozenset[str]:
    """These, and everybody who needs one of them."""
    ill = frozenset(services)
    more = ill | {name for name in EVERY if ill & set(depends_on(name))}
    return more if more == ill else suffer(more)


def journey(path: str) -> tuple[str, ...]:
    """The services that a user's request for ``path`` passes through, entrance first."""
    passed: list[str] = []
    step: tuple[str, str] | None = (ENTRANCE, path)
    while step is not None:
        passed.append(step[0])
        step = ROUTES[step[0]][step[1]]
    return tuple(passed)


def paths_through(service: str) -> tuple[str, ...]:
    """What users can ask for that needs ``service``."""
    return tuple(path for path in ROUTES[ENTRANCE] if service in journey(path))


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A process somebody started: ``ticks`` is its start time as the kernel counts it, so
    that a pid that was given to another process since is not mistaken for it."""

    pid: int
    ticks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One playground, as ``playground.json`` remembers it.

    ``ports``: of each service. ``socket``: the supervisor's, for its owner alone.
    ``opx_data``: the data folder of the opx that watches it, so that its processes can be
    broken too; empty: none is known.
    """

    folder: Path
    ports: dict[str, int]
    socket: Path
    supervisord: Started | None = None
    load: Started | None = None
    collector: Started | None = None
    opx_data: str = ""

    @property
    def supervisor_url(self) -> str:
        return f"unix://{self.socket}"

    def target(self, service: str) -> str:
        """What opx acts on: the supervisor's URL and the program's name."""
        return f"{self.supervisor_url}#{service}"

    def address(self, service: str) -> str:
        return f"http://127.0.0.1:{self.ports[service]}"

    @property
    def shop(self) -> Path:
        """Where the services' files are: the only folder that opx may change anything in."""
        return self.folder / "shop"

    def config(self, service: str) -> Path:
        """What the service reads at its start."""
        return self.shop / "config" / f"{service}.json"

    def good(self, service: str) -> Path:
        """The known good copy of it."""
        return self.shop / "good" / f"{service}.json"

    def app(self, service: str) -> Path:
        """The folder of its ``releases``, of which ``current`` is the one that it serves."""
        return self.shop / "apps" / service

    def cursed(self, service: str) -> Path:
        """While this is there, the service ends at every start."""
        return self.folder / "cursed" / service

    def starts(self, service: str) -> Path:
        """A line for each time the service's process has started: ``ms pid``."""
        return self.folder / "starts" / service

    def log(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"

    @property
    def changes(self) -> Path:
        """What deployers and people say they did: one JSON line each, for the collector."""
        return self.folder / "changes.jsonl"

    @property
    def door(self) -> Path:
        """Where the collector finds opx, and the token that lets it in; its owner's alone."""
        return self.folder / "collector.json"

    @property
    def samples(self) -> Path:
        """What the load generator saw: one JSON line for each request."""
        return self.folder / "load.jsonl"

    @property
    def file(self) -> Path:
        return file_in(self.folder)


def file_in(folder: Path) -> Path:
    return folder / "playground.json"


def save(layout: Layout) -> Layout:
    """Remember it."""
    value = {
        "ports": layout.ports,
        "socket": str(layout.socket),
        "supervisord": _pid(layout.supervisord),
        "load": _pid(layout.load),
        "collector": _pid(layout.collector),
        "opx_data": layout.opx_data,
    }
    draft = layout.file.with_suffix(".new")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(value, indent=2) + "\n")
    draft.replace(layout.file)
    return layout


def load(folder: Path) -> Layout:
    """The playground of ``folder``; ``NotFound`` when there is none."""
    try:
        value = json.loads(file_in(folder).read_text())
    except FileNotFoundError as error:
        hint = "start one with `opx playground up`; `opx demo` says the --folder of its own"
        raise NotFound(f"no playground in {folder}", hint=hint) from error
    layout = Layout(folder=folder, ports=value["ports"], socket=Path(value["socket"]))
    return replace(
        layout,
        supervisord=_started(value["supervisord"]),
        load=_started(value["load"]),
        collector=_started(value.get("collector")),
        opx_data=value["opx_data"],
    )


def _started(value: dict[str, int] | None) -> Started | None:
    return Started(**value) if value else None


def _pid(process: Started | None) -> dict[str, int] | None:
    return None if process is None else {"pid": process.pid, "ticks": process.ticks}
