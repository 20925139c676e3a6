# SPDX-License-Identifier: Apache-2.0

"""Health probes: who is asked when, and what the answers come to."""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import replace

import pytest

from opx.core.base.reads import Answer, Probe, ProbeKind, ProbeRead
from opx.core.base.time import HOUR, SECOND, Ms
from opx.core.detect import probes
from opx.core.detect.finding import ClearReason, Finding, FindingKind, FindingState
from opx.core.detect.probes import Failure, ProbeState
from opx.core.ingest.services import Catalogue, Health, Service
from opx.core.ingest.signals import Identity, Severity

T: Ms = 1_767_225_600_000
KEY = "playground/orders"
Answered = tuple[ProbeRead, Answer]
PROBE = Probe(kind=ProbeKind.HTTP, address="http://127.0.0.1:9101/health")


def catalogue(failures: int = 2, interval: Ms = SECOND, *names: str) -> Catalogue:
    services = [
        Service(
            name=name,
            environment="playground",
            health=Health(
                probe=PROBE, interval=interval, failures=failures, severity=Severity.SEV1
            ),
        )
        for name in names or ("orders",)
    ]
    return Catalogue(services={(s.environment, s.name): s for s in services})


def asking(known: Catalogue, *findings: Finding) -> ProbeState:
    """A state, after a restart with these open findings, that knows its services."""
    state = ProbeState.load(findings)
    assert probes.bind(state, known, T) == []
    return state


def answered(at: Ms, ok: bool | None, key: str = KEY, probe: Probe = PROBE) -> Answered:
    detail = "" if ok else "connection refused"
    answer = Answer(key=key, at=T + at, ok=ok, latency_ms=1.5, detail=detail)
    return ProbeRead(key=key, probe=probe), answer


def told(state: ProbeState, *answers: tuple[Ms, bool | None]) -> list[Finding]:
    """Feed one answer after another; times are after ``T``."""
    return [finding for at, ok in answers for finding in probes.step(state, [answered(at, ok)])]


def due(state: ProbeState, at: Ms) -> list[str]:
    return [read.key for read in probes.needs(state, T + at)]


def test_a_service_nobody_has_asked_is_due_at_once_and_then_every_interval() -> None:
    """The read carries the service's own probe under its key. Its turn is where its key says
    within the interval, not an interval after the last answer."""
    state = asking(catalogue(2, 3 * SECOND))

    [read] = probes.needs(state, T)
    assert (read.key, read.probe) == (KEY, PROBE)
    turn = 3 * SECOND - (T - zlib.crc32(KEY.encode())) % (3 * SECOND)
    told(state, (0, True))
    assert due(state, turn - 1) == []
    assert due(state, turn) == [KEY]
    told(state, (turn + 40, True))
    assert due(state, turn + 3 * SECOND - 1) == []
    assert due(state, turn + 3 * SECOND) == [KEY]


