# SPDX-License-Identifier: Apache-2.0

"""From alerts over HTTP to incidents, and what is answered to those that cannot be taken."""

from __future__ import annotations

import json
import random
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
from tests.e2e.support import Opx, until

ALERTS = "/api/v2/alerts"
GROUPS, CLIENTS, ALL = 20, 8, 1_000
AT_ONCE = 5
MOST_BODY = 4 << 20


def alert(service: str, number: int = 0, **labels: str) -> dict[str, Any]:
    named = {"alertname": "Broken", "service": service, "instance": f"{service}-{number}"}
    return {"labels": {**named, **labels}}


def send(sender: httpx.Client, *alerts: dict[str, Any]) -> httpx.Response:
    return sender.post(ALERTS, json=list(alerts))


def problem(answer: httpx.Response) -> tuple[int, str]:
    """Its status and code, of an answer that is an RFC 9457 problem."""
    assert answer.headers["content-type"] == "application/problem+json"
    said = answer.json()
    assert said["status"] == answer.status_code
    return answer.status_code, said["code"]


def opened(opx: Opx, service: str) -> dict[str, Any]:
    """The one incident of a service, once it is there."""
    found = until(lambda: opx.incidents(service), f"an incident of {service}")
    assert len(found) == 1
    return found[0]


