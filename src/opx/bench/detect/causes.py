# SPDX-License-Identifier: Apache-2.0

"""The ranking of causes on PetShop: how often the true one is first, or among three.

Hardt et al., "The PetShop Dataset: Finding Causes of Performance Issues across Microservices"
(2023). A case is written to a file and ranked as ``opx score causes`` ranks it: what the graph
is, how it was before, how it is now, and where the trouble shows.
"""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from opx.bench.detect import anchors, intervals
from opx.bench.detect.scorers import Scorers
from opx.bench.figures import Figure, Tell
from opx.errors import BadInput

FIRST = {"causes, the true one first": 1, "causes, the true one among three": 3}
BOUNDS = (("0.45", "0.60"), ("0.80", "0.90"))
"""Must and aim of each."""
PERIOD_S = 300

_Series = dict[str, dict[str, list[float | None]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """``name``: its scenario and split. ``body``: what is ranked. ``cause``: the node that was
    broken."""

    name: str
    body: dict[str, Any]
    cause: str


def measure(folder: Path, scorers: Scorers, _seed: int, tell: Tell) -> list[Figure]:
    """``folder``: has a folder a scenario, as PetShop has them."""
    cases = list(read(folder))
    if not cases:
        raise BadInput(f"{folder} has no SCENARIO/SPLIT/issue_*/metrics.csv")
    tell(f"causes: {len(cases)} cases")
    places = [_place(case, scorers) for case in cases]
    found: list[Figure] = []
    for number, (name, first) in enumerate(FIRST.items()):
        hits = sum(place < first for place in places)
        measured = intervals.share(hits, len(cases))
        must, aim = BOUNDS[number]
        figure = replace(
            measured.figure(name, digits=2),
            must=must,
            aim=aim,
            note=f"{hits} of {len(cases)} cases",
        )
        known = anchors.CAUSES.get(len(cases))
        beside = [known[number]] if known else []
        source = "" if found else anchors.CAUSES_SOURCE
        found.append(anchors.beside(figure, beside, measured, source))
    return found


def read(folder: Path) -> Iterator[Case]:
    """Every case below ``folder``, whatever its split."""
    for usual in sorted(folder.glob("*/noissue/metrics.csv")):
        scenario = usual.parent.parent
        baseline, graph = _series(usual), _graph(scenario / "graph.csv")
        for truth in sorted(scenario.glob("*/issue*/target.json")):
            told = json.loads(truth.read_text())
            body = {
                "target": told["target"],
                "graph": graph,
                "baseline": baseline,
                "incident": _series(truth.parent / "metrics.csv"),
                "period_s": PERIOD_S,
            }
            name = f"{scenario.name} {truth.parent.parent.name}"
            yield Case(name=name, body=body, cause=told["root_cause"]["node"])


def _place(case: Case, scorers: Scorers) -> int:
    """Where the true cause is ranked, from 0; after everything when it is not."""
    out = io.BytesIO()
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        file.write(json.dumps(case.body).encode())
        file.flush()
        scorers.causes(Path(file.name), out)
    ranked = [one["node"] for one in msgspec.json.decode(out.getvalue())]
    return ranked.index(case.cause) if case.cause in ranked else len(ranked) + max(FIRST.values())


def _series(path: Path) -> _Series:
    """Three lines of head (node, metric, statistic), an empty one, then a time a line."""
    with path.open(encoding="utf-8") as file:
        nodes, metrics, statistics, *rest = csv.reader(file)
    rows = [row for row in rest if len(row) == len(nodes) and row[0][:1].isdigit()]
    found: _Series = {}
    for column in range(1, len(nodes)):
        cells = [row[column] for row in rows]
        values = [float(cell) if cell not in ("", "nan") else None for cell in cells]
        key = f"{metrics[column]}/{statistics[column]}"
        found.setdefault(nodes[column], {})[key] = values
    return found


def _graph(path: Path) -> dict[str, list[str]]:
    """A line a caller, a column a callee."""
    with path.open(encoding="utf-8") as file:
        (_, *names), *rows = csv.reader(file)
    return {
        caller: [name for name, cell in zip(names, cells, strict=True) if float(cell or 0)]
        for caller, *cells in rows
    }
