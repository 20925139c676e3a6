# SPDX-License-Identifier: Apache-2.0

"""The playground's own supervisord: its configuration and its XML-RPC.

It never restarts anything by itself, so that what comes back was brought back by
somebody. The same interface is what opx acts through, as a client of its own.
"""

from __future__ import annotations

import http.client
import importlib.util
import shlex
import socket
import sys
import xmlrpc.client
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opx.errors import OpxError, Unavailable
from opx.playground import layout
from opx.playground.layout import Layout

TIMEOUT_S = 10.0
RUNNING = "RUNNING"

_DAEMON = """\
[supervisord]
nodaemon=true
silent=true
identifier=playground
logfile={folder}/logs/supervisord.log
logfile_maxbytes=1MB
logfile_backups=1
pidfile={folder}/supervisord.pid
childlogdir={folder}/logs

[unix_http_server]
file={socket}
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""

# startsecs=0: a start that fails is not tried again, which would hide what opx does.
_PROGRAM = """
[program:{name}]
command={command}
autostart=true
autorestart=false
startsecs=0
startretries=0
stopwaitsecs=1
redirect_stderr=true
stdout_logfile={folder}/logs/{name}.log
stdout_logfile_maxbytes=1MB
stdout_logfile_backups=1
"""


def require() -> None:
    """``Unavailable`` when supervisord is not installed: nothing else of opx needs it."""
    if importlib.util.find_spec("supervisor") is None:
        raise Unavailable(
            "supervisord, which runs the playground's services, is not installed:"
            " pip install 'opx-control-plane[supervisor]'"
        )


def configuration(where: Layout) -> str:
    """supervisord's configuration file; a per cent sign in a path must be doubled."""
    folder = str(where.folder).replace("%", "%%")
    parts = [_DAEMON.format(folder=folder, socket=where.socket)]
    for name in layout.EVERY:
        words = [sys.executable, "-m", "opx.playground.shop.service", name]
        words += [str(where.file)]
        parts.append(_PROGRAM.format(name=name, command=shlex.join(words), folder=folder))
    return "".join(parts)


@dataclass(frozen=True, slots=True)
class Program:
    """``pid`` 0: it does not run."""

    name: str
    state: str
    pid: int


class _Connection(http.client.HTTPConnection):
    """The standard library's, over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(self._path)


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: tuple[str, dict[str, str]] | str) -> http.client.HTTPConnection:
        connection = _Connection(self._path)
        self._connection = host, connection  # what ``close`` closes
        return connection


class Supervisor:
    """A client of the supervisord that listens at ``path``. Every call raises ``Unavailable``
    when it does not answer."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def programs(self) -> list[Program]:
        return [_program(info) for info in self._call("getAllProcessInfo")]

    def program(self, name: str) -> Program:
        return _program(self._call("getProcessInfo", name))

    def start(self, name: str) -> None:
        """Start it; it may run already."""
        if self.program(name).state != RUNNING:
            self._call("startProcess", name)

    def restart(self, name: str) -> None:
        """What a person does with ``supervisorctl restart``."""
        if self.program(name).state == RUNNING:
            self._call("stopProcess", name)
        self._call("startProcess", name)

    def stop_all(self) -> None:
        """Stop every program, all at once; supervisord's own shutdown takes a second each."""
        self._call("stopAllProcesses")

    def answers(self) -> bool:
        try:
            return bool(self._call("getState")["statename"] == RUNNING)
        except Unavailable:
            return False

    def _call(self, method: str, *arguments: str) -> Any:
        try:
            transport = _Transport(self._path)
            with xmlrpc.client.ServerProxy("http://localhost", transport) as server:
                return getattr(server.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as error:
            raise OpxError(f"supervisord refused {method}: {error.faultString}") from error
        except (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError) as error:
            hint = "is it up? `opx demo` has one of its own, and said which --folder"
            raise Unavailable(f"supervisord at {self._path} does not answer", hint=hint) from error


def _program(info: dict[str, Any]) -> Program:
    return Program(name=info["name"], state=info["statename"], pid=info["pid"])
