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
from opx.core.detect.metrics.state import MOST_STREAMS

app = typer.Typer(help="Score metrics, logs or causes, from a file or a stream.")


@app.command("metrics")
def score_metrics() -> None:
    """Points on standard input, for each its score and whether it is an anomaly.

    A line in, a line out. In: {"stream": "cpu", "timestamp": 1767225600000, "value": 0.5}; the
    timestamp is in ms or RFC 3339. Out: {"stream", "timestamp", "score": 0 to 1, "anomaly"}. A
    point without a value (null, NaN) scores 0 and has a "note". What is no point has an "error"
    and no score, and the command ends with 1.

    opx score metrics < points.jsonl
    """
    done = metrics.run(sys.stdin.buffer, sys.stdout.buffer)
    if done.forgotten:
        most = f"{MOST_STREAMS:,} are known at once"
        typer.echo(f"{done.forgotten:,} streams were forgotten for others: {most}", err=True)
    if done.bad:
        raise typer.Exit(1)


@app.command("logs")
def score_logs() -> None:
    """Log lines on standard input, for each its template, score and whether it is an anomaly.

    A line of text in, a line out: {"template": ID, "score": 0 to 1, "anomaly"}. The last line is
    {"templates": {ID: {"text", "parent"}}}.

    opx score logs < app.log
    """
    logs.run(sys.stdin.buffer, sys.stdout.buffer)


@app.command("causes")
def score_causes(case: Annotated[Path, typer.Argument(help="A case, as JSON.")]) -> None:
    """The causes of one case, ranked: [{"node", "score", "evidence"}], the likeliest first.

    A case: whose trouble shows where, who calls whom, and the metrics of each node before it and
    during it, a value every period_s seconds, null for a gap:

    {"target": {"node": "web", "metric": "latency"}, "graph": {"web": ["db"], "db": []},
    "period_s": 60, "baseline": {"web": {"latency": [50, 51, 50]}, "db": {"latency": [10, 11, 10]}},
    "incident": {"web": {"latency": [50, 90, 91]}, "db": {"latency": [10, 50, 51]}}}
    """
    causes.run(case, sys.stdout.buffer)
