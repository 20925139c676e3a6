# SPDX-License-Identifier: Apache-2.0

"""What opx costs when there is nothing to do, and how long it takes to be there.

A fresh install without documents: from the start of ``opx up`` to its first accepted
request, then the memory of all its processes, the watcher included, and their share of one
core. PSS counts a page that several processes share once; RSS, which counts it in each, is
shown beside it.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import httpx

from opx.bench import rig
from opx.bench.figures import Figure, Tell
from opx.errors import Unavailable
from opx.playground import processes
from opx.playground.client import Product
from opx.playground.layout import Started

SETTLE_S = 15.0
LOOK_S = 0.01
READY_WITHIN_S = 60.0
TICKS = os.sysconf("SC_CLK_TCK")
_POINT = json.dumps([{"metric": "up", "value": 1.0, "labels": {"service": "bench"}}])


def measure(seconds: float, tell: Tell) -> list[Figure]:
    """``seconds``: how long the processor is watched."""
    with rig.scratch("idle") as folder:
        tell("idle: starting a fresh install")
        began = time.perf_counter()
        product = Product(folder / "opx", processes.free_ports(1)[0], folder / "opx.log")
        try:
            _first_accepted(product)
            took = time.perf_counter() - began
            product.client().close()  # all three processes are at work
            tell(f"idle: it took {took:.1f} s; letting it settle for {SETTLE_S:g} s")
            time.sleep(SETTLE_S)
            running = rig.members(product.data)
            tell(f"idle: watching {len(running)} processes for {seconds:g} s")
            return _figures(took, _cpu(running, seconds), running)
        finally:
            product.stop()


def _first_accepted(product: Product) -> None:
    """Wait until a point is accepted."""
    file = product.data / "admin.token"

    def token() -> str:
        return file.read_text().strip() if product.runs() and file.exists() else ""

    secret = processes.wait_for(token, READY_WITHIN_S, "a token", LOOK_S)
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
    with httpx.Client(base_url=product.address, headers=headers, timeout=5) as client:

        def accepted() -> bool:
            try:
                return product.runs() and client.post("/metrics", content=_POINT).is_success
            except httpx.TransportError:
                return False

        processes.wait_for(accepted, READY_WITHIN_S, "a point to be accepted", LOOK_S)


def _figures(took: float, cpu: dict[str, float], running: dict[str, Started]) -> list[Figure]:
    pss = {role: memory(process, "Pss") for role, process in running.items()}
    rss = {role: memory(process, "Rss") for role, process in running.items()}
    return [
        Figure(
            name="start to first accepted request",
            unit="s",
            measured=round(took, 2),
            anchor="Keep 6 s",
            must="4 s",
        ),
        Figure(
            name="memory idle, PSS of all processes",
            unit="MB",
            measured=round(sum(pss.values())),
            anchor="Keep 312 MB a worker",
            must="400 MB",
            note=_by_role(pss, "MB"),
        ),
        Figure(
            name="memory idle, RSS of all processes",
            unit="MB",
            measured=round(sum(rss.values())),
            note=_by_role(rss, "MB"),
        ),
        Figure(
            name="processor idle, of one core",
            unit="%",
            measured=round(sum(cpu.values()), 2),
            must="6 %",
            note=_by_role(cpu, "%"),
        ),
    ]


def _by_role(values: dict[str, float], unit: str) -> str:
    return ", ".join(f"{role} {value:.3g} {unit}" for role, value in values.items())


def _cpu(running: dict[str, Started], seconds: float) -> dict[str, float]:
    """What each took of one core while ``seconds`` passed, in per cent."""
    before, began = _ticks(running), time.perf_counter()
    time.sleep(seconds)
    after, passed = _ticks(running), time.perf_counter() - began
    return {role: 100 * (after[role] - before[role]) / TICKS / passed for role in running}


def _ticks(running: dict[str, Started]) -> dict[str, int]:
    """The time each has run so far, in and out of the kernel."""
    used = {}
    for role, process in running.items():
        try:
            stat = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError as error:
            raise Unavailable(f"{role} ended while it was watched") from error
        used[role] = int(stat[11]) + int(stat[12])
    return used


def memory(process: Started, kind: str) -> float:
    """Megabytes (10^6 bytes) of ``Pss`` or ``Rss``. ``Unavailable`` when it is gone."""
    try:
        lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
    except OSError as error:
        raise Unavailable(f"the memory of process {process.pid} cannot be read") from error
    found = next(line.split()[1] for line in lines if line.startswith(f"{kind}:"))
    return int(found) * 1024 / 1e6
