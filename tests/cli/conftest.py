# SPDX-License-Identifier: Apache-2.0

"""The ``opx`` command against a served ``front`` of fakes, as the API's tests have it."""

from __future__ import annotations

import functools
import importlib.util
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer.main

from opx.cli import tree
from opx.core.decide.roles import Role


def _api() -> Any:
    """The fixtures of the API's tests: test folders are no packages."""
    path = Path(__file__).parents[1] / "adapters" / "api" / "conftest.py"
    spec = importlib.util.spec_from_file_location("opx_tests_api", path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules["opx_tests_api"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_API = _api()
made, world, hosting = _API.made, _API.world, _API.hosting
served, client, brain = _API.served, _API.client, _API.brain


# Typer builds all commands anew for each that is run.
typer.main.get_command = functools.cache(typer.main.get_command)


@dataclass(frozen=True)
class Result:
    """``err`` in one line: rich breaks lines where the terminal ends."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def opx(tmp_path: Path, monkeypatch: Any, capsys: Any) -> Callable[..., Result]:
    """Runs a command on the data folder ``tmp_path / "data"``."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    monkeypatch.setenv("OPX_DATA", str(data))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*argv: str) -> Result:
        capsys.readouterr()
        try:
            code = tree.run(list(argv))
        except SystemExit as left:
            code = int(left.code or 0)
        shown = capsys.readouterr()
        return Result(code, shown.out, " ".join(shown.err.split()))

    return run


@pytest.fixture
def up(
    opx: Callable[..., Result], served: str, world: Any, tmp_path: Path
) -> Callable[..., Result]:
    """``opx`` with a front that answers, and an administrator's token in the folder."""
    (tmp_path / "data" / "front.json").write_text(json.dumps({"url": served}))
    (tmp_path / "data" / "admin.token").write_text(world.secrets[Role.ADMIN])
    return opx
