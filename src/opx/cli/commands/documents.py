# SPDX-License-Identifier: Apache-2.0

"""``opx apply`` and ``opx lint``: teaching opx, and checking what would be taught.

Several files are one text to opx, applied whole or not at all; where it finds a mistake,
the line is told as the file has it. ``lint`` needs no server.
"""

from __future__ import annotations

import importlib
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from opx.cli import show
from opx.cli.client import FAILED, Client, CommandFailed
from opx.cli.show import AsJson, Data
from opx.errors import DocumentError

Files = Annotated[list[Path], typer.Option("--file", "-f", help="YAML; - is standard input.")]
Paths = Annotated[list[Path], typer.Argument(help="YAML files or folders of them.")]
_PLACE = re.compile(r"^(?P<source>.*?):(?P<line>\d+): ")


@dataclass(slots=True)
class Text:
    """Many files as one stream of documents. ``starts``: the line each file begins after."""

    text: str = ""
    starts: list[tuple[int, str]] = field(default_factory=list)

    def add(self, name: str, text: str) -> None:
        self.text += "---\n"
        self.starts.append((self.text.count("\n"), name))
        self.text += text if text.endswith("\n") else text + "\n"

    def place(self, line: int) -> tuple[str, int]:
        """The file and its own line for a line of the whole."""
        start, name = max((one for one in self.starts if one[0] < line), default=self.starts[0])
        return name, line - start

    def said(self, message: str) -> str:
        """``message`` with its place, if it begins with one, as the file has it."""
        found = _PLACE.match(message)
        if found is None:
            return message
        name, line = self.place(int(found["line"]))
        return f"{name}:{line}: {message[found.end() :]}"


def apply(file: Files, as_json: AsJson = False, data: Data = None) -> None:
    """Apply documents: all of them, or none when one is wrong."""
    text = _read(file)
    try:
        done = Client(data).post_yaml("/documents", text.text, "apply")
    except CommandFailed as failed:
        raise CommandFailed(failed.code, text.said(str(failed)), failed.hint) from failed
    if as_json:
        return show.as_json(done)
    for one in done["applied"]:
        state = "applied" if one["changed"] else "[dim]unchanged[/]"
        show.line(f"{state} {show.plain(one['id'])}")
    return None


def lint(paths: Paths, as_json: AsJson = False) -> None:
    """Check documents without a server. Exits with 1 when something is wrong."""
    text = _read(paths)
    finding: dict[str, object] | None = None
    ids: list[str] = []
    try:
        # Loaded here: no other command should wait for everything that reads documents.
        checked = importlib.import_module("opx.app.documents").check(text.text, "lint", [])
        ids = [f"{one.document.kind}/{one.document.name}" for one in checked]
    except DocumentError as error:
        name, line = text.place(error.line)
        finding = {"file": name, "line": line, "message": text.said(str(error))}
    if as_json:
        show.as_json({"documents": ids, "findings": [finding] if finding else []})
    elif finding:
        show.line(show.plain(finding["message"]))
    else:
        show.line(f"{len(ids)} documents are well")
    if finding:
        raise typer.Exit(FAILED)


def _read(paths: list[Path]) -> Text:
    text = Text()
    for path in paths:
        inside = sorted([*path.rglob("*.yaml"), *path.rglob("*.yml")]) if path.is_dir() else [path]
        for one in inside:
            text.add(str(one), _content(one))
    if not text.starts:
        raise CommandFailed(FAILED, "no YAML file was found there")
    return text


def _content(path: Path) -> str:
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(FAILED, f"{path} cannot be read: {error}") from error
