# SPDX-License-Identifier: Apache-2.0

"""What commands print: JSON when asked, otherwise tables that can be read at a glance.

Everything goes to the terminal through here. Whatever came from elsewhere is escaped, so that
no name or text can colour the screen, move about on it, or be read in another order.
"""

from __future__ import annotations

import json
import re
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
    "would add": "green", "would change": "yellow", "would reformat": "dim",
}  # fmt: skip
NAMES = frozenset({"environment", "id", "name", "run", "runbook", "service"})
"""Columns of what is typed again. The others break where a line is too short for all, though not
within a word of up to ``WORD`` characters; a line that is too short even so runs over."""
WORD = 12
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""What a terminal obeys instead of showing it: control characters (C0 and C1), what turns the
order of reading (Unicode TR 9) or ends a line, and halves of characters, which it cannot have."""


def console(*, aside: bool = False) -> Console:
    """``aside``: on standard error."""
    return Console(stderr=aside, highlight=False)


def as_json(value: object, indent: int | None = 2) -> None:
    typer.echo(json.dumps(value, indent=indent))


def word(text: object) -> str:
    """A word in the colour of what it means."""
    colour = COLOURS.get(str(text))
    return f"[{colour}]{text}[/]" if colour else plain(text)


def line(text: str, *, aside: bool = False) -> None:
    """Markup, mostly one line; what is put into it must be escaped (``word``, ``plain``)."""
    seen = "\n".join(visible(each) for each in text.split("\n"))
    console(aside=aside).print(seen, soft_wrap=True)


def plain(text: object) -> str:
    return escape(visible(str(text)))


def visible(text: str) -> str:
    """``text`` in one line, in which what a terminal would obey stands as ``\\x1b`` or so."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def table(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table, or that there is nothing."""
    listed = list(rows)
    if not listed:
        line(f"{plain(title)}: none")
        return
    made = Table(title=plain(title), title_justify="left", box=None, header_style="dim")
    made.padding = (0, 1, 0, 0)
    for head, *cells in zip(heads, *listed, strict=True):
        texts = [str(cell) for cell in (head, *cells)]
        words = texts if head in NAMES else [word[:WORD] for text in texts for word in text.split()]
        least = max(map(len, words))
        made.add_column(head, no_wrap=head in NAMES, min_width=least, overflow="fold")
    for row in listed:
        made.add_row(*(word("" if cell is None else cell) for cell in row))
    console().print(made, crop=False)


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
