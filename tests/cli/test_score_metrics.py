# SPDX-License-Identifier: Apache-2.0
"""``opx score metrics``: a line in is a line out, at once, and what is no point says so."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from typing import Any

import numpy as np

from opx.cli.score import metrics
from opx.core.base.time import from_wire
from opx.core.detect.metrics.state import MetricState
from opx.core.detect.metrics.stream import step
from opx.core.ingest.signals import MetricBatch

OPX = [sys.executable, "-m", "opx", "score", "metrics"]
START = "2026-01-01T00:00:00Z"


def scored(text: str) -> tuple[list[dict[str, Any]], int]:
    out = io.BytesIO()
    done = metrics.run(io.BufferedReader(io.BytesIO(text.encode())), out)
    return [json.loads(line) for line in out.getvalue().splitlines()], done.bad


def line(stream: str, at: object, value: object) -> str:
    return json.dumps({"stream": stream, "timestamp": at, "value": value}) + "\n"


def test_what_scores_here_is_what_scores_in_the_service() -> None:
    """Two streams, mixed: the scores are those of ``step`` on the same points."""
    rng = np.random.default_rng(5)
    value, sid = rng.normal(0, 1, 600), np.arange(600) % 2
    at = from_wire(START) + np.arange(600) * 1_000
    value[[450, 551]] = 40.0

    rows, bad = scored("".join(map(line, "ab" * 300, at.tolist(), value.tolist())))

    found = step(MetricState(), MetricBatch(sid=sid.astype(np.int32), at=at, value=value))
    assert bad == 0
    assert [row["score"] for row in rows] == found.score.tolist()
    assert [row["anomaly"] for row in rows] == found.anomaly.tolist()
    assert [row["stream"] for row in rows] == list("ab" * 300)
    assert any(row["anomaly"] for row in rows)


def test_a_bad_line_costs_itself_and_nothing_else() -> None:
    """Each has an answer in its place with an error and no score; the rest is scored."""
    bad = [
        "",
        "{",
        "[1]",
        '{"timestamp": 1, "value": 1}',
        '{"stream": 7, "timestamp": 1, "value": 1}',
        '{"stream": "a\\ud800", "timestamp": 1, "value": 1}',
        '{"stream": "a", "timestamp": null, "value": 1}',
        '{"stream": "a", "timestamp": NaN, "value": 1}',
        '{"stream": "a", "timestamp": 1e999, "value": 1}',
        '{"stream": "a", "timestamp": true, "value": 1}',
        '{"stream": "a", "timestamp": "2026-01-01T00:00:00", "value": 1}',
        '{"stream": "a", "timestamp": "yesterday", "value": 1}',
        '{"stream": "a", "timestamp": 99999999999999999, "value": 1}',
        '{"stream": "a", "timestamp": 123456789012345678901234567890, "value": NaN}',
        "[" * 100_000,
        "\x00",
    ]
    good = line("a", START, 1.5)

    rows, count = scored("".join(good + one + "\n" for one in bad))

    assert count == len(bad)
    assert ["error" in row for row in rows] == [False, True] * len(bad)
    assert all(row["score"] is None for row in rows[1::2])
    assert all(row["score"] == 0 for row in rows[0::2])


def test_a_point_without_a_value_scores_nothing_and_is_no_error() -> None:
    """Whatever stands for the value: its stream and time come back, with a note, and the stream
    goes on as if it had not come."""
    values = ["NaN", '"NaN"', "Infinity", "-Infinity", "null", '"3.5"', "1e999", "-1e999", "true"]
    lines = [f'{{"stream": "a", "timestamp": "{START}", "value": {one}}}\n' for one in values]
    lines.append(f'{{"timestamp": "{START}", "stream": "a"}}\n')
    good = [line("a", from_wire(START) + n * 1_000, n % 7 + 60.0 * (n == 300)) for n in range(400)]

    rows, bad = scored("".join(good[:200] + lines + good[200:]))

    assert bad == 0
    missing = rows[200:-200]
    assert [(row["stream"], row["timestamp"]) for row in missing] == [("a", START)] * len(lines)
    assert all((row["score"], row["anomaly"]) == (0, False) for row in missing)
    assert all(row["note"].startswith("the value is no") for row in missing)
    assert rows[:200] + rows[-200:] == scored("".join(good))[0]
    assert rows[-100]["anomaly"]


def test_a_bad_line_that_says_whose_it_is_is_answered_with_that() -> None:
    """A time that is none comes back as it was, and the stream with it."""
    rows, bad = scored(line("a", "yesterday", 1) + line("b", "yesterday", None))

    assert bad == 2
    assert [(row["stream"], row["timestamp"]) for row in rows] == [
        ("a", "yesterday"),
        ("b", "yesterday"),
    ]
    assert all("yesterday" in row["error"] for row in rows)


def test_a_flood_of_strangers_makes_nobody_forgotten_who_has_come_for_long() -> None:
    """With room for 64 streams and 2,000 that come once each, ten that came 150 times are as well
    known as without them, and those that went are counted."""
    at, rng = from_wire(START), np.random.default_rng(1)
    fleet = [
        line(f"s{s}", at + n * 1_000, 50 + rng.normal(0, 1)) for n in range(150) for s in range(10)
    ]
    # lines long enough that the flood takes several reads
    flood = [line(f"{'f' * 1_000}{n}", at + 151_000, 1.0) for n in range(2_000)]
    last = [line(f"s{s}", at + 152_000, 500.0) for s in range(10)]

    told = []
    for text, gone in (("".join(fleet + flood + last), 2_010 - 64), ("".join(fleet + last), 0)):
        out = io.BytesIO()
        done = metrics.run(io.BufferedReader(io.BytesIO(text.encode())), out, most=64)
        assert done.bad == 0
        assert gone <= done.forgotten <= 2 * gone
        told.append([json.loads(answer) for answer in out.getvalue().splitlines()][-10:])

    assert told[0] == told[1]
    assert all(row["score"] > 0 for row in told[0])


def test_a_time_may_be_written_either_way() -> None:
    """Text with a zone and milliseconds, with a fraction or none, are the same, and come back as
    they were."""
    at = from_wire(START)
    rows, bad = scored("".join(line("a", time, 1) for time in (START, at, at + 0.75, float(at))))

    assert bad == 0
    assert [row["timestamp"] for row in rows] == [START, at, at + 0.75, at]


def test_a_last_line_without_an_end_is_a_line() -> None:
    """It is answered when the input ends."""
    rows, _ = scored(line("a", START, 1).strip())

    assert len(rows) == 1


def test_answers_come_before_the_next_line_is_there() -> None:
    """The process answers each line before the next is written, and ends with 1 after a bad
    one."""
    with subprocess.Popen(OPX, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for text in (line("a", START, 1), "nonsense\n", line("a", START, 2)):
            process.stdin.write(text.encode())
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["score"] in (0, None)
        process.stdin.close()

        assert process.wait() == 1
