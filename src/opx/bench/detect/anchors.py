# SPDX-License-Identifier: Apache-2.0

"""What others reach, with its source, and how a figure of ours is to be read beside it.

An anchor counts for the set of files that it was scored on. We have no interval of theirs on
that set, so they are given ours: two figures whose intervals overlap are level, however they
are ordered. Nothing here says who is best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from opx.bench.detect.intervals import Measured
from opx.bench.figures import Figure


@dataclass(frozen=True, slots=True)
class Anchor:
    name: str
    value: float


NAB = {
    58: {
        "ARTime": (74.9, 65.2, 80.4),
        "HTM": (70.1, 63.2, 74.3),
        "CAD OSE": (69.9, 67.0, 73.2),
        "windowed Gaussian": (39.6, 20.9, 47.4),
    },
    39: {
        "ARTime": (76.5, 67.1, 82.0),
        "HTM": (70.1, 63.0, 74.4),
        "CAD OSE": (70.0, 66.3, 73.4),
        "windowed Gaussian": (40.0, 21.6, 48.0),
    },
}
"""By number of files: standard, low FP, low FN. ARTime's settings were chosen with NAB in view."""
NAB_SOURCE = "numenta/NAB's stored results, scored on the same files"
NAB_ALARMS = "ARTime 0.75, HTM 0.37, CAD OSE 0.18"
NAB_ALARMS_SOURCE = (
    "on 26 of the 58 files, at the threshold that is best for the other 32: 54, 50 and 43 of 56"
)

LOGS = {
    "GA": (Anchor("Drain3 with masks", 0.755), Anchor("Drain3", 0.732)),
    "FGA": (Anchor("Drain3 with masks", 0.726), Anchor("Drain3", 0.734)),
    "PA": (Anchor("Drain3 with masks", 0.473), Anchor("Drain3", 0.306)),
    "FTA": (Anchor("Drain3 with masks", 0.450), Anchor("Drain3", 0.268)),
}
LOGS_SOURCE = "Drain3 0.9.11, no settings per system, run on all 16 systems (PA, FTA: 14)"

CAUSES = {
    16: (Anchor("simple rule", 0.250), Anchor("simple rule", 0.688)),
    36: (Anchor("simple rule", 0.194), Anchor("simple rule", 0.528)),
    52: (Anchor("simple rule", 0.212), Anchor("simple rule", 0.577)),
}
"""By number of cases: top-1, top-3."""
CAUSES_SOURCE = (
    "the rule takes the deepest callee that moved, run on the same cases; elsewhere, on 1,430"
    " harder ones (arXiv 2510.04711), 11 published models name .21 first on average, the best .37"
)


def nab(files: int, profile: int) -> list[Anchor]:
    """Those for a corpus of so many files, none when it is another. ``profile``: 0 to 2."""
    return [Anchor(name, scores[profile]) for name, scores in NAB.get(files, {}).items()]


def beside(figure: Figure, anchors: Sequence[Anchor], ours: Measured, source: str) -> Figure:
    """The figure with these anchors, and how it is to be read beside them. ``source``: "" where
    the figure before has told it."""
    if not anchors:
        return figure
    notes = [figure.note, reading(anchors, ours), f"theirs: {source}" if source else ""]
    shown = ", ".join(f"{one.name} {one.value}" for one in anchors)
    return replace(figure, anchor=shown, note="; ".join(note for note in notes if note))


def reading(anchors: Sequence[Anchor], ours: Measured) -> str:
    """``level with A, above B``: above or below only what is apart by more than the width of
    our interval, which is when theirs, if it is as wide, does not touch it."""
    words: dict[str, list[str]] = {}
    for one in anchors:
        apart = abs(one.value - ours.value) > ours.high - ours.low
        word = "level with" if not apart else "above" if ours.value > one.value else "below"
        words.setdefault(word, []).append(one.name)
    return "; ".join(f"{word} {', '.join(names)}" for word, names in words.items())
