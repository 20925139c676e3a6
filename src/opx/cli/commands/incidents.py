# SPDX-License-Identifier: Apache-2.0

"""``opx incidents``, ``why``, ``replay`` and ``outcome``: what is wrong, what people do about it,
why opx did what it did, and what it really was."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import quote

import typer

from opx.cli import show
from opx.cli.client import FAILED, Client, CommandFailed
from opx.cli.commands import incident
from opx.cli.commands.places import split
from opx.cli.show import AsJson, Data
from opx.core.incident.incident import Status
from opx.core.ingest.signals import Severity

app = typer.Typer(help="What is wrong, and what was done about it.", no_args_is_help=True)

MOST = 200
"""Incidents of one page."""

Id = Annotated[str, typer.Argument(help="An incident's id, or enough of its beginning.")]


Version = Annotated[
    int | None, typer.Option("--if-version", help="Only if it still has this version.")
]


class Became(StrEnum):
    FIXED = "fixed"
    FALSE_POSITIVE = "false_positive"
    DUPLICATE = "duplicate"
    WONT_FIX = "wont_fix"


class Kind(StrEnum):
    TRUE_POSITIVE = "true_positive"
    FALSE_POSITIVE = "false_positive"
    BENIGN = "benign"


@app.command(name="list")
def list_(
    status: Annotated[list[Status] | None, typer.Option(help="Only these; repeat it.")] = None,
    service: Annotated[str, typer.Option(help="Only its: orders or shop/orders.")] = "",
    severity: Annotated[list[str] | None, typer.Option(help="sev1 to sev5; repeat it.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Incidents, newest first."""
    worst = [_severity(text) for text in severity or ()]
    environment, name = split(service)
    narrowed = {"environment": environment, "service": name}
    found = _listed(Client(data), limit, status=status, severity=worst, **narrowed)
    if as_json:
        return show.as_json(found)
    show.table(
        "Incidents",
        ("id", "severity", "status", "service", "title", "opened", "has it"),
        (
            (
                show.short(row["id"]),
                f"SEV{row['severity']} {row['priority']}",
                row["status"],
                f"{row['group']['environment']}/{row['group']['service']}",
                row["title"],
                show.moment(row["opened_at"]),
                row["assigned_to"] or row["acknowledged_by"],
            )
            for row in found["items"]
        ),
    )
    if found["next"]:
        show.line("[dim]there are more: --limit[/]")
    return None


def _severity(text: str) -> int:
    name = text.upper()
    if name not in Severity.__members__:
        raise typer.BadParameter(
            f"{text!r}: sev1 to sev5 (P0 to P3, the priority, comes of it and the environment)"
        )
    return Severity[name]


def _listed(client: Client, limit: int, **narrowed: Any) -> dict[str, Any]:
    """As many as that, page by page."""
    items: list[Any] = []
    cursor: str | None = ""
    while cursor is not None and len(items) < limit:
        most = min(MOST, limit - len(items))
        found = client.get("/incidents", **narrowed, limit=most, cursor=cursor)
        items += found["items"]
        cursor = found["next"]
    return {"items": items, "next": cursor}


@app.command(name="show")
def show_(id: Id, as_json: AsJson = False, data: Data = None) -> None:
    """One incident: what is wrong and why, what opx does about it, and what has happened."""
    found = Client(data).get(f"/incidents/{id}")
    if as_json:
        return show.as_json(found)
    return incident.show_all(found)


@app.command()
def ack(id: Id, version: Version = None, as_json: AsJson = False, data: Data = None) -> None:
    """Take an incident on: from now on opx asks before it acts on it."""
    done = Client(data).post(f"/incidents/{id}/acknowledge", {}, version)
    _say(done, as_json, "acknowledged {}: opx asks first from now on")


