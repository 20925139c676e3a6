# SPDX-License-Identifier: Apache-2.0

"""``opx watch``, ``notices``, ``quarantine``, ``suppressed`` and ``audit``: what happened, what
did not, and the proof of it."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from opx.cli import show
from opx.cli.client import FAILED, UNREACHABLE, Client, CommandFailed
from opx.cli.commands.places import split
from opx.cli.show import AsJson, Data

audit = typer.Typer(help="The journal's proof.", no_args_is_help=True)

Limit = Annotated[int, typer.Option(min=1, max=1_000)]
RECONNECT_S = 1.0


def watch(as_json: AsJson = False, data: Data = None) -> None:
    """Everything that happens, as it happens, until Ctrl-C. Nothing is missed or told twice when
    the connection is cut, or opx is started anew, in between."""
    last = ""
    while True:
        try:
            for id, row in Client(data).stream(last):
                last = id
                if row and as_json:
                    show.as_json(row, indent=None)
                elif row:
                    show.line(show.entry(row))
        except CommandFailed as failed:
            if failed.code != UNREACHABLE or not last:
                raise
            show.line(f"opx: {show.plain(failed)}; going on when it is back", aside=True)
        time.sleep(RECONNECT_S)


def notices(limit: Limit = 50, as_json: AsJson = False, data: Data = None) -> None:
    """What people were told, newest first."""
    found = Client(data).get("/notices", limit=limit)
    if as_json:
        return show.as_json(found)
    return show.table(
        "Notices",
        ("at", "edge", "severity", "title", "not delivered to"),
        (
            (
                show.moment(one["at"]),
                one["edge"],
                f"SEV{one['severity']}",
                one["title"],
                " ".join(late["receiver"] for late in one["undelivered"]),
            )
            for one in found["items"]
        ),
    )


def quarantine(
    before: Annotated[str, typer.Option(help="From a page before: its `next`.")] = "",
    limit: Limit = 50,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """What was sent to opx and not taken in, newest first, with the reason."""
    found = Client(data).get("/quarantine", before=before, limit=limit)
    if as_json:
        return show.as_json(found)
    show.table(
        "Quarantine",
        ("at", "wire", "from", "reason", "item"),
        (
            (show.moment(one["at"]), one["wire"], one["source"], one["reason"], one["item"][:60])
            for one in found["items"]
        ),
    )
    if found["next"]:
        show.line(f"[dim]more: --before {show.plain(found['next'])}[/]")
    return None


def suppressed(
    service: Annotated[
        str, typer.Option(help="Only its, in any environment: orders or shop/orders.")
    ] = "",
    before: Annotated[int | None, typer.Option(help="From a page before: its `next`.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """What was seen and changed nothing, newest first, with the reason."""
    _, name = split(service)  # the journal has it by its name alone
    found = Client(data).get("/suppressed", service=name, before=before, limit=limit)
    if as_json:
        return show.as_json(found)
    show.table(
        "Suppressed",
        ("at", "about", "rule", "reason", "finding", "silence"),
        (
            (
                show.moment(one["at"]),
                one["subject"],
                one["body"]["rule"],
                one["body"]["reason"],
                show.short(one["body"]["finding"][12:]),  # before that it is the time
                show.short(one["body"].get("silence", "")),
            )
            for one in found["items"]
        ),
    )
    if found["next"]:
        show.line(f"[dim]more: --before {found['next']}[/]")
    return None


@audit.command()
def verify(as_json: AsJson = False, data: Data = None) -> None:
    """Check the journal's hash chain and its anchors. Exits with 1 when it was tampered with."""
    client = Client(data)
    report = client.get("/audit/verify")
    while report["ok"] and report["more"]:
        show.line(f"opx: {report['sealed']} entries are proven; going on", aside=True)
        report = client.get("/audit/verify", after=report["sealed"], head=report["head"])
    if as_json:
        show.as_json(report)
    elif report["ok"]:
        sealed = f"{report['sealed']} entries sealed, {report['waiting']} not yet"
        note = f"; {report['detail']}" if report["detail"] else ""
        show.line(f"the journal is what was written: {sealed}, {report['anchors']} anchors{note}")
    else:
        show.line(
            f"[bold red]the journal was changed[/] at entry {report['bad']} to"
            f" {report['through']}: {show.plain(report['detail'])}"
        )
    if not report["ok"]:
        raise typer.Exit(FAILED)
