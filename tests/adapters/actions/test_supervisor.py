# SPDX-License-Identifier: Apache-2.0

"""Acting on real processes through a real supervisord, on those that resist included."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from opx.adapters import actions
from opx.adapters.actions import supervisor
from opx.adapters.clients.logins import Logins
from opx.core.decide.actions import Blast, Undo
from opx.engine.ports import EffectKnown
from opx.errors import BadInput, Failed, OpxError, Refused, Unavailable

YES, NO, UNKNOWN = EffectKnown.YES, EffectKnown.NO, EffectKnown.UNKNOWN


def apply(name: str, target: str) -> str:
    return asyncio.run(actions.registry()[name].apply(target, {}, "order-1"))


def observe(target: str) -> dict[str, str]:
    return asyncio.run(actions.registry()["process.restart"].observe(target, {}))


def test_a_running_program_is_restarted_once(supervisord: Any) -> None:
    """A restart gives the program a new pid, by exactly one more start."""
    old, starts = supervisord.pid("web"), supervisord.starts("web")

    line = apply("process.restart", supervisord.target("web"))

    new = supervisord.pid("web")
    assert line == f"restarted web at {supervisord.folder}/s.sock: pid {old} -> {new}"
    assert new not in (0, old)
    assert supervisord.starts("web") == starts + 1


def test_a_program_that_was_suspended_comes_back(
    supervisord: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process under SIGSTOP cannot end by itself: it is killed and started anew."""
    monkeypatch.setattr(supervisor, "POLITE", 200)
    old = supervisord.pid("web")
    os.kill(old, signal.SIGSTOP)

    apply("process.restart", supervisord.target("web"))

    assert supervisord.pid("web") not in (0, old)


def test_a_program_that_ignores_sigterm_is_killed(
    supervisord: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long before supervisord's own 30 s are over, a stubborn program is gone."""
    monkeypatch.setattr(supervisor, "POLITE", 200)
    apply("process.stop", supervisord.target("stubborn"))

    assert observe(supervisord.target("stubborn"))["state"] in ("STOPPED", "EXITED")


def test_a_dead_program_is_restarted_by_starting_it(supervisord: Any) -> None:
    """Restarting what does not run starts it; starting what runs, or stopping what does not,
    changes nothing."""
    starts = supervisord.starts("idle")

    apply("process.stop", supervisord.target("idle"))
    apply("process.restart", supervisord.target("idle"))
    pid = supervisord.pid("idle")
    apply("process.start", supervisord.target("idle"))

    assert supervisord.pid("idle") == pid != 0
    assert supervisord.starts("idle") == starts + 1


def test_what_does_not_stay_up_is_an_error(supervisord: Any) -> None:
    """A program that ends at once was not started, nor while supervisord tries it again: that
    is certain, so nobody looks whether it worked after all."""
    with pytest.raises(Failed, match="could not do it"):
        apply("process.start", supervisord.target("broken"))
    assert supervisord.state("broken") == "BACKOFF"

    with pytest.raises(Failed, match=r"did not stay up|could not do it"):
        apply("process.start", supervisord.target("broken"))
    apply("process.stop", supervisord.target("broken"))
    assert supervisord.state("broken") == "STOPPED"


def test_an_unknown_program_is_refused(supervisord: Any) -> None:
    """Acting on a program that supervisord does not know is refused; looking is unavailable."""
    with pytest.raises(Refused, match="knows no program absent"):
        apply("process.restart", supervisord.target("absent"))
    with pytest.raises(Unavailable, match="knows no program absent"):
        observe(supervisord.target("absent"))


def test_a_login_comes_from_its_file(supervisord: Any) -> None:
    """A supervisord that wants a login is given the one that the file has for its URL."""
    known = actions.registry(Logins(supervisord.logins))["process.restart"]
    target = f"{supervisord.url}#web"

    assert asyncio.run(known.observe(target, {}))["pid"] == str(supervisord.pid("web"))
    with pytest.raises(Unavailable, match=f"wants a login for web at 127.0.0.1:{supervisord.port}"):
        observe(target)


def test_a_wrong_login_is_refused_and_never_shown(supervisord: Any, tmp_path: Path) -> None:
    """Neither the file's login nor one in a target reaches anybody: not errors, not dry runs."""
    file = tmp_path / "supervisors.toml"
    file.touch(0o600)
    file.write_text(f'["{supervisord.url}"]\nuser = "opx"\npassword = "wrong-word"\n')
    action = actions.registry(Logins(file))["process.restart"]
    target = f"{supervisord.url}#web"

    with pytest.raises(Refused, match="another login") as refused:
        asyncio.run(action.apply(target, {}, "order-1"))

    assert action.dry_run(target, {}) == f"would restart web at 127.0.0.1:{supervisord.port}"
    assert "wrong-word" not in str(refused.value)
    with pytest.raises(BadInput, match="has a login in it") as bad:
        apply("process.restart", f"http://opx:wrong-word@127.0.0.1:{supervisord.port}#web")
    assert "wrong-word" not in str(bad.value)


def test_nobody_there_is_unavailable() -> None:
    """Without supervisord nothing can be seen or done."""
    for attempt in (observe, lambda target: apply("process.restart", target)):
        with pytest.raises(Unavailable, match="does not answer for web at 127"):
            attempt("http://127.0.0.1:1#web")


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("web", BadInput),
        ("http://127.0.0.1:9001", BadInput),
        ("http://127.0.0.1:9001#", BadInput),
        ("http://127.0.0.1:9001#web;reboot", BadInput),
        ("http://127.0.0.1:9001#web*", BadInput),
        ("http://127.0.0.1:9001/elsewhere#web", BadInput),
        ("http://127.0.0.1:port#web", BadInput),
        ("ftp://127.0.0.1#web", BadInput),
        ("unix://#web", BadInput),
        ("http://192.0.2.1:9001#web", Refused),
        ("http://127.0.0.1.example.org:9001#web", Refused),
        ("http://localhost@192.0.2.1:9001#web", BadInput),
    ],
)
def test_only_proper_targets_on_this_machine_are_touched(
    target: str, error: type[OpxError]
) -> None:
    """Anything but ``url#program`` is bad input, and any other machine is refused."""
    with pytest.raises(error):
        apply("process.restart", target)
    with pytest.raises(Unavailable):
        observe(target)


