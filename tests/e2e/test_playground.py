# SPDX-License-Identifier: Apache-2.0

"""The playground by itself: real processes, broken and healed, and judged by their users."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from opx import packs
from opx.app import documents as app_documents
from opx.cli import playground as cli
from opx.core.base import addresses
from opx.core.base.documents import Node
from opx.core.decide.case import Policy
from opx.core.decide.runbooks import Runbook
from opx.core.detect.rules import DetectionRule
from opx.core.ingest.services import Service
from opx.core.ingest.signals import Severity
from opx.errors import BadInput, Conflict, NotFound, Unavailable
from opx.playground import documents, layout, processes, system
from opx.playground.layout import Layout, Started
from opx.playground.shop import collector, files, load, wire
from opx.playground.system import How, Playground, ServiceStatus

WITHIN_S = 10.0


@pytest.fixture(scope="module")
def playground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Playground]:
    up = Playground.up(tmp_path_factory.mktemp("shop") / "a shop")
    yield up
    up.down()


def of(playground: Playground, service: str) -> ServiceStatus:
    return next(one for one in playground.status().services if one.name == service)


def until_well(playground: Playground, service: str, after: int) -> int:
    healthy = processes.wait_for(
        lambda: playground.judge.healthy_at(service, after), WITHIN_S, f"{service}'s users"
    )
    assert healthy is not None
    return healthy


def sleeper(folder: Path) -> Started:
    return processes.spawn(["-c", "import time; time.sleep(60)"], folder / "sleeper.log")


def asked(playground: Playground, service: str, path: str) -> int:
    return asyncio.run(wire.ask(playground.layout.ports[service], path, 5))


def scraped(playground: Playground, service: str) -> dict[str, float]:
    """The service's metrics by name, without their labels."""
    address = f"{playground.layout.address(service)}/metrics"
    with urllib.request.urlopen(address, timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    samples = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    return {name.partition("{")[0]: float(value) for name, _, value in samples}


def until_users(playground: Playground, what: str, after: int) -> None:
    """Until all users are well, none counted from before ``after``."""
    processes.wait_for(
        lambda: playground.judge.well_since(layout.ENTRANCE, after), WITHIN_S, f"users after {what}"
    )


def test_what_is_up_runs_as_six_processes_and_serves_its_users(playground: Playground) -> None:
    """Up means that each of the six runs as a process of its own, and that users are served."""
    status = playground.status()
    assert status.running
    assert status.load
    assert not status.collector, "there is no opx to collect for"
    assert {one.name for one in status.services} == set(layout.EVERY)
    assert {one.state for one in status.services} == {"RUNNING"}
    assert len({one.pid for one in status.services}) == 6
    began = processes.now()
    for service in layout.SERVICES:
        processes.wait_for(
            lambda name=service: playground.judge.well_since(name, began), WITHIN_S, "users"
        )


def test_a_killed_service_stays_down_until_somebody_starts_it(playground: Playground) -> None:
    """Nothing but a person or opx brings a killed service back, and its users notice both."""
    before = playground.starts("payments")
    at = playground.break_("payments", How.KILL)
    processes.wait_for(
        lambda: playground.judge.failures("payments", at) >= 5, WITHIN_S, "users to be hurt"
    )
    dead = of(playground, "payments")
    assert (dead.state, dead.pid, dead.starts) == ("EXITED", 0, before)
    with pytest.raises(Unavailable):
        playground.break_("payments", How.KILL)

    healed = processes.now()
    playground.heal("payments")
    healthy = until_well(playground, "payments", at)
    hurt = playground.judge.hurt_at("payments", at)
    assert hurt is not None
    assert at <= hurt < healed <= healthy
    assert playground.starts("payments") == before + 1
    assert playground.judge.hurt_at("worker", at) is None, "its users do not need payments"


def test_a_hung_service_is_there_and_does_not_answer(playground: Playground) -> None:
    """A hang leaves the process in place; it goes on where it was, without a new start."""
    before = of(playground, "store")
    port = playground.layout.ports["store"]
    assert asked(playground, "store", "/health") == 200
    at = playground.break_("store", How.HANG)
    assert asyncio.run(wire.ask(port, "/health", 0.3)) == 504
    hung = of(playground, "store")
    assert (hung.hung, hung.pid, hung.state) == (True, before.pid, "RUNNING")
    processes.wait_for(lambda: playground.judge.hurt_at("store", at), WITHIN_S, "users to be hurt")

    playground.heal("store")
    until_well(playground, "store", at)
    after = of(playground, "store")
    assert (after.hung, after.pid, after.starts) == (False, before.pid, before.starts)


def test_a_restart_by_a_person_is_one_start_and_leaves_users_well(playground: Playground) -> None:
    """A restart with nothing wrong counts as one start, of a new process, and all is well."""
    before = of(playground, "orders")
    at = playground.restart("orders")
    processes.wait_for(lambda: playground.judge.well_since("orders", at), WITHIN_S, "users")
    after = of(playground, "orders")
    assert after.starts == before.starts + 1
    assert after.pid != before.pid


def test_services_count_what_they_serve(playground: Playground) -> None:
    """A service says in Prometheus' text form how much it has served, and for whom it speaks."""
    first = scraped(playground, "gateway")["playground_requests_total"]
    processes.wait_for(
        lambda: scraped(playground, "gateway")["playground_requests_total"] > first,
        WITHIN_S,
        "requests to be counted",
    )
    with urllib.request.urlopen(f"{playground.layout.address('orders')}/metrics") as answer:
        text = answer.read().decode()
    assert 'playground_requests_total{environment="playground",service="orders"} ' in text


def test_a_spoilt_configuration_keeps_a_service_down(playground: Playground) -> None:
    """Tampering shows at the next start: the service ends at once, says which line is missing,
    and stays down until its file is well again; the change has left word of who made it."""
    where, before = playground.layout, playground.starts("worker")
    done = playground.broken("worker", How.TAMPER)
    assert done.starts == 1
    processes.wait_for(lambda: of(playground, "worker").state == "EXITED", WITHIN_S, "its end")
    assert playground.starts("worker") == before + 1
    assert "has no 'currency'" in processes.tail(where.log("worker"), 3)
    assert where.config("worker").with_name("worker.json.changed-by").read_text() == "mallory\n"
    assert collector.digest(where.config("worker")) != collector.digest(where.good("worker"))
    playground.supervisor.start("worker")
    processes.wait_for(lambda: of(playground, "worker").state == "EXITED", WITHIN_S, "its end")

    playground.heal("worker")
    until_well(playground, "worker", done.at)
    assert collector.digest(where.config("worker")) == collector.digest(where.good("worker"))
    assert [one.name for one in where.config("worker").parent.glob("*.changed-by")] == []


def test_a_bad_release_fails_its_users_and_is_well_by_itself(playground: Playground) -> None:
    """A bad release answers its paths with 500 while its health is fine. It counts the errors as
    its own, its caller counts them as another's, and neither counts the time they took."""
    done = playground.broken("payments", How.BAD_RELEASE)
    assert files.current(playground.layout, "payments") == "v2"
    processes.wait_for(
        lambda: playground.judge.failures("payments", done.at) >= 5, WITHIN_S, "users to be hurt"
    )
    assert asked(playground, "payments", "/health") == 200
    assert asked(playground, "payments", "/pay") == 500
    assert asked(playground, "orders", "/order") == 502
    guilty, caller = scraped(playground, "payments"), scraped(playground, "orders")
    assert guilty["playground_errors_total"] == guilty["playground_requests_total"] > 0
    assert guilty["playground_upstream_errors_total"] == 0
    assert guilty["playground_request_seconds_count"] == 0
    assert (caller["playground_errors_total"], caller["playground_upstream_errors_total"] > 0) == (
        0,
        True,
    )
    (told,) = changes(playground, "opx.release.deployed")
    assert told["data"] == {"release": "v2", "previous": "v1", "actor": "deploy-bot"}

    playground.heal("payments")
    until_well(playground, "payments", done.at)
    assert files.current(playground.layout, "payments") == "v1"


def test_after_a_bad_release_the_next_is_no_better_a_place_to_go_back_to(
    playground: Playground,
) -> None:
    """What was deployed and taken back is gone when something else is deployed: the release
    before is always one that was well."""
    where = playground.layout
    for _ in range(2):
        done = playground.broken("orders", How.BAD_RELEASE)
        releases = sorted(one.name for one in (where.app("orders") / "releases").iterdir())
        assert (files.current(where, "orders"), releases) == ("v2", ["v1", "v2"])
        made = [(where.app("orders") / "releases" / name).stat().st_mtime_ns for name in releases]
        assert made[0] < made[1]
        playground.heal("orders")
        until_users(playground, "a bad release", done.at)


FORKS = """
import os, signal, sys, time
signal.signal(signal.SIGUSR2, lambda *_: None)
child = os.fork()
if child:
    print(child, flush=True)
    sys.stdin.read()
    os.kill(child, signal.SIGKILL)
else:
    time.sleep(60)
"""


def test_a_fork_that_is_not_its_own_program_yet_catches_nothing() -> None:
    """supervisord catches SIGUSR2, and so does, to all appearances, what it has just forked:
    the same signal a moment later, after the exec and before its own handler, ends it."""
    with subprocess.Popen(
        [sys.executable, "-c", FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert processes.catches(parent.pid, signal.SIGUSR2)
        assert not processes.catches(parent.pid, signal.SIGUSR1)
        assert not processes.catches(child, signal.SIGUSR2)


def test_what_is_slow_hurts_and_a_restart_cures_it(playground: Playground) -> None:
    """A slow store answers every user well and too late, and is healthy by its own account; the
    slowness lives in the process, so that a restart ends it, and so does a person."""
    at = playground.break_("store", How.SLOW)
    hurt = processes.wait_for(lambda: playground.judge.hurt_at("store", at), WITHIN_S, "users")
    assert hurt is not None
    assert asked(playground, "store", "/health") == 200
    assert asked(playground, "gateway", "/buy") == 200
    playground.restart("store")
    until_well(playground, "store", at)

    before = of(playground, "store").pid
    again = playground.break_("store", How.SLOW)
    processes.wait_for(lambda: playground.judge.hurt_at("store", again), WITHIN_S, "users")
    playground.heal("store")
    until_well(playground, "store", again)
    assert of(playground, "store").pid == before


def test_what_is_broken_for_good_ends_at_each_start(playground: Playground) -> None:
    """No number of starts helps, and each is counted, until somebody finds out why."""
    before = playground.starts("gateway")
    at = playground.break_("gateway", How.BROKEN_START)
    for number in range(3):
        processes.wait_for(lambda: of(playground, "gateway").pid == 0, WITHIN_S, "its end")
        if number < 2:
            playground.supervisor.start("gateway")
    assert playground.starts("gateway") == before + 2
    assert "refuses to start" in processes.tail(playground.layout.log("gateway"), 3)
    playground.heal("gateway")
    until_well(playground, "gateway", at)


def test_a_change_made_as_it_ought_to_be_is_no_drift(playground: Playground) -> None:
    """A person's change is in the good copy too, is told, and hurts nobody."""
    where, before = playground.layout, collector.digest(playground.layout.config("orders"))
    done = playground.broken("orders", How.BENIGN_CONFIG)
    assert (
        collector.digest(where.config("orders")) == collector.digest(where.good("orders")) != before
    )
    (told,) = changes(playground, "opx.config.changed")
    assert (told["service"], told["data"]["actor"]) == ("orders", "alice")
    playground.restart("orders")
    until_users(playground, "a change", done.at)


def test_a_spike_brings_many_users_until_it_ends(playground: Playground) -> None:
    """Four times as many come, until a person ends it or it ends by itself."""
    usual = load.RATE * 2
    at = playground.break_("users", How.LOAD_SPIKE)
    processes.wait_for(lambda: made(playground, at, at + 2_000), WITHIN_S, "two seconds")
    assert made(playground, at, at + 2_000) > 2 * usual
    playground.heal("users")
    over = processes.now()
    processes.wait_for(lambda: made(playground, over, over + 2_000), WITHIN_S, "two seconds")
    assert made(playground, over, over + 2_000) <= usual + 2


def test_nobody_needs_the_mailer(playground: Playground) -> None:
    """It is a service with a health of its own, and no user's path leads through it."""
    at = playground.break_("mailer", How.KILL)
    until_users(playground, "the mailer's end", at)
    assert of(playground, "mailer").state == "EXITED"
    assert playground.judge.hurt_at(layout.ENTRANCE, at) is None
    playground.heal("mailer")
    processes.wait_for(lambda: of(playground, "mailer").pid, WITHIN_S, "the mailer")


def made(playground: Playground, start: int, end: int) -> int:
    """How many requests users made within that time; 0 while it is not over."""
    lines = playground.layout.samples.read_text().splitlines()
    times = sorted(json.loads(line)["at"] for line in lines if line.endswith("}"))
    return sum(start <= at < end for at in times) if times[-1] > end + 1_500 else 0


def changes(playground: Playground, type: str) -> list[dict[str, Any]]:
    """What was said to have been changed since it was asked last."""
    file = playground.layout.changes
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    file.unlink()
    return [line for line in lines if line["type"] == type]


def test_only_what_exists_can_be_broken(playground: Playground) -> None:
    """A target that is not there is named, together with those that are."""
    with pytest.raises(BadInput, match="no 'ordres'"):
        playground.break_("ordres", How.KILL)
    with pytest.raises(NotFound, match="no opx is known"):
        playground.break_("brain", How.KILL)
    with pytest.raises(BadInput, match="users cannot be broken by a kill"):
        playground.break_("users", How.KILL)
    with pytest.raises(BadInput, match="orders cannot be broken by a load-spike"):
        playground.break_("orders", How.LOAD_SPIKE)
    with pytest.raises(NotFound, match="does not know of an opx"):
        playground.heal("collector")


def test_a_process_of_opx_is_broken_by_the_pid_it_published(
    playground: Playground, tmp_path: Path
) -> None:
    """opx says in ``pids.json`` which its processes are; those can be hung and killed."""
    brain = sleeper(tmp_path)
    (tmp_path / "pids.json").write_text(json.dumps({"brain": brain.pid}))
    playground.attach(tmp_path)
    playground.break_("brain", How.HANG)
    processes.wait_for(lambda: processes.stopped(brain.pid), WITHIN_S, "brain to hang")
    playground.heal("brain")
    processes.wait_for(lambda: not processes.stopped(brain.pid), WITHIN_S, "brain to go on")
    playground.break_("brain", How.KILL)
    processes.wait_for(lambda: not processes.alive(brain), WITHIN_S, "brain to be dead")
    with pytest.raises(Unavailable):
        playground.break_("hands", How.KILL)


def test_a_second_up_is_refused_and_the_command_line_shows_the_first(
    playground: Playground,
) -> None:
    """One folder holds one playground; ``status --json`` says how it is."""
    folder = playground.layout.folder
    with pytest.raises(Conflict):
        Playground.up(folder)
    shown = CliRunner().invoke(cli.app, ["status", "--json", "--folder", str(folder)])
    assert shown.exit_code == 0
    status = json.loads(shown.stdout)
    assert status["running"] is True
    assert [one["state"] for one in status["services"]] == ["RUNNING"] * 6


def test_a_folder_that_supervisord_cannot_be_told_of_is_refused(tmp_path: Path) -> None:
    """supervisord reads a % as its own: such a folder is refused before anything starts."""
    with pytest.raises(BadInput, match="%"):
        Playground.up(tmp_path / "100% real")


def test_the_supervisor_is_for_its_owner_only(playground: Playground) -> None:
    """Who can speak to the supervisor can start anything: its socket is its owner's, and no
    password is in its files nor among the arguments of its processes."""
    where = playground.layout
    assert where.socket.stat().st_mode & 0o777 == 0o700
    assert where.socket.parent.stat().st_mode & 0o777 == 0o700
    files = (where.file, where.folder / "supervisord.conf")
    assert not [file for file in files if "password" in file.read_text()]
    members = processes.of_session(where.supervisord)
    lines = [Path(f"/proc/{one.pid}/cmdline").read_bytes() for one in members]
    assert lines
    assert not [line for line in lines if b"@" in line or b"password" in line]


@pytest.mark.parametrize("name", ["a shop", "long" * 30], ids=["space", "long"])
def test_a_socket_that_cannot_be_in_its_folder_is_elsewhere(tmp_path: Path, name: str) -> None:
    """Where the path would be too long for a socket, or no URL, a private folder holds it."""
    folder = tmp_path / name
    where = system._prepare(folder)
    try:
        assert where.socket.parent != folder
        assert where.socket.parent.stat().st_mode & 0o777 == 0o700
        assert addresses.target(Node(where.target("orders"), 1, "t")) == where.target("orders")
    finally:
        Playground(where).down()
    assert not where.socket.parent.exists()
    assert system._prepare(tmp_path / "p").socket == tmp_path / "p" / "supervisor.sock"


def test_down_leaves_nothing_running(tmp_path: Path) -> None:
    """After ``down`` no process of the playground is left, though one had hung."""
    playground = Playground.up(tmp_path)
    playground.watch("http://127.0.0.1:1", "a token")
    where = playground.layout
    others = [where.supervisord, where.load, where.collector]
    assert all(processes.alive(one) for one in others)
    services = [processes.identify(one.pid) for one in playground.status().services]
    playground.break_("gateway", How.HANG)
    playground.down()
    assert not any(processes.alive(one) for one in (*others, *services))
    assert not playground.status().running
    assert not Playground.open(tmp_path).running()


def test_services_die_with_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    """``down`` finds its services even when their supervisor is gone."""
    playground = Playground.up(tmp_path)
    services = [processes.identify(one.pid) for one in playground.status().services]
    daemon = playground.layout.supervisord
    assert daemon is not None
    processes.send(daemon, signal.SIGKILL)
    processes.wait_for(lambda: not processes.alive(daemon), WITHIN_S, "supervisord to be dead")
    playground.down()
    assert not any(processes.alive(one) for one in services)


def test_a_pid_that_was_passed_on_is_left_alone(tmp_path: Path) -> None:
    """A process is ended only when its start time says that it is the one meant."""
    process = sleeper(tmp_path)
    stranger = Started(pid=process.pid, ticks=process.ticks - 1)
    processes.end(stranger)
    processes.end_session(stranger)
    assert processes.alive(process)
    processes.end(process)
    assert not processes.alive(process)


def test_a_wait_that_fails_says_for_what() -> None:
    """Who waits in vain is told what was awaited, and for how long."""
    with pytest.raises(Unavailable, match=r"waited 0 s for spring, in vain"):
        processes.wait_for(lambda: False, 0, "spring")


def test_dependencies_and_journeys_follow_from_who_calls_whom() -> None:
    """The shop's shape: users buy through three services behind the gateway."""
    assert layout.journey("/buy") == ("gateway", "orders", "payments", "store")
    assert layout.journey("/jobs") == ("gateway", "worker", "store")
    assert layout.depends_on("gateway") == ("orders", "worker")
    assert layout.depends_on("store") == ()
    assert layout.paths_through("payments") == ("/buy",)
    assert layout.paths_through("store") == ("/buy", "/jobs")


def test_documents_tell_opx_where_the_services_are_and_how_to_ask(tmp_path: Path) -> None:
    """Each Service document has the health probe, and the target, the dependencies and the
    files where there are any; the mailer has none, so that nothing can be done to it."""
    ports = {name: 21_000 + number for number, name in enumerate(layout.EVERY)}
    where = Layout(folder=tmp_path, ports=ports, socket=Path("/run/shop/s.sock"))
    found = {one["metadata"]["name"]: one for one in yaml.safe_load_all(documents.services(where))}
    assert list(found) == ["gateway", "orders", "payments", "worker", "store", "mailer"]
    orders = found["orders"]
    assert (orders["apiVersion"], orders["kind"]) == ("opx/v1", "Service")
    assert orders["spec"]["health"]["http"] == "http://127.0.0.1:21001/health"
    assert orders["spec"]["target"] == "unix:///run/shop/s.sock#orders"
    assert orders["spec"]["dependsOn"] == ["payments"]
    assert orders["spec"]["parameters"] == {
        "config": f"{tmp_path}/shop/config/orders.json",
        "good": f"{tmp_path}/shop/good/orders.json",
        "releases": f"{tmp_path}/shop/apps/orders",
    }
    assert found["mailer"]["spec"].keys() == {"environment", "owner", "health", "dependsOn"}
    assert str(where.samples) not in documents.services(where), "opx is not told of its judge"


def test_opx_understands_the_documents(tmp_path: Path) -> None:
    """What is applied to opx is what opx reads, and every runbook it ships finds in each service
    what it is filled with."""
    ports = dict.fromkeys(layout.EVERY, 21_000)
    where = Layout(folder=tmp_path, ports=ports, socket=tmp_path / "s.sock")
    texts = [documents.services(where), documents.policy(documents.CEILING_RAISED)]
    texts += [documents.rules(), documents.runbooks(), *packs.texts().values()]
    bound = [
        app_documents.read(checked.document)
        for text in texts
        for checked in app_documents.check(text, "demo", [])
    ]
    services = [one for one in bound if isinstance(one, Service)]
    assert [one.name for one in services] == list(layout.EVERY)
    policy = next(one for one in bound if isinstance(one, Policy))
    assert (policy.ceiling, policy.cooldown) == (Severity.SEV2, 5_000)
    rules = {one.name: one.rule for one in bound if isinstance(one, DetectionRule)}
    assert rules == {
        "errors": "ratio/errors",
        "latency": "ratio/latency",
        "silence": "absence/silence",
        "busy": "threshold/busy",
        "drift": "event/drift",
    }
    wanted = {name for one in bound if isinstance(one, Runbook) for name in one.parameters}
    for service in services[:-1]:
        assert wanted <= service.parameters.keys()
