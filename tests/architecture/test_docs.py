# SPDX-License-Identifier: Apache-2.0
"""The documentation names files, commands and decisions that exist."""

from __future__ import annotations

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
    """A page in ``docs/decisions`` is listed in its README."""
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text()

    assert [p.name for p in folder.glob("0*.md") if f"({p.name})" not in index] == []


@pytest.mark.parametrize("stage", sorted((SOURCE / "core").glob("*/__init__.py")), ids=named)
def test_every_stage_says_what_it_is(stage: Path) -> None:
    """A stage folder opens with a paragraph, not a line."""
    assert len(stage.read_text().split()) > 30
