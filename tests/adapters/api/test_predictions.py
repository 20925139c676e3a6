# SPDX-License-Identifier: Apache-2.0

"""Predictions over HTTP: listed, paged, held back, and judged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest

from opx.core.base.time import DAY, HOUR, MINUTE
from opx.core.decide.roles import Role
from opx.core.detect.predict.prediction import Withdrawn
from opx.engine import journal
from opx.testing.contracts import samples

NOW = 1_767_225_600_000
PATH = "/api/v1/predictions"


def told(id: str, minute: int, withdrawn: Withdrawn | None = None, held: bool = False) -> Any:
    one = samples.prediction(id, NOW + minute * MINUTE, withdrawn)
    return replace(one, held_back=held)


def test_the_open_ones_come_first_and_all_of_it_in_pages(client: httpx.Client, world: Any) -> None:
    """Newest first, each once, whatever the pages; one that is held back is shown when it is over,
    or to who asks for all."""
    world.put(
        *(told("open-1", 1), told("open-2", 4), told("held", 3, held=True), told("open-3", 4)),
        *(told("over-1", 2, Withdrawn.TURNED), told("over-2", 5, Withdrawn.FAILED, held=True)),
    )

    def listed(limit: int, **params: Any) -> list[str]:
        found, cursor = [], ""
        while True:
            asked = {**params, "limit": limit, "cursor": cursor}
            answer = client.get(PATH, headers=world.auth(Role.VIEWER), params=asked).json()
            found += [one["id"] for one in answer["items"]]
            assert len(answer["items"]) <= limit
            if answer["next"] is None:
                return found
            cursor = answer["next"]

    open_, over = ["open-3", "open-2", "open-1"], ["over-2", "over-1"]
    for limit in (1, 2, 3, 50):
        assert listed(limit) == open_ + over
        assert listed(limit, all="true") == ["open-3", "open-2", "held", "open-1", *over]


def test_each_says_why(client: httpx.Client, world: Any) -> None:
    """In a sentence, with times as they stand everywhere; on the status page in a line."""
    world.put(told("a", 0))

    [one] = client.get(PATH, headers=world.auth(Role.VIEWER)).json()["items"]
    page = client.get("/", headers=world.auth(Role.VIEWER)).text

    assert one["expires_at"] == "2026-01-01T01:00:00.000Z"
    assert one["why"] == (
        "memory_used_percent is at 70, rises by 1 a minute for 30 minutes and reaches 100 in 30"
        " minutes at this pace (between 25 and 40)"
    )
    assert "Expected to fail: prod/orders (leak, 60%, until 2026-01-01T01:00:00.000Z)." in page


def test_they_are_judged_when_their_time_is_over(client: httpx.Client, world: Any) -> None:
    """One that came true, one that did not, one on which somebody acted and one that is open:
    only the first two are judged, and each figure says from how many."""
    then = NOW - 5 * HOUR
    world.put(
        samples.prediction("hit", then, Withdrawn.FAILED),
        samples.prediction("false", then - DAY, Withdrawn.TURNED),
        samples.prediction("acted", then - 2 * DAY, Withdrawn.ACTED),
        samples.prediction("open", NOW - MINUTE),
        samples.prediction("old", NOW - 31 * DAY, Withdrawn.TURNED),
    )
    incident = {
        "group": {"environment": "prod", "service": "orders"},
        "symptoms": 1,
    }
    evidence, later = {**incident, "symptoms": 0}, then - DAY + MINUTE
    release = {
        "id": "e",
        "type": "opx.release.deployed",
        "identity": {"environment": "prod", "service": "orders"},
        "data": {"release": "2"},
        "at": then - 2 * DAY + MINUTE,
        "received_at": then - 2 * DAY + MINUTE,
    }
    world.write_down(
        journal.entry(release["at"], "events/prod/orders", "event.received", "f", event=release),
        journal.entry(later, "i0", "incident.opened", "brain", incident=evidence),
        journal.entry(then + 10 * MINUTE, "i1", "incident.opened", "brain", incident=incident),
    )

    answer = client.get(f"{PATH}/score", headers=world.auth(Role.VIEWER)).json()

    assert (answer["predictions"], answer["judged"], answer["unjudged"]) == (4, 2, 1)
    assert (answer["precision"]["value"], answer["precision"]["n"]) == (0.5, 2)
    assert (answer["recall"]["value"], answer["recall"]["n"]) == (1.0, 1)
    assert (answer["lead_ms"]["value"], answer["lead_ms"]["n"]) == (10 * MINUTE, 1)
    assert answer["brier"]["value"] == pytest.approx((0.4**2 + 0.6**2) / 2)
    assert [(one["told"], one["came"]["n"]) for one in answer["reliability"]] == [(0.6, 2)]
    assert answer["prevention"] is None


def test_there_may_be_nothing_to_say(client: httpx.Client, world: Any) -> None:
    """Null, never nought."""
    answer = client.get(f"{PATH}/score", headers=world.auth(Role.VIEWER)).json()

    figures = ("precision", "recall", "brier", "lead_ms", "lead_p10_ms", "prevention")
    assert [answer[name] for name in figures] == [None] * 6


@pytest.mark.parametrize("days", ["0", "366", "-1", "many"])
def test_bad_days_are_refused(client: httpx.Client, world: Any, days: str) -> None:
    """Between a day and a year."""
    params = {"days": days}
    answer = client.get(f"{PATH}/score", headers=world.auth(Role.VIEWER), params=params)

    assert answer.status_code == 422
    assert "days" in answer.text


def test_a_cursor_that_opx_did_not_give_out_is_refused(client: httpx.Client, world: Any) -> None:
    """As it is of every other list."""
    params = {"cursor": "eyJ9"}
    answer = client.get(PATH, headers=world.auth(Role.VIEWER), params=params)

    assert answer.status_code == 400
    assert "cursor" in answer.json()["detail"]
