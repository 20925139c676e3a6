# SPDX-License-Identifier: Apache-2.0

"""What was found odd in a tour while nothing was wrong: by opx by itself, and by the plain rule.

After the trials, for the report. opx's findings of kind evidence have no page of their own, so
they are read where ``opx doctor`` looks, in the database; the points come over the API. It must
never spoil a tour: what cannot be read is not counted.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import numpy as np

from opx.core.base.time import SECOND, Ms, Window
from opx.core.detect.flow import ODD_LINES, ODD_POINTS
from opx.errors import OpxError
from opx.playground.client import Client
from opx.playground.judging import plain

METRICS = (
    *("playground_requests_total", "playground_errors_total", "playground_upstream_errors_total"),
    *("playground_request_seconds_sum", "playground_request_seconds_count", "playground_queue"),
)
STEP: Ms = SECOND // 2
"""The collector comes once a second: at most one point of a stream falls into each step."""
AFTER: Ms = 2 * SECOND
"""So long after a trouble what the collector brings may still tell of it."""


def count(
    client: Client, data: Path, seen: Window, troubles: Sequence[Window]
) -> dict[str, int] | None:
    """How many findings of each began while nothing was wrong: ``opx``, by any of its detectors
    of odd points and lines, and ``plain_rule``. None when opx cannot be asked.

    ``data``: opx's folder. ``seen``: the whole run, from which the rule learns. ``troubles``: when
    something was wrong.
    """
    try:
        ours, theirs = _ours(data), _plain(client, seen)
    except (OpxError, sqlite3.Error):
        return None
    return {"opx": outside(ours, troubles), "plain_rule": outside(theirs, troubles)}


def outside(begun: Sequence[Ms], troubles: Sequence[Window]) -> int:
    """How many of these are in no trouble, nor just after one."""
    return sum(not any(one.start <= at < one.end + AFTER for one in troubles) for at in begun)


def _ours(data: Path) -> list[Ms]:
    """Since when opx's own findings are, whatever became of them."""
    path = f"file:{quote(str(data / 'opx.db'))}?mode=ro"
    with closing(sqlite3.connect(path, uri=True)) as store:
        rows = store.execute("SELECT json_extract(body, '$.rule'), since FROM findings")
        return [int(since) for rule, since in rows if rule in (*ODD_LINES, ODD_POINTS)]


def _plain(client: Client, seen: Window) -> list[Ms]:
    """When the plain rule's findings began."""
    named = [(metric, row) for metric in METRICS for row in client.points(metric, seen, STEP)]
    at = range(seen.start, seen.end, STEP)
    table = np.array([row for _, row in named], np.float64).reshape(len(named), len(at))
    return plain.begun([metric for metric, _ in named], at, table)
