# SPDX-License-Identifier: Apache-2.0

"""What opx may do by itself: ``status``, ``halt``, ``resume``, ``approve``, ``reject``,
``runbook`` and ``breaker``."""

from __future__ import annotations

from typing import Annotated

import typer

from opx.cli import show
from opx.cli.client import Client
from opx.cli.commands import glance
from opx.cli.commands.places import place
from opx.cli.show import AsJson, Data
from opx.core.base import time

runbook = typer.Typer(help="What runbooks may do where.", no_args_is_help=True)
breaker = typer.Typer(help="Runbooks that failed too often.", no_args_is_help=True)

Run = Annotated[str, typer.Argument(help="A run's id, or enough of its beginning.")]
Scope = Annotated[str, typer.Argument(help="all, environment/E, service/E/S or runbook/R.")]
Why = Annotated[str, typer.Option("--reason", help="For the journal and whoever comes next.")]

ON = "The service: environment/service, or its name if there is one of it."


def status(as_json: AsJson = False, data: Data = None) -> None:
    """opx at a glance."""
    client = Client(data)
    seen = client.get("/status")
    if as_json:
        return show.as_json(seen)
    return glance.show_all(seen, client.url)


def halt(
    scope: Scope = "all", reason: Why = "by hand", as_json: AsJson = False, data: Data = None
) -> None:
    """Stop opx from acting. When this returns, no further step starts."""
    _switch("halt", scope, reason, as_json, data)


def resume(
    scope: Scope = "all", reason: Why = "by hand", as_json: AsJson = False, data: Data = None
) -> None:
    """Let opx act again, where every guard allows it."""
    _switch("resume", scope, reason, as_json, data)


def _switch(verb: str, scope: str, reason: str, as_json: bool, data: Data) -> None:
    done = Client(data).post(f"/automation/{verb}", {"scope": scope, "reason": reason})
    if as_json:
        return show.as_json(done)
    return show.line(f"automation is {show.word(done['automation'])} for {show.plain(scope)}")


def approve(run: Run, reason: Why = "", as_json: AsJson = False, data: Data = None) -> None:
    """Let one run go ahead, as it was planned."""
    _answer("approve", run, reason, as_json, data)


def reject(run: Run, reason: Why = "", as_json: AsJson = False, data: Data = None) -> None:
    """End one run before it acts."""
    _answer("reject", run, reason, as_json, data)


def _answer(verb: str, run: str, reason: str, as_json: bool, data: Data) -> None:
    done = Client(data).post(f"/approvals/{run}/{verb}", {"reason": reason})
    if as_json:
        return show.as_json(done)
    return show.line(f"run {show.short(done['subject'])}: {verb} was recorded")


@runbook.command(name="list")
def runbooks(as_json: AsJson = False, data: Data = None) -> None:
    """Every runbook, and what it was granted."""
    client = Client(data)
    books = [one for one in client.get("/documents")["items"] if one["kind"] == "Runbook"]
    grants = client.get("/grants")["items"]
    if as_json:
        return show.as_json({"runbooks": books, "grants": grants})
    show.table(
        "Runbooks",
        ("name", "applied by", "at"),
        ((one["name"], one["applied_by"], show.moment(one["applied_at"])) for one in books),
    )
    return show.table(
        "Grants",
        ("runbook", "environment", "service", "autonomy", "experience", "until", "asks after"),
        (
            (
                one["runbook"],
                one["environment"],
                one["service"],
                one["autonomy"] + (" (probation)" if one["probation"] else ""),
                _experience(one["record"]["p_fix"], one["record"]["n"]),
                show.moment(one["expires_at"]),
                f"change of {' and '.join(one['outdated'])}" if one["outdated"] else "",
            )
            for one in grants
        ),
    )


def _experience(p_fix: float | None, n: int) -> str:
    return f"helped in {p_fix:.0%} of {n}" if p_fix is not None else "uncalibrated, n = 0"


@runbook.command(name="show")
def steps(
    name: Annotated[str, typer.Argument(help="The runbook.")],
    on: Annotated[str, typer.Option("--on", help=ON)] = "",
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """A dry run: what it would do on a service, step by step. Nothing is touched."""
    client = Client(data)
    environment, service = place(client, on)
    found = client.get(f"/runbooks/{name}", environment=environment, service=service)
    if as_json:
        return show.as_json(found)
    for line in found["lines"]:
        show.line(show.plain(line))
    return None


@runbook.command()
def grant(
    name: Annotated[str, typer.Argument(help="The runbook.")],
    on: Annotated[str, typer.Option("--on", help=ON)],
    autonomy: Annotated[str, typer.Option(help="observe, suggest, approve or auto.")],
    probation: Annotated[
        str, typer.Option(help="Act although nothing is calibrated yet, for so long (12h, 7d).")
    ] = "",
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Let a runbook, as it is now, do something on a service without asking."""
    client = Client(data)
    environment, service = place(client, on)
    body = {
        "runbook": name,
        "environment": environment,
        "service": service,
        "autonomy": autonomy,
        "probation": bool(probation),
        "ttl_s": span(probation) if probation else None,
    }
    done = client.post("/grants", body)
    if as_json:
        return show.as_json(done)
    until = f" until {show.moment(done['expires_at'])}" if done["expires_at"] else ""
    return show.line(
        f"{show.plain(name)} may {show.plain(done['autonomy'])} on {show.plain(service)}{until},"
        f" as long as the runbook and the target {show.plain(done['target'])} stay as they are"
    )


def span(text: str, most_days: int = 366) -> int:
    """``7d`` in seconds; a usage error unless it is a duration from a minute to that."""
    try:
        found = time.duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if not time.MINUTE <= found <= most_days * time.DAY:
        raise typer.BadParameter(f"{text}: at least 1m, at most {most_days}d")
    return found // time.SECOND


@breaker.command(name="list")
def breakers(as_json: AsJson = False, data: Data = None) -> None:
    """Every breaker that was ever opened."""
    found = Client(data).get("/breakers")
    if as_json:
        return show.as_json(found)
    return show.table(
        "Breakers",
        ("id", "state", "opened", "closed by"),
        (
            (
                one["id"],
                "open" if one["open"] else "closed",
                show.moment(one["opened_at"]),
                one["closed_by"],
            )
            for one in found["items"]
        ),
    )


@breaker.command()
def close(
    id: Annotated[str, typer.Argument(help="runbook|environment|service")],
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Let a runbook try again on a service."""
    done = Client(data).post("/breakers/close", {"id": id})
    if as_json:
        return show.as_json(done)
    return show.line(f"breaker {show.plain(id)} is closed")
