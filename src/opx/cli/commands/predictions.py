# SPDX-License-Identifier: Apache-2.0

"""``opx predictions``: what is expected to fail, and what such predictions were worth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from opx.cli import show
from opx.cli.client import Client
from opx.cli.commands.journal import Limit
from opx.cli.show import AsJson, Data
from opx.core.base.time import MINUTE

app = typer.Typer(
    help="What is expected to fail, and why; alone: the list of it.",
    invoke_without_command=True,
)

PAGE = 200


@app.callback()
def listed(
    context: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="What is held back, too.")] = False,
    limit: Limit = 50,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """What is expected to fail, the newest first, then what is over."""
    if context.invoked_subcommand is not None:
        return None
    client, cursor = Client(data), ""
    items: list[dict[str, Any]] = []
    while cursor is not None and len(items) < limit:
        most = min(PAGE, limit - len(items))
        found = client.get("/predictions", all=every, limit=most, cursor=cursor)
        items += found["items"]
        cursor = found["next"]
    if as_json:
        return show.as_json({"items": items, "next": cursor})
    show.table(
        "Predictions",
        ("service", "what", "how likely", "until", "urgency", "state", "why"),
        (_row(one) for one in items),
    )
    if cursor:
        show.line("[dim]there are more: --limit[/]")
    return None


@app.command()
def score(
    days: Annotated[int, typer.Option(min=1, max=365, help="Those made in so many days.")] = 30,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """What they were worth: only those count whose time is over and on which nobody acted."""
    found = Client(data).get("/predictions/score", days=days)
    if as_json:
        return show.as_json(found)
    show.line(
        f"{found['predictions']} in {days} days: {found['judged']} judged,"
        f" {found['unjudged']} acted on, {found['held_back']} held back"
    )
    show.table("Worth", ("figure", "value", "95 % between", "cases"), _figures(found))
    return show.table(
        "Told and come",
        ("told", "came", "95 % between", "cases"),
        ((f"{one['told']:.0%}", *_estimate(one["came"], _share)) for one in found["reliability"]),
    )


def line(first: dict[str, Any], count: int) -> str:
    """The open ones in one line of markup: the newest, and how many there are."""
    who = show.plain(f"{first['identity']['environment']}/{first['identity']['service']}")
    until = show.moment(first["expires_at"])
    likely = f"{first['probability']:.0%}"
    more = f", and {count - 1} more" if count > 1 else ""
    return (
        f"[yellow]expected to fail[/]: {who} ({first['kind']}, {likely}, until {until}){more}:"
        " opx predictions"
    )


def _row(one: dict[str, Any]) -> tuple[object, ...]:
    state = one["withdrawn"] or "open"
    return (
        f"{one['identity']['environment']}/{one['identity']['service']}",
        one["kind"],
        f"{one['probability']:.0%}",
        show.moment(one["expires_at"]),
        one["urgency"],
        f"{state}, held back" if one["held_back"] else state,
        one["why"],
    )


def _figures(found: dict[str, Any]) -> list[tuple[object, ...]]:
    prevention = found["prevention"] or {"prevented": None, "held_back": None, "acted_on": None}
    return [
        ("of those told, came", *_estimate(found["precision"], _share)),
        ("of failures, told 5 minutes ahead", *_estimate(found["recall"], _share)),
        ("mean square off (Brier)", *_estimate(found["brier"], _plain)),
        ("ahead, median", *_estimate(found["lead_ms"], _minutes)),
        ("ahead, nine in ten more than", *_estimate(found["lead_p10_ms"], _minutes)),
        ("failed where held back", *_estimate(prevention["held_back"], _share)),
        ("failed where acted on", *_estimate(prevention["acted_on"], _share)),
        ("prevented", *_estimate(prevention["prevented"], _share)),
    ]


def _estimate(
    one: dict[str, Any] | None, say: Callable[[float], str]
) -> tuple[object, object, object]:
    if one is None:
        return "nothing to say it from", "", ""
    return say(one["value"]), f"{say(one['low'])} and {say(one['high'])}", one["n"]


def _share(value: float) -> str:
    return f"{value:.0%}"


def _plain(value: float) -> str:
    return f"{value:.3f}"


def _minutes(value: float) -> str:
    return f"{value / MINUTE:.0f} min"
