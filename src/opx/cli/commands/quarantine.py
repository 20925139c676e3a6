# SPDX-License-Identifier: Apache-2.0

"""``opx quarantine`` and ``opx unmapped``: what did not go in as it should, and once more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from opx.cli import show
from opx.cli.client import FAILED, REFUSED, Client, CommandFailed
from opx.cli.commands import journal
from opx.cli.commands.journal import Limit
from opx.cli.show import AsJson, Data

app = typer.Typer(
    help="What was sent to opx and not taken in; alone: the list of it.",
    invoke_without_command=True,
)

PAGE = 200
ACCEPTED = "accepted"


@app.callback()
def listed(
    context: typer.Context,
    before: Annotated[str, typer.Option(help="From a page before: its `next`.")] = "",
    limit: Limit = 50,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """What was sent to opx and not taken in, newest first, with the reason."""
    if context.invoked_subcommand is None:
        journal.quarantine(before=before, limit=limit, as_json=as_json, data=data)


@app.command(name="show")
def show_one(
    id: Annotated[str, typer.Argument(help="Its id, or the beginning of it.")],
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """One item: what is kept of it, why it was refused, and what came of sending it again."""
    found = Client(data).get(f"/quarantine/{id}")
    if as_json:
        return show.as_json(found)
    show.line(f"[bold]{show.plain(found['id'])}[/] {show.moment(found['at'])}")
    show.line(
        f"to {show.plain(found['wire'])} from {show.plain(found['source'])},"
        f" refused: [bold]{show.plain(found['reason'])}[/]"
    )
    if found["result"]:
        show.line(
            f"replayed {show.moment(found['replayed_at'])} by"
            f" {show.plain(found['replayed_by'])}: {show.word(found['result'])}"
        )
    for line in found["item"].split("\n"):
        show.line(show.plain(line))
    return None


@app.command()
def replay(
    id: Annotated[str, typer.Argument(help="One item: its id, or the beginning of it.")] = "",
    reason: Annotated[str, typer.Option(help="Every item refused for this.")] = "",
    wire: Annotated[str, typer.Option(help="Every item of this wire.")] = "",
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Send what was refused through its wire again: one item, or all of a reason, a wire or
    both. What was taken is never taken twice. Exits with 1 unless all of it was taken."""
    if bool(id) == bool(reason or wire):
        raise typer.BadParameter("give one id, or --reason, --wire or both")
    client = Client(data)
    rows = [_again(client, one) for one in ([id] if id else _ids(client, reason, wire))]
    if as_json:
        show.as_json({"items": rows})
    else:
        results = Counter(row["result"] for row in rows)
        for result, count in sorted(results.items()):
            show.line(f"{count} {show.word(result)}")
        if not rows:
            show.line("nothing to replay")
    if any(row["result"] != ACCEPTED for row in rows):
        raise typer.Exit(FAILED)


def _again(client: Client, id: str) -> dict[str, Any]:
    try:
        replayed: dict[str, Any] = client.post(f"/quarantine/{id}/replay", {})
    except CommandFailed as failed:
        if failed.code != REFUSED:
            raise
        return {"id": id, "result": str(failed)}
    return replayed


def _ids(client: Client, reason: str, wire: str) -> Iterator[str]:
    """Those that wait, the oldest first."""
    ids: list[str] = []
    before: str | None = ""
    while before is not None:
        page = client.get("/quarantine", before=before, limit=PAGE)
        ids += [
            row["id"]
            for row in page["items"]
            if reason in ("", row["reason"])
            and wire in ("", row["wire"])
            and row["result"] != ACCEPTED
        ]
        before = page["next"]
    return reversed(ids)


def unmapped(limit: Limit = 50, as_json: AsJson = False, data: Data = None) -> None:
    """What came and no label names a service for, newest first: the labels to map it by."""
    found = Client(data).get("/unmapped", limit=limit)
    if as_json:
        return show.as_json(found)
    show.table(
        f"Unmapped since {show.moment(found['since_at'])}",
        ("last seen", "wire", "what", "count", "labels of the last"),
        (
            (
                show.moment(one["last_at"]),
                one["wire"],
                one["name"],
                one["count"],
                " ".join(f"{name}={value}" for name, value in sorted(one["labels"].items())),
            )
            for one in found["items"]
        ),
    )
    if found["forgotten"]:
        show.line(f"[dim]{found['forgotten']} rows had to make room[/]")
    return None
