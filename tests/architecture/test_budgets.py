# SPDX-License-Identifier: Apache-2.0

"""The size laws of the house, measured on the tree itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "opx"
MODULES = sorted(SOURCE.rglob("*.py"))
MIGRATIONS = "migrations"

BROAD_EXCEPT_ALLOWED = {
    "core/decide/gate.py": "the gate denies",
    "engine/brain.py": "a worker loop backs off",
    "engine/beats/deliveries.py": "a worker loop makes it a failed try",
    "engine/people/commands.py": "a worker loop refuses what it was asked",
    "engine/hands/serving.py": "a worker loop makes it the result of its order",
    "api/errors.py": "the HTTP boundary answers 500",
}
"""Beside these, a vendor adapter may translate its vendor's errors at its boundary."""


def name(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_file_fits_in_four_hundred_lines(path: Path) -> None:
    """No module is longer than 400 lines; a route module not longer than 200."""
    most = 200 if "api" in path.parts else 400
    assert len(path.read_text().splitlines()) <= most


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_function_fits_on_a_screen(path: Path) -> None:
    """No function is longer than 40 lines or takes more than 6 parameters."""
    long = {
        f.name: length
        for f in functions(path)
        if (length := (f.end_lineno or 0) - f.lineno + 1) > 40 and MIGRATIONS not in path.parts
    }
    wide = {
        f.name: count
        for f in functions(path)
        if (count := len([a for a in f.args.args + f.args.kwonlyargs if a.arg != "self"])) > 6
    }

    assert (long, wide) == ({}, {})


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_says_what_it_is(path: Path) -> None:
    """Every module with code in it opens with its licence and a docstring."""
    text = path.read_text()
    tree = ast.parse(text)

    assert text.startswith("# SPDX-License-Identifier: Apache-2.0")
    assert ast.get_docstring(tree) or not tree.body


def test_folders_and_root_stay_small() -> None:
    """At most 14 entries in a folder of the package and 18 at the root of the repository."""
    folders = {path.parent for path in MODULES}
    crowded = {
        name(folder): count
        for folder in folders
        if (count := len([e for e in folder.iterdir() if e.name != "__pycache__"])) > 14
    }
    ignored = {".git", ".venv", ".hypothesis", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
    root = [e for e in ROOT.iterdir() if e.name not in ignored | {".import_linter_cache"}]

    assert crowded == {}
    assert len(root) <= 18


def test_errors_are_swallowed_in_four_places_only() -> None:
    """``except Exception`` stands at the gate, in worker loops, at adapters and at HTTP."""
    broad = [
        f"{name(path)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or getattr(node.type, "id", "") in ("Exception", "BaseException"))
        and name(path) not in BROAD_EXCEPT_ALLOWED
        and not name(path).startswith("adapters/")
    ]

    assert broad == []


def test_nothing_is_left_for_later() -> None:
    """No module holds a stub or a note of work to be done."""
    words = ("TO" + "DO", "FIX" + "ME", "Not" + "ImplementedError")
    found = [f"{name(p)}: {word}" for p in MODULES for word in words if word in p.read_text()]

    assert found == []
