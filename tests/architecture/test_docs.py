# SPDX-License-Identifier: Apache-2.0
"""The documentation names files, commands and decisions that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from typer.main import get_command

from opx.cli.tree import app

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "opx"
PAGES = sorted([*ROOT.glob("docs/**/*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])


def named(page: Path) -> list[str]:
    return page.relative_to(ROOT).as_posix()  # type: ignore[return-value]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_file_that_is_named_is_there(page: Path) -> None:
    """Paths in code quotes exist below the package or the repository."""
    quoted = re.findall(r"`([\w./-]+/[\w./-]*)`", page.read_text())
    paths = [path for path in quoted if not path.startswith(("/", "~", "wal/"))]
    missing = [
        path
        for path in paths
        if not any((base / path).exists() for base in (SOURCE, ROOT, page.parent))
    ]

    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere(page: Path) -> None:
    """Relative links point at files."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_command_that_is_shown_exists(page: Path) -> None:
    """``opx WORD`` on an indented line or in code quotes is a command."""
    shown = re.findall(r"(?:^ {4}(?:\.venv/bin/)?|`)opx ([a-z]+)", page.read_text(), re.MULTILINE)
    known = {"up", *getattr(get_command(app), "commands", {})}

    assert sorted(set(shown) - known) == []


def test_every_decision_is_in_the_index() -> None:
    """A page in ``docs/decisions`` is listed in its README, by its own title."""
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text()
    titles = {page: page.read_text().splitlines()[0] for page in folder.glob("0*.md")}
    entries = [f"[{title.partition('. ')[2]}]({page.name})" for page, title in titles.items()]

    assert [entry for entry in entries if entry not in index] == []


def test_every_name_in_a_package_s_docstring_is_there() -> None:
    """What stands in code quotes there is a module or is called so in the code."""
    trees = {path: ast.parse(path.read_text()) for path in SOURCE.rglob("*.py")}
    known = {part for path in trees for part in (path.stem, path.parent.name)} | {"opx"}
    for node in (node for tree in trees.values() for node in ast.walk(tree)):
        known |= {str(getattr(node, name, "")) for name in ("name", "id", "arg", "attr")}
    missing = [
        f"{path.parent.relative_to(SOURCE)}: {word}"
        for path, tree in trees.items()
        if path.name == "__init__.py"
        for word in re.findall(r"``([a-z_.]+)``", ast.get_docstring(tree) or "")
        if not known.issuperset(word.split("."))
    ]

    assert missing == []


@pytest.mark.parametrize("stage", sorted((SOURCE / "core").glob("*/__init__.py")), ids=named)
def test_every_stage_says_what_it_is(stage: Path) -> None:
    """A stage folder opens with a paragraph, not a line."""
    assert len(stage.read_text().split()) > 30
