# SPDX-License-Identifier: Apache-2.0

"""The playground by itself: real processes, broken and healed, and judged by their users."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from opx.app import documents as app_documents
from opx.cli import playground as cli
from opx.core.base import addresses
from opx.core.base.documents import Node
from opx.core.decide.case import Policy
from opx.core.ingest.signals import Severity
from opx.errors import BadInput, Conflict, NotFound, Unavailable
from opx.playground import documents, layout, processes, system, wire
from opx.playground.layout import Layout, Started
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


def test_what_is_up_runs_as_five_processes_and_serves_its_users(playground: Playground) -> None:
    """Up means that each of the five runs as a process of its own, and that users are served."""
    status = playground.status()
    assert status.running
    assert status.load
    assert {one.name for one in status.services} == set(layout.SERVICES)
    assert {one.state for one in status.services} == {"RUNNING"}
    assert len({one.pid for one in status.services}) == 5
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
    assert asyncio.run(wire.ask(port, "/health", 5)) == 200
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
    """A service says in Prometheus' text form how much it has served."""

    async def scrape() -> str:
        reader, writer = await asyncio.open_connection(
            wire.LOOPBACK, playground.layout.ports["gateway"]
        )
        writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
        text = (await reader.read()).decode()
        writer.close()
        return text

    def served() -> float:
        lines = asyncio.run(scrape()).splitlines()
        name = 'playground_requests_total{service="gateway"} '
        return float(next(line for line in lines if line.startswith(name)).split()[-1])

    first = served()
    processes.wait_for(lambda: served() > first, WITHIN_S, "requests to be counted")


def test_only_what_exists_can_be_broken(playground: Playground) -> None:
    """A target that is not there is named, together with those that are."""
    with pytest.raises(BadInput, match="no 'ordres'"):
        playground.break_("ordres", How.KILL)
    with pytest.raises(NotFound, match="no opx is known"):
        playground.break_("brain", How.KILL)


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
    assert [one["state"] for one in status["services"]] == ["RUNNING"] * 5


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
    daemon, load = playground.layout.supervisord, playground.layout.load
    services = [processes.identify(one.pid) for one in playground.status().services]
    playground.break_("gateway", How.HANG)
    playground.down()
    assert not any(processes.alive(one) for one in (daemon, load, *services))
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
    """Each Service document has the health probe, the target and the dependencies."""
    ports = {name: 21_000 + number for number, name in enumerate(layout.SERVICES)}
    where = Layout(folder=tmp_path, ports=ports, socket=Path("/run/shop/s.sock"))
    found = {one["metadata"]["name"]: one for one in yaml.safe_load_all(documents.services(where))}
    assert list(found) == ["gateway", "orders", "payments", "worker", "store"]
    orders = found["orders"]
    assert (orders["apiVersion"], orders["kind"]) == ("opx/v1", "Service")
    assert orders["spec"]["health"]["http"] == "http://127.0.0.1:21001/health"
    assert orders["spec"]["target"] == "unix:///run/shop/s.sock#orders"
    assert orders["spec"]["dependsOn"] == ["payments"]
    assert str(tmp_path) not in documents.services(where), "opx is not told where its judge is"


def test_opx_understands_the_documents(tmp_path: Path) -> None:
    """What is applied to opx is what opx reads: five services and the raised ceiling."""
    ports = dict.fromkeys(layout.SERVICES, 21_000)
    where = Layout(folder=tmp_path, ports=ports, socket=tmp_path / "s.sock")
    text = documents.services(where) + "---\n" + documents.policy(documents.CEILING_RAISED)
    bound = [app_documents.read(one.document) for one in app_documents.check(text, "demo", [])]
    assert [one.name for one in bound[:5]] == list(layout.SERVICES)
    policy = bound[5]
    assert isinstance(policy, Policy)
    assert (policy.ceiling, policy.cooldown) == (Severity.SEV2, 5_000)
