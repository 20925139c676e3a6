# SPDX-License-Identifier: Apache-2.0

"""A protected target is recognised under its other names."""

from __future__ import annotations

import pytest

from opx.core.decide.targets import owned

OURS = frozenset({"http://127.0.0.1:9001#opx:brain"})


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:9001#opx:brain",
        "http://localhost:9001#brain",
        "http://LOCALHOST:9001/#opx:brain",
        "http://[::1]:9001/RPC2#brain",
        "http://user:secret@127.0.0.1:9001#brain",
        "http://127.1.2.3:9001#brain",
        "127.0.0.1:9001#brain",
        "http://127.0.0.1:9001#opx:*",
        "http://127.0.0.1:9001#*",
        "http://127.0.0.1:9001#",
        "http://127.0.0.1:9001",
    ],
)
def test_ours_by_any_name(target: str) -> None:
    """Other spellings of the host, the group and wildcards over it are still ours."""
    assert owned(target, OURS)


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:9001#orders",
        "http://127.0.0.1:9002#brain",
        "http://10.0.0.7:9001#brain",
        "http://10.0.0.7:9001#*",
        "unix:///run/supervisor.sock#brain",
    ],
)
def test_others_may_be_acted_on(target: str) -> None:
    """Other programs of the same supervisor, and other supervisors, are not ours."""
    assert not owned(target, OURS)


def test_a_whole_supervisor_can_be_protected() -> None:
    """A protected target without a program covers every program of that supervisor."""
    assert owned("http://localhost#orders", {"http://127.0.0.1:80"})
    assert owned("unix:///run/opx.sock#orders", {"unix:///run/opx.sock"})
    assert not owned("unix:///run/other.sock#orders", {"unix:///run/opx.sock"})


def test_nothing_protected() -> None:
    """With nothing to protect every target is somebody else's."""
    assert not owned("http://127.0.0.1:9001#orders", frozenset())
