# SPDX-License-Identifier: Apache-2.0

"""What the tour makes of a timeline and of what users saw, from samples written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from opx.core.base import time as opx_time
from opx.playground.demo import Report
from opx.playground.judging.judge import STEADY, Judge
from opx.playground.timeline import Beat, Moment, Story, read
from opx.playground.trials import Fault, Trial

T = opx_time.from_wire("2026-03-01T12:00:00.000Z")


def entry(after_ms: int, kind: str, **body: Any) -> dict[str, Any]:
    return {"seq": 1, "at": opx_time.to_wire(T + after_ms), "kind": kind, "body": body}


def decision(answer: int | str, **reasons: str) -> dict[str, Any]:
    results = [{"guard": guard, "reason": reason} for guard, reason in reasons.items()]
    return {"answer": answer, "results": results}


PROPOSAL = {"runbook": "restart-process"}
REPAIR = [
    entry(2_100, "incident.opened", incident={"title": "orders is down", "priority": "P1"}),
    entry(2_100, "findings.attached", firing=1, cleared=0, first={"summary": "2 failed"}),
    entry(
        2_150,
        "insight.made",
        insight={
            "type": "process_down",
            "causes": [{"subject": "shop/orders", "statement": "it does not run: 2 failed"}],
        },
    ),
    entry(2_150, "run.proposed", run="r1", proposal=PROPOSAL),
    entry(2_200, "run.decided", run="r1", decision=decision(0, mode="ok", autonomy="on_probation")),
    entry(2_200, "order.issued", run="r1", order="o1"),
    entry(2_300, "order.ended", run="r1", step="restart", status="done", output="pid 7 to pid 9"),
    entry(3_800, "findings.attached", firing=0, cleared=1, first={"summary": "it answers"}),
    entry(
        3_900,
        "run.verified",
        run="r1",
        verdict={"kind": "recovered", "yes": 3, "no": 1, "unknown": 0},
    ),
    entry(3_900, "run.ended", run="r1", status="recovered", reason="recovered"),
]


def test_a_repair_is_read_off_the_timeline_beat_by_beat() -> None:
    """Each beat has the time of the entry that first shows it, and its words."""
    story = read(REPAIR, T)
    assert story.moments == {
        Beat.DETECTED: Moment(T + 2_100, "orders is down"),
        Beat.INCIDENT: Moment(T + 2_100, "P1 orders is down"),
        Beat.EXPLAINED: Moment(T + 2_150, "process down: shop/orders, it does not run"),
        Beat.DECIDED: Moment(T + 2_200, "ALLOW (autonomy: on_probation)"),
        Beat.ACTED: Moment(T + 2_300, "pid 7 to pid 9"),
        Beat.VERIFIED: Moment(T + 3_900, "RECOVERED, 3 of 4 probes said yes"),
    }
    assert (story.run, story.runbook, story.answer) == ("r1", "restart-process", "allow")
    assert (story.verdict, story.verdicts) == ("recovered", ("recovered",))
    assert (story.orders, story.refused, story.breaker) == (1, False, False)


def test_what_came_before_the_injection_does_not_count() -> None:
    """A service that fails again keeps its incident: only the new trouble is read."""
    again = [
        *REPAIR,
        entry(9_000, "findings.attached", firing=1, cleared=0, first={"summary": "2 failed"}),
        entry(9_001, "incident.changed", before="mitigated", after="open"),
        entry(9_050, "run.proposed", run="r2", proposal=PROPOSAL),
        entry(9_060, "run.decided", run="r2", decision=decision(0)),
        entry(9_060, "order.issued", run="r2", order="o2"),
    ]
    story = read(again, T + 8_000)
    assert story.run == "r2"
    assert story.orders == 1
    assert story.at(Beat.DETECTED) == T + 9_000
    assert story.at(Beat.INCIDENT) == T + 9_001
    assert story.at(Beat.DECIDED) == T + 9_060
    assert story.at(Beat.VERIFIED) is None


@pytest.mark.parametrize(
    ("then", "words"),
    [
        ([], "it belongs to the incident that is open"),
        (
            [entry(9_001, "incident.changed", before="open", after="mitigating")],
            "it belongs to the incident that is open",
        ),
        (
            [entry(9_001, "incident.changed", before="mitigated", after="open")],
            "it is open again",
        ),
    ],
)
def test_an_incident_is_said_to_be_open_again_only_where_it_was_reopened(
    then: list[dict[str, Any]], words: str
) -> None:
    """What is attached to an incident that was open all along has reopened nothing."""
    attached = entry(9_000, "findings.attached", firing=1, cleared=0, first={"summary": "slow"})
    story = read([*REPAIR, attached, *then], T + 8_000)
    assert story.moments[Beat.INCIDENT].text == words


def test_what_clears_late_is_not_a_detection() -> None:
    """All that an earlier fault leaves behind is nothing that was detected."""
    assert read(REPAIR, T + 3_000) == Story()


@pytest.mark.parametrize("answer", [1, "ASK", "ask"])
def test_a_suggestion_is_an_answer_without_orders(answer: int | str) -> None:
    """A fresh install asks: the story has the runbook it would use, and no order."""
    said = entry(2_200, "run.decided", run="r1", decision=decision(answer, autonomy="suggest_only"))
    story = read([*REPAIR[:4], said], T)
    assert (story.answer, story.runbook, story.orders) == ("ask", "restart-process", 0)
    assert story.guards == ("autonomy: suggest_only",)


def test_the_decision_that_counts_is_the_one_that_allowed_it() -> None:
    """A denial that is asked again later is not when it was decided."""
    denied = entry(
        2_160, "run.decided", run="r1", decision=decision(2, symptom="symptom_unconfirmed")
    )
    story = read([*REPAIR[:4], denied, *REPAIR[4:]], T)
    assert story.at(Beat.DECIDED) == T + 2_200
    assert story.answer == "allow"


def test_a_run_that_was_refused_is_known_to_be_over() -> None:
    """A run that ends without an order has been refused: waiting longer is no use."""
    denied = entry(2_200, "run.decided", run="r1", decision=decision(2, mode="halted"))
    ended = entry(2_200, "run.ended", run="r1", status="refused", reason="halted")
    assert read([*REPAIR[:4], denied, ended], T).refused


def test_of_several_runs_the_last_that_acted_is_told_and_every_verdict_is_kept() -> None:
    """Three restarts that do not help are three verdicts and a breaker; the moments are those
    of the last run."""
    entries = REPAIR[:4]
    for number in range(3):
        run, at = f"r{number}", 3_000 + 1_000 * number
        verdict = {"kind": "no_effect", "yes": 0, "no": 3, "unknown": 0}
        entries = [
            *entries,
            entry(at, "run.proposed", run=run, proposal=PROPOSAL),
            entry(at + 10, "run.decided", run=run, decision=decision(0)),
            entry(at + 20, "order.issued", run=run, order=f"o{number}"),
            entry(at + 30, "order.ended", run=run, step="restart", status="done", output=run),
            entry(at + 900, "run.verified", run=run, verdict=verdict),
        ]
    story = read([*entries, entry(6_000, "breaker.opened", breaker="b")], T)
    assert story.verdicts == ("no_effect",) * 3
    assert (story.run, story.orders, story.breaker) == ("r2", 3, True)
    assert [act.text for act in story.acts] == ["r0", "r1", "r2"]
    assert (story.at(Beat.ACTED), story.at(Beat.VERIFIED)) == (T + 5_030, T + 5_900)


def test_an_order_that_failed_is_not_the_act() -> None:
    """What counts as acted is the order that was done."""
    failed = entry(2_250, "order.ended", run="r1", step="restart", status="failed", output="no")
    again = entry(2_260, "order.issued", run="r1", order="o2")
    story = read([*REPAIR[:6], failed, again, *REPAIR[6:]], T)
    assert story.at(Beat.ACTED) == T + 2_300
    assert story.orders == 2


# ------------------------------------------------------------------- the judge


def judge(tmp_path: Path, *samples: tuple[str, int, bool]) -> Judge:
    """Judges the samples, and one much later that lets all of them be counted."""
    lines = [{"at": T + at, "path": path, "ok": ok} for path, at, ok in samples]
    lines.append({"at": T + 1_000_000, "path": "/buy", "ok": True})
    file = tmp_path / "load.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Judge(file)


def stretch(path: str, start: int, count: int, ok: bool) -> list[tuple[str, int, bool]]:
    return [(path, start + 100 * number, ok) for number in range(count)]


def test_users_are_well_again_where_the_good_answers_begin(tmp_path: Path) -> None:
    """Hurt from the first bad answer to the first good one of a steady row."""
    told = judge(
        tmp_path,
        *stretch("/buy", 0, 5, True),
        *stretch("/buy", 500, 3, False),
        *stretch("/buy", 800, STEADY - 1, True),
        ("/buy", 1_700, False),
        *stretch("/buy", 1_800, STEADY, True),
        *stretch("/jobs", 0, 60, True),
    )
    assert told.hurt_at("orders", T) == T + 500
    assert told.healthy_at("orders", T) == T + 1_800
    assert told.failures("orders", T) == 4
    assert told.failures("orders", T + 501) == 3
    assert told.hurt_at("worker", T) is None
    assert told.healthy_at("worker", T) is None


def test_a_service_is_as_well_as_the_worst_of_its_paths(tmp_path: Path) -> None:
    """The store serves two paths: its users are well when both are."""
    told = judge(
        tmp_path,
        *stretch("/buy", 0, 2, False),
        *stretch("/jobs", 0, 8, False),
        *stretch("/buy", 200, 30, True),
        *stretch("/jobs", 800, STEADY, True),
    )
    assert told.healthy_at("store", T) == T + 800
    assert told.healthy_at("orders", T) == T + 200


def test_answers_that_may_still_be_on_their_way_are_waited_for(tmp_path: Path) -> None:
    """A request made a moment ago may yet fail, so it is not counted yet."""
    file = tmp_path / "load.jsonl"
    ok = [{"at": T + 100 * n, "path": "/buy", "ok": n > 0} for n in range(STEADY + 1)]
    file.write_text("".join(json.dumps(line) + "\n" for line in ok))
    told = Judge(file)
    assert told.healthy_at("orders", T) is None
    with file.open("a") as more:
        more.write(json.dumps({"at": T + 9_000, "path": "/buy", "ok": True}) + "\n")
        more.write('{"at": 1')
    assert told.healthy_at("orders", T) == T + 100


# ------------------------------------------------------------------- the report


def trial(fault: Fault, **known: Any) -> Trial:
    return Trial(**{"fault": fault, "service": "orders", "injected": T, "agrees": True, **known})


def test_the_totals_are_means_over_the_repairs_that_worked() -> None:
    """Detection 2.1 s and 4.1 s, recovery 2.5 s and 4.5 s: means of 3.1 s and 3.5 s, and nine of
    ten of two are both. No false action in three trials leaves room for 1 - 0.05 ** (1 / 3)."""
    late = read([{**one, "at": shifted(one["at"], 2_000)} for one in REPAIR], T)
    report = Report(
        started=T - 10_000,
        trials=[
            trial(Fault.KILL, story=read(REPAIR, T), healthy=T + 2_500, starts=1),
            trial(Fault.HANG, story=late, healthy=T + 4_500, starts=1),
            trial(Fault.BENIGN_RESTART, starts=1, false_alarms=2),
        ],
    )
    assert report.totals() == {
        "trials": 3,
        "repairs": 2,
        "verified_success": 2,
        "pages": 0,
        "false_actions": 0,
        "false_actions_at_most": 0.6316,
        "false_alarms": 2,
        "false_findings": None,
        "mttd_s": 3.1,
        "mttd_p90_s": 4.1,
        "mttr_s": 3.5,
        "mttr_p90_s": 4.5,
        "first_verified_s": 13.9,
    }
    assert report.ok
    shown = json.loads(json.dumps(report.plain()))
    assert shown["faults"][0]["detected"] == "2026-03-01T12:00:02.100Z"
    assert shown["faults"][2]["detected"] is None


@pytest.mark.parametrize(
    "bad",
    [
        trial(Fault.KILL, agrees=False),
        trial(Fault.KILL, problem="orders was started 2 times, not once"),
        trial(Fault.BENIGN_RESTART, story=read(REPAIR, T)),
        trial(Fault.KILL, story=Story(orders=2)),
    ],
)
def test_one_trial_that_went_wrong_spoils_the_tour(bad: Trial) -> None:
    """Disagreement, a second start, a needless or a second order: none is overlooked."""
    assert not Report(started=T, trials=[trial(Fault.KILL), bad]).ok


def test_orders_that_nothing_called_for_are_counted() -> None:
    """An order where nothing was broken is a false action, and so is one too many."""
    needless = trial(Fault.BENIGN_RESTART, story=Story(orders=1))
    twice = trial(Fault.KILL, story=Story(orders=2))
    assert Report(started=T, trials=[needless, twice]).totals()["false_actions"] == 2


def shifted(at: str, by: int) -> str:
    return opx_time.to_wire(opx_time.from_wire(at) + by)
