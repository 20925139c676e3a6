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


def everything(caught: ast.expr) -> bool:
    """Whether what is caught is every error: alone or among others, by its name or a module's."""
    if isinstance(caught, ast.Tuple):
        return any(map(everything, caught.elts))
    called = caught.attr if isinstance(caught, ast.Attribute) else getattr(caught, "id", "")
    return called in ("Exception", "BaseException")


def swallowing(source: str) -> list[int]:
    """The lines of a module where every error is caught."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler) and (node.type is None or everything(node.type)):
            lines.append(node.lineno)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
            lines += [node.lineno] if any(map(everything, node.args)) else []
    return lines


def test_errors_are_swallowed_in_four_places_only() -> None:
    """``except Exception`` stands at the gate, in worker loops, at adapters and at HTTP."""
    broad = [
        f"{name(path)}:{line}"
        for path in MODULES
        if name(path) not in BROAD_EXCEPT_ALLOWED and not name(path).startswith("adapters/")
        for line in swallowing(path.read_text())
    ]

    assert broad == []


@pytest.mark.parametrize(
    ("way", "seen"),
    [
        ("try: x\nexcept: y", [2]),
        ("try: x\nexcept Exception: y", [2]),
        ("try: x\nexcept BaseException as error: y", [2]),
        ("try: x\nexcept (ValueError, Exception): y", [2]),
        ("try: x\nexcept (ValueError, (OSError, Exception)): y", [2]),
        ("import builtins\ntry: x\nexcept builtins.Exception: y", [3]),
        ("try: x\nexcept* (KeyError, builtins.BaseException): y", [2]),
        ("with contextlib.suppress(OSError, Exception): x", [1]),
        ("with suppress(Exception): x", [1]),
        ("try: x\nexcept (ValueError, OSError): y", []),
        ("try: x\nexcept zipfile.BadZipFile: y", []),
        ("with contextlib.suppress(OSError): raise Exception", []),
    ],
)
def test_whoever_swallows_every_error_is_seen(way: str, seen: list[int]) -> None:
    """In whatever words it is said; what is narrower is not meant."""
    assert swallowing(way) == seen


def test_nothing_is_left_for_later() -> None:
    """No module holds a stub or a note of work to be done."""
    words = ("TO" + "DO", "FIX" + "ME", "Not" + "ImplementedError")
    found = [f"{name(p)}: {word}" for p in MODULES for word in words if word in p.read_text()]

    assert found == []
