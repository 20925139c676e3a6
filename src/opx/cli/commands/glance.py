# SPDX-License-Identifier: Apache-2.0

"""What ``opx status`` prints: the mode, what is open and what opx does about it, what waits for
a person, what is held back, and how opx itself is. The worst comes first."""

from __future__ import annotations

from typing import Any

from opx.cli import show
from opx.cli.commands import predictions

LATE_MS = 5_000
"""What is taken in within this time is not late: brain may just be in the middle of a commit."""


def show_all(seen: dict[str, Any], url: str) -> None:
    """``seen``: as ``/api/v1/status`` says it."""
    _itself(seen, url)
    _open(seen)
    if seen["predictions"]:
        show.line(predictions.line(seen["predictions"][0], seen["open_predictions"]))
    show.table(
        "Waiting for approval",
        ("run", "runbook", "target", "until"),
        (
            (
                show.short(row["id"]),
                (row["proposal"] or {}).get("runbook", ""),
                (row["proposal"] or {}).get("target", ""),
                show.moment(row["expires_at"]),
            )
            for row in seen["approvals"]
        ),
    )
    show.table(
        "Breakers open",
        ("runbook", "environment", "service", "since"),
        (
            (row["runbook"], row["environment"], row["service"], show.moment(row["opened_at"]))
            for row in seen["breakers"]
        ),
    )
    silences(seen["silences"])
    show.table(
        "Services",
        ("service", "environment", "state"),
        ((row["name"], row["environment"], row["state"]) for row in seen["services"]),
    )


def silences(rows: list[dict[str, Any]]) -> None:
    show.table(
        "Silences",
        ("id", "environment", "service", "rule", "until", "by", "reason"),
        (
            (
                show.short(row["id"]),
                *(row[name] or "any" for name in ("environment", "service", "rule")),
                show.moment(row["ends_at"]) + ("" if row["holds"] else " (over)"),
                row["by"],
                row["reason"],
            )
            for row in rows
        ),
    )


def _itself(seen: dict[str, Any], url: str) -> None:
    """Mode and processes, and what of opx does not work."""
    processes = "  ".join(f"{name} {show.word(is_)}" for name, is_ in seen["processes"].items())
    show.line(f"automation {show.word(seen['automation'])}   {processes}   [dim]{url}[/]")
    for mode in seen["scopes"]:
        if mode["automation"] == "halted":
            by = f"by {show.plain(mode['by'])}: {show.plain(mode['reason'])}"
            show.line(f"  {show.word('halted')} {show.plain(mode['scope'])} {by}")
    for name, failing in seen["failing"].items():
        since = show.moment(failing["since"])
        show.line(f"  [bold red]{show.plain(name)} fails[/] since {since}: opx doctor says why")
    if (seen["lag_ms"] or 0) >= LATE_MS:
        late = seen["lag_ms"] / 1_000
        show.line(f"  [bold red]late[/]: what came {late:.0f} s ago is not taken in yet")
    show.problems(seen["problems"])


def _open(seen: dict[str, Any]) -> None:
    shown = seen["incidents"]
    show.table(
        "Open incidents",
        ("id", "severity", "service", "since", "what is wrong", "what opx does"),
        (
            (
                show.short(row["id"]),
                f"SEV{row['severity']} {row['priority']}",
                f"{row['group']['environment']}/{row['group']['service']}",
                show.moment(row["opened_at"]),
                row["title"],
                row["doing"] + _has_it(row),
            )
            for row in shown
        ),
    )
    if seen["open_incidents"] > len(shown):
        rest = seen["open_incidents"] - len(shown)
        show.line(f"[dim]and {rest} more: opx incidents list --status open[/]")


def _has_it(row: dict[str, Any]) -> str:
    who = row["assigned_to"] or row["acknowledged_by"]
    return f" ({who} has it)" if who else ""
