# SPDX-License-Identifier: Apache-2.0

"""``opx score logs``: a line of JSON for each line, then the table."""

from __future__ import annotations

import io
import json
import os
import threading
from typing import Any

from opx.adapters.wires import logs
from opx.cli.score.logs import run
from opx.core.ingest.signals import LogLine
from opx.engine.intake import Incoming


def score(data: bytes) -> tuple[list[Any], dict[str, Any]]:
    out = io.BytesIO()
    run(io.BytesIO(data), out)
    *rows, last = [json.loads(line) for line in out.getvalue().splitlines()]
    return rows, last["templates"]


def test_each_line_has_an_answer_and_each_id_a_text() -> None:
    """Lines of one kind share an id, and the table has its words."""
    rows, table = score(b"took 17 ms\ntook 4 ms\nall is well")

    first, second, third = (row["template"] for row in rows)
    assert first == second != third
    assert table[first] == {"text": "took <*> ms", "parent": None}
    assert all(0 <= row["score"] <= 1 and row["anomaly"] is False for row in rows)


def test_a_stack_trace_is_part_of_its_record() -> None:
    """Each of its lines has the answer of the error that it is the trace of, and
    makes no template of its own."""
    trace = b"\n".join(
        [
            b"INFO served 17 requests",
            b"ERROR request 17 failed",
            b"Traceback (most recent call last):",
            b'  File "shop.py", line 17, in buy',
            b"ValueError: -1",
            b"INFO served 4 requests",
            b"  at com.example.Shop.buy(Shop.java:17)",
            b"",
        ]
    )
    rows, table = score(trace)

    answers = [json.dumps(row) for row in rows]
    assert len(rows) == 7
    assert answers[1:5] == [answers[1]] * 4
    assert answers[5:] == [answers[5]] * 2
    assert rows[0]["template"] == rows[5]["template"] != rows[1]["template"]
    assert [one["text"] for one in table.values()] == [
        "INFO served <*> requests",
        "ERROR request <*> failed",
    ]


def test_an_id_leads_to_what_it_became_part_of() -> None:
    """Three users are one template in the end; the second's id says of which."""
    rows, table = score(b"".join(b"session closed for user %c\n" % who for who in b"abc"))

    assert [row["template"] for row in rows][0::2] == [rows[0]["template"]] * 2
    assert table[rows[1]["template"]]["parent"] == rows[0]["template"]
    assert table[rows[0]["template"]]["text"] == "session closed for user <*>"


def test_what_is_new_after_long_is_an_anomaly() -> None:
    """Two hundred lines of one kind, then another: only that one is odd, and it scores 1."""
    rows, _ = score(b"tick 1\n" * 200 + b"the disk is on fire\n" + b"tick 1\n")

    assert [number for number, row in enumerate(rows) if row["anomaly"]] == [200]
    assert rows[200]["score"] == 1


def test_garbage_has_an_answer_too() -> None:
    """NUL bytes, bytes that are no text, a megabyte, an empty line, a template, no last newline:
    as many answers as lines."""
    lines = [b"\x00\x00", bytes(range(128, 256)), b"x y=1 " * 200_000, b"", b"<*> of <*>", b"last"]
    rows, table = score(b"\n".join(lines))

    assert len(rows) == len(lines)
    assert {row["template"] for row in rows} <= table.keys()


def test_nothing_in_is_an_empty_table_out() -> None:
    """No line, no answer, one table."""
    assert score(b"") == ([], {})


def test_an_answer_does_not_wait_for_the_next_line() -> None:
    """What was read is answered and flushed while the sender is silent."""
    (reads, writes), (answers, answer) = os.pipe(), os.pipe()
    with (
        open(reads, "rb") as lines_in,
        open(writes, "wb", buffering=0) as sender,
        open(answers, "rb") as receiver,
        open(answer, "wb") as out,
    ):
        scoring = threading.Thread(target=run, args=(lines_in, out))
        scoring.start()
        sender.write(b"took 17 ms\n")
        assert "template" in json.loads(receiver.readline())
        sender.close()
        assert "templates" in json.loads(receiver.readline())
        scoring.join()


def test_no_secret_is_repeated_and_what_is_mined_is_what_the_service_keeps() -> None:
    """A secret stands in no template, and each line's template has the words of what ``POST
    /logs`` makes of it."""
    lines = ["login of ann with password=hunter2 failed", "token ghp_" + "a1B2" * 9 + " refused"]
    rows, table = score("\n".join(lines).encode())

    body = json.dumps([{"message": line, "service": "a"} for line in lines]).encode()
    kept = logs.parse(body, Incoming(now=1_767_225_600_000)).batch.items
    told = b"\n".join(item.message.encode() for item in kept if isinstance(item, LogLine))
    again, same = score(told)
    assert (rows, table) == (again, same)
    assert table[rows[0]["template"]]["text"] == "login of ann with password=<*> failed"
    assert "hunter2" not in json.dumps(table)
    assert "a1B2" not in json.dumps(table)
