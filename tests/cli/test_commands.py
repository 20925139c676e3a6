# SPDX-License-Identifier: Apache-2.0

"""What the commands print and exit with, against a real server on a loopback port."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from opx import __version__
from opx.core.analyse.changes import Changed, What
from opx.core.analyse.insight import Cause, Insight, InsightSource, InsightType, Ranked
from opx.core.analyse.past import Past
from opx.core.correlate.episode import Group
from opx.core.decide.case import Breaker
from opx.core.decide.decision import Answered, Decision, GuardResult, Reason
from opx.core.decide.roles import Role
from opx.core.detect.predict.prediction import Withdrawn
from opx.core.incident.incident import Resolution, ResolutionKind, Status
from opx.core.ingest.signals import Severity
from opx.engine import journal
from opx.engine.beats.health import BrainState, LoopState
from opx.engine.journal import audit
from opx.engine.ports import Entry, StoredDocument
from opx.playground import layout
from opx.playground.layout import Layout
from opx.testing.contracts import samples

NOW = 1_767_225_600_000
Opx = Callable[..., Any]


# ---------------------------------------------------------------- exit codes

READERS = [
    ("status",),
    ("incidents", "list"),
    ("runbook", "list"),
    ("breaker", "list"),
    ("silence", "list"),
    ("token", "list"),
    ("notices",),
    ("quarantine",),
    ("suppressed",),
    ("predictions",),
    ("predictions", "score"),
    ("audit", "verify"),
]


@pytest.mark.parametrize("command", READERS, ids=" ".join)
def test_reading_commands_show_something_and_speak_json(up: Opx, command: tuple[str, ...]) -> None:
    """0, words for people, and JSON with ``--json``."""
    words, plain = up(*command), up(*command, "--json")

    assert (words.code, plain.code) == (0, 0)
    assert words.out.strip()
    assert isinstance(plain.json, dict)


def test_without_opx_every_command_says_to_start_it(opx: Opx, tmp_path: Path) -> None:
    """4 when nothing was ever started here, and when what was does not answer."""
    never = opx("status")
    (tmp_path / "data" / "front.json").write_text('{"url": "http://127.0.0.1:9"}')
    (tmp_path / "data" / "admin.token").write_text("opx_x")
    gone = opx("halt")

    assert (never.code, gone.code) == (4, 4)
    assert "opx up" in never.err
    assert "opx up" in gone.err


@pytest.mark.parametrize(
    "command", [("playground", "up", "--folder"), ("demo", "--once", "--data")], ids=str
)
def test_what_needs_supervisord_says_how_to_install_it(
    opx: Opx, tmp_path: Path, monkeypatch: Any, command: tuple[str, ...]
) -> None:
    """In one line, before anything is begun."""
    monkeypatch.setitem(sys.modules, "supervisor", None)  # as where it is not installed

    result = opx(*command, str(tmp_path / "shop"))

    assert result.code == 1
    assert result.err.endswith("is not installed: pip install 'opx-control-plane[supervisor]'")
    assert (result.out, (tmp_path / "shop").exists()) == ("", False)


def test_usage_errors_are_two(up: Opx) -> None:
    """An unknown command, a missing argument, a duration that is none."""
    assert up("nonsense").code == 2
    assert up("why").code == 2
    assert up("outcome", "x", "--kind", "perhaps").code == 2
    assert up("token", "create", "ann", "-r", "viewer", "--ttl", "soon").code == 2
    assert "at most 366d" in up("token", "create", "ann", "-r", "viewer", "--ttl", "367d").err


def test_what_is_not_there_is_one(up: Opx) -> None:
    """1, and which id it was that is not there."""
    result = up("incidents", "show", "feedbeef")

    assert result.code == 1
    assert "feedbeef" in result.err


def test_what_a_gate_refuses_is_three(up: Opx, world: Any, made: Any, brain: Opx) -> None:
    """3 with the gate's words; a command brain never answers is 4."""
    world.put(made.incident("incident-1"))
    brain("refused: it was closed")

    result = up("incidents", "ack", "incident-1")

    assert result.code == 3
    assert "it was closed" in result.err


def test_no_right_to_it_is_one(up: Opx, world: Any, tmp_path: Path) -> None:
    """A token without the role, and a token that is nobody's."""
    token = tmp_path / "data" / "admin.token"
    token.write_text(world.secrets[Role.VIEWER])
    assert up("halt").code == 1
    token.write_text("opx_nobody")
    assert up("status").code == 1


# ---------------------------------------------------------------- what they do