def test_services_that_were_asked_together_do_not_stay_together() -> None:
    """Of a thousand with an interval of a second, after the first time hardly any two are due
    in one instant, and no tenth of the second has more than twice its share."""
    names = [f"s{number}" for number in range(1000)]
    state = asking(catalogue(2, SECOND, *names))
    assert len(probes.needs(state, T)) == 1000

    probes.step(state, [answered(0, True, f"playground/{name}") for name in names])

    dues = [track.due_at for track in state.tracks.values()]
    assert all(T < at <= T + SECOND for at in dues)
    assert max(Counter((at - T - 1) // 100 for at in dues).values()) < 200
    assert max(Counter(dues).values()) < 10


def test_a_service_without_a_health_probe_is_not_asked() -> None:
    """There is nothing to ask it."""
    service = Service(name="batch", environment="playground")

    assert due(asking(Catalogue(services={("playground", "batch"): service})), 0) == []


def test_a_first_no_is_asked_again_early() -> None:
    """A quarter of a second later at most; once the finding is out, at the usual pace again."""
    state = asking(catalogue(2, HOUR))

    told(state, (0, False))
    assert due(state, 249) == []
    assert due(state, 250) == [KEY]
    told(state, (250, False))
    assert due(state, 10 * SECOND) == []


def test_an_interval_under_a_quarter_of_a_second_stays_what_it_is() -> None:
    """Asking early is never asking later."""
    state = asking(catalogue(2, 100))

    told(state, (0, False))

    assert due(state, 100) == [KEY]


def test_a_clock_that_was_set_back_stops_nobody_from_being_asked() -> None:
    """A turn that is further off than the interval is no turn."""
    state = asking(catalogue(2, SECOND))
    told(state, (0, True))

    assert due(state, -HOUR) == [KEY]


def test_a_new_interval_holds_at_once() -> None:
    """From an hour to a second: it is not an hour until that is noticed."""
    state = asking(catalogue(2, HOUR))
    told(state, (0, True))

    assert probes.bind(state, catalogue(2, SECOND), T + 1) == []

    assert due(state, SECOND) == [KEY]


def test_enough_noes_in_a_row_are_a_symptom() -> None:
    """It begins with the first no, is seen at the last, and shows all the answers."""
    [finding] = told(asking(catalogue(3)), (0, False), (250, False), (500, False))

    assert finding.id == Finding.id_of("health-probe", KEY, T + 500)
    assert finding.identity == Identity("playground", "orders")
    assert (finding.kind, finding.state) == (FindingKind.SYMPTOM, FindingState.FIRING)
    assert (finding.severity, finding.since, finding.at) == (Severity.SEV1, T, T + 500)
    assert finding.summary == "orders failed its health probe 3 times in a row: connection refused"
    assert finding.evidence["failure"] == Failure.REFUSED
    assert finding.evidence["probe"] == "http http://127.0.0.1:9101/health"
    assert finding.evidence["answers"] == [
        {"at": T + at, "ok": False, "detail": "connection refused", "latency_ms": 1.5}
        for at in (0, 250, 500)
    ]


@pytest.mark.parametrize(
    ("answers", "edges"),
    [
        ([(0, False), (1, True), (2, False)], []),
        ([(0, False), (1, None), (2, False)], [FindingState.FIRING]),
        ([(0, None), (1, None), (2, None), (3, None)], []),
        ([(0, False), (1, False), (2, False), (3, False)], [FindingState.FIRING]),
        ([(0, False), (1, False), (2, None)], [FindingState.FIRING]),
        (
            [(0, False), (1, False), (2, True), (3, True)],
            [FindingState.FIRING, FindingState.CLEARED],
        ),
        (
            [(0, False), (1, False), (2, True), (3, False), (4, False)],
            [FindingState.FIRING, FindingState.CLEARED, FindingState.FIRING],
        ),
    ],
    ids=["a yes resets", "unknown is neither", "silence", "once", "not well", "well", "again"],
)
def test_edges(answers: list[tuple[Ms, bool | None]], edges: list[FindingState]) -> None:
    """Two noes with no yes between them fire; the first yes clears; unknown does neither."""
    found = told(asking(catalogue(2)), *answers)

    assert [finding.state for finding in found] == edges


def test_what_could_not_be_asked_stays_in_the_evidence() -> None:
    """A None between two noes is shown with them."""
    [finding] = told(asking(catalogue(2)), (0, False), (1, None), (2, False))

    answers = finding.evidence["answers"]
    assert isinstance(answers, list)
    assert [answer["ok"] for answer in answers] == [False, None, False]
    assert finding.evidence["failures"] == 2


def test_an_answer_told_twice_counts_once() -> None:
    """One no, however often it is told, is one no."""
    assert told(asking(catalogue(2)), (5, False), (5, False), (5, False)) == []


def test_the_first_yes_clears_with_the_answer_that_said_so() -> None:
    """The finding keeps its id and its beginning."""
    fired, cleared = told(asking(catalogue(1)), (0, False), (900, True))

    assert (cleared.id, cleared.since) == (fired.id, T)
    assert (cleared.cleared, cleared.at) == (ClearReason.RESOLVED, T + 900)


@pytest.mark.parametrize(
    "left",
    [
        Catalogue(),
        Catalogue(
            services={("playground", "orders"): Service(name="orders", environment="playground")}
        ),
    ],
    ids=["no service", "no probe"],
)
def test_what_nobody_will_ask_again_is_withdrawn(left: Catalogue) -> None:
    """A service that is gone, or has no probe any more, could never be well again."""
    state = asking(catalogue(1))
    [fired] = told(state, (0, False))

    [cleared] = probes.bind(state, left, T + SECOND)

    assert (cleared.id, cleared.cleared) == (fired.id, ClearReason.WITHDRAWN)
    assert cleared.at == T + SECOND
    assert (due(state, HOUR), told(state, (2 * SECOND, True))) == ([], [])


def test_what_was_withdrawn_while_opx_was_down_is_withdrawn_at_its_start() -> None:
    """The open finding is known from the store, and the service is not in the catalogue."""
    [fired] = told(asking(catalogue(1)), (0, False))

    [cleared] = probes.bind(ProbeState.load([fired]), Catalogue(), T + SECOND)

    assert (cleared.id, cleared.cleared) == (fired.id, ClearReason.WITHDRAWN)


def test_the_answer_to_a_question_that_was_replaced_says_nothing() -> None:
    """The probe was changed while it was under way: the noes of the old do not count."""
    state, other = asking(catalogue(2)), replace(PROBE, address="http://127.0.0.1:9102/health")
    told(state, (0, False))
    services = catalogue(2).services
    moved = {
        key: replace(one, health=replace(one.health, probe=other)) for key, one in services.items()
    }

    assert probes.bind(state, Catalogue(services=moved), T + 1) == []

    assert told(state, (2, False), (3, False)) == []
    assert probes.step(state, [answered(4, False, probe=other)]) == []
    assert len(probes.step(state, [answered(5, False, probe=other)])) == 1


@pytest.mark.parametrize(
    ("kind", "detail", "failure"),
    [
        (ProbeKind.HTTP, "connection refused", Failure.REFUSED),
        (ProbeKind.TCP, "[Errno 111] Connection refused", Failure.REFUSED),
        (ProbeKind.HTTP, "timed out after 1000 ms", Failure.TIMED_OUT),
        (ProbeKind.HTTP, "status 503", Failure.UNWELL),
        (ProbeKind.HTTP, "", Failure.UNWELL),
        (ProbeKind.PROCESS, "process FATAL", Failure.NOT_RUNNING),
    ],
)
def test_how_a_probe_failed(kind: ProbeKind, detail: str, failure: Failure) -> None:
    """Dead and hung are told apart by the probe's words."""
    answer = Answer(key=KEY, at=T, ok=False, detail=detail)

    assert probes.failure_of(kind, answer) is failure


def test_services_are_counted_apart() -> None:
    """One's noes say nothing of another."""
    state, other = asking(catalogue(2, SECOND, "orders", "store")), "playground/store"

    assert probes.step(state, [answered(0, False), answered(0, False, other)]) == []

    found = probes.step(state, [answered(250, False, other), answered(250, True)])
    assert [finding.stream for finding in found] == [other]


def test_a_restart_still_clears_what_was_firing() -> None:
    """A loaded state does not fire it again, and clears it at the first yes."""
    [fired] = told(asking(catalogue(1)), (0, False))
    loaded = asking(catalogue(1), fired)

    assert told(loaded, (1, False)) == []
    [cleared] = told(loaded, (2, True))
    assert (cleared.id, cleared.state) == (fired.id, FindingState.CLEARED)
