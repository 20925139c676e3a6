# SPDX-License-Identifier: Apache-2.0

"""``opx playground``: a small system of real processes, to break by hand and watch opx.

A thin layer over ``opx.playground.system``: arguments in, a table or JSON out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from opx.playground import layout
from opx.playground.system import TARGETS, How, Playground, PlaygroundStatus

app = typer.Typer(help="A small system of real processes, with faults to inject.")

Folder = Annotated[Path, typer.Option("--folder", help="Where the playground keeps its files.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
HOME = Path.home() / ".local" / "share" / "opx-playground"
_TARGETS = ", ".join(TARGETS)
Target = Annotated[str, typer.Argument(help=f"One of {_TARGETS}.")]


@app.command()
def up(folder: Folder = HOME) -> None:
    """Start the six services and the load generator; they run until `down`."""
    playground = Playground.up(folder)
    _show(playground.status())


@app.command(name="break")
def break_(
    target: Target,
    how: Annotated[How, typer.Option("--how", help="What to do to it.")] = How.KILL,
    folder: Folder = HOME,
) -> None:
    """Do harm to a service, its users, the collector, or a process of the opx that watches.

    A service can suffer all but load-spike, users only that; the others can be killed and
    hung. `heal` undoes each.
    """
    done = Playground.open(folder).broken(target, how)
    Console().print(f"{target} {done.words}", soft_wrap=True)


@app.command()
def heal(
    target: Annotated[
        str | None, typer.Argument(help=f"One of {_TARGETS}; all services if left out.")
    ] = None,
    folder: Folder = HOME,
) -> None:
    """Put something right by hand: go on if it hangs, start it if it is dead, the files good."""
    playground = Playground.open(folder)
    for name in [target] if target else layout.EVERY:
        playground.heal(name)
    _show(playground.status())


@app.command()
def status(folder: Folder = HOME, as_json: AsJson = False) -> None:
    """What runs, how often each service was started, and what users feel."""
    found = Playground.open(folder).status()
    if as_json:
        typer.echo(json.dumps(found.plain(), indent=2))
    else:
        _show(found)


@app.command()
def down(folder: Folder = HOME) -> None:
    """End everything that `up` started."""
    Playground.open(folder).down()
    Console().print("the playground is down")


def _show(status: PlaygroundStatus) -> None:
    table = Table(title=f"playground in {status.folder}", title_justify="left")
    for column in ("service", "state", "pid", "starts", "failed", "address"):
        table.add_column(column)
    for service in status.services:
        table.add_row(
            service.name,
            "HUNG" if service.hung else service.state,
            str(service.pid or "-"),
            str(service.starts),
            str(service.failures),
            service.address,
        )
    Console().print(table)
