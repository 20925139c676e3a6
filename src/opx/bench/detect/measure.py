# SPDX-License-Identifier: Apache-2.0

"""Everything about the detectors that there is data for, as figures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from opx.bench.detect import (
    ahead,
    causes,
    fleet,
    kept,
    metrics,
    simulated,
    templates,
)
from opx.bench.detect.scorers import Scorers
from opx.bench.figures import Figure, Tell
from opx.errors import BadInput

SETS: dict[str, Callable[[Path, Scorers, int, Tell], list[Figure]]] = {
    "nab": metrics.measure,
    "loghub": templates.measure,
    "petshop": causes.measure,
}
"""What is measured on each folder of the data."""


def measure(
    data: Path | None, scorers: Scorers, streams: int, seed: int, tell: Tell
) -> list[Figure]:
    """``data``: the folder of the sets, None for none. ``streams``: of the healthy fleet, 0 for
    nothing simulated at all. What is left out is a figure that was not measured. ``BadInput``:
    ``data`` is no folder, or a set in it is not laid out as published."""
    if data is not None and not data.is_dir():
        raise BadInput(f"{data} is not a folder")
    found: list[Figure] = []
    for name, run in SETS.items():
        folder = data / name if data else None
        if folder is not None and folder.is_dir():
            found += run(folder, scorers, seed, tell)
        else:
            why = f"left out: {data} has no {name}/" if data else "left out: no --data"
            found.append(Figure(name=name, unit="", measured=None, note=why))
    if not streams:
        note = "left out: --streams 0"
        return [*found, Figure(name="simulated", unit="", measured=None, note=note)]
    found += simulated.measure(seed, tell) + ahead.measure(tell)
    found += fleet.measure(streams, seed, tell) + kept.flood(streams, tell)
    return found + kept.restart(streams, seed, tell)