@app.command()
def assign(
    id: Id,
    to: Annotated[str, typer.Argument(help="Whose it is from now on.")],
    version: Version = None,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Give an incident to somebody."""
    done = Client(data).post(f"/incidents/{id}/assign", {"to": to}, version)
    _say(done, as_json, f"{{}} is {to}'s")


@app.command()
def comment(
    id: Id,
    text: Annotated[str, typer.Argument(help="What there is to say. Secrets are masked.")],
    version: Version = None,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Say something of an incident, for its timeline."""
    done = Client(data).post(f"/incidents/{id}/comment", {"text": text}, version)
    _say(done, as_json, "said of {}")


@app.command()
def merge(
    id: Id,
    into: Annotated[str, typer.Argument(help="The incident that goes on for both.")],
    version: Version = None,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Say that an incident is the same trouble as another."""
    done = Client(data).post(f"/incidents/{id}/merge", {"into": into}, version)
    _say(done, as_json, f"{{}} is part of {into}")


@app.command()
def resolve(
    id: Id,
    became: Annotated[Became, typer.Option("--as", help="What became of it.")],
    text: Annotated[str, typer.Option(help="In your own words.")] = "",
    version: Version = None,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Say that an incident is over, whatever still fires."""
    body = {"resolution": became.value, "text": text}
    done = Client(data).post(f"/incidents/{id}/resolve", body, version)
    _say(done, as_json, f"resolved {{}} as {became.value}")


@app.command()
def close(id: Id, version: Version = None, as_json: AsJson = False, data: Data = None) -> None:
    """Put a resolved incident away."""
    done = Client(data).post(f"/incidents/{id}/close", {}, version)
    _say(done, as_json, "closed {}")


@app.command()
def reopen(
    id: Id,
    reason: Annotated[str, typer.Option("--reason", help="Why it is not over.")] = "",
    version: Version = None,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Go on with an incident that is not over after all, as a new one."""
    done = Client(data).post(f"/incidents/{id}/reopen", {"reason": reason}, version)
    _say(done, as_json, f"{id} goes on as {{}}")


def _say(done: dict[str, Any], as_json: bool, words: str) -> None:
    """``words``: with ``{}`` where the incident is named."""
    if as_json:
        return show.as_json(done)
    head, _, tail = words.partition("{}")
    return show.line(f"{show.plain(head)}{show.short(done['incident'])}{show.plain(tail)}")


def why(
    about: Annotated[
        str,
        typer.Argument(
            metavar="INCIDENT|SERVICE",
            help="An incident's id, or enough of its beginning; or a service, shop/orders.",
        ),
    ],
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Why opx decided as it did about an incident, and what would have changed it. Of a service:
    the same of its newest incident, or what was seen of it and why nothing came of that."""
    found = _why(Client(data), about)
    if as_json:
        return show.as_json(found)
    if found.get("incident"):
        show.line(f"incident {show.short(found['incident'])}")
    if "incident" in found and found["incident"] is None:
        return _nothing_came(found)
    if not found["items"]:
        show.line("nothing was decided about it yet")
    for decision in found["items"]:
        _decided(decision)
    for run in found["runs"]:
        show.line(show.plain(run["sentence"]))
    return None


def _why(client: Client, about: str) -> dict[str, Any]:
    environment, name = split(about)
    known = {one["name"] for one in client.get("/services")["items"]}
    if environment or name in known:
        path = f"/services/{quote(name, safe='')}/why"
        return dict(client.get(path, environment=environment))
    try:
        return dict(client.get(f"/incidents/{about}/why"))
    except CommandFailed as error:
        error.hint = error.hint or "an incident's id, or a service that opx was taught"
        raise


def _decided(decision: dict[str, Any]) -> None:
    show.line(f"\n[bold]{show.moment(decision['at'])}[/] {show.word(decision['answer'])}")
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


def _nothing_came(found: dict[str, Any]) -> None:
    """What was seen of a service without an incident."""
    for seen in found["seen"]:
        what = seen["finding"]["summary"] or seen["finding"]["rule"] or "evidence"
        show.line(f"[bold]{show.moment(seen['at'])}[/] {show.plain(what)}")
        for sentence in seen["sentences"]:
            show.line(f"  {show.plain(sentence)}")
    for event in found["events"]:
        who = event["data"].get("actor", "")
        by = f" by {who}" if who else ""
        show.line(f"[bold]{show.moment(event['received_at'])}[/] {show.plain(event['type'] + by)}")
    if not found["seen"] and not found["events"]:
        show.line("nothing was found of it")


def replay(id: Id, as_json: AsJson = False, data: Data = None) -> None:
    """Put an incident together again from its journal, and make its decisions again. Exits with
    1 when that is not what is stored."""
    found = Client(data).get(f"/incidents/{id}/replay")
    if as_json:
        show.as_json(found)
    else:
        _replayed(found)
    if not found["ok"]:
        raise typer.Exit(FAILED)


def _replayed(found: dict[str, Any]) -> None:
    decided = found["decisions"]
    same = sum(one["same"] for one in decided)
    head = "[green]the same[/]" if found["ok"] else "[bold red]not the same[/]"
    show.line(f"{head}  {found['entries']} entries, {same} of {len(decided)} decisions again")
    show.line(f"  stored  {found['stored']}\n  rebuilt {found['rebuilt']}")
    for row in found["broken"]:
        show.line(f"  entry {row['seq']} cannot be: {show.plain(row['what'])}")
    for row in found["differences"]:
        is_, was = show.plain(row["stored"]), show.plain(row["rebuilt"])
        show.line(f"  {show.plain(row['field'])}: stored {is_}, rebuilt {was}")
    for row in decided:
        if row["same"]:
            continue
        again = row["again"] or f"not decided: {row['why']}"
        answer, where = show.word(row["answer"]), f"{row['seq']}, {show.moment(row['at'])}"
        show.line(f"  decision at entry {where}: {answer}, again {show.plain(again)}")
        for name, then, now in row["differences"]:
            show.line(f"    {show.plain(name)}: {show.plain(then)}; now {show.plain(now)}")


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
