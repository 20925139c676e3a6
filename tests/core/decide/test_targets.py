# SPDX-License-Identifier: Apache-2.0

"""A protected target is recognised under its other names."""

from __future__ import annotations

import pytest

from opx.core.decide.targets import canonical, owned

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


def test_one_target_has_one_spelling() -> None:
    """Whatever the host, the slash, the group or the case: one lease."""
    names = (
        "http://127.0.0.1:9001#web",
        "http://localhost:9001#web",
        "http://LOCALHOST:9001/#shop:web",
        "http://[::1]:9001/RPC2#web",
        " http://user:secret@127.1.2.3:9001#Web",
    )
    assert {canonical(name) for name in names} == {"loopback:9001#web"}
    assert canonical("unix:///run/s.sock#web") == canonical("unix:///run/s.sock/#web")


@pytest.mark.parametrize(
    "other",
    [
        "http://127.0.0.1:9001#web2",
        "http://127.0.0.1:9002#web",
        "http://10.0.0.7:9001#web",
        "unix:///run/s.sock#web",
    ],
)
def test_other_targets_have_others(other: str) -> None:
    """Another program, port, host or socket is another target."""
    assert canonical(other) != canonical("http://127.0.0.1:9001#web")