def test_version(opx: Opx) -> None:
    """The version, in words and as JSON, without a server."""
    assert opx("version").out.strip() == __version__
    assert opx("version", "--json").json == {"version": __version__}


def test_halting_and_resuming(up: Opx, client: httpx.Client) -> None:
    """The mode changes for everybody, and the status says who halted and why."""
    assert up("halt", "--reason", "storm").code == 0
    assert client.get("/api/v1/automation").json()["automation"] == "halted"
    shown = up("status").out
    assert "halted" in shown
    assert "by admin: storm" in shown
    assert up("resume").code == 0
    assert client.get("/api/v1/automation").json()["automation"] == "running"
    assert up("halt", "service/shop/typo").code == 1


def test_an_incident_can_be_read_at_a_glance(up: Opx, world: Any, made: Any) -> None:
    """List, one, and why: ids short enough to type, and the sentences of the gate."""
    result = GuardResult(guard="mode", answer=Answered.DENY, reason=Reason.HALTED, detail="all")
    run = made.run("run-0001", "aaaabbbbcccc")
    world.put(
        made.incident("aaaabbbbcccc", title="orders [bold]is down"),
        run,
        Decision(
            id="d",
            incident="aaaabbbbcccc",
            run=run.id,
            answer=Answered.DENY,
            results=(result,),
            plan="p",
            at=NOW,
        ),
    )
    world.write_down(journal.entry(NOW, "aaaabbbbcccc", "incident.opened", "brain", score=1))

    listed = up("incidents", "list").out
    assert "aaaabbbb " in listed
    assert "SEV2 P1" in listed
    assert "orders [bold]is down" in listed
    shown = up("incidents", "show", "aaaab").out
    assert "incident.opened" in shown
    assert "restart" in shown
    why = up("why", "aaaab").out
    assert "deny" in why
    assert "halted" in why
    assert why.splitlines()[-1].startswith("Run 1, restart on ")


@pytest.mark.parametrize(
    ("argv", "told", "said"),
    [
        (("ack",), {}, "acknowledged incident"),
        (("assign", "bob"), {"to": "bob"}, "incident is bob's"),
        (("merge", "other-one"), {"into": "other-one"}, "incident is part of other-one"),
        (
            ("resolve", "--as", "wont_fix", "--text", "it is going away"),
            {"resolution": "wont_fix", "text": "it is going away"},
            "resolved incident as wont_fix",
        ),
        (("close",), {}, "closed incident"),
        (("reopen", "--reason", "still slow"), {"reason": "still slow"}, "incident-1 goes on as"),
    ],
    ids=str,
)
def test_what_people_do_about_an_incident(
    up: Opx,
    world: Any,
    made: Any,
    brain: Opx,
    argv: tuple[str, ...],
    told: dict[str, str],
    said: str,
) -> None:
    """Each verb is brain's to do, and is only done to the version that was read."""
    world.put(made.incident("incident-1"), made.incident("other-one"))
    seen = brain()

    done = up("incidents", argv[0], "incident-1", *argv[1:], "--if-version", "4")
    as_json = up("incidents", argv[0], "incident-1", *argv[1:], "--json")

    assert (done.code, as_json.code) == (0, 0)
    assert said in done.out
    assert as_json.json["incident"]
    assert [{name: one.body[name] for name in told} for one in seen] == [told, told]
    assert [one.body.get("version") for one in seen] == [4, None]


def test_a_comment_is_of_the_version_that_was_read(up: Opx, world: Any, made: Any) -> None:
    """Another version is refused, and nothing is said; the one that it has is not."""
    world.put(made.incident("incident-1", version=4))
    comment = ("incidents", "comment", "incident-1", "the disk is full", "--if-version")

    stale = up(*comment, "3")
    assert (stale.code, "read it again" in stale.err) == (1, True)
    assert "the disk is full" not in up("incidents", "show", "incident-1").out
    assert up(*comment, "4").code == 0
    assert "the disk is full" in up("incidents", "show", "incident-1").out


def test_what_people_said_of_an_incident_is_shown(up: Opx, world: Any, made: Any) -> None:
    """Whose it is, as what it was resolved, where it went on; a comment in the timeline."""
    resolution = Resolution(kind=ResolutionKind.FALSE_POSITIVE, by="ann", text="the sensor")
    world.put(
        made.incident(
            "incident-1", assigned_to="bob", resolution=resolution, previous="incident-0", version=7
        )
    )
    assert up("incidents", "comment", "incident-1", "token=abc is gone").code == 0

    shown = up("incidents", "show", "incident-1").out

    for words in (
        "version 7",
        "assigned to bob",
        "resolved: false positive by ann: the sensor",
        "after incident-0",
        "text=token=[masked] is gone",
    ):
        assert words in shown
    assert "bob" in up("incidents", "list").out


