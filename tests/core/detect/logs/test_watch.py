# SPDX-License-Identifier: Apache-2.0

"""The log detectors: what is new, more, less or worse than usual, and nothing else."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from opx.core.base import canonical
from opx.core.base.time import MINUTE, SECOND, Ms
from opx.core.detect.finding import ClearReason, Finding, FindingKind, FindingState
from opx.core.detect.logs import novelty, opened, rates, saying, sessions, shares, watch
from opx.core.detect.logs.novelty import Known
from opx.core.detect.logs.rates import Rates
from opx.core.detect.logs.sessions import Sessions
from opx.core.detect.logs.watch import LogState
from opx.core.ingest.signals import Identity, LogLevel, LogLine, Severity, Tick

T: Ms = 1_767_225_600_000  # the start of a minute
SHOP = Identity("prod", "shop")


def line(message: str, at: Ms = T, level: LogLevel = LogLevel.INFO, **fields: str) -> LogLine:
    return LogLine(
        identity=SHOP, at=at, received_at=at, level=level, message=message, fields=fields
    )


def rules(findings: list[Finding]) -> list[tuple[str, FindingState]]:
    return [(finding.rule, finding.state) for finding in findings]


def feed(state: LogState, *items: LogLine | Tick) -> list[Finding]:
    return watch.step(state, items)


def minutes(state: LogState, counts: list[int], first: int = 0, **more: Any) -> list[Finding]:
    """So many lines of one kind in each minute from the ``first`` on, each closed by the clock."""
    found: list[Finding] = []
    for number, count in enumerate(counts, first):
        start = T + number * MINUTE
        found += feed(state, *(line(f"took {n} ms", start, **more) for n in range(count)))
        found += feed(state, Tick(start + MINUTE + rates.GRACE))
    return found


def warm(total: int = novelty.WARM_UP) -> LogState:
    state = LogState()
    assert feed(state, *(line(f"took {n} ms") for n in range(total))) == []
    return state


def test_what_was_never_written_is_evidence() -> None:
    """After two hundred lines of one kind another is told once, with what was expected, what
    came and how loud it was; it expires a quarter of an hour after it came last."""
    state = warm()
    [new] = feed(state, line("the disk is on fire", T + 1, LogLevel.ERROR))

    assert (new.rule, new.kind, new.state) == (
        saying.NEW,
        FindingKind.EVIDENCE,
        FindingState.FIRING,
    )
    assert (new.severity, new.at) == (Severity.SEV3, T + 1)
    assert new.evidence["came"] == "the disk is on fire"
    assert str(new.evidence["expected"]).endswith("100.00% of them")
    assert feed(state, line("the disk is on fire", T + MINUTE)) == []
    assert feed(state, Tick(T + 16 * MINUTE - 1)) == []
    [over] = feed(state, Tick(T + 16 * MINUTE))
    assert (over.id, over.cleared) == (new.id, ClearReason.EXPIRED)


def test_a_young_service_says_nothing_new() -> None:
    """One line before it is warm everything is new, and none of it is told."""
    assert feed(warm(novelty.WARM_UP - 1), line("the disk is on fire")) == []


def test_who_always_writes_something_new_is_not_told_of() -> None:
    """Three of two hundred kinds came once: more than 1 % is new anyway."""
    state = LogState()
    lines = [line("took 1 ms") for _ in range(197)]
    feed(state, *lines, line("alpha"), line("beta"), line("gamma"))

    assert feed(state, line("the disk is on fire")) == []


def test_a_name_that_turns_out_to_vary_is_not_new() -> None:
    """When users become one template, what was known of each is known of all."""
    state = warm()
    known = state.templates["prod", "shop"]
    for who in ("ann", "bob", "eve"):
        feed(state, line(f"session closed for user {who}"))

    assert sorted(known.counts.values()) == [3, novelty.WARM_UP]
    assert feed(state, line("session closed for user mallory")) == []


def test_a_flood_of_new_things_is_told_in_part() -> None:
    """Of a hundred new templates the first are told and the rest counted."""
    known = warm(40_000)  # so that they stay rare all the while
    found = feed(known, *(line(f"{chr(97 + n % 26) * (n // 26 + 2)} came up") for n in range(100)))

    assert len(found) == opened.MOST
    assert known.open.unsaid == 100 - opened.MOST


def test_a_burst_is_told_in_its_second_minute_and_ends() -> None:
    """Ten a minute, then a hundred twice: 90 / sqrt(10) = 28 deviations. Ten again ends it."""
    state = LogState()
    assert minutes(state, [10] * rates.WARM_UP + [100]) == []
    [burst] = minutes(state, [100], rates.WARM_UP + 1)

    assert rules([burst]) == [(saying.RATE, FindingState.FIRING)]
    assert burst.evidence["expected"] == "about 10 lines in 60000 ms"
    assert (burst.evidence["came"], burst.evidence["deviations"]) == (100, 28.46)
    [over] = minutes(state, [10], rates.WARM_UP + 2)
    assert (over.id, over.cleared) == (burst.id, ClearReason.RESOLVED)


def test_silence_is_a_rate_too() -> None:
    """A hundred a minute, then none: ten deviations less, told in the second minute."""
    state = LogState()
    assert minutes(state, [100] * rates.WARM_UP + [0]) == []
    [silent] = minutes(state, [0], rates.WARM_UP + 1)

    assert (silent.evidence["came"], silent.evidence["deviations"]) == (0, -10)
    assert "less" in silent.summary


def test_one_odd_minute_is_a_hiccup() -> None:
    """What is over in the next window is not told."""
    assert minutes(LogState(), [10] * rates.WARM_UP + [100, 10, 100, 10]) == []


def test_what_goes_on_becomes_usual() -> None:
    """A level that stays is told once and ends when half of the windows know it."""
    found = minutes(LogState(), [10] * rates.WARM_UP + [100] * rates.HISTORY)

    assert rules(found) == [(saying.RATE, FindingState.FIRING), (saying.RATE, FindingState.CLEARED)]


def test_templates_that_become_one_are_no_burst() -> None:
    """The minutes of both, side by side, are the minutes of the one."""
    counted = Rates()
    keys = [("prod", "shop", id) for id in "ab"]
    for minute in range(3):
        for key in keys:
            counted.take(key, T + minute * MINUTE)
    counted.tick(T + 2 * MINUTE + rates.GRACE)
    assert counted.rename({"b": "a"}) == []

    [track] = counted.tracks.values()
    assert (track.usual, track.counts) == ([2, 2], {T + 2 * MINUTE: 2})


IDS = st.sampled_from("abcdefgh")
RENAMES = [{"b": "a"}, {"d": "c", "a": "c"}, {"h": "g", "f": "g"}]


@given(st.lists(st.tuples(IDS, st.sampled_from("xyz"))), st.lists(st.frozensets(IDS, min_size=1)))
def test_a_merge_renames_a_template_wherever_it_is_known(
    lines: list[tuple[str, str]], sets: list[frozenset[str]]
) -> None:
    """Also what was renamed before, and after a restart."""
    known, requests, counted = Known(), Sessions(), Rates()
    for kind in sets:
        known.take(" ".join(sorted(kind)))
    for id, request in lines:
        requests.take(("prod", "shop", request), id, T)
        counted.take(("prod", "shop", id), T)
    for renames in RENAMES:
        for one in (known, requests, counted):
            one.rename(renames)
        known, requests = Known.load(known.save()), Sessions.load(requests.save())
        counted = Rates.load(counted.save())
    last = dict(zip("abcdefgh", "cccceggg", strict=True))

    merged = Counter(" ".join(sorted({last[id] for id in kind})) for kind in sets)
    assert known.counts == merged
    assert known.once == list(merged.values()).count(1)
    assert {key[2]: list(one.templates) for key, one in requests.open.items()} == {
        name: list(dict.fromkeys(last[id] for id, request in lines if request == name))
        for name in {request for _, request in lines}
    }
    assert {key[2]: one.counts[T] for key, one in counted.tracks.items()} == Counter(
        last[id] for id, _ in lines
    )


def shares_of(state: LogState, minutes: range, errors: int) -> list[Finding]:
    found: list[Finding] = []
    for minute in minutes:
        start = T + minute * MINUTE
        levels = [LogLevel.ERROR] * errors + [LogLevel.INFO] * (100 - errors)
        found += feed(state, *(line("took 1 ms", start, level) for level in levels))
        found += feed(state, Tick(start + MINUTE + rates.GRACE))
    return found


def test_a_share_that_rises_is_told_before_it_is_much() -> None:
    """1 % usually: 23 of the 33 minutes before the last lie far enough back, (0.5 + 23) / 2301 =
    1.021 %, and 2.24 % is looked for. Five in a hundred are worth 5 ln 2.19 - 95 * 0.0124 = 2.75
    nats a minute, so the fourth passes ln 10,000 = 9.2."""
    state = LogState()
    young = shares.WARM_UP + shares.LAG
    assert shares_of(state, range(young), 1) == []
    assert shares_of(state, range(young, young + 3), 5) == []
    [rise] = shares_of(state, range(young + 3, young + 4), 5)

    assert (rise.rule, rise.severity, rise.since) == (
        saying.SHARE,
        Severity.SEV4,
        T + young * MINUTE,
    )
    assert (rise.evidence["expected"], rise.evidence["came"]) == (
        "1.021% of the lines are errors", "5.000% in the last window",
    )  # fmt: skip
    assert rules(shares_of(state, range(young + 4, young + 40), 0)) == [
        (saying.SHARE, FindingState.CLEARED)
    ]


def session(state: LogState, number: int, *steps: str) -> list[Finding]:
    at = T + number * 2 * MINUTE
    found = feed(state, *(line(step, at, trace_id=f"t{number}") for step in steps))
    return found + feed(state, Tick(at + sessions.SILENCE))


def test_a_session_of_a_new_kind_is_told_when_it_is_over() -> None:
    """Two hundred orders, paid and shipped in any order and number; then one that was not paid."""
    state = LogState()
    for number in range(novelty.WARM_UP):
        steps = ["order paid", "order shipped", "order paid"][number % 2 :]
        assert [one for one in session(state, number, *steps) if one.rule == saying.SET] == []
    found = session(state, novelty.WARM_UP, "order shipped")

    assert rules(found) == [(saying.SET, FindingState.FIRING)]
    assert (found[0].evidence["came"], found[0].evidence["session"]) == (["order shipped"], "t200")


def test_nobody_is_watched_who_is_nobody() -> None:
    """A line without a service changes nothing."""
    state = LogState()
    unmapped = LogLine(identity=Identity("prod", ""), at=T, received_at=T, level=LogLevel.INFO,
                       message="took 1 ms")  # fmt: skip

    assert feed(state, unmapped) == []
    assert state.save() == LogState().save()


def test_every_table_has_a_bound() -> None:
    """Kinds, tracks, services and sessions go when there are too many, and are counted."""
    known, counted, share, open = (
        Known(most=4),
        Rates(most=2),
        shares.Shares(most=2),
        Sessions(most=2),
    )
    for name in "abcdefgh":
        known.take(name)
        counted.take(("prod", name, "x"), T)
        share.take(("prod", name), T, False)
        open.take(("prod", "shop", name), "x", T)

    assert (len(known.counts), known.forgotten) == (4, 4)
    assert known.once == 4
    assert (len(counted.tracks), counted.forgotten) == (2, 6)
    assert (len(share.services), share.forgotten) == (2, 6)
    assert (len(open.open), open.cut) == (2, 6)


ITEMS = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["took 1 ms", "order {0} paid", "session closed for user {0}", "{0}"]),
            st.sampled_from(["ann", "bob", "eve", "7", "x"]),
            st.sampled_from([LogLevel.INFO, LogLevel.ERROR]),
            st.sampled_from(["", "t1", "t2"]),
        ),
        st.sampled_from([SECOND, MINUTE, 20 * MINUTE]),
    ),
    max_size=40,
)


def items(drawn: list[Any]) -> list[LogLine | Tick]:
    now, made = T, []
    for one in drawn:
        if isinstance(one, int):
            now += one
            made.append(Tick(now))
        else:
            message, word, level, trace = one
            fields = {"trace_id": trace} if trace else {}
            made.append(line(message.format(word), now, level, **fields))
    return made


@settings(max_examples=60)
@given(ITEMS, st.integers(0, 40))
def test_neither_a_cut_nor_a_restart_is_seen(drawn: list[Any], cut: int) -> None:
    """One step or two, with the state saved, stored and loaded between them: the same edges and,
    bit for bit, the same state."""
    warm = [line("took 1 ms", T - MINUTE, trace_id=f"s{n}") for n in range(2 * novelty.WARM_UP)]
    all = [*warm, Tick(T + MINUTE), *items([MINUTE + SECOND, *drawn])]
    straight, before = LogState(), LogState()
    edges = watch.step(straight, all)
    cut += len(warm)
    first = watch.step(before, all[:cut])
    saved = json.loads(canonical.dumps(before.save()))
    after = LogState.load(saved)

    assert after.save() == before.save()
    assert first + watch.step(after, all[cut:]) == edges
    assert after.save() == straight.save()
