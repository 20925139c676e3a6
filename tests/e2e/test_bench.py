# SPDX-License-Identifier: Apache-2.0

"""``opx bench``: what its sender sends and counts, and how its figures are shown."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from typer.testing import CliRunner

from opx.adapters.wires import alerts as alert_wire
from opx.adapters.wires import documents as document_wire
from opx.adapters.wires import events as event_wire
from opx.adapters.wires import metrics as metric_wire
from opx.bench import alerts, halt, latency, page, sender
from opx.bench.alerts import GOALS, Run
from opx.bench.crash import numbered
from opx.bench.figures import Figure, share
from opx.bench.halt import Try
from opx.bench.sender import Connection, Plan, Sent
from opx.cli import bench, tree
from opx.core.correlate.episode import Episode
from opx.core.detect import rules
from opx.core.incident.incident import OVER, Incident
from opx.core.incident.keeping import Keep
from opx.core.ingest.signals import Alert, Event
from opx.engine.intake import Incoming

NOW = 1_800_000_000_000


# ------------------------------------------------------------------- what is sent


def test_alerts_are_all_different_and_of_twenty_services() -> None:
    """Two bodies of thirty are sixty alerts, told apart by what tells alerts apart."""
    bodies = sender.bodies("alerts", 30)
    items: list[Alert] = []
    for _ in range(2):
        parsed = alert_wire.parse(next(bodies), Incoming(now=NOW))
        assert parsed.refusals == []
        items += [item for item in parsed.batch.items if isinstance(item, Alert)]
    assert len({alert.fingerprint for alert in items}) == 60
    assert len({alert.identity.service for alert in items}) == 20


def test_points_are_taken_as_they_are() -> None:
    """A body of points is one batch of as many, none refused."""
    index = metric_wire.SeriesIndex()
    parsed = metric_wire.parse(index, next(sender.bodies("metrics", 20)), Incoming(now=NOW))
    assert (parsed.accepted, parsed.refusals) == (20, [])


def test_numbered_items_carry_their_numbers() -> None:
    """An alert's number is a label, an event's its id, a point's its millisecond."""
    numbers = range(5, 7)

    def body(made: object) -> bytes:
        return json.dumps(made).encode()

    told = alert_wire.parse(body(numbered.alerts(numbers, NOW)), Incoming(now=NOW)).batch.items
    assert [item.labels["number"] for item in told if isinstance(item, Alert)] == ["5", "6"]
    happened = event_wire.parse(body(numbered.events(numbers, NOW)), Incoming(now=NOW)).batch.items
    assert [item.id for item in happened if isinstance(item, Event)] == ["5", "6"]
    assert all(item.severity for item in happened if isinstance(item, Event))
    index = metric_wire.SeriesIndex()
    points = metric_wire.parse(
        index, body(numbered.points(numbers, NOW)), Incoming(now=NOW)
    ).batch.points
    assert points is not None
    assert points.at.tolist() == [NOW + 5, NOW + 6]


# ------------------------------------------------------------------- what is counted

Answer = Callable[[int], bytes | None]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 14\r\n\r\n" + b'{"accepted":1}'
BUSY = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 2\r\n\r\n{}"


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[int]:
    """Answers request number n, from 0, with ``answer(n)``; None: hangs up instead."""
    count = -1

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(
                    int(head.lower().partition(b"content-length:")[2].split()[0])
                )
                count += 1
                reply = answer(count)
                if reply is None:
                    break
                for part in (reply[:20], reply[20:]):  # an answer may come in pieces
                    writer.write(part)
                    await writer.drain()
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()


def test_a_connection_tells_the_status_and_is_made_anew_when_lost() -> None:
    """200, 202 with a body, a connection that is hung up on, and the next one."""
    answers = [OK, ACCEPTED, None, BUSY]

    async def ask() -> list[int]:
        async with server(lambda n: answers[n]) as port:
            connection = Connection(port)
            posted = sender.request(port, "/metrics", "t", b"[]")
            found = [await connection.ask(posted) for _ in answers]
            connection.close()
            return found

    assert asyncio.run(ask()) == [200, 202, 0, 429]


