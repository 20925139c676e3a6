# SPDX-License-Identifier: Apache-2.0

"""The metric detector on NAB: its scores, its flags, and two checks that it plays fair.

All recordings are fed side by side, each a stream of its own, with a number for a name. The
checks: a beginning of each recording, alone, has to score as it did in company and with what
came after it; and other units must change next to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

import numpy as np

from opx.bench.detect import anchors, intervals, nab
from opx.bench.detect.intervals import Floats
from opx.bench.detect.nab import Recording
from opx.bench.detect.scorers import Scorers, answers
from opx.bench.figures import Figure, Tell

SCALE, SHIFT = 3.7, 11.0
FLAGGED = 1.0
BOUNDS = (("72", "78"), ("64", "70"), ("77", "83"))
"""Must and aim of each profile."""


@dataclass(frozen=True, slots=True)
class Scored:
    """Of one recording. ``score``: (points,) 0 to 1. ``flagged``: (points,) 0 or 1."""

    score: Floats
    flagged: Floats


def measure(folder: Path, scorers: Scorers, seed: int, tell: Tell) -> list[Figure]:
    """``folder``: has ``data`` and ``labels`` as NAB has them."""
    recordings = nab.read(folder)
    weights = intervals.draws(len(recordings), seed)
    tell(f"NAB: {len(recordings)} recordings, side by side")
    scored = feed(recordings, scorers)
    found = _best(recordings, scored, weights)
    found += [*_as_flagged(recordings, scored, weights), *_alarms(recordings, scored, weights)]
    tell("NAB: the beginning of each recording, alone")
    found.append(_beginnings(recordings, scored, scorers, seed))
    tell("NAB: in other units")
    other = feed(recordings, scorers, SCALE, SHIFT)
    return [*found, _units(recordings, scored, other)]


def feed(
    recordings: list[Recording], scorers: Scorers, scale: float = 1.0, shift: float = 0.0
) -> list[Scored]:
    """What ``opx score metrics`` says to the values times ``scale`` plus ``shift``."""
    lines = [_lines(one, str(number), scale, shift) for number, one in enumerate(recordings)]
    mixed = "".join(line for step in zip_longest(*lines, fillvalue="") for line in step)
    told: list[list[tuple[float, bool]]] = [[] for _ in recordings]
    for row in answers(scorers.metrics, mixed.encode()):
        told[int(row["stream"])].append((row["score"], row["anomaly"]))
    return [Scored(*np.array(rows, np.float64).T) for rows in told]


def _lines(one: Recording, name: str, scale: float, shift: float) -> list[str]:
    values = (one.value * scale + shift).tolist()
    return [
        f'{{"stream":"{name}","timestamp":"{at}","value":{value!r}}}\n'
        for at, value in zip(one.at, values, strict=True)
    ]


def _best(recordings: list[Recording], scored: list[Scored], weights: Floats) -> list[Figure]:
    """At the threshold that is best for these very files, as NAB's scoreboard has it."""
    found: list[Figure] = []
    for number, profile in enumerate(nab.PROFILES):
        curves = nab.curves(recordings, [one.score for one in scored], profile)
        measured = intervals.read(curves.best(weights))
        known = anchors.nab(len(recordings), number)
        figure = measured.figure(f"NAB {profile.name}, best threshold", digits=1)
        note = f"{len(recordings)} recordings"
        must, aim = BOUNDS[number]
        figure = replace(figure, must=must, aim=aim, note=note)
        source = "" if found else anchors.NAB_SOURCE
        found.append(anchors.beside(figure, known, measured, source))
    return found


def _as_flagged(recordings: list[Recording], scored: list[Scored], weights: Floats) -> list[Figure]:
    """At the flag as it is shipped."""
    found = []
    for profile in nab.PROFILES:
        curves = nab.curves(recordings, [one.flagged for one in scored], profile)
        measured = intervals.read(curves.at(FLAGGED, weights))
        found.append(measured.figure(f"NAB {profile.name}, as flagged", digits=1))
    return found


def _alarms(recordings: list[Recording], scored: list[Scored], weights: Floats) -> list[Figure]:
    outside, alarms, windows, hit = (np.zeros(len(recordings)) for _ in range(4))
    for number, (one, told) in enumerate(zip(recordings, scored, strict=True)):
        window = one.window_of()
        counts = (np.arange(len(window)) >= one.practice) & (window < 0)
        outside[number], alarms[number] = counts.sum(), told.flagged[counts].sum()
        windows[number] = len(one.windows)
        hit[number] = len(np.unique(window[(window >= 0) & (told.flagged > 0)]))
    rate = intervals.ratio(1_000 * alarms, outside, weights)
    share = intervals.ratio(hit, windows, weights)
    note = f"{hit.sum():.0f} of {windows.sum():.0f} windows hit"
    return [
        replace(
            rate.figure("NAB alarms per 1,000 points outside windows, as flagged", digits=2),
            anchor=anchors.NAB_ALARMS,
            must="0.40",
            aim="0.20",
            note=f"{note}; theirs: {anchors.NAB_ALARMS_SOURCE}",
        ),
        share.figure("NAB windows hit, as flagged: share", digits=2),
    ]


def _beginnings(
    recordings: list[Recording], scored: list[Scored], scorers: Scorers, seed: int
) -> Figure:
    rng = np.random.default_rng(seed)
    differ = points = 0
    for one, whole in zip(recordings, scored, strict=True):
        length = int(rng.integers(len(one.value) // 4, len(one.value)))
        start = replace(one, at=one.at[:length], value=one.value[:length], windows=())
        again = feed([start], scorers)[0]
        differ += int((again.score != whole.score[:length]).sum())
        points += length
    return Figure(
        name="NAB points that score otherwise without what follows, or alone",
        unit=f"of {points:,}",
        measured=differ,
        must="0",
    )


def _units(recordings: list[Recording], scored: list[Scored], other: list[Scored]) -> Figure:
    once = np.ones((1, len(recordings)))
    before, after = (
        nab.curves(recordings, [one.score for one in found], nab.PROFILES[0]).best(once)[0]
        for found in (scored, other)
    )
    return Figure(
        name=f"NAB standard, change by {SCALE:g} x + {SHIFT:g}",
        unit="",
        measured=round(float(after - before), 2),
        must="below 1.5 either way",
        aim="0.5",
    )
