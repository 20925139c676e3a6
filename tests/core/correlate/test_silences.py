# SPDX-License-Identifier: Apache-2.0

"""Silences: held, kept, listed, and taken up when they end."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opx.core.base.time import DAY, HOUR, SECOND, Ms
from opx.core.correlate import silences, stage
from opx.core.correlate.silences import Held, Silence
from opx.core.correlate.stage import SenseState
from opx.core.detect.finding import ClearReason, Finding, FindingKind, FindingState
from opx.core.ingest.signals import Identity, Severity
from opx.errors import BadInput

T: Ms = 1_767_225_600_000
ORDERS = Silence(
    id="s1", by="ann", reason="moving", starts_at=T, ends_at=T + HOUR, service="orders"
)


def fired(service: str = "orders", at: int = 0, rule: str = "alert") -> Finding:
    """``at``: seconds after ``T``."""
    return Finding(
        id=Finding.id_of(rule, service, T + at * SECOND),
        rule=rule,
        stream=service,
        identity=Identity("shop", service),
        kind=FindingKind.SYMPTOM,
        state=FindingState.FIRING,
        severity=Severity.SEV2,
        since=T + at * SECOND,
        at=T + at * SECOND,
    )


def over(finding: Finding, at: int) -> Finding:
    return finding.clear(ClearReason.RESOLVED, T + at * SECOND, {})


@pytest.mark.parametrize(
    ("matches", "expected"),
    [
        ({"environment": "shop"}, True),
        ({"environment": "prod"}, False),
        ({"service": "orders"}, True),
        ({"service": "order"}, False),
        ({"rule": "alert"}, True),
        ({"rule": "health-probe"}, False),
        ({"environment": "shop", "service": "orders", "rule": "alert"}, True),
        ({"environment": "shop", "service": "orders", "rule": "event"}, False),
    ],
)
def test_what_a_silence_matches(matches: dict[str, str], expected: bool) -> None:
    """All that it names must be so, exactly; what it leaves empty may be anything."""
    silence = Silence(id="s", by="ann", reason="r", starts_at=T, ends_at=T + 1, **matches)

    assert silence.matches(fired()) is expected


def test_a_rule_is_silenced_by_the_name_of_its_document() -> None:
    """People know ``slow``; its findings say ``threshold/slow``."""
    found = fired(rule="threshold/slow")

    def silence(rule: str) -> Silence:
        return Silence(id="s", by="ann", reason="r", starts_at=T, ends_at=T + 1, rule=rule)

    assert silence("slow").matches(found)
    assert silence("threshold/slow").matches(found)
    assert not silence("threshold").matches(found)
    assert not silence("low").matches(found)


def test_no_silence_is_of_everything_or_for_ever() -> None:
    """It names something, and ends within 30 days."""
    with pytest.raises(BadInput, match="everything"):
        replace(ORDERS, service="")
    with pytest.raises(BadInput, match="30 days"):
        replace(ORDERS, ends_at=T + 30 * DAY + 1)
    assert replace(ORDERS, ends_at=T + 30 * DAY).holds(T + 30 * DAY - 1)


def test_what_is_held_is_kept_and_named_and_not_passed_on() -> None:
    """With the silence's id; what it does not match passes, in order."""
    state = Held()
    one, two, other = fired(), fired(at=1), fired("stock")

    out = silences.apply(state, [one, other, two], [ORDERS], T + 1)

    assert out.passed == [other]
    assert out.held == [(one, "s1"), (two, "s1")]
    assert state.save() == {one.id: "s1", two.id: "s1"}


def test_what_still_fires_at_the_end_is_taken_up_as_seen_then() -> None:
    """At the very instant at which it ends, once, with its own id and beginning."""
    state, finding = Held(), fired()
    silences.apply(state, [finding], [ORDERS], T)
    assert silences.apply(state, [], [ORDERS], T + HOUR - 1) == silences.Applied()

    out = silences.apply(state, [], [ORDERS], T + HOUR)

    assert out.passed == [replace(finding, at=T + HOUR)]
    assert silences.apply(state, [], [], T + HOUR + 1) == silences.Applied()


