# SPDX-License-Identifier: Apache-2.0

"""``opx token``, ``login`` and ``logout``: who may come in."""

from __future__ import annotations

from typing import Annotated

import typer

from opx.cli import show
from opx.cli.client import Client
from opx.cli.commands.automation import span
from opx.cli.commands.places import split
from opx.cli.show import AsJson, Data
from opx.core.decide.roles import Role

app = typer.Typer(help="Tokens for people and programs.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose it is: this stands in the journal.")],
    role: Annotated[list[Role], typer.Option("--role", "-r", help="Repeat it for several.")],
    service: Annotated[
        list[str] | None,
        typer.Option(help="It may send telemetry for these only, in any environment."),
    ] = None,
    ttl: Annotated[str, typer.Option(help="How long, as in 12h or 90d.")] = "90d",
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Make a token. Its secret is shown this once."""
    for one in service or []:
        if split(one)[0]:
            raise typer.BadParameter(f"{one!r}: a token is for a service in every environment")
    body = {"name": name, "roles": role, "services": service or [], "ttl_s": span(ttl)}
    made = Client(data).post("/tokens", body)
    if as_json:
        return show.as_json(made)
    show.line(show.plain(made["token"]))
    return show.line(
        f"[dim]shown this once; id {made['id']}, until {show.moment(made['expires_at'])}[/]"
    )


@app.command(name="list")
def list_(as_json: AsJson = False, data: Data = None) -> None:
    """Every token, with the sessions that were opened with it."""
    found = Client(data).get("/tokens")
    if as_json:
        return show.as_json(found)
    return show.table(
        "Tokens",
        ("id", "name", "what", "roles", "services", "state", "until"),
        (
            (
                one["id"],
                one["name"],
                f"session of {one['parent']}" if one["parent"] else "token",
                " ".join(one["roles"]),
                " ".join(one["services"]) or "any",
                one["state"],
                show.moment(one["expires_at"]) or "for ever",
            )
            for one in found["items"]
        ),
    )


@app.command()
def revoke(
    id: Annotated[str, typer.Argument(help="Enough of the beginning of its id.")],
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Revoke a token or a session: it opens nothing from now on, nor does what it opened."""
    done = Client(data).delete(f"/tokens/{id}")
    if as_json:
        return show.as_json(done)
    return show.line(f"{show.plain(done['name'])} ({done['id']}) is revoked")


def login(as_json: AsJson = False, data: Data = None) -> None:
    """Print a link that logs a browser in, once, within ten minutes."""
    client = Client(data)
    made = client.post("/tokens/login", {})
    link = f"{client.url}{made['path']}"
    if as_json:
        return show.as_json({"url": link, "expires_at": made["expires_at"]})
    return show.line(show.plain(link))


def logout(as_json: AsJson = False, data: Data = None) -> None:
    """Log every browser out that was logged in with a link from here."""
    Client(data).log_out()
    if as_json:
        return show.as_json({"logged_out": True})
    return show.line("every session from here has ended")
