# SPDX-License-Identifier: Apache-2.0

"""What measurements stand on: a fresh ``opx up`` in a temporary folder, and a sender.

Whatever is started here is ended here. Besides the API it looks at what only a measurement
may look at: the rows of the store, read-only, and what the kernel says of the processes.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from opx.bench.sender import Plan, Sent
from opx.core.act.run import OrderStatus
from opx.errors import OpxError, Unavailable
from opx.playground import processes
from opx.playground.client import Client, Product
from opx.playground.layout import Started

GRACE_S = 60.0

P = TypeVar("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """A running opx. ``tokens``: for ingest, each with a quota of its own."""

    product: Product
    client: Client
    tokens: tuple[str, ...]

    @property
    def port(self) -> int:
        return int(self.product.address.rpartition(":")[2])


@contextlib.contextmanager
def scratch(name: str) -> Iterator[Path]:
    """A temporary folder; it stays when something went wrong, for somebody to look at."""
    folder = Path(tempfile.mkdtemp(prefix=f"opx-bench-{name}-"))
    try:
        yield folder
    except OpxError as error:
        log = folder / "opx.log"
        said = f"\n--- the end of {log}:\n{processes.tail(log)}" if log.exists() else ""
        raise OpxError(f"{error}{said}") from error
    shutil.rmtree(folder, ignore_errors=True)  # it may have been put away


@contextlib.contextmanager
def fresh(name: str, tokens: int = 1) -> Iterator[Rig]:
    """A new install, up and answering; ended on the way out."""
    with scratch(name) as folder:
        product = Product(folder / "opx", processes.free_ports(1)[0], folder / "opx.log")
        try:
            with product.client() as client:
                made = tuple(ingest_token(client, f"sender-{n}") for n in range(tokens))
                yield Rig(product=product, client=client, tokens=made)
        finally:
            product.stop()


def ingest_token(client: Client, name: str) -> str:
    return client.make_token(name, "ingest")


class Worker(Generic[P, R]):
    """A module at work in a process of its own: its plan goes in as JSON, its report comes
    out. SIGTERM lets it end early."""

    def __init__(self, module: str, plan: P, report: type[R]) -> None:
        self._name, self._report = module, report
        self._process = subprocess.Popen(
            [sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(plan))
        self._process.stdin.close()
        self._process.stdin = None

    def running(self) -> bool:
        return self._process.poll() is None

    def result(self, within_s: float = GRACE_S) -> R:
        """Its report, once it is through. ``Unavailable`` when there is none."""
        try:
            told, _ = self._process.communicate(timeout=within_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Unavailable(f"{self._name} does not come to an end") from None
        if self._process.returncode:
            raise Unavailable(f"{self._name} ended with {self._process.returncode}")
        return msgspec.json.decode(told, type=self._report)

    def stop(self) -> R:
        """Let it end now; its report."""
        self._process.terminate()
        return self.result()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def sender(plan: Plan) -> Worker[Plan, Sent]:
    return Worker("opx.bench.sender", plan, Sent)


def members(data: Path) -> dict[str, Started]:
    """The processes of a running opx by role, ``watcher`` included."""
    pids = json.loads((data / "pids.json").read_text())
    return {role: processes.identify(int(pid)) for role, pid in pids.items()}


def rows(data: Path, statement: str) -> list[tuple[str | int, ...]]:
    """What a query finds in the operational store, as it stands on disk now."""
    with closing(sqlite3.connect(f"file:{data / 'opx.db'}?mode=ro", uri=True)) as store:
        return store.execute(statement).fetchall()


def orders(data: Path, *statuses: OrderStatus) -> int:
    """How many orders are at one of these."""
    listed = ", ".join(f"'{one}'" for one in statuses)
    return int(rows(data, f"SELECT count(*) FROM orders WHERE status IN ({listed})")[0][0])


def count(data: Path, table: str) -> int:
    return int(rows(data, f"SELECT count(*) FROM {table}")[0][0])
