# SPDX-License-Identifier: Apache-2.0

"""How far a figure could be from what other files of the same kind would give: the bootstrap.

Files (systems, cases) are drawn anew with replacement, a figure is computed from each draw,
and the middle 95 % of them are its interval. It knows nothing of files that are unlike these.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opx.bench.figures import Figure

Floats = NDArray[np.float64]

DRAWS = 2_000
Z = 1.959964
"""Standard deviations within which 95 % of a normal distribution are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A number and its interval."""

    value: float
    low: float
    high: float

    def figure(self, name: str, digits: int) -> Figure:
        return Figure(
            name=name,
            unit="",
            measured=round(self.value, digits),
            interval=(round(self.low, digits), round(self.high, digits)),
        )


def draws(cases: int, seed: int) -> Floats:
    """(1 + ``DRAWS``, ``cases``) how often each case is in each draw; in the first one each is
    there once, which is what is measured."""
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(cases, np.full(cases, 1 / cases), DRAWS)
    return np.concatenate([np.ones((1, cases)), drawn])


def read(figures: Floats) -> Measured:
    """From the figure of every draw; draws from which none comes are NaN."""
    low, high = np.nanpercentile(figures[1:], (2.5, 97.5))
    return Measured(value=float(figures[0]), low=float(low), high=float(high))


def share(hits: int, of: int) -> Measured:
    """Hits among ``of`` cases (over 0), by Wilson's interval (1927): draws of nothing but hits
    would all be alike, and 16 of 16 is no certainty."""
    middle, square = hits / of, Z * Z / of
    centre = (middle + square / 2) / (1 + square)
    half = Z / (1 + square) * np.sqrt(middle * (1 - middle) / of + square / of / 4)
    return Measured(value=middle, low=float(centre - half), high=float(centre + half))


def mean(values: Floats, weights: Floats) -> Measured:
    """The mean of one value a case."""
    return read(weights @ values / weights.sum(axis=1))


def ratio(above: Floats, below: Floats, weights: Floats) -> Measured:
    """The sum of one value a case over the sum of another."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (weights @ above) / (weights @ below)
    return read(np.where(np.isfinite(found), found, np.nan))