def test_what_is_over_by_then_never_was_anything() -> None:
    """Also when the end of the silence is noticed together with that of the finding."""
    state, finding = Held(), fired()
    silences.apply(state, [finding], [ORDERS], T)

    out = silences.apply(state, [over(finding, 5)], [], T + 2 * HOUR)

    assert (out.passed, out.held) == ([], [(over(finding, 5), "s1")])
    assert state == Held()


def test_what_was_known_before_goes_on_as_it_was() -> None:
    """An open finding told again is not held, and its end reaches whoever knows of it."""
    state, finding = Held(), fired()

    again = silences.apply(state, [finding], [ORDERS], T, {finding.id})
    ended = silences.apply(state, [over(finding, 5)], [ORDERS], T, {finding.id})

    assert (again.passed, ended.passed) == ([finding], [over(finding, 5)])
    assert (again.held, ended.held, state) == ([], [], Held())


def test_another_silence_holds_on() -> None:
    """Where one ends and another still matches, nothing is taken up; it is held by that one."""
    state, finding = Held(), fired()
    longer = replace(ORDERS, id="s2", ends_at=T + 2 * HOUR)
    silences.apply(state, [finding], [ORDERS, longer], T)

    out = silences.apply(state, [], [ORDERS, longer], T + HOUR)

    assert (out.passed, state.by) == ([], {finding.id: "s2"})


def test_a_restart_holds_the_same() -> None:
    """From what was saved and the stored findings; what is not stored as firing is not held."""
    state = Held()
    one, two = fired(), fired(at=1)
    silences.apply(state, [one, two], [ORDERS], T + 1)

    assert Held.load(state.save(), [one, two, fired("stock")]) == state
    assert Held.load(state.save(), [two]).save() == {two.id: "s1"}


STEPS = st.lists(
    st.tuples(
        st.integers(0, 30),
        st.lists(st.tuples(st.sampled_from(["orders", "stock"]), st.booleans()), max_size=4),
    ),
    max_size=20,
)


@given(
    STEPS, st.lists(st.tuples(st.integers(0, 300), st.integers(1, 200)), max_size=4), st.booleans()
)
def test_nothing_is_lost_and_nothing_is_held_for_ever(
    steps: list[tuple[int, list[tuple[str, bool]]]],
    spans: list[tuple[int, int]],
    restart: bool,
) -> None:
    """Whatever is said in whatever order, with a restart anywhere: while a silence holds nothing
    it matches opens an episode; when all have ended, exactly what fires is open, as it would
    be without any."""
    rows = [
        replace(ORDERS, id=f"s{n}", starts_at=T + a * SECOND, ends_at=T + (a + b) * SECOND)
        for n, (a, b) in enumerate(spans)
    ]
    state, groups, now = Held(), SenseState(), T
    open_now: dict[str, Finding] = {}
    number = count()
    for wait, told in [*steps, (600, [])]:
        now += wait * SECOND
        said = []
        for service, fires in told:
            if fires and service not in open_now:
                open_now[service] = fired(service, (now - T) // SECOND, str(next(number)))
                said.append(open_now[service])
            elif not fires and service in open_now:
                said.append(over(open_now.pop(service), (now - T) // SECOND))
        if restart:
            state = Held.load(state.save(), state.findings.values())
        known = set(groups.open)
        out = silences.apply(state, said, rows, now, known)
        holding = any(row.holds(now) for row in rows)
        fresh = {f.id for f in out.passed if f.state is FindingState.FIRING} - known
        orders = {f.id for f in out.passed if f.identity.service == "orders"}
        assert not (holding and fresh & orders)
        stage.step(groups, out.passed, now)
        firing = {finding.id for finding in open_now.values()}
        assert groups.open | set(state.by) == firing
        assert not groups.open & set(state.by)
    assert (groups.open, state.by) == ({finding.id for finding in open_now.values()}, {})
