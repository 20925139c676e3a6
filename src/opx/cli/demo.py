# SPDX-License-Identifier: Apache-2.0

"""``opx demo``: the tour on the screen, live, or as JSON.

Runs ``opx.playground.demo`` and prints its lines as they come. With ``--json`` the story
goes to standard error and the report to standard output.
"""

from __future__ import annotations

import json
import secrets
import shutil
import signal
import tempfile
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from opx.core.base.time import Ms
from opx.errors import OpxError
from opx.playground import demo as tours
from opx.playground import layout, processes
from opx.playground.demo import Plan, Report, Tour
from opx.playground.faults import Fault
from opx.playground.shop import supervisor
from opx.playground.timeline import Beat, Line, Mark, Tell
from opx.playground.trials import Trial

STYLES = {
    Mark.STEP: "bold cyan",
    Mark.PERSON: "magenta",
    Mark.INJECTED: "bold red",
    Mark.DETECTED: "yellow",
    Mark.INCIDENT: "yellow",
    Mark.EXPLAINED: "cyan",
    Mark.DECIDED: "bold blue",
    Mark.ACTED: "blue",
    Mark.VERIFIED: "bold green",
    Mark.PAGED: "bold yellow",
    Mark.WELL: "green",
    Mark.NOTE: "dim",
    Mark.TROUBLE: "bold white on red",
}
HEAD = ("fault", "on", "found", "users well", "repair", "verdict", "people", "judge")
NO = "DOES NOT AGREE"


def demo(
    once: Annotated[bool, typer.Option("--once", help="End after the tour.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    faults: Annotated[
        str, typer.Option(help=f"Which, with commas: {', '.join(Fault)}.", show_default="all")
    ] = ",".join(Fault),
    seed: Annotated[int | None, typer.Option(help="Picks targets and moments.")] = None,
    trials: Annotated[int, typer.Option(min=1, max=1000, help="How many of each fault.")] = 1,
    data: Annotated[Path | None, typer.Option(help="Keep everything in this folder.")] = None,
) -> None:
    """Break a small real system and watch opx repair it.

    The exit code is 0 only if the load generator agrees with every verdict of opx.
    """
    supervisor.require()
    plan = Plan(
        faults=_faults(faults),
        trials=trials,
        seed=secrets.randbelow(10_000) if seed is None else seed,
    )
    folder = (data or Path(tempfile.mkdtemp(prefix="opx-demo-"))).resolve()
    report = Report(started=processes.now())
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)
    try:
        _run(folder, plan, report, _teller(report, Console(stderr=as_json)), once)
    except OpxError as error:
        report.problem = str(error)
    except KeyboardInterrupt:
        report.problem = "" if report.ok and not once else "interrupted"
    _conclude(report, folder, as_json)
    if data is None and report.ok:
        shutil.rmtree(folder)
    raise typer.Exit(0 if report.ok else 1)


def _run(folder: Path, plan: Plan, report: Report, tell: Tell, once: bool) -> None:
    with tours.side_by_side(folder, tell) as tour:
        tours.take(tour, plan, report)
        if not once:
            _invite(tour)
            tours.follow(tour)


def _invite(tour: Tour) -> None:
    """What a person can do now."""
    where = f"--folder {tour.bench.playground.layout.folder}"
    lines = [
        "The tour is over and everything runs on. Break something:",
        f"  opx playground break {layout.SERVICES[1]} --how kill {where}",
        f"  opx playground break {layout.SERVICES[2]} --how hang {where}",
        f"  opx playground break {layout.STORE} --how slow {where}",
        f"  opx playground break brain {where}",
        f"  opx playground status {where}",
        f"opx is at {tour.address}; Ctrl-C ends it all.",
    ]
    for line in lines:
        tour.bench.say(Mark.STEP, line)


def _faults(text: str) -> tuple[Fault, ...]:
    try:
        return tuple(Fault(name.strip()) for name in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"{error}: known are {', '.join(Fault)}") from error


def _teller(report: Report, console: Console) -> Tell:
    """Prints a line with the seconds since the start."""

    def tell(line: Line) -> None:
        since = (line.at - report.started) / 1000
        text = escape(line.text)
        if line.mark is Mark.STEP:
            console.print(f"[{STYLES[line.mark]}]{text}[/]", soft_wrap=True)
            return
        label = f"[{STYLES[line.mark]}]{line.mark.value:<9}[/]"
        console.print(f"{since:8.2f} s  {label}  {text}", soft_wrap=True)

    return tell


def _conclude(report: Report, folder: Path, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(report.plain(), indent=2))
        return
    console = Console()
    if report.trials:
        _sum_up(console, report)
    if report.problem:
        console.print(f"[bold red]It went wrong:[/] {escape(report.problem)}")
    if not report.ok:
        console.print(f"Everything that was written is in {folder}")


def _sum_up(console: Console, report: Report) -> None:
    rows = [HEAD, *(_told(trial) for trial in report.trials)]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    console.print("\n[bold cyan]What became of each[/]")
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        style = "bold" if row is HEAD else "red" if row[-1] == NO else None
        console.print("  ".join(cells).rstrip(), style=style, soft_wrap=True, highlight=False)
    console.print(_figures(report), soft_wrap=True)


def _figures(report: Report) -> str:
    """What it comes to, in four lines; in two where nothing was to be repaired."""
    totals = report.totals()
    false = (
        f"{totals['false_actions']} false actions in {totals['trials']} trials: 95 % sure that at "
        f"most {totals['false_actions_at_most']:.0%} of such trials have one; "
        f"{totals['false_alarms']} false alarms (seed {report.seed})"
    )
    if report.false_findings is not None:
        false += (
            "\nodd while nothing was wrong: {opx} findings of opx, {plain_rule} of the plain rule "
            "(three deviations off its own past)"
        ).format(**report.false_findings)
    if not totals["verified_success"]:
        return f"\n{totals['verified_success']} of {totals['repairs']} repairs verified; {false}"
    return (
        f"\n{totals['verified_success']} of {totals['repairs']} repairs verified by opx and "
        f"confirmed by the load generator, the first {totals['first_verified_s']} s after the "
        f"start\nto detect {totals['mttd_s']} s on average and {totals['mttd_p90_s']} s at most in "
        f"nine of ten, to recover {totals['mttr_s']} s and {totals['mttr_p90_s']} s\n{false}"
    )


def _told(trial: Trial) -> tuple[str, ...]:
    """One trial as a row under ``HEAD``; what there was not is a dash."""
    story = trial.story
    return (
        trial.fault.value,
        trial.service,
        _after(trial, story.at(Beat.DETECTED)),
        _after(trial, trial.healthy if trial.repair else None),
        story.runbook if story.orders else "-",
        ", ".join(dict.fromkeys(story.verdicts)).replace("_", " ") or "-",
        "called" if trial.paged else "-",
        "agrees" if trial.ok else NO,
    )


def _after(trial: Trial, at: Ms | None) -> str:
    return "-" if at is None else f"{processes.seconds(at - trial.injected):.1f} s"


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """End orderly, once: what is being ended must not be interrupted in turn."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt
