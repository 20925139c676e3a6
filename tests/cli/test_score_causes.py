# SPDX-License-Identifier: Apache-2.0

"""What ``opx score causes`` reads and writes."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from opx.cli import score as cli
from opx.cli.client import CommandFailed
from opx.cli.score.causes import run as score

CASE: dict[str, Any] = {
    "target": {"node": "web", "metric": "latency", "agg": "Average", "timestamp": 1},
    "graph": {"web": ["db"], "db": []},
    "baseline": {
        "web": {"latency/Average": [50, 51, None, 50]},
        "db": {"latency/Average": [10, 10.5, 10, float("nan")]},
    },
    "incident": {
        "web": {"latency/Average": [50, 90, 91]},
        "db": {"latency/Average": [10, 50, 51]},
    },
    "period_s": 300,
}


def run(path: Path) -> Any:
    out = io.BytesIO()
    score(path, out)
    return json.loads(out.getvalue())


def test_it_prints_the_nodes_best_first(tmp_path: Path) -> None:
    """A list of node, score and evidence; what the case holds beyond that is ignored."""
    (tmp_path / "case.json").write_text(json.dumps(CASE))

    first, second = run(tmp_path / "case.json")

    assert (first["node"], second["node"]) == ("db", "web")
    assert 1 >= first["score"] > second["score"] >= 0
    assert first["evidence"] == [
        {
            "kind": "slower",
            "against": False,
            "metric": "latency/Average",
            "expected": 10.0,
            "came": 50.5,
            "onset": 1,
        }
    ]


def test_the_case_of_the_help_is_a_case(tmp_path: Path) -> None:
    """What is shown to be copied gives an answer."""
    text = cli.score_causes.__doc__ or ""
    (tmp_path / "case.json").write_text(text[text.index('{"target"') :])

    assert run(tmp_path / "case.json")[0]["node"] == "db"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not a case"),
        ("[]", "is not a case"),
        ('{"target": {"node": "web"}}', "metric"),
        (json.dumps({**CASE, "graph": {"web": "db"}}), "graph"),
        (json.dumps({**CASE, "baseline": {"web": [50, 51]}}), "baseline"),
        ("[" * 100_000, "is not a case"),
    ],
    ids=["empty", "list", "short", "graph", "no metrics", "deep"],
)
def test_what_is_no_case_is_said_to_be_none(tmp_path: Path, text: str, says: str) -> None:
    """Exit code 1, and where it is wrong."""
    (tmp_path / "case.json").write_text(text)

    with pytest.raises(CommandFailed, match=says) as failed:
        run(tmp_path / "case.json")

    assert failed.value.code == 1


@pytest.mark.parametrize("part", ["baseline", "incident"])
@pytest.mark.parametrize(
    "values", [[10**400, 1], ["5"], None, 5, [[1]], [True]], ids=lambda v: str(v)[:9]
)
def test_a_metric_that_is_no_list_of_numbers_is_as_if_never_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], part: str, values: Any
) -> None:
    """In either part: the ranking is that of the case without it, which nobody calls silent for
    the half that could be read, and standard error says what is left out."""
    whole = [10, 10, 11, 10]
    more = {
        **CASE,
        "baseline": {**CASE["baseline"], "cache": {"latency": whole, "size": whole}},
        "incident": {**CASE["incident"], "cache": {"latency": whole, "size": whole}},
    }
    bad = {**more, part: {**more[part], "cache": {"latency": whole, "size": values}}}
    without = {"latency": whole}
    less = {name: {**more[name], "cache": without} for name in ("baseline", "incident")}
    (tmp_path / "bad.json").write_text(json.dumps(bad))
    (tmp_path / "less.json").write_text(json.dumps({**more, **less}))

    ranked = run(tmp_path / "bad.json")
    told = capsys.readouterr().err

    assert ranked == run(tmp_path / "less.json")
    assert {one["node"] for one in ranked} == {"web", "db", "cache"}
    assert told.startswith("left out: size of cache is no list of numbers")
    assert told.count("\n") == 1
    assert capsys.readouterr().err == ""


def test_a_file_that_is_not_there_is_bad_usage(tmp_path: Path) -> None:
    """Exit code 2."""
    with pytest.raises(CommandFailed, match="cannot read") as failed:
        run(tmp_path / "nothing.json")

    assert failed.value.code == 2