def seen(state: str, pid: int) -> dict[str, str]:
    return {"state": state, "pid": str(pid), "start": str(1_000 + pid)}


@pytest.mark.parametrize(
    ("name", "before", "now", "known"),
    [
        ("process.restart", seen("RUNNING", 5), seen("RUNNING", 6), YES),
        ("process.restart", seen("RUNNING", 5), seen("STARTING", 6), YES),
        ("process.restart", seen("EXITED", 0), seen("RUNNING", 6), YES),
        ("process.restart", seen("RUNNING", 5), seen("RUNNING", 5), NO),
        ("process.restart", seen("EXITED", 0), seen("EXITED", 0), NO),
        ("process.restart", seen("RUNNING", 5), seen("STOPPED", 0), NO),
        ("process.restart", seen("RUNNING", 5), seen("STOPPING", 5), UNKNOWN),
        ("process.restart", seen("RUNNING", 5), seen("FATAL", 0), UNKNOWN),
        ("process.restart", seen("EXITED", 0), seen("BACKOFF", 0), UNKNOWN),
        ("process.start", seen("STOPPED", 0), seen("RUNNING", 6), YES),
        ("process.start", seen("STOPPED", 0), seen("STARTING", 6), YES),
        ("process.start", seen("STOPPED", 0), seen("STOPPED", 0), NO),
        ("process.start", seen("RUNNING", 5), seen("RUNNING", 5), NO),
        ("process.start", seen("STOPPED", 0), seen("FATAL", 0), UNKNOWN),
        ("process.start", seen("RUNNING", 5), seen("RUNNING", 6), UNKNOWN),
        ("process.start", seen("BACKOFF", 0), seen("RUNNING", 6), UNKNOWN),
        ("process.stop", seen("RUNNING", 5), seen("STOPPED", 0), YES),
        ("process.stop", seen("RUNNING", 5), seen("EXITED", 0), YES),
        ("process.stop", seen("RUNNING", 5), seen("RUNNING", 5), NO),
        ("process.stop", seen("STOPPED", 0), seen("STOPPED", 0), NO),
        ("process.stop", seen("RUNNING", 5), seen("STOPPING", 5), UNKNOWN),
        ("process.stop", seen("RUNNING", 5), seen("RUNNING", 6), UNKNOWN),
    ],
)
def test_two_observations_tell_what_happened(
    name: str, before: dict[str, str], now: dict[str, str], known: EffectKnown
) -> None:
    """What looks like after is YES, what looks like before is NO, anything else is UNKNOWN."""
    assert actions.registry()[name].happened(before, now) is known


def test_every_action_describes_itself() -> None:
    """The registry's names are the actions' own; all but a start must be undone, and each says
    how far it reaches."""
    registry = actions.registry()

    assert all(name == action.spec.name for name, action in registry.items())
    assert {name: (one.spec.undo, one.spec.blast) for name, one in registry.items()} == {
        "process.start": (Undo.NOT_NEEDED, Blast.PROCESS),
        "process.stop": (Undo.ROLLBACK, Blast.PROCESS),
        "process.restart": (Undo.NOT_NEEDED, Blast.PROCESS),
        "file.restore": (Undo.ROLLBACK, Blast.SERVICE),
        "release.rollback": (Undo.ROLLBACK, Blast.SERVICE),
        "flag.set": (Undo.ROLLBACK, Blast.SERVICE),
        "http.request": (Undo.ROLLBACK, Blast.EXTERNAL),
    }
