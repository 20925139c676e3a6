# SPDX-License-Identifier: Apache-2.0

"""Health probes: who is asked when, and what the answers come to."""

from __future__ import annotations

import pytest

from opx.core.base.reads import Answer, Probe, ProbeKind
from opx.core.base.time import SECOND, Ms
from opx.core.detect import probes
from opx.core.detect.finding import ClearReason, Finding, FindingKind, FindingState
from opx.core.detect.probes import Failure, ProbeState
from opx.core.ingest.services import Catalogue, Health, Service
from opx.core.ingest.signals import Identity, Severity

T: Ms = 1_767_225_600_000
KEY = "playground/orders"
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


def told(state: ProbeState, known: Catalogue, *answers: tuple[Ms, bool | None]) -> list[Finding]:
    """Feed one answer after another; times are after ``T``."""
    found = []
    for at, ok in answers:
        detail = "" if ok else "connection refused"
        answer = Answer(key=KEY, at=T + at, ok=ok, latency_ms=1.5, detail=detail)
        found += probes.step(state, known, {KEY: answer}, T + at)
    return found


def due(state: ProbeState, known: Catalogue, at: Ms) -> list[str]:
    return [read.key for read in probes.needs(state, known, T + at)]


def test_a_service_nobody_has_asked_is_due_at_once_and_then_every_interval() -> None:
    """The read carries the service's own probe under its key."""
    state, known = ProbeState(), catalogue(2, 3 * SECOND)

    [read] = probes.needs(state, known, T)
    assert (read.key, read.probe) == (KEY, PROBE)
    told(state, known, (0, True))
    assert due(state, known, 3 * SECOND - 1) == []
    assert due(state, known, 3 * SECOND) == [KEY]


def test_a_service_without_a_health_probe_is_not_asked() -> None:
    """There is nothing to ask it."""
    service = Service(name="batch", environment="playground")

    assert (
        probes.needs(ProbeState(), Catalogue(services={("playground", "batch"): service}), T) == []
    )


def test_a_first_no_is_asked_again_early() -> None:
    """A quarter of a second later; once the finding is out, at the usual pace again."""
    state, known = ProbeState(), catalogue(2, 5 * SECOND)

    told(state, known, (0, False))
    assert due(state, known, 249) == []
    assert due(state, known, 250) == [KEY]
    told(state, known, (250, False))
    assert due(state, known, 250 + 5 * SECOND - 1) == []
    assert due(state, known, 250 + 5 * SECOND) == [KEY]


def test_an_interval_under_a_quarter_of_a_second_stays_what_it_is() -> None:
    """Asking early is never asking later."""
    state, known = ProbeState(), catalogue(2, 100)

    told(state, known, (0, False))

    assert due(state, known, 100) == [KEY]


def test_enough_noes_in_a_row_are_a_symptom() -> None:
    """It begins with the first no, is seen at the last, and shows all the answers."""
    [finding] = told(ProbeState(), catalogue(3), (0, False), (250, False), (500, False))

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
    found = told(ProbeState(), catalogue(2), *answers)

    assert [finding.state for finding in found] == edges


def test_what_could_not_be_asked_stays_in_the_evidence() -> None:
    """A None between two noes is shown with them."""
    [finding] = told(ProbeState(), catalogue(2), (0, False), (1, None), (2, False))

    answers = finding.evidence["answers"]
    assert isinstance(answers, list)
    assert [answer["ok"] for answer in answers] == [False, None, False]
    assert finding.evidence["failures"] == 2


def test_an_answer_told_twice_counts_once() -> None:
    """Repeats and answers that were overtaken change nothing."""
    found = told(ProbeState(), catalogue(2), (5, False), (5, False), (4, False))

    assert found == []


def test_the_first_yes_clears_with_the_answer_that_said_so() -> None:
    """The finding keeps its id and its beginning."""
    fired, cleared = told(ProbeState(), catalogue(1), (0, False), (900, True))

    assert (cleared.id, cleared.since) == (fired.id, T)
    assert (cleared.cleared, cleared.at) == (ClearReason.RESOLVED, T + 900)


def test_a_service_that_leaves_the_catalogue_clears_its_finding() -> None:
    """Nobody will ask it again, so nobody could ever clear it."""
    state = ProbeState()
    told(state, catalogue(1), (0, False))

    [cleared] = probes.step(state, Catalogue(), {}, T + SECOND)

    assert (cleared.stream, cleared.cleared, cleared.at) == (KEY, ClearReason.EXPIRED, T + SECOND)
    assert state.tracks == {}


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
    state, known = ProbeState(), catalogue(2, SECOND, "orders", "store")
    other = "playground/store"

    for key in (KEY, other):
        assert probes.step(state, known, {key: Answer(key=key, at=T, ok=False)}, T) == []
    answers = {key: Answer(key=key, at=T + 250, ok=key == other) for key in (KEY, other)}

    assert [f.stream for f in probes.step(state, known, answers, T + 250)] == [KEY]


def test_a_restart_still_clears_what_was_firing() -> None:
    """A loaded state does not fire it again, and clears it at the first yes."""
    [fired] = told(ProbeState(), catalogue(1), (0, False))
    loaded = ProbeState.load([fired])

    assert told(loaded, catalogue(1), (1, False)) == []
    [cleared] = told(loaded, catalogue(1), (2, True))
    assert (cleared.id, cleared.state) == (fired.id, FindingState.CLEARED)
