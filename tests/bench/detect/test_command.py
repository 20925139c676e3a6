# SPDX-License-Identifier: Apache-2.0
"""``opx bench detect``: what it reads, what it leaves out, and the picture it draws."""

from __future__ import annotations

import json
import sys
from math import tanh
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from typer.testing import CliRunner

from opx.bench.detect import ahead, anchors, causes, simulated
from opx.bench.detect.anchors import Anchor
from opx.bench.detect.intervals import Measured
from opx.bench.detect.scorers import Scorers
from opx.bench.figures import Figure
from opx.cli import tree

PNG = b"\x89PNG\r\n\x1a\n"


def invoke(*args: str) -> Any:
    return CliRunner().invoke(tree.app, ["bench", *args])


# ------------------------------------------------------------------- the command


def test_what_is_not_there_is_left_out_and_said(tmp_path: Path) -> None:
    """Without data, and with a folder that has none of the sets, every part says why."""
    for args, why in (([], "no --data"), (["--data", str(tmp_path)], "has no nab/")):
        shown = invoke("detect", "--streams", "0", "--json", *args)
        figures = json.loads(shown.stdout)["figures"]

        assert shown.exit_code == 0
        names = [one["name"] for one in figures]
        assert names == ["nab", "loghub", "petshop", "simulated"]
        assert all(one["measured"] is None for one in figures)
        assert why in figures[0]["note"]


def test_a_small_fleet_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten streams for a day: no point gets lost between simulator and detector, and what comes
    of ten is told for ten thousand."""
    # what takes longest has no size of its own, and tests of its own
    for part in (simulated, ahead):
        monkeypatch.setattr(part, "measure", lambda *args: [])

    shown = invoke("detect", "--streams", "10", "--json")
    found = {one["name"]: one for one in json.loads(shown.stdout)["figures"]}

    assert found["of 10 streams, kept in a flood of 10,000 others"]["measured"] == 10
    assert found["points that score otherwise after a restart with 10 streams"]["measured"] == 0
    findings = found["findings in a day of 10,000 healthy streams"]
    assert findings["measured"] % 1_000 == 0
    plain = int(findings["anchor"].removeprefix("plain rule ").replace(",", ""))
    assert 0 < plain == 1_000 * int(findings["note"].partition("past) has ")[2].split()[0])
    assert found["points a second scored, one core"]["measured"] > 0
    assert 10 * 5_760 * 0.99 < int(
        found["points a second scored, one core"]["note"].split()[0].replace(",", "")
    ) <= 10 * 5_760  # fmt: skip


def test_a_folder_that_is_none_and_half_an_order_are_refused(tmp_path: Path) -> None:
    """Exit 1 for a folder that is not there, 2 for a picture without a stream."""
    missing = str(tmp_path / "nothing")

    assert tree.run(["bench", "detect", "--data", missing]) == 1
    assert tree.run(["bench", "detect", "--out", missing]) == 2
    assert tree.run(["bench", "detect", "--plot", missing]) == 2
    assert tree.run(["bench", "detect", "--plot", missing, "--out", missing]) == 1


def test_all_other_words_go_where_they_went() -> None:
    """``opx bench`` names both; a word's own help and a wrong word are those of the figures."""
    assert "detect" in invoke("--help").output
    assert "--seconds" in invoke("idle", "--help").output
    assert "--plot" in invoke("detect", "--help").output
    assert invoke("--json", "nothing").exit_code == 2


# ------------------------------------------------------------------- the picture


def corpus(folder: Path) -> Path:
    """One recording with a window, laid out as NAB is."""
    path = folder / "nab" / "data" / "mine" / "one.csv"
    path.parent.mkdir(parents=True)
    rows = [
        f"2026-01-01 {n // 60:02}:{n % 60:02}:00,{n % 7 + 900 * (n == 300)}" for n in range(600)
    ]
    path.write_text("\n".join(["timestamp,value", *rows]))
    labels = folder / "nab" / "labels" / "combined_windows.json"
    labels.parent.mkdir()
    window = ["2026-01-01 04:50:00.000000", "2026-01-01 05:10:00.000000"]
    labels.write_text(json.dumps({"mine/one.csv": [window], "mine/gone.csv": [window]}))
    return path


def test_a_corpus_is_scored_from_its_files(tmp_path: Path) -> None:
    """A spike in the one window is flagged there and nowhere else: no false alarm, one window of
    one; a file that is labelled but absent is left out. With the eleventh point of the window's
    21, 11 of them are left."""
    corpus(tmp_path)
    worth = round(50 * (1 + tanh(2.5 * 11 / 21) / tanh(2.5)), 1)

    shown = invoke("detect", "--data", str(tmp_path), "--streams", "0", "--json")
    found = {one["name"]: one for one in json.loads(shown.stdout)["figures"]}

    assert found["NAB standard, best threshold"]["measured"] == worth
    assert found["NAB standard, as flagged"]["measured"] == worth
    assert found["NAB standard, best threshold"]["anchor"] == ""
    alarms = found["NAB alarms per 1,000 points outside windows, as flagged"]
    assert alarms["measured"] == 0
    assert alarms["note"].startswith("1 of 1 windows")