def test_a_list_goes_on_page_by_page(up: Opx, world: Any, made: Any) -> None:
    """As many as were asked for, however many pages that is; narrowed by what they are."""
    rows = [made.incident(f"i{n:04}", opened_at=NOW + n) for n in range(450)]
    world.put(*rows, made.incident("mild", severity=Severity.SEV4, status=Status.CLOSED))

    most = up("incidents", "list", "--limit", "420", "--json").json
    mild = up("incidents", "list", "--severity", "sev4", "--status", "closed", "--json").json

    assert [row["id"] for row in most["items"]] == [f"i{n:04}" for n in range(449, 29, -1)]
    assert most["next"]
    assert ([row["id"] for row in mild["items"]], mild["next"]) == (["mild"], None)
    for none in ("sev9", "P1", "4"):
        wrong = up("incidents", "list", "--severity", none)
        assert (wrong.code, "sev1 to sev5" in wrong.err) == (2, True)


def test_what_is_typed_again_is_never_cut(
    up: Opx, world: Any, made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a screen of 80 columns ids and services are whole; the title breaks, and is whole too."""
    monkeypatch.setenv("COLUMNS", "80")
    group = Group("production", "payments-gateway")
    title = "payments failed its health probe 3 times in a row: timed out"
    world.put(made.incident("0123456789", group=group, title=title, assigned_to="ann"))

    shown = up("incidents", "list").out

    assert "01234567 " in shown
    assert "production/payments-gateway" in shown
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown


def test_the_help_says_what_may_be_said(opx: Opx) -> None:
    """The words that an option takes."""
    assert "emergency" in opx("token", "create", "--help").out
    assert "mitigated" in opx("incidents", "list", "--help").out
    assert "two-at-once" in opx("demo", "--help").out


def test_a_service_is_named_with_its_environment_or_without(
    up: Opx, world: Any, made: Any, files: Path
) -> None:
    """``shop/orders`` and ``orders`` are one wherever a service is named; where there are two of a
    name, or none, opx asks which."""
    world.put(made.incident("ours"), made.incident("theirs", group=Group("bank", "orders")))
    up("apply", "-f", str(files))
    silence = ("silence", "add", "--for", "2h", "--reason", "x", "--json")
    show = ("runbook", "show", "restart", "--on")

    def listed(service: str) -> list[str]:
        found = up("incidents", "list", "--service", service, "--json").json
        return sorted(row["id"] for row in found["items"])

    assert (listed("shop/orders"), listed("bank/orders")) == (["ours"], ["theirs"])
    assert listed("orders") == ["ours", "theirs"]
    made_ = up(*silence, "service=shop/orders").json
    assert (made_["environment"], made_["service"]) == ("shop", "orders")
    assert up(*silence, "service=shop/orders", "environment=shop").code == 2
    assert up(*show, "orders").out == up(*show, "shop/orders").out != ""
    assert up("runbook", "grant", "restart", "--on", "orders", "--autonomy", "ask").code == 1
    assert up("token", "create", "c", "--role", "ingest", "--service", "shop/orders").code == 2
    nobody = up(*show, "nobody")
    assert (nobody.code, "known are shop/orders" in nobody.err) == (1, True)
    (files / "a-service.yaml").write_text(made.SERVICE.replace("shop", "bank"))
    up("apply", "-f", str(files))
    two = up(*show, "orders")
    assert (two.code, "bank/orders, shop/orders" in two.err) == (1, True)


def test_silences(up: Opx) -> None:
    """Begun with what, for how long and why; listed; ended; and what is none is a usage error."""
    add = ("silence", "add", "service=orders", "--for", "2h", "--reason", "moving")
    made = up(*add, "--json").json

    assert (made["service"], made["environment"], made["by"]) == ("orders", "", "admin")
    assert made["ends_at"] == "2026-01-01T02:00:00.000Z"
    listed = up("silence", "list").out
    assert "orders" in listed
    assert "any" in listed
    assert "moving" in up("status").out
    assert up("silence", "end", made["id"][:8]).code == 0
    assert up("silence", "list").out.strip() == "Silences: none"
    assert "(over)" in up("silence", "list", "--all").out
    assert up("silence", "end", made["id"]).code == 3
    assert up("silence", "add", "servce=orders", "--for", "2h", "--reason", "x").code == 2
    assert up("silence", "add", "--for", "2h", "--reason", "x").code == 2
    for odd in ("31d", "59s"):
        wrong = up("silence", "add", "rule=alert", "--for", odd, "--reason", "x")
        assert (wrong.code, "at least 1m, at most 30d" in wrong.err) == (2, True)


def test_predictions(up: Opx, world: Any) -> None:
    """A table with why; what is held back only among all; one line of the status; and figures, or
    that there are none."""
    open_, over = samples.prediction("a", NOW), samples.prediction("b", NOW, Withdrawn.FAILED)
    world.put(open_, over, replace(samples.prediction("c", NOW), held_back=True))

    listed, every = up("predictions"), up("predictions", "--all", "--json").json
    assert "prod/orders" in listed.out
    assert "60%" in listed.out
    assert "reaches 100 in 30 minutes" in " ".join(listed.out.split())
    assert ("held back" in listed.out, "held back" in up("predictions", "--all").out) == (
        False,
        True,
    )
    assert [one["id"] for one in every["items"]] == ["c", "a", "b"]
    assert "expected to fail: prod/orders (leak, 60%" in up("status").out
    assert "nothing to say it from" in up("predictions", "score").out
    assert up("predictions", "score", "--days", "0").code == 2


def test_a_replay_says_whether_it_is_the_same(up: Opx, world: Any, made: Any) -> None:
    """0 and the same hash; 1 and the field, once somebody has changed the store behind it."""
    incident = made.incident("incident-1")
    world.put(incident)
    opened = journal.entry(NOW, "incident-1", "incident.opened", "brain", incident=incident)
    world.write_down(opened)

    same = up("replay", "incident-1")
    tampered = replace(incident, severity=Severity.SEV5)
    world.call(world.store.write(lambda tx: tx.set(tampered)))
    other = up("replay", "incident-1")

    assert (same.code, other.code) == (0, 1)
    assert "the same  1 entries, 0 of 0 decisions again" in same.out
    assert "not the same" in other.out
    assert "severity: stored 5, rebuilt 2" in other.out
    as_json = up("replay", "incident-1", "--json")
    assert (as_json.code, as_json.json["ok"]) == (1, False)


SHOP_ORDERS = Group("shop", "orders")


def test_an_incident_is_shown_in_the_order_in_which_it_is_needed(
    up: Opx, world: Any, made: Any
) -> None:
    """What is wrong and since when, what changed (what is blamed first), which cause and what
    speaks for and against it, what helped before, what opx asks, and then what has happened."""
    changed = [
        Changed(event=f"e{n}", what=What.CONFIG, group=SHOP_ORDERS, subject=f"/etc/{n}", at=NOW - n)
        for n in range(6)
    ]
    release = Changed(
        event="r", what=What.RELEASE, group=SHOP_ORDERS, subject="v2", at=NOW - 600_000, by="ann"
    )
    insight = Insight(
        id="insight",
        episode="e",
        type=InsightType.BAD_RELEASE,
        risk=80,
        causes=(Cause(subject="v2", statement="it came shortly before", evidence=("r",)),),
        advice="Roll orders back.",
        source=InsightSource.RULES,
        at=NOW,
        changes=(*changed, release),
        similar=(
            Past(run="p", incident="dddd4444xx", type="bad_release", runbook="back", helped=True,
                 took=12_400, at=NOW - 86_400_000),
            Past(run="q", incident="eeee5555xx", type="bad_release", runbook="restart",
                 helped=False, took=9_000, at=NOW - 90_000_000),
        ),
        ranked=(
            Ranked("shop/store", 0.62, "latency 0.7, usually 0.1", "errors as usual"),
            Ranked("shop/[b]", 0.1),
        ),
    )  # fmt: skip
    run = made.run("run-0001", "aaaabbbbcccc")
    world.put(
        made.incident(
            "aaaabbbbcccc", insight="insight", runs=1, acknowledged_by="bob",
            services=("gateway", "orders"),
        ),
        insight, run, made.approval(run),
    )  # fmt: skip
    world.write_down(journal.entry(NOW, "aaaabbbbcccc", "incident.opened", "brain"))

    shown = up("incidents", "show", "aaaab").out

    in_order = (
        "orders is down",
        "shop/orders (and gateway) since 2026-01-01 00:00:00",
        "acknowledged by bob",
        "bad_release, risk 80 (by rules)",
        "2025-12-31 23:50:00 shop/orders: release deployed v2 by ann",
        "2026-01-01 00:00:00 shop/orders: config changed /etc/0",
        "and 2 more: --json",
        "v2: it came shortly before",
        "62% shop/store  for: latency 0.7, usually 0.1; against: errors as usual",
        "10% shop/[b]",
        "2025-12-31 00:00:00 back helped after 12 s (dddd4444)",
        "restart did not help (eeee5555)",
        "advice: Roll orders back.",
        "opx: needs a yes to run restart: opx approve run-0001",
        "run-0001",
        "incident.opened",
    )
    places = [shown.find(words) for words in in_order]
    assert -1 not in places
    assert places == sorted(places)
    whole = up("incidents", "show", "aaaab", "--json").json
    assert len(whole["insight"]["changes"]) == 7
    assert whole["insight"]["ranked"][0]["against"] == "errors as usual"


def test_an_incident_that_is_over_says_until_when(up: Opx, world: Any, made: Any) -> None:
    """And nothing of what opx does, for it does nothing any more."""
    world.put(made.incident("aaaa1111", status=Status.RESOLVED, resolved_at=NOW + 60_000))

    shown = up("incidents", "show", "aaaa1111").out

    assert "shop/orders since 2026-01-01 00:00:00 until 2026-01-01 00:01:00" in shown
    assert "opx" not in shown


def test_the_status_says_what_is_open_and_what_opx_does(up: Opx, world: Any, made: Any) -> None:
    """The worst first, since when, and why nothing is done; who has it; breakers; what fails of
    opx itself."""
    halted = GuardResult(guard="severity", answer=Answered.DENY, reason=Reason.COOLING_DOWN)
    waits = made.run("run-0001", "bbbb2222")
    world.put(
        made.incident("aaaa1111", severity=Severity.SEV3, insight="x"),
        made.incident("bbbb2222", severity=Severity.SEV1, assigned_to="bob", runs=1),
        made.incident("cccc3333", status=Status.RESOLVED),
        waits,
        made.approval(waits),
        Decision(
            id="d",
            incident="aaaa1111",
            run="",
            answer=Answered.DENY,
            results=(halted,),
            plan="",
            at=NOW,
        ),
        Breaker(id="restart|shop|stock", opened_at=NOW),
    )
    world.brain.said = BrainState(lag=61_000, loops={"seal": LoopState(failures=3, since=NOW)})

    shown = up("status").out

    assert shown.index("bbbb2222") < shown.index("aaaa1111")
    assert "cccc3333" not in shown
    for words in (
        "SEV1 P1",
        "shop/orders",
        "2026-01-01 00:00:00",
        "needs a yes to run restart: opx approve run-0001 (bob has it)",
        "nothing, a person must repair it: cooling down",
        "stock",
        "seal fails since 2026-01-01 00:00:00",
        "what came 61 s ago is not taken in yet",
    ):
        assert words in shown, words
    seen = up("status", "--json").json
    assert [row["id"] for row in seen["incidents"]] == ["bbbb2222", "aaaa1111"]
    assert (seen["open_incidents"], seen["pending_approvals"], seen["breakers_open"]) == (2, 1, 1)


def test_answering_an_approval(up: Opx, world: Any, made: Any, brain: Opx) -> None:
    """What waits is in the status; approving tells brain, with the reason."""
    run = made.run("run-0001", "incident-1")
    world.put(run, made.approval(run))
    seen = brain()

    assert "run-0001" in up("status").out
    assert up("approve", "run-0001", "--reason", "fine").code == 0
    assert up("reject", "run-0001").code == 0
    assert [(one.kind, one.body["reason"]) for one in seen] == [("approve", "fine"), ("reject", "")]


def test_tokens_from_birth_to_death(up: Opx, client: httpx.Client) -> None:
    """A made token works; revoked it does not; the list says which is which."""
    made = up("token", "create", "ann", "--role", "viewer", "--ttl", "1d", "--json").json
    headers = {"Authorization": f"Bearer {made['token']}"}

    assert made["expires_at"] == "2026-01-02T00:00:00.000Z"
    assert client.get("/api/v1/status", headers=headers).status_code == 200
    assert up("token", "revoke", made["id"]).code == 0
    assert client.get("/api/v1/status", headers=headers).status_code == 401
    assert "revoked" in up("token", "list").out


def test_a_login_link_opens_the_page(up: Opx, client: httpx.Client) -> None:
    """The printed link is whole, and works once."""
    url = up("login", "--json").json["url"]

    assert client.get(url).status_code == 303
    assert client.get(url).status_code == 401


def test_logging_out_ends_every_session_from_here(up: Opx, client: httpx.Client) -> None:
    """The list shows a session under its token; afterwards the session opens nothing."""
    client.get(up("login", "--json").json["url"])
    session = client.cookies["opx_session"]
    assert client.get("/api/v1/status").status_code == 200
    listed = up("token", "list", "--json").json["items"]
    (opened,) = [row for row in listed if row["parent"]]
    assert f"session of {opened['parent']}" in up("token", "list").out

    assert "has ended" in up("logout").out
    client.cookies.set("opx_session", session)
    assert client.get("/api/v1/status").status_code == 401
    assert up("logout", "--json").json == {"logged_out": True}


def test_outcomes_and_breakers(up: Opx, world: Any, made: Any, brain: Opx) -> None:
    """What a person says is recorded; a breaker is closed through brain."""
    world.put(made.incident("incident-1"), Breaker(id="restart|shop|orders", opened_at=NOW))
    seen = brain()

    said = up("outcome", "incident-1", "--kind", "benign", "--cause", "a test", "--json").json
    assert (said["kind"], said["cause"], said["by"]) == ("benign", "a test", "admin")
    assert "open" in up("breaker", "list").out
    assert up("breaker", "close", "restart|shop|orders").code == 0
    assert [one.kind for one in seen] == ["close_breaker"]


def test_a_journal_that_was_changed_fails_the_audit(up: Opx, world: Any) -> None:
    """1, and from where on nothing can be trusted."""
    world.write_down(*(journal.entry(NOW, "s", "thing.happened", "brain", n=n) for n in range(4)))
    entries = world.call(world.store.read(lambda tx: tx.find(Entry)))
    world.put(audit.seal(None, entries, NOW))
    assert up("audit", "verify").code == 0
    world.store._journal = (*world.store._journal[:2], replace(entries[2], actor="x"), entries[3])

    result = up("audit", "verify")

    assert result.code == 1
    assert "entry 1 to 4" in result.out


def test_a_long_journal_is_audited_to_its_end(up: Opx, world: Any) -> None:
    """More than one request checks: how far it got is told beside the result."""
    world.write_down(*(journal.entry(NOW, "s", "thing.happened", "brain", n=n) for n in range(7)))
    few = world.call(world.store.read(lambda tx: tx.find(Entry)))
    world.write_down(*(replace(few[n % 7], at=NOW + n) for n in range(5_993)))
    entries = world.call(world.store.read(lambda tx: tx.find(Entry)))
    first = audit.seal(None, entries[:5_000], NOW)
    world.put(first, audit.seal(first, entries[5_000:], NOW))

    result = up("audit", "verify")

    assert (result.code, "6000 entries sealed, 0 not yet" in result.out) == (0, True)
    assert result.err.strip() == "opx: 5000 entries are proven; going on"


def test_watching_goes_on_until_it_is_stopped(up: Opx, world: Any) -> None:
    """Each entry is one line of JSON as it happens; Ctrl-C ends it."""
    command = [sys.executable, "-m", "opx", "watch", "--json"]
    heeds = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # whoever runs the tests may not
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=heeds) as watching:
        assert watching.stdout is not None
        deadline = time.monotonic() + 20
        while not world.front.streams:
            assert watching.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        world.write_down(journal.entry(NOW, "s", "thing.happened", "brain", n=7))
        row = json.loads(watching.stdout.readline())
        watching.send_signal(signal.SIGINT)

        assert (row["kind"], row["body"]) == ("thing.happened", {"n": 7})
        assert watching.wait(20) == 130


# ---------------------------------------------------------------- documents


@pytest.fixture
def files(tmp_path: Path, made: Any) -> Path:
    """A folder with a service and, beside it, a runbook."""
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a-service.yaml").write_text(made.SERVICE)
    (folder / "b-runbook.yaml").write_text(made.RUNBOOK)
    return folder


def test_applying_a_folder(up: Opx, files: Path) -> None:
    """Everything in it is applied at once; again, nothing changes."""
    first = up("apply", "-f", str(files))
    again = up("apply", "-f", str(files), "--json")

    assert first.code == 0
    assert "added Service/shop/orders" in first.out
    assert [one["change"] for one in again.json["applied"]] == ["unchanged", "unchanged"]
    assert "restart" in up("runbook", "list").out
    shown = up("runbook", "show", "restart", "--on", "shop/orders")
    assert "1. restart: process.restart (at most 20000 ms): would restart orders" in shown.out
    nowhere = up("runbook", "show", "restart", "--on", "shop/other")
    assert (nowhere.code, "no service 'other'" in nowhere.err) == (1, True)
    assert up("runbook", "show", "restart", "--json").json["runbook"] == "restart"
    grant = ("runbook", "grant", "restart", "--on", "shop/orders", "--autonomy", "auto")
    assert up(*grant, "--probation", "1d").code == 0
    assert "uncalibrated, n = 0" in up("runbook", "list").out
    assert up(*grant, "--probation", "90d").code == 1


@pytest.mark.parametrize("command", [("lint",), ("apply", "-f")], ids=["lint", "apply"])
def test_a_mistake_is_told_where_the_file_has_it(
    up: Opx, files: Path, command: tuple[str, ...]
) -> None:
    """1 with the file's own name and line, though several files were sent as one text."""
    wrong = files / "b-runbook.yaml"
    wrong.write_text(wrong.read_text().replace("purpose:", "porpose:"))
    line = wrong.read_text().split("porpose")[0].count("\n") + 1

    result = up(*command, str(files))

    assert result.code == 1
    assert f"b-runbook.yaml:{line}: unknown field 'porpose'" in (result.out + result.err)
    assert up("runbook", "list", "--json").json["runbooks"] == []


@pytest.mark.parametrize("command", [("lint",), ("apply", "-f")], ids=["lint", "apply"])
def test_a_key_that_is_there_twice_is_told_with_both_lines(
    up: Opx, files: Path, command: tuple[str, ...]
) -> None:
    """Both as the file has them, whatever stands before it in what was sent."""
    (files / "c.yaml").write_text(
        "apiVersion: opx/v1\nkind: Service\nmetadata:\n  name: till\n  name: orders\nspec: {}\n"
    )
    result = up(*command, str(files))

    assert result.code == 1
    told = "/c.yaml:5: the key 'name' is already there (first in line 4)"
    assert told in (result.out + result.err)


def test_linting_needs_no_server(opx: Opx, files: Path) -> None:
    """0 and how many are well; as JSON the ids and no findings."""
    assert "2 documents are well" in opx("lint", str(files)).out
    assert opx("lint", str(files), "--json").json == {
        "documents": ["Service/shop/orders", "Runbook/restart"],
        "findings": [],
    }
    assert opx("lint", str(files / "none.yaml")).code == 1


def test_linting_tells_every_mistake(opx: Opx, files: Path) -> None:
    """1, and for each bad document its file, its line and what to write instead."""
    (files / "a-service.yaml").write_text(
        (files / "a-service.yaml").read_text().replace("127.0.0.1", "u:hunter2@127.0.0.1")
    )
    (files / "c.yaml").write_text("apiVersion: opx/v1\nkind: Servce\n")

    result = opx("lint", str(files), "--json")
    (files / "c.yaml").unlink()
    shown = opx("lint", str(files))

    assert result.code == shown.code == 1
    [syntax] = result.json["findings"]
    assert (Path(syntax["file"]).name, syntax["line"]) == ("c.yaml", 1)
    assert "a-service.yaml:6: a login stands in this address" in shown.out
    assert "hunter2" not in shown.out
    assert "1 document is well; what is wrong: 1" in shown.out


def test_what_leads_nowhere_is_not_well(opx: Opx, files: Path, made: Any) -> None:
    """A service that depends on one that is nowhere is not counted among the others."""
    (files / "c.yaml").write_text(
        made.SERVICE.replace("name: orders", "name: till") + "  dependsOn: [nobody, noone]\n"
    )
    shown = opx("lint", str(files))

    assert shown.code == 1
    assert "2 documents are well; what is wrong: 2" in shown.out
    assert opx("lint", str(files), "--json").json["documents"] == [
        "Service/shop/orders",
        "Runbook/restart",
    ]


def test_a_plan_before_applying(up: Opx, files: Path) -> None:
    """Each document with what becomes of it, and each field that differs, old and new."""
    up("apply", "-f", str(files))
    service = files / "a-service.yaml"
    service.write_text(service.read_text().replace("9001", "9002"))
    (files / "c.yaml").write_text(
        "apiVersion: opx/v1\nkind: Policy\nmetadata: {name: default}\nspec: {ceiling: sev1}\n"
    )
    result = up("plan", "-f", str(files))

    assert result.code == 0
    assert result.out.splitlines() == [
        "would change Service/shop/orders",
        '  spec.target: "http://127.0.0.1:9001#orders" -> "http://127.0.0.1:9002#orders"',
        "unchanged Runbook/restart",
        "would add Policy/default",
        "  loosens lets opx do more than now: ceiling",
    ]
    service.write_text("kind: [")
    assert up("plan", "-f", str(service)).code == 1


def test_deleting_a_document(up: Opx, files: Path) -> None:
    """It is listed, deleted by its id, and not there a second time."""
    up("apply", "-f", str(files))

    assert "Service/shop/orders" in up("documents").out
    assert up("delete", "Service/shop/orders").code == 0
    assert "Service/shop/orders" not in up("documents").out
    assert up("delete", "Service/shop/orders").code == 1
    assert up("delete", "orders").code == 2


def test_deleting_what_is_needed_is_three(up: Opx, files: Path) -> None:
    """A gate refuses it, and says who depends on it."""
    service = (files / "a-service.yaml").read_text()
    payments = service.replace("orders", "payments") + "  dependsOn: [orders]\n"
    (files / "d.yaml").write_text(payments)
    up("apply", "-f", str(files))

    result = up("delete", "Service/shop/orders")

    assert result.code == 3
    assert "Service/shop/payments depends on" in result.err


def test_what_cannot_be_read_is_in_the_status(up: Opx, files: Path, world: Any) -> None:
    """Which document is skipped, why, and what opx does not do therefore."""
    up("apply", "-f", str(files))
    rows = world.call(world.store.read(lambda tx: tx.find(StoredDocument)))
    [service] = [row for row in rows if row.kind == "Service"]
    bad = replace(service, text=service.text.replace("target:", "taget:"), hash="other")
    world.call(world.store.write(lambda tx: tx.set(bad)))

    for command in ("status", "documents"):
        out = up(command).out
        assert "Service/shop/orders is skipped" in out
        assert "did you mean 'target'?" in out
        assert "it is not watched" in out


def test_what_cannot_be_broken_says_what_can(opx: Opx, tmp_path: Path) -> None:
    """How users and opx's own are broken; and where a demo's playground is, when this one is not
    up or was never there."""
    nowhere = opx("playground", "status", "--folder", str(tmp_path / "none"))
    folder = tmp_path / "shop"
    folder.mkdir()
    layout.save(Layout(folder=folder, ports={"orders": 1}, socket=tmp_path / "gone.sock"))
    there = ("--folder", str(folder))

    assert "--how load-spike" in opx("playground", "break", "users", *there).err
    assert "--how kill or hang" in opx("playground", "break", "brain", "--how", "slow", *there).err
    down = opx("playground", "break", "orders", "--how", "hang", *there)
    assert (down.code, nowhere.code) == (1, 1)
    assert "does not answer is it up? `opx demo` has one of its own" in down.err
    assert "`opx demo` says the --folder of its own" in nowhere.err


def test_a_schema_needs_no_server(opx: Opx, up: Opx, client: httpx.Client, world: Any) -> None:
    """The schema of a kind is printed as the API has it; another word is a usage error."""
    served = client.get("/api/v1/schemas", headers=world.auth(Role.VIEWER)).json()["items"]

    assert set(served) == {"Service", "DetectionRule", "Policy", "Runbook", "Calendar", "Mapping"}
    assert opx("schema", "Service").json == served["Service"]
    assert opx("schema", "Servce").code == 2


def test_why_of_a_service_is_answered_where_nothing_came_of_it(
    up: Opx, world: Any, made: Any
) -> None:
    """Its newest incident's answer; what was seen without one, and why nothing came of it;
    nothing at all; and what nobody knows is a failure with a hint."""
    promotion = {"episode": "e", "reason": "score_too_low", "score": 0.1}
    finding = {"id": "f", "rule": "odd", "kind": "evidence", "summary": "a load spike"}
    world.write_down(
        journal.entry(
            NOW, "shop/worker", journal.WAITS, "brain", promotion=promotion, finding=finding
        )
    )
    world.put(made.incident("aaaabbbbcccc"))
    group = made.incident("aaaabbbbcccc").group

    waits = up("why", "shop/worker").out
    assert "a load spike" in waits
    assert "the evidence weighs too little" in waits
    assert up("why", "shop/worker", "--json").json["seen"][0]["reason"] == "score_too_low"
    assert "incident aaaabbbb" in up("why", f"{group.environment}/{group.service}").out
    unknown = up("why", "shop/nobody")
    assert (unknown.code, "opx status" in unknown.err) == (1, True)
    assert "a service" in up("why", "nobody-knows").err
