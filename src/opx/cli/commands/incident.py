# SPDX-License-Identifier: Apache-2.0

"""What ``opx incidents show`` prints of one incident, in the order in which somebody needs it who
was just woken: what is wrong and since when, what changed, which cause and why, what helped
before, what opx does or asks, and then what has happened."""

from __future__ import annotations

from typing import Any

from opx.cli import show

MOST = 5
"""Changes and causes that are shown; ``--json`` has all."""
_SECOND = 1_000


def show_all(found: dict[str, Any]) -> None:
    """``found``: as ``/api/v1/incidents/ID`` says it."""
    severity = f"SEV{found['severity']} {found['priority']}"
    show.line(f"[bold]{show.plain(found['title'])}[/]  {severity}  {show.word(found['status'])}")
    show.line(f"[dim]{found['id']}  version {found['version']}[/]")
    for what in (_since(found), *_people(found)):
        show.line(f"  {show.plain(what)}")
    if found["insight"]:
        _insight(found["insight"])
    if found["doing"]:
        show.line(f"[bold]opx:[/] {show.plain(found['doing'])}")
    _runs(found["runs"])
    for row in found["timeline"]:
        show.line(show.entry(row))


def _since(found: dict[str, Any]) -> str:
    """Whose trouble it is, who else suffers from it, and from when to when."""
    place = f"{found['group']['environment']}/{found['group']['service']}"
    others = [name for name in found["services"] if name != found["group"]["service"]]
    also = f" (and {', '.join(others)})" if others else ""
    over = f" until {show.moment(found['resolved_at'])}" if found["resolved_at"] else ""
    return f"{place}{also} since {show.moment(found['opened_at'])}{over}"


def _people(found: dict[str, Any]) -> list[str]:
    """What people have done about it, and the incidents before and after it."""
    said = found["resolution"]
    text = f": {said['text']}" if said and said["text"] else ""
    lines = {
        "acknowledged by {}": found["acknowledged_by"],
        "assigned to {}": found["assigned_to"],
        "resolved: {}": said and f"{said['kind'].replace('_', ' ')} by {said['by']}{text}",
        "part of {}": found["merged_into"],
        "after {}": found["previous"],
    }
    return [line.format(what) for line, what in lines.items() if what]


def _insight(insight: dict[str, Any]) -> None:
    show.line(f"{show.plain(insight['type'])}, risk {insight['risk']} (by {insight['source']})")
    blamed = [event for cause in insight["causes"] for event in cause["evidence"]]
    ranked = sorted(insight["changes"], key=lambda change: change["event"] not in blamed)
    _some("changed lately", [_change(change) for change in ranked])
    _some("because", [f"{cause['subject']}: {cause['statement']}" for cause in insight["causes"]])
    _some("blame, by the numbers", [_blame(one) for one in insight["ranked"]])
    _some("the same before", [_past(one) for one in insight["similar"]])
    show.line(f"  advice: {show.plain(insight['advice'])}")


def _some(title: str, lines: list[str]) -> None:
    """The first of these lines, and how many more there are; nothing where there is none."""
    if lines:
        show.line(f"  {title}:")
    for line in lines[:MOST]:
        show.line(f"    {show.plain(line)}")
    if len(lines) > MOST:
        show.line(f"    [dim]and {len(lines) - MOST} more: --json[/]")


def _change(change: dict[str, Any]) -> str:
    where = f"{change['group']['environment']}/{change['group']['service']}"
    what = change["what"].removeprefix("opx.").replace(".", " ")
    by = f" by {change['by']}" if change["by"] else ""
    return f"{show.moment(change['at'])} {where}: {what} {change['subject']}{by}"


def _blame(one: dict[str, Any]) -> str:
    """``share`` is no probability, so it is never called one."""
    spoken = {"for": one["said"], "against": one["against"]}
    words = "; ".join(f"{side}: {said}" for side, said in spoken.items() if said)
    return f"{one['share']:.0%} {one['subject']}" + (f"  {words}" if words else "")


def _past(one: dict[str, Any]) -> str:
    helped = f"helped after {one['took'] / _SECOND:.0f} s" if one["helped"] else "did not help"
    return f"{show.moment(one['at'])} {one['runbook']} {helped} ({show.short(one['incident'])})"


def _runs(runs: list[dict[str, Any]]) -> None:
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
            for run in runs
        ),
    )
