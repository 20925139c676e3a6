# SPDX-License-Identifier: Apache-2.0

"""``opx score``: the detectors by themselves, from standard input to standard output.

For benchmarks and for trying a detector on one's own data. Nothing is kept, no service is
asked, and what scores here is what scores in ``brain``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from opx.cli.score import causes, logs, metrics

app = typer.Typer(help="Score metrics, logs or causes, from a file or a stream.")


@app.command("metrics")
def score_metrics() -> None:
    """Points as JSON lines in; for each its score and whether it is an anomaly."""
    bad = metrics.run(sys.stdin.buffer, sys.stdout.buffer)
    if bad:
        raise typer.Exit(1)


@app.command("logs")
def score_logs() -> None:
    """Log lines in; for each its template, its score and whether it is an anomaly."""
    logs.run(sys.stdin.buffer, sys.stdout.buffer)


@app.command("causes")
def score_causes(case: Annotated[Path, typer.Argument(help="A case, as JSON.")]) -> None:
    """The causes of one case, ranked."""
    causes.run(case, sys.stdout.buffer)
