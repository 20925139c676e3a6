# SPDX-License-Identifier: Apache-2.0

"""One stream as a picture: its values, what was flagged, its scores, NAB's windows if at hand.

The only module that needs matplotlib, which is the extra ``plot``; it is loaded when a picture
is asked for. It draws what ``opx score metrics`` says and computes nothing of its own.
"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from opx.bench.detect import metrics, nab
from opx.bench.detect.metrics import Scored
from opx.bench.detect.nab import Recording
from opx.bench.detect.scorers import Scorers
from opx.core.base.time import from_wire, to_wire
from opx.errors import BadInput, Failed

INCHES, DOTS = (11.0, 6.0), 120
VALUE, FLAG, WINDOW, SCORE = "#33658a", "#d1495b", "#f2c14e", "#5f6b6d"

LEAST = 1e-12
"""Odds that are shown; 1 less the score has no more digits than a few beyond."""


class _Point(msgspec.Struct):
    timestamp: int | str
    value: float
    stream: str = ""


def draw(path: Path, scorers: Scorers, out: Path) -> None:
    """``path``: CSV as NAB has it, or lines as ``opx score metrics`` takes them, of one stream.
    ``out``: a picture in the format of its name. ``BadInput``: it is not such a file;
    ``Failed``: the picture cannot be written."""
    one = _read(path)
    told = metrics.feed([one], scorers)[0]
    try:
        with rc_context({"date.converter": "concise"}):
            _picture(one, told).savefig(out, dpi=DOTS)
    except (OSError, ValueError) as error:
        raise Failed(f"cannot write {out}: {error}") from error


def _picture(one: Recording, told: Scored) -> Figure:
    figure = Figure(figsize=INCHES, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    when = np.array([from_wire(at) for at in one.at], "datetime64[ms]")
    flagged = told.flagged > 0
    for number, (first, last) in enumerate(one.windows):
        label = "labelled as anomalous" if number == 0 else None
        for on in (above, below):
            on.axvspan(when[first], when[last], color=WINDOW, alpha=0.4, label=label)
    above.plot(when, one.value, color=VALUE, linewidth=0.8, label="value")
    above.scatter(
        when[flagged], one.value[flagged], color=FLAG, s=28, zorder=3, label="flagged: an anomaly"
    )
    words = f"{one.name}: {int(flagged.sum())} of {len(when):,} points flagged"
    above.set_title(words, loc="left")
    above.set(ylabel="value")
    figure.legend(*above.get_legend_handles_labels(), loc="outside upper right", ncols=3)
    odds = 1.0 / np.maximum(1.0 - told.score, LEAST)
    below.vlines(when, 1, odds, color=SCORE, linewidth=0.8)
    below.vlines(when[flagged], 1, odds[flagged], color=FLAG, linewidth=1.2)
    below.set(ylabel="odd as 1 in ...", xlabel="time (UTC)", yscale="log", ylim=(1, None))
    return figure


def _read(path: Path) -> Recording:
    try:
        if path.suffix == ".csv":
            return nab.recording(path, path.name, _labels(path))
        lines = path.read_bytes().splitlines()
        points = [msgspec.json.decode(line, type=_Point) for line in lines if line.strip()]
    except (OSError, ValueError, IndexError) as error:
        raise BadInput(f"cannot read {path} as one stream: {error}") from error
    if len({point.stream for point in points}) != 1:
        raise BadInput(f"{path} has to hold the points of one stream")
    return Recording(
        name=path.name,
        at=tuple(map(_time, points)),
        value=np.array([point.value for point in points]),
        windows=(),
    )


def _time(point: _Point) -> str:
    at = point.timestamp
    return to_wire(from_wire(at) if isinstance(at, str) else at)


def _labels(path: Path) -> list[list[str]]:
    """The windows of a file that lies in a corpus laid out as NAB is."""
    path = path.resolve()
    for parent in path.parents:
        labels = parent / "labels" / "combined_windows.json"
        if labels.exists() and path.is_relative_to(parent / "data"):
            name = path.relative_to(parent / "data").as_posix()
            windows: list[list[str]] = json.loads(labels.read_text()).get(name, [])
            return windows
    return []
