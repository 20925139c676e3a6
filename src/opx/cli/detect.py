# SPDX-License-Identifier: Apache-2.0

"""``opx bench detect``: how good the detectors are on public data, or one stream as a picture.

A word of ``opx bench`` with options of its own. It hands ``opx.bench.detect`` the functions
that ``opx score`` runs, and prints what comes back.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from opx.bench.detect import fleet, measure
from opx.bench.detect.scorers import Scorers
from opx.cli import bench, show
from opx.cli.client import FAILED, CommandFailed
from opx.cli.score import causes, logs, metrics

USAGE = 2
SCORERS = Scorers(metrics=metrics.run, logs=logs.run, causes=causes.run)


WORD, FIGURES = "detect", "figures"


class _Bench(TyperGroup):
    """``detect`` is a command of its own; all else is for ``bench.bench``, as it stands."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        word = WORD if WORD in args else FIGURES
        rest = list(args)
        if word in rest:
            rest.remove(word)  # wherever it stood: once, for a folder may have its name
        return super().parse_args(ctx, args if args == ["--help"] else [word, *rest])


HELP = f"""Measure opx, or its detectors: every figure with its anchor.

`opx bench WORD` measures one of {", ".join(bench.What)}, which is what it does without a word;
`opx bench detect` the detectors. `opx bench figures --help`: how long and how often."""
app = typer.Typer(cls=_Bench, help=HELP)
app.command(FIGURES)(bench.bench)


@app.command(WORD)
def detect(
    data: Annotated[
        Path | None,
        typer.Option("--data", help="A folder with nab/, loghub/, petshop/ as published."),
    ] = None,
    as_json: show.AsJson = False,
    streams: Annotated[
        int,
        typer.Option(min=0, help="Healthy streams, watched for a day; 0: simulate nothing."),
    ] = fleet.STREAMS,
    seed: Annotated[int, typer.Option(help="Draws the intervals, the fleet and the cuts.")] = 1,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw this stream (CSV or JSON lines) instead.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The picture to write.")] = None,
) -> None:
    """Measure the detectors on public and on simulated data; or draw one stream."""
    if plot is None and out is None:
        found = measure.measure(data, SCORERS, streams, seed, bench.teller())
        raise typer.Exit(bench.conclude(found, {}, seed, as_json))
    if plot is None or out is None:
        raise CommandFailed(USAGE, "--plot STREAM_FILE and --out PICTURE go together")
    _draw(plot, out)
    show.line(f"drawn: {show.plain(out)}")


def _draw(stream: Path, out: Path) -> None:
    try:
        drawing = importlib.import_module("opx.bench.detect.plot")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        hint = 'pip install ".[plot]"'
        raise CommandFailed(FAILED, "matplotlib, which draws, is not installed", hint) from error
    drawing.draw(stream, SCORERS, out)
