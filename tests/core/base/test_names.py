# SPDX-License-Identifier: Apache-2.0

"""The words of a metric's name."""

from __future__ import annotations

import pytest

from opx.core.base import names


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("http_requests.total", ["http", "requests", "total"]),
        ("responseTimeMs", ["response", "time", "ms"]),
        ("HTTPErrors", ["http", "errors"]),
        ("p99Latency", ["p99", "latency"]),
        ("HTTPCode_Target_5XX_Count", ["http", "code", "target", "5xx", "count"]),
        ("", [""]),
    ],
)
def test_words_end_where_people_read_an_end(metric: str, words: list[str]) -> None:
    """At signs and capitals, but not within an abbreviation or a number."""
    assert names.words(metric) == words
