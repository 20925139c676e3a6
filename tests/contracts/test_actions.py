# SPDX-License-Identifier: Apache-2.0

"""The actions' contract, on the fake and on the real ones against a real supervisord."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from opx.adapters import actions
from opx.adapters.actions.roots import Roots
from opx.adapters.actions.web import Hosts
from opx.engine.ports import Action
from opx.testing.contracts import actions as contract
from opx.testing.world import FakeAction

Check = Callable[[contract.Bench], Awaitable[None]]
RemoteCheck = Callable[[contract.RemoteBench], Awaitable[None]]
every_check = pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
every_remote_check = pytest.mark.parametrize(
    "check", contract.REMOTE, ids=lambda check: check.__name__
)


class FakeBench:
    def __init__(self) -> None:
        self.target = "http://127.0.0.1:1#web"
        self.missing = "http://127.0.0.1:1#absent"
        self.silent = "http://127.0.0.1:2#web"
        self.fake = FakeAction(targets=frozenset({self.target, self.silent}), hidden={self.silent})
        self.action: Action = self.fake

    def inputs(self, target: str) -> dict[str, str]:
        return {}

    async def effects(self) -> int:
        return self.fake.effects[self.target]


class SupervisorBench:
    """Starts are counted by the program itself, a stop is seen by supervisord."""

    def __init__(self, name: str, program: str, daemon: Any) -> None:
        self.action = actions.registry()[name]
        self.target = daemon.target(program)
        self.missing = daemon.target("absent")
        self.silent = "http://127.0.0.1:1#web"
        self._program, self._daemon = program, daemon

    def inputs(self, target: str) -> dict[str, str]:
        return {}

    async def effects(self) -> int:
        if self.action.spec.name == "process.stop":
            return int(self._daemon.pid(self._program) == 0)
        return int(self._daemon.starts(self._program))


@every_remote_check
def test_the_fake_keeps_the_contract(check: RemoteCheck) -> None:
    """The fake action does what every ``Action`` must."""
    asyncio.run(check(FakeBench()))


@every_remote_check
@pytest.mark.parametrize(
    ("name", "program"),
    [("process.restart", "web"), ("process.start", "idle"), ("process.stop", "web")],
)
def test_supervisors_actions_keep_the_contract(
    check: RemoteCheck, name: str, program: str, supervisord: Any
) -> None:
    """Start, stop and restart through supervisord do what every ``Action`` must."""
    asyncio.run(check(SupervisorBench(name, program, supervisord)))


class FolderBench:
    """An action on a folder of its own, named by the path in its inputs. What took effect is
    counted by how often the content has changed."""

    def __init__(self, name: str, folder: Path) -> None:
        self.action = actions.registry(roots=Roots((str(folder),)))[name]
        self._folder, self._name = folder, name
        (folder / "app.conf").write_text("bad")
        (folder / "good.conf").write_text("good")
        (folder / "flags.json").write_text('{"new_cart": true}')
        for at, release in enumerate(("v1", "v2")):
            (folder / "releases" / release).mkdir(parents=True)
            os.utime(folder / "releases" / release, (at, at))
        (folder / "current").symlink_to("releases/v2")
        own = {"file.restore": "app.conf", "flag.set": "flags.json", "release.rollback": ""}[name]
        self.target = str(folder / own)
        self.missing = str(folder / "nowhere" / own)
        self._first = self._content()

    def inputs(self, target: str) -> dict[str, str]:
        return {
            "file.restore": {"path": target, "source": str(self._folder / "good.conf")},
            "flag.set": {"path": target, "flag": "new_cart", "value": "false"},
            "release.rollback": {"root": target},
        }[self._name]

    def _content(self) -> tuple[str, str, str]:
        files = (self._folder / name for name in ("app.conf", "flags.json"))
        return (*(file.read_text() for file in files), os.readlink(self._folder / "current"))  # type: ignore[return-value]

    async def effects(self) -> int:
        pairs = zip(self._first, self._content(), strict=True)
        return sum(before != now for before, now in pairs)


class WebBench:
    """A real server: POST counts, GET tells the count, /missing is 404, /silent hangs up."""

    def __init__(self, port: int) -> None:
        place = f"127.0.0.1:{port}"
        self.action = actions.registry(hosts=Hosts(frozenset({place})))["http.request"]
        self.target, self.missing, self.silent = (
            f"http://{place}/{path}" for path in ("count", "missing", "silent")
        )
        self.count = 0

    def inputs(self, target: str) -> dict[str, str]:
        return {"method": "POST", "url": target, "check": target}

    async def effects(self) -> int:
        return self.count

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.count += head.startswith(b"POST /count")
        if b" /silent " not in head:
            status = b"404 x" if b" /missing " in head else b"200 x"
            writer.write(b"HTTP/1.1 %s\r\nConnection: close\r\n\r\n%d" % (status, self.count))
        writer.close()


@every_check
@pytest.mark.parametrize("name", ["file.restore", "flag.set", "release.rollback"])
def test_actions_on_files_keep_the_contract(check: Check, name: str, tmp_path: Path) -> None:
    """What changes files, flags and releases does what every ``Action`` must."""
    asyncio.run(check(FolderBench(name, tmp_path)))


@every_remote_check
def test_requests_with_a_check_keep_the_contract(check: RemoteCheck) -> None:
    """A request whose effect can be looked at does what every ``Action`` must."""

    async def main() -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            bench = WebBench(listener.getsockname()[1])
            async with await asyncio.start_server(bench.serve, sock=listener):
                await check(bench)

    asyncio.run(main())