@pytest.mark.parametrize("form", ["csv", "json lines"])
def test_a_stream_becomes_a_picture(tmp_path: Path, form: str) -> None:
    """From either form, a PNG of a plausible size."""
    stream, out = corpus(tmp_path), tmp_path / "x.png"
    if form == "json lines":
        stream = tmp_path / "one.ndjson"
        points = [{"timestamp": 1_800_000_000_000 + n, "value": n % 5} for n in range(50)]
        stream.write_text("\n".join(map(json.dumps, points)))

    assert invoke("detect", "--plot", str(stream), "--out", str(out)).exit_code == 0
    assert out.read_bytes().startswith(PNG)
    assert out.stat().st_size > 10_000


def test_windows_are_drawn_where_labels_are_at_hand(tmp_path: Path) -> None:
    """The file's own, found from where it lies; none for a copy elsewhere."""
    plot = pytest.importorskip("opx.bench.detect.plot")
    stream = corpus(tmp_path)
    copy = tmp_path / "copy.csv"
    copy.write_text(stream.read_text())

    assert plot._read(stream).windows == ((290, 310),)
    assert plot._read(copy).windows == ()


@pytest.mark.parametrize("text", ["", "{}", '{"timestamp": 1, "value": 1, "stream": "a"}\n'
    '{"timestamp": 2, "value": 1, "stream": "b"}'])  # fmt: skip
def test_what_is_not_one_stream_is_not_drawn(tmp_path: Path, text: str) -> None:
    """Nothing, no point, or two streams: exit 1, and no picture."""
    stream, out = tmp_path / "x.ndjson", tmp_path / "x.png"
    stream.write_text(text)

    assert tree.run(["bench", "detect", "--plot", str(stream), "--out", str(out)]) == 1
    assert not out.exists()


def test_without_matplotlib_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 1 with the command that installs it."""
    monkeypatch.delitem(sys.modules, "opx.bench.detect.plot", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    code = tree.run(["bench", "detect", "--plot", str(corpus(tmp_path)), "--out", "x.png"])

    assert code == 1
    assert 'pip install ".[plot]"' in capsys.readouterr().err


# ------------------------------------------------------------------- how it is read


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (70.0, "level with it"),
        (79.9, "level with it"),
        (60.1, "level with it"),
        (80.1, "below it"),
        (59.9, "above it"),
    ],
)
def test_what_is_within_an_intervals_width_is_level(value: float, read: str) -> None:
    """Ours is 70 [65 to 75]; theirs, if as wide, touches it from 60 to 80."""
    ours = Measured(value=70.0, low=65.0, high=75.0)

    assert anchors.reading([Anchor("it", value)], ours) == read


def test_a_figure_shows_its_interval() -> None:
    """Beside the number and its unit."""
    figure = Figure(name="", unit="%", measured=70.5, interval=(65.0, 75.25))

    assert figure.shown == "70.5 % [65.0 to 75.25]"


# ------------------------------------------------------------------- causes

CSV = """microservice,web,db,db
metric,latency,latency,availability
statistic,Average,Average,Average
unix_timestamp,,,
100.0,1.5,,1
400.0,nan,3,0
"""


def petshop(folder: Path, broken: list[str]) -> None:
    scenario = folder / "busy"
    (scenario / "noissue").mkdir(parents=True)
    (scenario / "noissue" / "metrics.csv").write_text(CSV)
    (scenario / "graph.csv").write_text(",web,db\nweb,0,1\ndb,,0\n")
    for number, cause in enumerate(broken):
        case = scenario / "train" / f"issue_{number}"
        case.mkdir(parents=True)
        (case / "metrics.csv").write_text(CSV)
        target = {"node": "web", "metric": "latency", "agg": "Average"}
        truth = {"target": target, "root_cause": {"node": cause}}
        (case / "target.json").write_text(json.dumps(truth))


def test_a_case_is_ranked_from_what_was_measured_and_nothing_else(tmp_path: Path) -> None:
    """The graph, both series with their gaps, the target; the ranking is always a, web, c, db:
    of three cases one is first, none more among three."""
    seen = []

    def rank(path: Path, out: BinaryIO) -> None:
        seen.append(json.loads(path.read_text()))
        out.write(json.dumps([{"node": node} for node in ("a", "web", "c", "db")]).encode())

    scorers = Scorers(metrics=lambda a, b: 0, logs=lambda a, b: None, causes=rank)
    petshop(tmp_path, ["a", "db", "nobody"])
    series = {
        "web": {"latency/Average": [1.5, None]},
        "db": {"latency/Average": [None, 3.0], "availability/Average": [1.0, 0.0]},
    }

    first, three = causes.measure(tmp_path, scorers, 1, lambda text: None)

    assert (first.measured, three.measured) == (0.33, 0.33)
    assert first.note.startswith("1 of 3 cases")
    assert first.anchor == ""
    assert seen[0] == {
        "target": {"node": "web", "metric": "latency", "agg": "Average"},
        "graph": {"web": ["db"], "db": []},
        "baseline": series,
        "incident": series,
        "period_s": 300,
    }
