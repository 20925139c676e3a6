# SPDX-License-Identifier: Apache-2.0

"""NAB's rules: what alarms at certain points of labelled recordings are worth.

Lavin and Ahmad, "Evaluating Real-time Anomaly Detection Algorithms" (2015), and the rules as
published with NAB 1.1. A window is worth up to 1, the more the earlier its first alarm; one
without an alarm costs; every alarm outside costs up to a weight, little just after a window.
A corpus scores 0 without any alarm and 100 with one at the start of each window. What comes
in the first 15 % of a recording is practice and does not count.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from opx.bench.detect.intervals import Floats
from opx.errors import BadInput

PRACTICE = 0.15
PRACTICE_OF = 5_000
"""Of no more points than these."""
FAR = 3.0
"""Beyond so many widths after a window an alarm has nothing to do with it."""
SECOND = 19
"""Characters of a time up to its second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What is lost by an alarm far outside, and by a window without one."""

    name: str
    false: float
    missed: float


PROFILES = (
    Profile(name="standard", false=0.11, missed=1.0),
    Profile(name="low FP", false=0.22, missed=1.0),
    Profile(name="low FN", false=0.11, missed=2.0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """``at``: times as they are sent, one a point. ``windows``: first and last point of each, in
    order, apart from each other."""

    name: str
    at: tuple[str, ...]
    value: Floats
    windows: tuple[tuple[int, int], ...]

    @property
    def practice(self) -> int:
        """So many first points do not count."""
        return int(min(np.floor(PRACTICE * len(self.value)), PRACTICE * PRACTICE_OF))

    def window_of(self) -> NDArray[np.int64]:
        """(points,) the number of the window that each is in, -1 outside."""
        found = np.full(len(self.value), -1)
        for number, (first, last) in enumerate(self.windows):
            found[first : last + 1] = number
        return found

    def worth(self) -> Floats:
        """(points,) of a first alarm there: up to 1 in a window, down to -1 outside."""
        point = np.arange(len(self.value), dtype=np.float64)
        worth = np.full(len(point), -1.0)
        ends = [first for first, _ in self.windows[1:]] + [len(point)]
        for (first, last), end in zip(self.windows, ends, strict=False):
            inside, after = slice(first, last + 1), slice(last + 1, end)
            width = last - first + 1
            worth[inside] = _sigmoid((point[inside] - last - 1) / width) / _sigmoid(-1.0)
            past = (point[after] - last) / max(width - 1, 1)
            worth[after] = np.where(past > FAR, -1.0, _sigmoid(np.minimum(past, FAR)))
        return worth


def _sigmoid(x: Floats | float) -> Floats:
    return np.asarray(2.0 / (1.0 + np.exp(5.0 * np.asarray(x))) - 1.0)


def read(folder: Path) -> list[Recording]:
    """The recordings below ``folder`` that have labels. ``BadInput`` if there are none, or their
    labels name times that are not in them."""
    try:
        labels = json.loads((folder / "labels" / "combined_windows.json").read_text())
    except (OSError, ValueError) as error:
        raise BadInput(f"{folder} has no labels/combined_windows.json: {error}") from error
    paths = {name: folder / "data" / name for name in sorted(labels)}
    found = [recording(path, name, labels[name]) for name, path in paths.items() if path.exists()]
    if not any(one.windows for one in found):
        raise BadInput(f"{folder} has no recordings with windows")
    return found


def recording(path: Path, name: str, windows: list[list[str]]) -> Recording:
    """One file of a corpus: a header, then a time and a value a line."""
    with path.open(encoding="utf-8") as file:
        _, *rows = csv.reader(file)
    times = [row[0][:SECOND] for row in rows]
    place = {time: number for number, time in reversed(list(enumerate(times)))}
    try:
        found = tuple((place[a[:SECOND]], place[b[:SECOND]]) for a, b in windows)
    except KeyError as error:
        raise BadInput(f"{name} has no point at {error}, where a window is") from error
    return Recording(
        name=name,
        at=tuple(time.replace(" ", "T") + "Z" for time in times),
        value=np.array([float(row[1]) for row in rows]),
        windows=found,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """What the recordings come to, file by file, at each threshold: an alarm is where the score
    reaches it. The first threshold is never reached.

    ``thresholds``: (t,) falling. ``totals``: (files, t). ``perfect``: (files,).
    """

    thresholds: Floats
    totals: Floats
    perfect: Floats

    def best(self, weights: Floats) -> Floats:
        """(draws,) 0 to 100: the score at the threshold that is best for each draw of files.
        ``weights``: (draws, files)."""
        return np.array([self._normal(weight, (weight @ self.totals).max()) for weight in weights])

    def at(self, threshold: float, weights: Floats) -> Floats:
        """(draws,) up to 100, below 0 where silence would be better: at one threshold."""
        place = int((self.thresholds >= threshold).sum()) - 1
        return np.array(
            [self._normal(weight, weight @ self.totals[:, place]) for weight in weights]
        )

    def _normal(self, weight: Floats, total: float) -> float:
        null, perfect = float(weight @ self.totals[:, 0]), float(weight @ self.perfect)
        return 100 * (total - null) / (perfect - null) if perfect > null else float("nan")


def curves(recordings: list[Recording], scores: list[Floats], profile: Profile) -> Curves:
    """``scores``: (points,) of each recording."""
    counted = [score[one.practice :] for one, score in zip(recordings, scores, strict=True)]
    thresholds = np.concatenate([[np.inf], np.unique(np.concatenate(counted))[::-1]])
    totals = [
        _totals(one, score, profile, thresholds)
        for one, score in zip(recordings, scores, strict=True)
    ]
    return Curves(
        thresholds=thresholds,
        totals=np.array(totals),
        perfect=np.array([float(len(one.windows)) for one in recordings]),
    )


def _totals(one: Recording, score: Floats, profile: Profile, thresholds: Floats) -> Floats:
    counts = np.arange(len(score)) >= one.practice
    window, worth = one.window_of(), one.worth()
    outside = counts & (window < 0)
    totals = _reached(score[outside], profile.false * worth[outside], thresholds, np.add, 0.0)
    for number in range(len(one.windows)):
        inside = counts & (window == number)
        if inside.any():  # a window that is all practice is neither found nor missed
            totals += _reached(
                score[inside], worth[inside], thresholds, np.maximum, -profile.missed
            )
    return totals


def _reached(
    score: Floats, worth: Floats, thresholds: Floats, join: np.ufunc, without: float
) -> Floats:
    """What the points that reach each threshold come to, joined; ``without`` any."""
    order = np.argsort(-score, kind="stable")
    joined = join.accumulate(np.concatenate([[without], worth[order]]))
    reached = np.searchsorted(-score[order], -thresholds, side="right")
    return np.asarray(joined[reached], np.float64)
