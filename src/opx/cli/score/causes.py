# SPDX-License-Identifier: Apache-2.0

"""``opx score causes CASE.json``: the ranking of causes on one case, as JSON, best first.

Reads the case that a benchmark wrote, asks ``core.analyse.causes``, and prints. A metric that
is no list of numbers is left out and said to be, on standard error. It must not know whose
benchmark it is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from opx.cli import show
from opx.cli.client import FAILED, CommandFailed
from opx.core.analyse.causes import ranking
from opx.core.analyse.causes.case import Case, Target
from opx.core.analyse.causes.ranking import Cause, Evidence

USAGE = 2

_Series = dict[str, dict[str, list[float | None]]]
_Unread = dict[str, dict[str, Any]]


class _Target(msgspec.Struct):
    node: str
    metric: str
    agg: str = ""


class _Case(msgspec.Struct):
    target: _Target
    graph: dict[str, list[str]]
    baseline: _Unread
    incident: _Unread
    period_s: float


def run(case_path: Path, out: BinaryIO) -> None:
    """Write ``[{"node", "score", "evidence"}]`` to ``out``, one line. ``CommandFailed``: with 2
    when there is no such file to read, with 1 when it is not a case."""
    causes = ranking.rank(read(case_path))
    out.write(json.dumps([_shown(cause) for cause in causes]).encode() + b"\n")


def read(path: Path) -> Case:
    """The case in a file. What the file has beyond it is ignored. A metric that cannot be read
    is left out of both parts: with half of it gone, its node would look silent, or new."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise CommandFailed(USAGE, f"cannot read {path}: {error.strerror}") from error
    try:
        found = msgspec.convert(json.loads(text), _Case)
    except (ValueError, RecursionError) as error:  # msgspec's are ValueErrors too
        hint = 'a case has "target", "graph", "baseline", "incident" and "period_s"'
        raise CommandFailed(FAILED, f"{path} is not a case: {error}", hint) from error
    baseline, wrong = _series(found.baseline)
    incident, other = _series(found.incident)
    for (node, metric), why in (wrong | other).items():
        show.line(
            f"left out: {show.plain(metric)} of {show.plain(node)} is no list of numbers and nulls:"
            f" {show.plain(why)}",
            aside=True,
        )
        for part in (baseline, incident):
            part.get(node, {}).pop(metric, None)
    target = found.target
    return Case(
        target=Target(node=target.node, metric=target.metric, agg=target.agg),
        graph=found.graph,
        baseline=baseline,
        incident=incident,
        period_s=found.period_s,
    )


def _series(unread: _Unread) -> tuple[_Series, dict[tuple[str, str], str]]:
    """What is a list of numbers and nulls, and why the rest, by node and metric, is none."""
    read: _Series = {}
    wrong = {}
    for node, metrics in unread.items():
        read[node] = {}
        for metric, values in metrics.items():
            try:
                read[node][metric] = msgspec.convert(values, list[float | None])
            except ValueError as error:
                wrong[node, metric] = str(error)
    return read, wrong


def _shown(cause: Cause) -> dict[str, object]:
    evidence = [_line(one) for one in cause.evidence]
    return {"node": cause.node, "score": round(cause.score, 6), "evidence": evidence}


def _line(one: Evidence) -> dict[str, object]:
    """Without what does not apply."""
    told = {
        "kind": one.kind.value,
        "against": one.kind.against,
        "metric": one.metric or None,
        "expected": one.expected,
        "came": one.came,
        "onset": one.onset,
    }
    return {name: value for name, value in told.items() if value is not None}