@contextmanager
def no_room_for_the_log(opx: Opx) -> Iterator[None]:
    """The kernel lets front's files grow no further, as on a disk that is full."""
    front = opx.pids()["front"]
    before = resource.prlimit(front, resource.RLIMIT_FSIZE)
    resource.prlimit(front, resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.prlimit(front, resource.RLIMIT_FSIZE, before)


# ---------------------------------------------------------------- one for each problem


def test_a_storm_of_a_thousand_alerts_is_twenty_incidents(opx: Opx) -> None:
    """1,000 alerts of 20 services, from 8 senders at once and in any order, are 20 incidents:
    each alert is counted in one, and told again none is counted twice."""
    services = [f"storm-{number:02d}" for number in range(GROUPS)]
    storm = [alert(services[number % GROUPS], number // GROUPS) for number in range(ALL)]
    random.Random(20).shuffle(storm)
    shares = [storm[number::CLIENTS] for number in range(CLIENTS)]
    senders = [opx.member(f"storm-{number}", "ingest") for number in range(CLIENTS)]

    def pour(number: int) -> set[int]:
        share = shares[number]
        pieces = [share[at : at + AT_ONCE] for at in range(0, len(share), AT_ONCE)]
        return {send(senders[number], *piece).status_code for piece in pieces}

    with ThreadPoolExecutor(CLIENTS) as pool:
        assert set().union(*pool.map(pour, range(CLIENTS))) == {200}
    until(
        lambda: sum(one["symptoms"] for one in opx.incidents(*services)) >= ALL,
        "every alert to be in an incident",
    )
    with ThreadPoolExecutor(CLIENTS) as pool:
        assert set().union(*pool.map(pour, range(CLIENTS))) == {200}
    last = opx.member("storm-last", "ingest")
    assert send(last, alert("storm-last")).status_code == 200
    opened(opx, "storm-last")  # so the log has been read to its end

    found = opx.incidents(*services)
    assert sorted(one["group"]["service"] for one in found) == services
    assert {one["symptoms"] for one in found} == {ALL // GROUPS}


def test_one_grave_alert_alone_opens_an_incident(opx: Opx) -> None:
    """A single SEV1 alert, with nothing beside it, is an incident of its own, urgent at once."""
    sender = opx.member("grave", "ingest")
    grave = alert("ledger", severity="sev1", alertname="LedgerLost")
    grave["annotations"] = {"summary": "the ledger is gone"}
    assert send(sender, grave).status_code == 200

    incident = opened(opx, "ledger")
    assert (incident["severity"], incident["priority"]) == (1, "P0")
    assert (incident["title"], incident["symptoms"]) == ("the ledger is gone", 1)
    assert [one["body"]["promotion"]["reason"] for one in _openings(opx, incident)] == ["symptom"]


def _openings(opx: Opx, incident: dict[str, Any]) -> list[dict[str, Any]]:
    return opx.journal("incident.opened", subject=incident["id"])


def test_a_fresh_opx_can_replay_what_it_decided(opx: Opx) -> None:
    """The shipped runbooks stand in the journal too, so the decision that none of them fits is
    made again from it, and the incident comes to the same hash."""
    incident = opx.incidents()[0]["id"]
    until(lambda: opx.journal("run.decided", subject=incident), "a decision")

    report = json.loads(opx.run("replay", incident, "--json").stdout)

    assert report["ok"] is True
    assert report["decisions"]


# ---------------------------------------------------------------- what is not taken


def test_whoever_may_not_send_is_told_so(opx: Opx) -> None:
    """401 to nobody and to a token that is none, 403 to one that may only look."""
    assert problem(send(opx.client(), alert("door")))[0] == 401
    stranger = send(opx.client("opx_" + "A" * 43), alert("door"))
    assert problem(stranger)[0] == 401
    assert stranger.headers["www-authenticate"].startswith("Bearer")
    assert problem(send(opx.member("looker", "viewer"), alert("door")))[0] == 403


def test_a_body_that_cannot_be_read_is_refused_as_a_whole(opx: Opx) -> None:
    """400 for what is not JSON, 415 for what is not said to be, 413 for what is too much."""
    sender = opx.member("clumsy", "ingest")
    headers = {"Content-Type": "application/json"}
    torn = sender.post(ALERTS, content=b'[{"labels": {', headers=headers)
    assert problem(torn)[0] == 400
    text = sender.post(ALERTS, content=b"[]", headers={"Content-Type": "text/plain"})
    assert problem(text) == (415, "unsupported_type")
    large = sender.post(ALERTS, content=b" " * (MOST_BODY + 1), headers=headers)
    assert problem(large) == (413, "too_large")
    unannounced = sender.post(ALERTS, content=_pieces(MOST_BODY + 1), headers=headers)
    assert problem(unannounced) == (413, "too_large")


def _pieces(size: int) -> Iterator[bytes]:
    """``size`` bytes, a part at a time, so that nobody is told how many there will be."""
    part = 1 << 16
    for _ in range(0, size, part):
        yield b" " * part


def test_a_bad_alert_is_named_and_its_neighbours_are_kept(opx: Opx) -> None:
    """422 says which items were refused and why; the others open incidents, and the refused
    are in the quarantine, over HTTP and on the command line."""
    sender = opx.member("mixed", "ingest", services=("mixed-first", "mixed-last"))
    bad_time = {**alert("mixed-first"), "startsAt": "yesterday"}
    items = [
        alert("mixed-first"),
        {"labels": {}},
        bad_time,
        {"labels": "none"},
        alert("elsewhere"),
        alert("mixed-last"),
    ]
    answer = send(sender, *items)

    assert problem(answer) == (422, "items_refused")
    said = answer.json()
    assert (said["accepted"], said["rejected"]) == (2, 4)
    refused = [(1, "no_labels"), (2, "bad_time"), (3, "malformed"), (4, "out_of_scope")]
    assert [(one["index"], one["reason"]) for one in said["errors"]] == refused
    assert all(one["detail"] for one in said["errors"])
    opened(opx, "mixed-first")
    opened(opx, "mixed-last")
    assert not opx.incidents("elsewhere")

    kept = [one for one in opx.get("/quarantine")["items"] if one["source"] == "mixed"]
    assert sorted(one["reason"] for one in kept) == sorted(reason for _, reason in refused)
    assert {one["wire"] for one in kept} == {"alerts"}
    assert json.loads(next(one for one in kept if one["reason"] == "bad_time")["item"]) == bad_time
    shown = opx.run("quarantine", "--json")
    assert shown.returncode == 0, shown.stderr
    ids = {one["id"] for one in json.loads(shown.stdout)["items"]}
    assert {one["id"] for one in kept} <= ids


def test_a_sender_that_is_too_fast_is_told_when_to_come_again(opx: Opx) -> None:
    """429 with Retry-After to the token that sends too fast, and to no other."""
    hasty, patient = opx.member("hasty", "ingest"), opx.member("patient", "ingest")
    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(lambda _: hasty.post(ALERTS, content=b""), range(1_000)))
    told = [answer for answer in answers if answer.status_code != 415]
    assert told, "nothing held it back"
    assert {problem(answer) for answer in told} == {(429, "too_fast")}
    assert {answer.headers["retry-after"] for answer in told} == {"1"}
    assert send(patient, alert("patient")).status_code == 200


def test_what_cannot_be_kept_is_not_acknowledged(opx: Opx) -> None:
    """503 with Retry-After while the log cannot be written, which /health says as well, and
    nothing of it is kept; once there is room again the same request is taken, and all is well."""
    sender = opx.member("full", "ingest")
    with no_room_for_the_log(opx):
        refused = send(sender, alert("full"))
        assert problem(refused)[0] == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert opx.http.get("/health").status_code == 503
    assert send(sender, alert("full-after")).status_code == 200
    assert opx.http.get("/health").status_code == 200
    opened(opx, "full-after")  # so the log has been read beyond the refused one
    assert not opx.incidents("full")
    assert send(sender, alert("full")).status_code == 200
    opened(opx, "full")
