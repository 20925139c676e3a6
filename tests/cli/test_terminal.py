# SPDX-License-Identifier: Apache-2.0

"""Nothing that came from elsewhere reaches the terminal as an order to it."""

from __future__ import annotations

import ast
import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opx import cli
from opx.cli import show
from opx.cli.client import Client, CommandFailed
from opx.core.analyse.changes import Changed, What
from opx.core.analyse.insight import Cause, Insight, InsightSource, InsightType, Ranked
from opx.core.analyse.past import Past
from opx.core.correlate.episode import Group
from opx.core.correlate.silences import Silence
from opx.core.decide.case import Breaker
from opx.core.decide.decision import Answered, Decision, GuardResult, Reason
from opx.core.ingest.signals import Rejected, Severity
from opx.core.notify.notice import Edge, Notice
from opx.engine import journal
from opx.testing.contracts import samples

NOW = 1_767_225_600_000
Opx = Callable[..., Any]

HOSTILE = "\x1b[1A\x1b[2K\x1b]0;pwn\x07\x08\x7f\x9b31m\r\u202etxt\u2066\u200f [red]x[/] \ud800"
"""Up a line and wipe it, the window's title, back a sign, C1, colours, and the order turned."""
MARKS = frozenset("\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e") | frozenset(
    "\u2066\u2067\u2068\u2069"
)


def obeyed(text: str) -> set[str]:
    """What of it is not shown: control characters, what turns the order, halves of characters."""
    return {
        char
        for char in text
        if (unicodedata.category(char) in ("Cc", "Cs") or char in MARKS) and char != "\n"
    }


@given(st.text(st.characters(codec=None), max_size=60))
def test_what_is_printed_is_only_shown(text: str) -> None:
    """Whatever the text, in one line; what can be seen of it stands as it is."""
    seen = show.visible(text)

    assert obeyed(seen) == set()
    assert "\n" not in seen
    assert show.visible(seen) == seen
    if not obeyed(text) and "\n" not in text:
        assert seen == text


def test_what_is_not_shown_has_its_number() -> None:
    """As Python writes it, so that it can be told what came."""
    assert show.visible("a\x1b[2Kb\n\x9b\u202e") == r"a\x1b[2Kb\n\x9b\u202e"


@pytest.fixture
def furnished(up: Opx, world: Any, made: Any, tmp_path: Path) -> Opx:
    """``opx`` with something of everything that commands show."""
    here = Group("shop", "orders")
    (tmp_path / "docs.yaml").write_text(f"{made.SERVICE}---\n{made.RUNBOOK}")
    up("apply", "-f", str(tmp_path / "docs.yaml"))
    run = made.run("run-0001", "aaaabbbbcccc")
    incident = made.incident("aaaabbbbcccc", insight="insight", runs=1, acknowledged_by="bob")
    denied = GuardResult(guard="mode", answer=Answered.DENY, reason=Reason.HALTED, detail="all")
    insight = Insight(
        id="insight", episode="e", type=InsightType.BAD_RELEASE, risk=80, advice="Roll back.",
        source=InsightSource.RULES, at=NOW,
        causes=(Cause(subject="v2", statement="it came before", evidence=("r",)),),
        changes=(Changed(event="r", what=What.RELEASE, group=here, subject="v2", at=NOW),),
        similar=(Past(run="p", incident="dddd4444xx", type="bad_release", runbook="back",
                      helped=True, took=12_400, at=NOW - 86_400_000),),
        ranked=(Ranked("shop/store", 0.62, "latency 0.7", "errors as usual"),),
    )  # fmt: skip
    world.put(
        incident, run, made.approval(run), insight, samples.prediction("a", NOW),
        Decision(id="d", incident=incident.id, run=run.id, answer=Answered.DENY,
                 results=(denied,), plan="p", at=NOW),
        Breaker(id="restart|shop|orders", opened_at=NOW),
        Notice(id="n", incident=incident.id, edge=Edge.OPENED, severity=Severity.SEV2,
               title="t", text="x", at=NOW),
        Rejected(id="refused", at=NOW, wire="metrics", reason="malformed", item="{}", source="s"),
        Silence(id="silence", environment="shop", reason="r", by="ann", starts_at=NOW,
                ends_at=NOW + 3_600_000),
    )  # fmt: skip
    told = {"rule": "r", "reason": "x", "finding": "f"}
    world.write_down(
        journal.entry(NOW, incident.id, "incident.opened", "brain", incident=incident, text="x"),
        journal.entry(NOW, "orders", journal.SUPPRESSED, "brain", **told),
    )
    up("runbook", "grant", "restart", "--on", "shop/orders", "--autonomy", "approve")
    up("halt", "--reason", "storm")
    return up


READERS = [
    ("status",),
    ("incidents", "list"),
    ("incidents", "show", "aaaab"),
    ("incidents", "ack", "aaaab", "--if-version", "9"),
    ("why", "aaaab"),
    ("replay", "aaaab"),
    ("runbook", "list"),
    ("runbook", "show", "restart", "--on", "shop/orders"),
    ("breaker", "list"),
    ("silence", "list"),
    ("token", "list"),
    ("token", "create", "ann", "-r", "viewer"),
    ("login",),
    ("notices",),
    ("quarantine",),
    ("quarantine", "show", "refused"),
    ("quarantine", "replay", "refused"),
    ("unmapped",),
    ("suppressed",),
    ("predictions",),
    ("documents",),
    ("plan", "-f", "docs.yaml"),
    ("apply", "-f", "docs.yaml"),
    ("delete", "Runbook/restart"),
    ("halt",),
    ("audit", "verify"),
]


@pytest.mark.parametrize("command", READERS, ids=" ".join)
def test_no_command_lets_anything_through(
    furnished: Opx, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """Every text that opx answers with, whichever it is, is hostile: none comes out as it is, in
    words or as JSON."""
    monkeypatch.chdir(tmp_path)
    _hostile(monkeypatch)

    words = furnished(*command)
    assert obeyed(words.out + words.err) == set()
    assert r"\x1b[1A" in words.out + words.err
    plain = furnished(*command, "--json")
    assert obeyed(plain.out.replace("\x7f", "")) == set()


def _hostile(monkeypatch: pytest.MonkeyPatch) -> None:
    """opx answers as ever, but each of its texts, and of its errors, has something at its end."""
    asked = Client._ask

    def ask(self: Client, method: str, path: str, **what: Any) -> Any:
        try:
            found = asked(self, method, path, **what)
        except CommandFailed as failed:
            raise CommandFailed(failed.code, f"{failed}{HOSTILE}", HOSTILE) from failed
        return _ended(found)

    monkeypatch.setattr(Client, "_ask", ask)


def _ended(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _ended(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_ended(item) for item in value]
    return value + HOSTILE if isinstance(value, str) else value


def test_commands_print_in_one_place() -> None:
    """Only ``show`` writes to the terminal: no other module of the commands can forget to."""
    folder = Path(cli.__file__).parent
    speaking = {"echo", "secho", "print", "Console", "stdout", "stderr", "write"}
    found = [
        f"{path.name}:{node.lineno}"
        for path in [folder / "tree.py", *sorted((folder / "commands").glob("*.py"))]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute | ast.Name)
        and (node.attr if isinstance(node, ast.Attribute) else node.id) in speaking
    ]

    assert found == []


def test_json_keeps_what_came(capsys: pytest.CaptureFixture[str]) -> None:
    """A program reads the very text, however it looks to people."""
    show.as_json({"title": HOSTILE})

    assert json.loads(capsys.readouterr().out) == {"title": HOSTILE}