def test_nobody_listening_is_no_answer() -> None:
    """A port without a listener is status 0, not an error."""

    async def ask() -> int:
        async with server(lambda _: OK) as port:
            pass
        return await Connection(port).ask(b"")

    assert asyncio.run(ask()) == 0


def test_at_a_rate_a_request_takes_as_long_as_its_client_would_wait() -> None:
    """Twenty a second for half a second, and the first answer takes all of it: the nine that
    were due meanwhile have waited, 250 ms and more at the middle, although each that was sent
    at last was answered at once."""

    def stalls(n: int) -> bytes:
        time.sleep(0 if n else 0.5)
        return OK

    async def send() -> Sent:
        async with server(stalls) as port:
            plan = Plan(port=port, tokens=["t"], connections=1, seconds=0.5, rate=20)
            return await sender.send(plan)

    sent = asyncio.run(send())
    assert sent.accepted == 10
    assert sent.p50_ms >= 200


def test_only_what_was_answered_well_counts() -> None:
    """Every other request is refused: half of the items are accepted, by batches of five."""

    async def send() -> Sent:
        async with server(lambda n: OK if n % 2 else BUSY) as port:
            plan = Plan(port=port, tokens=["t"], batch=5, connections=1, seconds=1, rate=50)
            return await sender.send(plan)

    sent = asyncio.run(send())
    assert sent.accepted % 5 == 0
    requests = sent.accepted // 5
    assert requests > 0
    assert abs(sent.refused[429] - requests) <= 1


def test_a_rate_is_items_over_the_time_to_the_last_acknowledgement() -> None:
    """500 items acknowledged within two seconds are 250 a second."""
    sent = Sent(accepted=500, refused={}, began=1_000, ended=3_000, p50_ms=1, p99_ms=2)
    assert sent.rate == 250


def test_a_share_of_sorted_values() -> None:
    """Of 1 to 100, 99 in a hundred do not exceed 100, half do not exceed 51."""
    values = [float(n) for n in range(1, 101)]
    assert (share(values, 0.5), share(values, 0.99), share([], 0.5)) == (51, 100, 0)


# ------------------------------------------------------------------- figures


def ran(behind: int, incidents: int = 20, accepted: int = 1_000) -> Run:
    sent = Sent(accepted=accepted, refused={503: 2}, began=0, ended=1_000, p50_ms=1, p99_ms=2)
    return Run(sent=sent, behind=behind, lag=3, incidents=incidents)


def test_a_rate_that_opx_did_not_keep_up_with_does_not_count() -> None:
    """Behind by more than a second, or with another number of incidents: no figure."""
    assert ran(1_000).kept_up
    assert not ran(1_001).kept_up
    assert not ran(0, incidents=21).kept_up
    assert ran(3_000).visible_rate == 250
    late = alerts.figures(GOALS[0], [ran(3_000)])
    assert late[0].measured is None
    assert late[0].shown == "-"


def test_the_try_that_kept_up_gives_the_rate() -> None:
    """4,000 a second came to three seconds behind, 1,000 a second kept up: 1,000 it is."""
    found = alerts.figures(GOALS[0], [ran(3_000, accepted=4_000), ran(200)])
    assert (found[0].measured, found[0].anchor, found[0].must) == (1_000, "Keep 25/s", "2,000/s")
    assert "4,000/s, 3000 ms behind" in found[0].note


def tried(before: int, after: int, starts: int, took_ms: float = 8.0) -> Try:
    return Try(took_ms=took_ms, before=before, after=after, under_way=False, starts=starts)


@pytest.mark.parametrize(
    ("one", "begun"),
    [
        (tried(before=1, after=0, starts=1), 0),
        (tried(before=1, after=0, starts=0), 0),
        (tried(before=0, after=0, starts=1), 1),
        (tried(before=1, after=0, starts=3), 2),
        (tried(before=1, after=1, starts=1), 1),
    ],
)
def test_a_start_that_no_step_before_the_halt_explains_is_one_after_it(
    one: Try, begun: int
) -> None:
    """A step that was begun may end in one start or in none; any more, or a step that opx
    itself says it began later, was started after the halt."""
    assert one.begun == begun


