# SPDX-License-Identifier: Apache-2.0

"""``opx apply``, ``plan``, ``delete``, ``documents``, ``schema``, ``lint``: what opx is taught.

Several files are one text to opx, applied whole or not at all; where it finds a mistake,
the line is told as the file has it. ``lint`` and ``schema`` need no server.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from opx.cli import show
from opx.cli.client import FAILED, Client, CommandFailed
from opx.cli.show import AsJson, Data
from opx.errors import DocumentError

Files = Annotated[list[Path], typer.Option("--file", "-f", help="YAML; - is standard input.")]
Paths = Annotated[list[Path], typer.Argument(help="YAML files or folders of them.")]
Id = Annotated[str, typer.Argument(help="Service/ENVIRONMENT/NAME, or KIND/NAME.")]
WOULD = {"added": "would add", "changed": "would change", "reformatted": "would reformat"}
_PLACE = re.compile(r"^(?P<source>.*?):(?P<line>\d+): ")
_FIRST = re.compile(r"(?<=\(first in line )\d+(?=\)$)")
"""What a key that is there twice hints at."""


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
        """``message`` with its place, if it begins with one, as the file has it; and the line that
        it hints at."""
        found = _PLACE.match(message)
        if found is None:
            return message
        name, line = self.place(int(found["line"]))
        rest = _FIRST.sub(lambda first: str(self.place(int(first[0]))[1]), message[found.end() :])
        return f"{name}:{line}: {rest}"


def apply(file: Files, as_json: AsJson = False, data: Data = None) -> None:
    """Apply documents: all of them, or none when one is wrong."""
    done = _send("/documents", file, data)
    if as_json:
        return show.as_json(done)
    for one in done["applied"]:
        show.line(f"{show.word(one['change'])} {show.plain(one['id'])}")
    return None


def plan(file: Files, as_json: AsJson = False, data: Data = None) -> None:
    """Say what applying documents would change, and change nothing."""
    found = _send("/documents/plan", file, data)
    if as_json:
        return show.as_json(found)
    for one in found["documents"]:
        change = WOULD.get(one["change"], one["change"])
        show.line(f"{show.word(change)} {show.plain(one['id'])}")
        for row in one["fields"]:
            old, new = (json.dumps(row[side]) for side in ("old", "new"))
            show.line(f"  {show.plain(row['field'])}: {show.plain(old)} -> {show.plain(new)}")
        if one["loosens"]:
            said = f"lets opx do more than now: {', '.join(one['loosens'])}"
            show.line(f"  [bold yellow]loosens[/] {show.plain(said)}")
    return None


def delete(document: Id, as_json: AsJson = False, data: Data = None) -> None:
    """Delete a document: what it taught opx holds no longer."""
    if document.count("/") not in (1, 2):
        raise typer.BadParameter("write it as Service/ENVIRONMENT/NAME or as KIND/NAME")
    path = "/".join(quote(part, safe="") for part in document.split("/"))
    done = Client(data).delete(f"/documents/{path}")
    if as_json:
        return show.as_json(done)
    return show.line(f"deleted {show.plain(done['id'])}")


def documents(as_json: AsJson = False, data: Data = None) -> None:
    """Every document that is kept, and those that cannot be read."""
    found = Client(data).get("/documents")
    if as_json:
        return show.as_json(found)
    show.table(
        "Documents",
        ("id", "applied by", "at"),
        ((one["id"], one["applied_by"], show.moment(one["applied_at"])) for one in found["items"]),
    )
    return show.problems(found["problems"])


def schema(kind: Annotated[str, typer.Argument(help="Service, Runbook, ...")]) -> None:
    """Print the JSON Schema of a kind of document, for an editor. Needs no server."""
    # Loaded here: no other command needs it.
    schemas = importlib.import_module("opx.packs.schemas")
    if kind not in schemas.SPECS:
        raise typer.BadParameter(f"one of {', '.join(schemas.SPECS)}")
    show.as_json(schemas.schema(kind))


def lint(paths: Paths, as_json: AsJson = False) -> None:
    """Check documents without a server. Exits with 1 when something is wrong."""
    text = _read(paths)
    # Loaded here: no other command should wait for everything that reads documents.
    checked, wrong = importlib.import_module("opx.app.documents").examine(text.text, "lint", [])
    findings = [_finding(text, error) for error in wrong]
    ids = [one.id for one in checked]
    if as_json:
        show.as_json({"documents": ids, "findings": findings})
    else:
        for finding in findings:
            show.line(show.plain(finding["message"]))
        well = "1 document is well" if len(ids) == 1 else f"{len(ids)} documents are well"
        show.line(f"{well}; what is wrong: {len(findings)}" if findings else well)
    if findings:
        raise typer.Exit(FAILED)


def _finding(text: Text, error: DocumentError) -> dict[str, object]:
    name, line = text.place(error.line)
    return {"file": name, "line": line, "message": text.said(str(error))}


def _send(path: str, files: list[Path], data: Data) -> Any:
    """Post the files as one text; what is wrong in it is told as its file has it."""
    text = _read(files)
    try:
        return Client(data).post_yaml(path, text.text, "apply")
    except CommandFailed as failed:
        raise CommandFailed(failed.code, text.said(str(failed)), failed.hint) from failed


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
