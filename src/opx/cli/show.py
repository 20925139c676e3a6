# SPDX-License-Identifier: Apache-2.0

"""What commands print: JSON when asked, otherwise tables that can be read at a glance.

Whatever came from elsewhere is escaped, so that no name or text can colour the screen.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Data = Annotated[
    Path | None, typer.Option("--data", help="The data folder (OPX_DATA, ~/.local/share/opx).")
]

COLOURS = {
    "running": "green", "alive": "green", "allow": "green", "recovered": "green",
    "resolved": "green", "mitigated": "green", "active": "green", "closed": "dim",
    "halted": "bold red", "dead": "bold red", "deny": "bold red", "worse": "bold red",
    "open": "bold yellow", "ask": "yellow", "waiting": "yellow", "mitigating": "cyan",
    "added": "green", "changed": "yellow", "reformatted": "dim", "unchanged": "dim",
}  # fmt: skip


def console() -> Console:
    return Console(highlight=False)


def as_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2))


def word(text: object) -> str:
    """A word in the colour of what it means."""
    colour = COLOURS.get(str(text))
    return f"[{colour}]{escape(str(text))}[/]" if colour else escape(str(text))


def line(text: str) -> None:
    """One line of markup; what is put into it must be escaped (``word``, ``plain``)."""
    console().print(text, soft_wrap=True)


def plain(text: object) -> str:
    return escape(str(text))


def table(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table, or that there is nothing."""
    listed = list(rows)
    if not listed:
        line(f"{plain(title)}: none")
        return
    made = Table(title=title, title_justify="left", box=None, header_style="dim")
    for head in heads:
        made.add_column(head)
    for row in listed:
        made.add_row(*(word("" if cell is None else cell) for cell in row))
    console().print(made)


def problems(rows: Iterable[dict[str, Any]]) -> None:
    """The documents that opx cannot read, a line each and what that means."""
    for row in rows:
        line(f"[bold red]{plain(row['id'])}[/] is skipped: {plain(row['error'])}")
        line(f"  {plain(row['means'])}")


def short(id: object) -> str:
    """Enough of an id to name it by."""
    return str(id)[:8]


def moment(text: object) -> str:
    """``2026-01-01T00:00:00.000Z`` -> ``2026-01-01 00:00:00``."""
    return str(text)[:19].replace("T", " ") if text else ""


def entry(row: dict[str, Any]) -> str:
    """A journal entry as one line of markup."""
    body = " ".join(
        f"{name}={value}"
        for name, value in row["body"].items()
        if value not in ("", None) and not isinstance(value, (dict, list))
    )
    subject = short(row["subject"]) if len(row["subject"]) > 40 else row["subject"]
    head = f"[dim]{moment(row['at'])}[/] [bold]{plain(row['kind'])}[/]"
    return f"{head} {plain(subject)} [dim]by {plain(row['actor'])}[/] {plain(body)}".rstrip()
