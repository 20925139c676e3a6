# SPDX-License-Identifier: Apache-2.0

"""What a service of the playground starts from, and what it refuses to start from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opx.playground import layout
from opx.playground.layout import Layout
from opx.playground.shop import collector, files, service

Spoil = Callable[[dict[str, Any]], Any]


@pytest.fixture
def where(tmp_path: Path) -> Layout:
    shop = Layout(folder=tmp_path, ports={}, socket=tmp_path / "s.sock")
    files.lay_out(shop, layout.EVERY)
    return shop


def test_a_new_shop_is_well(where: Layout) -> None:
    """Each service starts: its file is like its good copy, and its release fails nothing."""
    for name in layout.EVERY:
        begun = service.begin(name, where)
        assert (begun.config.currency, begun.release.name) == ("EUR", "v1")
        assert begun.release.fails == frozenset()
        assert collector.digest(where.config(name)) == collector.digest(where.good(name))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda value: value.pop("currency"), "has no 'currency' that is a str"),
        (lambda value: value.update(timeout_ms="soon"), "has no 'timeout_ms' that is a int"),
        (lambda value: value.update(service="orders"), "is that of orders"),
    ],
)
def test_half_a_configuration_is_refused(where: Layout, spoil: Spoil, said: str) -> None:
    """What a configuration must have is there and of its kind, or the service does not start."""
    value = json.loads(where.config("store").read_text())
    spoil(value)
    where.config("store").write_text(json.dumps(value))
    with pytest.raises(files.Refused, match=said):
        service.begin("store", where)


@pytest.mark.parametrize("text", ["", "{", "[1]", '"text"'])
def test_what_is_no_configuration_is_refused(where: Layout, text: str) -> None:
    """Whatever stands in the file, the service says no and does not fall over."""
    where.config("store").write_text(text)
    with pytest.raises(files.Refused):
        service.begin("store", where)


def test_a_service_without_a_release_is_refused(where: Layout) -> None:
    """``current`` must lead to a release that is there."""
    files.point(where, "store", "v9")
    with pytest.raises(files.Refused, match=r"release\.json"):
        service.begin("store", where)


def test_a_file_that_is_not_there_has_a_hash_of_its_own(where: Layout) -> None:
    """Nothing is told from something, as the restoring of files tells it."""
    where.config("store").unlink()
    assert collector.digest(where.config("store")) == "missing"
