# SPDX-License-Identifier: Apache-2.0

"""``opx incidents``, ``why`` and ``outcome``: what is wrong, why opx did what it did, and what
it really was."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from opx.cli import show
from opx.cli.client import Client
from opx.cli.show import AsJson, Data

app = typer.Typer(help="What is wrong, and what was done about it.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(help="An incident's id, or enough of its beginning.")]


class Kind(StrEnum):
    TRUE_POSITIVE = "true_positive"
    FALSE_POSITIVE = "false_positive"
    BENIGN = "benign"


@app.command(name="list")
def list_(
    status: Annotated[list[str] | None, typer.Option(help="Only these; repeat it.")] = None,
    service: Annotated[str, typer.Option(help="Only this service's.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    cursor: Annotated[str, typer.Option(help="From a page before: its `next`.")] = "",
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Incidents, newest first."""
    found = Client(data).get(
        "/incidents", status=status, service=service, limit=limit, cursor=cursor
    )
    if as_json:
        return show.as_json(found)
    show.table(
        "Incidents",
        ("id", "severity", "status", "service", "title", "opened"),
        (
            (
                show.short(row["id"]),
                f"SEV{row['severity']} {row['priority']}",
                row["status"],
                f"{row['group']['environment']}/{row['group']['service']}",
                row["title"],
                show.moment(row["opened_at"]),
            )
            for row in found["items"]
        ),
    )
    if found["next"]:
        show.line(f"[dim]more: --cursor {show.plain(found['next'])}[/]")
    return None


@app.command(name="show")
def show_(id: Id, as_json: AsJson = False, data: Data = None) -> None:
    """One incident: what it is, its repairs and its timeline."""
    found = Client(data).get(f"/incidents/{id}")
    if as_json:
        return show.as_json(found)
    severity = f"SEV{found['severity']} {found['priority']}"
    show.line(f"[bold]{show.plain(found['title'])}[/]  {severity}  {show.word(found['status'])}")
    show.line(f"[dim]{found['id']}[/]")
    if found["insight"]:
        _insight(found["insight"])
    show.table(
        "Runs",
        ("id", "number", "runbook", "target", "status", "reason"),
        (
            (
                show.short(run["id"]),
                run["number"],
                run["proposal"]["runbook"],
                run["proposal"]["target"],
                run["status"],
                run["reason"],
            )
            for run in found["runs"]
        ),
    )
    for row in found["timeline"]:
        show.line(show.entry(row))
    return None


def _insight(insight: dict[str, Any]) -> None:
    show.line(f"{show.plain(insight['type'])}, risk {insight['risk']} (by {insight['source']})")
    for cause in insight["causes"]:
        show.line(f"  because: {show.plain(cause['statement'])}")
    show.line(f"  advice: {show.plain(insight['advice'])}")


@app.command()
def ack(id: Id, as_json: AsJson = False, data: Data = None) -> None:
    """Take an incident on: from now on opx asks before it acts on it."""
    done = Client(data).post(f"/incidents/{id}/acknowledge", {})
    if as_json:
        return show.as_json(done)
    return show.line(f"acknowledged {show.short(done['subject'])}: opx asks first from now on")


def why(id: Id, as_json: AsJson = False, data: Data = None) -> None:
    """Why opx decided as it did about an incident, and what would have changed it."""
    found = Client(data).get(f"/incidents/{id}/why")
    if as_json:
        return show.as_json(found)
    if not found["items"]:
        show.line("nothing was decided about it yet")
    for decision in found["items"]:
        answer = show.word(decision["answer"])
        show.line(f"\n[bold]{show.moment(decision['at'])}[/] {answer}")
        for sentence in decision["sentences"]:
            show.line(f"  {show.plain(sentence)}")
        show.table(
            "",
            ("guard", "answer", "reason", "detail"),
            (
                (result["guard"], result["answer"], result["reason"], result["detail"])
                for result in decision["results"]
            ),
        )
    return None


def outcome(
    id: Id,
    kind: Annotated[Kind, typer.Option(help="What it was.")],
    cause: Annotated[str, typer.Option(help="What caused it.")] = "",
    fixed_by: Annotated[str, typer.Option(help="What repaired it.")] = "",
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Record what an incident really was. Adds to what was said before."""
    body = {"kind": kind.value, "cause": cause, "fixed_by": fixed_by}
    done = Client(data).post(f"/incidents/{id}/outcome", body)
    if as_json:
        return show.as_json(done)
    return show.line(f"recorded {kind.value} for {show.short(done['incident'])}")
