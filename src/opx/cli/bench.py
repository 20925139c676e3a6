# SPDX-License-Identifier: Apache-2.0

"""``opx bench``: opx's own figures, measured here and now, beside what they are held against.

Runs ``opx.bench`` and prints a table, or JSON. Progress goes to standard error. A figure is
never judged: the exit code says only whether everything could be measured.
"""

from __future__ import annotations

import secrets
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from opx.bench import alerts, halt, idle, latency, page, recovery, replay
from opx.bench.crash import crash
from opx.bench.figures import Figure, Tell
from opx.cli import show
from opx.errors import OpxError


class What(StrEnum):
    ALERTS = "alerts"
    RECOVERY = "recovery"
    IDLE = "idle"
    CRASH = "crash"
    PAGE = "page"
    LATENCY = "latency"
    HALT = "halt"
    REPLAY = "replay"
    ALL = "all"


ALERTS_S, IDLE_S = 10.0, 20.0
RECOVERIES, KILLS = 5, 60
REPLAY_S = 4.0
ACKNOWLEDGED, BREACHES, HALTS = 100, 200, 100

Seconds = Annotated[
    float | None,
    typer.Option(
        min=1,
        help="How long each rate or share is measured.",
        show_default=f"alerts {ALERTS_S:g}, idle {IDLE_S:g}, replay {REPLAY_S:g}",
    ),
]
Times = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="How often something is done, or killed.",
        show_default=f"recovery {RECOVERIES}, crash {KILLS}, page {ACKNOWLEDGED},"
        f" latency {BREACHES}, halt {HALTS}",
    ),
]
Seed = Annotated[
    int | None, typer.Option(help="Picks victims and moments.", show_default="drawn anew")
]


def bench(
    what: Annotated[What, typer.Argument(help="Which figures.")] = What.ALL,
    as_json: show.AsJson = False,
    seconds: Seconds = None,
    times: Times = None,
    seed: Seed = None,
) -> None:
    """Measure opx on this machine; every figure beside its anchor and what it must be."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    seed = secrets.randbelow(10_000) if seed is None else seed
    tell = teller()
    measures: dict[What, Callable[[], list[Figure]]] = {
        What.ALERTS: lambda: alerts.measure(seconds or ALERTS_S, tell),
        What.RECOVERY: lambda: recovery.measure(times or RECOVERIES, seed, tell),
        What.IDLE: lambda: idle.measure(seconds or IDLE_S, tell),
        What.CRASH: lambda: crash.measure(times or KILLS, seed, tell),
        What.PAGE: lambda: page.measure(times or ACKNOWLEDGED, tell),
        What.LATENCY: lambda: latency.measure(times or BREACHES, tell),
        What.HALT: lambda: halt.measure(times or HALTS, seed, tell),
        What.REPLAY: lambda: replay.measure(seconds or REPLAY_S, tell),
    }
    found: list[Figure] = []
    failed: dict[str, str] = {}
    for name in measures if what is What.ALL else (what,):
        try:
            found += measures[name]()
        except OpxError as error:
            failed[name.value] = str(error)
    raise typer.Exit(conclude(found, failed, seed, as_json))


def conclude(found: list[Figure], failed: dict[str, str], seed: int, as_json: bool) -> int:
    """Print what was found; the exit code, 1 when something ``failed`` to be measured."""
    if as_json:
        figures = [asdict(figure) for figure in found]
        show.as_json({"seed": seed, "figures": figures, "failed": failed})
    else:
        _print(found, failed, seed)
    return 1 if failed else 0


def teller() -> Tell:
    """Prints a line to standard error, with the seconds since the start."""
    began = time.monotonic()

    def tell(text: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {text}", file=sys.stderr)  # noqa: T201

    return tell


def _print(found: list[Figure], failed: dict[str, str], seed: int) -> None:
    table = Table(title=f"opx bench (seed {seed})", title_justify="left", header_style="dim")
    for head in ("figure", "anchor", "must", "measured"):
        table.add_column(head)
    for figure in found:
        must = f"{figure.must}, aim {figure.aim}" if figure.aim else figure.must
        cells = (figure.name, figure.anchor, must, figure.shown)
        table.add_row(*(escape(cell) for cell in cells))
    if found:
        show.console().print(table)
    for figure in found:
        if figure.note:
            show.line(f"[dim]{escape(figure.name)}: {escape(figure.note)}[/]")
    for name, why in failed.items():
        show.line(f"[bold red]{name} could not be measured:[/] {escape(why)}")