def test_halts_are_summed_up() -> None:
    """The slowest acknowledgement of a few is their p99, and violations add up."""
    tries = [tried(1, 0, 1), tried(0, 0, 1, took_ms=40.0), tried(0, 0, 2, took_ms=20.0)]
    sent = Sent(accepted=1, refused={}, began=0, ended=1_000, p50_ms=1, p99_ms=2)
    took, steps = halt._figures(tries, sent)
    assert (took.measured, took.must, took.aim) == (0.04, "1 s", "0.1 s")
    assert (steps.measured, steps.must) == (3, "0")


def test_halts_that_came_after_every_step_measured_nothing() -> None:
    """Nothing could have been started after them: that is no 0."""
    sent = Sent(accepted=1, refused={}, began=0, ended=1_000, p50_ms=1, p99_ms=2)
    _, steps = halt._figures([tried(1, 0, 1), tried(1, 0, 1)], sent)
    assert steps.measured is None
    assert "nothing measured" in steps.note


def test_incidents_of_the_past_are_over_and_still_kept() -> None:
    """All different, each with its episode, none so old that it would be forgotten meanwhile,
    none open, so that nothing but their number is in the way."""
    numbers = (0, 1, page.PAST // 2, page.PAST - 1)
    rows = [row for number in numbers for row in page._past(number, NOW)]
    incidents = [row for row in rows if isinstance(row, Incident)]
    assert len({one.id for one in incidents}) == len(numbers)
    assert [one.episode for one in incidents] == [r.id for r in rows if isinstance(r, Episode)]
    assert all(one.status in OVER for one in incidents)
    assert all(NOW - Keep().incidents < one.updated_at < NOW for one in incidents)
    assert [one.opened_at for one in incidents] == sorted(one.opened_at for one in incidents)


def test_the_rule_that_is_breached_is_a_rule() -> None:
    """It is about the metric that is sent, and one window of a second is enough."""
    (document,) = document_wire.parse_yaml(latency._RULE, "bench")
    rule = rules.bind_rule(document)
    assert isinstance(rule.check, rules.Threshold)
    assert (rule.check.series.metric, rule.check.window) == (latency.METRIC, 1_000)
    assert rule.hold == 0
    assert rule.check.limit.breached(1_000.0)


FIGURES = [
    Figure(name="alerts", unit="/s", measured=6_000, anchor="Keep 25/s", must="2,000/s"),
    Figure(name="odd [name]", unit="s", measured=None, note="it could not be"),
]


def test_the_table_shows_each_figure_beside_its_anchor(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What was measured, what it is held against, and why something is missing."""
    assert bench.conclude(FIGURES, {}, 7, as_json=False) == 0
    shown = capsys.readouterr().out
    for words in ("seed 7", "6,000 /s", "Keep 25/s", "2,000/s", "odd [name]", "it could not be"):
        assert words in shown


def test_json_has_everything_and_failure_is_exit_one(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json all fields are there; what could not be measured is named, and exits 1."""
    assert bench.conclude(FIGURES, {"idle": "no [watcher]"}, 4, as_json=True) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["seed"], told["failed"]) == (4, {"idle": "no [watcher]"})
    assert [one["measured"] for one in told["figures"]] == [6_000, None]
    assert told["figures"][0]["must"] == "2,000/s"

    assert bench.conclude([], {"idle": "no [watcher]"}, 4, as_json=False) == 1
    assert "no [watcher]" in capsys.readouterr().out


def test_only_what_is_known_can_be_measured() -> None:
    """Another word than those that are known is wrong usage, exit 2."""
    shown = CliRunner().invoke(tree.app, ["bench", "everything"])
    assert shown.exit_code == 2
    assert "recovery" in shown.output


def test_the_help_names_every_figure_and_how_long_it_takes() -> None:
    """Each word, and the defaults, which differ from figure to figure."""
    words = " ".join(CliRunner().invoke(tree.app, ["bench", "--help"]).output.split())
    options = CliRunner().invoke(tree.app, ["bench", "figures", "--help"]).output
    assert all(f"{what}" in words for what in bench.What)
    assert "crash 60" in options
