# SPDX-License-Identifier: Apache-2.0

"""Every command but ``opx up``, as one tree, and what its failures exit with."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from opx import __version__
from opx.cli import detect, playground, score, show, up
from opx.cli.client import CommandFailed
from opx.cli.commands import (
    automation,
    documents,
    incidents,
    journal,
    predictions,
    quarantine,
    silences,
    tokens,
)
from opx.cli.commands.doctor import doctor
from opx.cli.demo import demo
from opx.errors import OpxError

app = typer.Typer(
    help="opx: telemetry in, verified recovery out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command(
    name="up",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
def start(context: typer.Context) -> None:
    """Start opx and watch over it. Ctrl-C stops it."""
    raise typer.Exit(up.run(["up", *context.args]))


@app.command()
def version(as_json: show.AsJson = False) -> None:
    """Which opx this is."""
    if as_json:
        return show.as_json({"version": __version__})
    return show.line(__version__)


for command in (
    automation.status,
    incidents.why,
    incidents.replay,
    automation.approve,
    automation.reject,
    automation.halt,
    automation.resume,
    incidents.outcome,
    documents.apply,
    documents.plan,
    documents.delete,
    documents.documents,
    documents.lint,
    documents.schema,
    journal.watch,
    journal.notices,
    quarantine.unmapped,
    journal.suppressed,
    tokens.login,
    tokens.logout,
    doctor,
    demo,
):
    app.command()(command)
app.add_typer(incidents.app, name="incidents")
app.add_typer(automation.runbook, name="runbook")
app.add_typer(automation.breaker, name="breaker")
app.add_typer(tokens.app, name="token")
app.add_typer(journal.audit, name="audit")
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(silences.app, name="silence")
app.add_typer(predictions.app, name="predictions")
app.add_typer(playground.app, name="playground")
app.add_typer(score.app, name="score")
app.add_typer(detect.app, name="bench")


def run(argv: Sequence[str]) -> int:
    """Run one command; returns its exit code, or ends the process with it."""
    try:
        app(args=list(argv), prog_name="opx")
    except CommandFailed as failed:
        return _fail(failed.code, str(failed), failed.hint)
    except OpxError as error:
        return _fail(1, str(error), error.hint)
    except KeyboardInterrupt:
        return 130
    return 0


def _fail(code: int, message: str, hint: str) -> int:
    show.line(f"[bold red]opx:[/] {show.plain(message)}", aside=True)
    if hint and hint not in message:
        show.line(f"  [dim]{show.plain(hint)}[/]", aside=True)
    return code
