# SPDX-License-Identifier: Apache-2.0

"""What can be set from outside: flags, then ``OPX_*`` variables, then ``opx.toml``.

Read once, when a process starts, and handed down as one frozen value; nothing else reads
the environment. Standard library only, because the watcher of ``opx up`` loads it too.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import socket
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from opx.errors import BadInput

DEFAULT_PORT = 8470
FILE = "opx.toml"
LEAST_DAYS = 2
_PLACE = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+):[0-9]{1,5}")
LOG_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """``data``: the data folder. ``port`` 0: any free one. ``allowed_hosts``: names that may
    stand in ``Host`` besides the loopback ones; ``*`` is any. ``webhook_url`` empty: none.
    ``behind_proxy``: a proxy that ends TLS stands in front, so another bind is allowed.
    ``ingest_rate``: requests a second that each token may send for ever; twice as many at
    once. ``keep_incidents_days``: for how long an incident stays after it ended, with all that
    hangs on it; ``keep_days``: for how long points and other records do. ``failpoints``:
    where crash tests die. ``action_roots``: absolute folders below which actions may change
    files; ``action_hosts``: where, as host:port, they may send requests. Empty: nowhere."""

    data: Path
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    behind_proxy: bool = False
    allowed_hosts: tuple[str, ...] = ()
    webhook_url: str = ""
    log_level: str = "info"
    ingest_rate: int = 20_000
    keep_incidents_days: int = 400
    keep_days: int = 30
    failpoints: str = ""
    own_target: str = ""
    action_roots: tuple[str, ...] = ()
    action_hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise BadInput(f"port {self.port} is not within 0 to 65535")
        if self.ingest_rate < 1:
            raise BadInput(f"ingest_rate {self.ingest_rate} is not at least 1 request a second")
        if min(self.keep_incidents_days, self.keep_days) < LEAST_DAYS:
            raise BadInput(f"what is over is kept for at least {LEAST_DAYS} days")
        for root in self.action_roots:
            if not _is_root(root):
                raise BadInput(f"action_roots: {root!r} is not an absolute folder below /")
        for host in self.action_hosts:
            if not _PLACE.fullmatch(host):
                raise BadInput(f"action_hosts: {host!r} is not host:port")
        if self.log_level not in LOG_LEVELS:
            raise BadInput(f"log_level {self.log_level!r} is not one of {', '.join(LOG_LEVELS)}")
        if not self.behind_proxy and not is_loopback(self.host):
            resolve(self.host)
            raise BadInput(
                f"{self.host} can be reached from elsewhere and opx speaks plain HTTP",
                hint="put a proxy that ends TLS in front and say --behind-proxy",
            )

    @property
    def database_url(self) -> str:
        return f"sqlite:///{self.data / 'opx.db'}"

    @property
    def keys(self) -> Path:
        """``sign.key`` is brain's, ``verify.key`` is hands'."""
        return self.data / "keys"

    @property
    def wal(self) -> Path:
        return self.data / "wal"

    @property
    def telemetry(self) -> Path:
        return self.data / "telemetry"

    @property
    def socket(self) -> Path:
        """Where ``brain`` answers ``front``."""
        return self.data / "brain.sock"

    @property
    def admin_token(self) -> Path:
        """The first administrator's secret, for the ``opx`` command on this machine."""
        return self.data / "admin.token"

    @property
    def supervisors(self) -> Path:
        """The logins of supervisords, by URL: written by a person, for its owner alone."""
        return self.data / "supervisors.toml"

    @property
    def front_file(self) -> Path:
        """Where ``front`` says which address it listens on, once it does."""
        return self.data / "front.json"

    @property
    def served(self) -> Path:
        """The host and port that the last start was to listen on; it stays when opx stops."""
        return self.data / "served.json"

    @property
    def anchors(self) -> Path:
        return self.data / "journal.heads"

    @property
    def lock(self) -> Path:
        return self.data / "opx.lock"

    @property
    def pids(self) -> Path:
        return self.data / "pids.json"


def publish(path: Path, value: Mapping[str, object]) -> None:
    """Write a small file of the data folder so that a reader sees the old one or the new one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(json.dumps(value))
    beside.chmod(0o600)
    beside.replace(path)


def _is_root(path: str) -> bool:
    """Whether it is an absolute folder, written plainly, and not all there is."""
    plain = os.path.normpath(path) == path and not path.startswith("//")
    return plain and path.startswith("/") and path != "/"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``. Another name than localhost is not."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def resolve(host: str) -> None:
    """``BadInput`` when a host that is to be listened on is no address, nor a name of one."""
    try:
        socket.getaddrinfo(host.strip("[]") or None, 0, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no name"
        raise BadInput(
            f"the host {host!r} does not resolve: {why}", hint="write an address of this machine"
        ) from error


def load(
    flags: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """The settings in force. A flag that is None was not given. ``BadInput`` says what is wrong."""
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    variables = _variables(os.environ if environ is None else environ)
    home = Path.home() / ".local" / "share" / "opx"
    data = Path(str(given.get("data") or variables.get("data") or home)).expanduser().absolute()
    merged = {**_file(data / FILE), **variables, **given, "data": data}
    return Settings(**{name: _typed(name, value) for name, value in merged.items()})


def _names() -> tuple[str, ...]:
    return tuple(field.name for field in fields(Settings))


def _variables(environ: Mapping[str, str]) -> dict[str, object]:
    found = {name: environ.get(f"OPX_{name.upper()}", "") for name in _names()}
    if "SUPERVISOR_SERVER_URL" in environ:  # supervisord tells its children who they are
        program = environ.get("SUPERVISOR_PROCESS_NAME", "")
        found["own_target"] = f"{environ['SUPERVISOR_SERVER_URL']}#{program}"
    return {name: value for name, value in found.items() if value}


def _file(path: Path) -> dict[str, object]:
    if not path.is_file():
        return {}
    try:
        values = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{path}: {error}") from error
    for name in values:
        if name not in _names() or name == "data":
            known = ", ".join(known for known in _names() if known != "data")
            raise BadInput(f"{path}: unknown setting {name!r}", hint=f"known: {known}")
    return values


def _typed(name: str, value: object) -> Any:
    """A value as its field wants it; text from the environment is read."""
    try:
        if name in ("port", "ingest_rate", "keep_incidents_days", "keep_days"):
            return int(str(value))
        if name == "behind_proxy":
            return {"true": True, "1": True, "false": False, "0": False}[str(value).lower()]
    except (ValueError, KeyError) as error:
        raise BadInput(f"{name} cannot be {value!r}") from error
    if name in ("allowed_hosts", "action_hosts", "action_roots"):
        listed = value.split(",") if isinstance(value, str) else value
        if not isinstance(listed, (list, tuple)):
            raise BadInput(f"{name} cannot be {value!r}")
        items = tuple(str(item).strip() for item in listed if str(item).strip())
        return items if name == "action_roots" else tuple(item.lower() for item in items)
    return value
