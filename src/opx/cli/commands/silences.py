# SPDX-License-Identifier: Apache-2.0

"""``opx silence``: what people do not want to hear of for a while."""

from __future__ import annotations

from typing import Annotated

import typer

from opx.cli import show
from opx.cli.client import Client
from opx.cli.commands import glance
from opx.cli.commands.automation import span
from opx.cli.commands.places import split
from opx.cli.show import AsJson, Data
from opx.core.base.time import DAY
from opx.core.correlate.silences import LONGEST

app = typer.Typer(help="What opx opens no incidents for, for a while.", no_args_is_help=True)


@app.command()
def add(
    what: Annotated[
        list[str],
        typer.Argument(
            help="environment=E, service=S (or E/S), rule=R (a rule by its name): one or more."
        ),
    ],
    during: Annotated[str, typer.Option("--for", help="How long, at most 30d: 2h, 7d.")],
    reason: Annotated[str, typer.Option(help="For whoever wonders why it is so quiet.")],
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Open no incident for what matches all of this, until it ends."""
    body: dict[str, str | int] = {"reason": reason, "ttl_s": span(during, LONGEST // DAY)}
    for part in what:
        for name, value in _said(part):
            if name not in ("environment", "service", "rule") or name in body:
                raise typer.BadParameter(f"{part!r}: environment=E, service=S or rule=R, each once")
            body[name] = value
    made = Client(data).post("/silences", body)
    if as_json:
        return show.as_json(made)
    until = show.moment(made["ends_at"])
    return show.line(f"silent until {until}: opx silence end {show.short(made['id'])} ends it")


def _said(part: str) -> list[tuple[str, str]]:
    """``service=shop/orders`` says two things. What is no ``name=value`` has no name."""
    name, is_, value = part.partition("=")
    environment, service = split(value)
    if name == "service" and environment:
        return [("environment", environment), ("service", service)]
    return [(name if is_ else "", value)]


@app.command(name="list")
def list_(
    every: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """The silences that hold, the first to end first."""
    found = Client(data).get("/silences", every=every)
    if as_json:
        return show.as_json(found)
    return glance.silences(found["items"])


@app.command()
def end(
    id: Annotated[str, typer.Argument(help="A silence's id, or enough of its beginning.")],
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """End a silence now: what it held back and still fires is taken up."""
    ended = Client(data).post(f"/silences/{id}/end", {})
    if as_json:
        return show.as_json(ended)
    return show.line(f"silence {show.short(ended['id'])} is over")
