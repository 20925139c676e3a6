# SPDX-License-Identifier: Apache-2.0

"""``file.restore`` on real files, on those that are not what they seem, and when it is cut off."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from opx.adapters.actions import files, swaps
from opx.adapters.actions.roots import Roots
from opx.engine.ports import Action, EffectKnown
from opx.errors import BadInput, Failed, NotFound, OpxError, Refused, TooLarge, Unavailable

YES, NO, UNKNOWN = EffectKnown.YES, EffectKnown.NO, EffectKnown.UNKNOWN
GOOD, BAD = "workers = 4\n", "workers = 0\n"
KEPT = ".app.conf.opx-"


@pytest.fixture
def conf(place: Path) -> Path:
    """A file that was tampered with; ``good.conf`` beside it is its copy."""
    (place / "good.conf").write_text(GOOD)
    (place / "app.conf").write_text(BAD)
    return place / "app.conf"


@pytest.fixture
def restore(action: Callable[[str], Action]) -> Action:
    return action("file.restore")


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def given(path: Path | str, source: Path | str | None = None) -> dict[str, str]:
    copy = Path(path).parent / "good.conf" if source is None else source
    return {"path": str(path), "source": str(copy)}


def apply(action: Action, inputs: dict[str, str]) -> str:
    return asyncio.run(action.apply("a target", inputs, "order-1"))


def look(action: Action, inputs: dict[str, str]) -> dict[str, str]:
    return asyncio.run(action.observe("a target", inputs))


def hidden(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir() if one.name.startswith("."))


def test_a_file_is_replaced_by_its_copy(restore: Action, conf: Path) -> None:
    """The content is the copy's, mode and owner are as they were, what was there is kept."""
    conf.chmod(0o640)
    if os.getuid() == 0:
        os.chown(conf, 1234, 4321)
    before = conf.stat()

    line = apply(restore, given(conf))

    after = conf.stat()
    assert conf.read_text() == GOOD
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )
    kept = conf.parent / (KEPT + sha(BAD)[:16])
    assert hidden(conf.parent) == [kept.name]
    assert kept.read_text() == BAD
    assert stat.S_IMODE(kept.stat().st_mode) == 0o640
    assert line == f"{conf} is now {conf.parent}/good.conf; what it was is kept as {kept.name}"


def test_what_was_replaced_can_be_put_back(restore: Action, conf: Path) -> None:
    """``@replaced`` undoes a restore, and is undone by another; one file is kept all along."""
    apply(restore, given(conf))
    apply(restore, given(conf, "@replaced"))
    assert conf.read_text() == BAD
    assert hidden(conf.parent) == [KEPT + sha(GOOD)[:16]]

    apply(restore, given(conf, "@replaced"))

    assert conf.read_text() == GOOD
    assert hidden(conf.parent) == [KEPT + sha(BAD)[:16]]


def test_a_file_that_was_deleted_comes_back(restore: Action, conf: Path) -> None:
    """It gets the copy's mode; putting back what was there deletes it again."""
    conf.unlink()
    (conf.parent / "good.conf").chmod(0o604)
    before = look(restore, given(conf))
    apply(restore, given(conf))

    assert before["sha256"] == "missing"
    assert conf.read_text() == GOOD
    assert stat.S_IMODE(conf.stat().st_mode) == 0o604
    assert hidden(conf.parent) == [KEPT + "missing"]
    assert restore.happened(before, look(restore, given(conf))) is YES
    back = given(conf, "@replaced")
    before = look(restore, back)
    apply(restore, back)
    assert not conf.exists()
    assert restore.happened(before, look(restore, back)) is YES


def test_what_is_kept_is_only_put_back_as_it_was(restore: Action, conf: Path) -> None:
    """A kept file that somebody changed, or of which there are two, is not put back."""
    with pytest.raises(NotFound, match="nothing is kept"):
        apply(restore, given(conf, "@replaced"))
    apply(restore, given(conf))
    kept = conf.parent / (KEPT + sha(BAD)[:16])
    kept.write_text("workers = 999\n")
    with pytest.raises(Refused, match="not any more what was kept"):
        apply(restore, given(conf, "@replaced"))

    (conf.parent / (KEPT + "0" * 16)).write_text("another")
    with pytest.raises(Refused, match="more than one"):
        apply(restore, given(conf, "@replaced"))
    assert conf.read_text() == GOOD


def test_set_id_bits_are_not_carried_over(restore: Action, conf: Path) -> None:
    """A restored file is never set-uid, whatever stood in its place."""
    conf.chmod(0o4755)
    apply(restore, given(conf))
    assert stat.S_IMODE(conf.stat().st_mode) == 0o755


def test_observations_tell(restore: Action, conf: Path) -> None:
    """Hash, size and time of the file and the hash of the copy; a third content is unknown."""
    os.utime(conf, (1_000, 1_000))
    before = look(restore, given(conf))
    assert before == {
        "sha256": sha(BAD),
        "size": "12",
        "mtime": "1000000",
        "source": sha(GOOD),
    }

    conf.touch()
    assert restore.happened(before, look(restore, given(conf))) is NO
    conf.write_text("something else")
    assert restore.happened(before, look(restore, given(conf))) is UNKNOWN
    conf.write_text(GOOD)
    assert restore.happened(before, look(restore, given(conf))) is YES


def test_a_missing_copy_never_looks_restored(restore: Action, conf: Path) -> None:
    """Without a source nothing is done, and a file that goes missing was not restored."""
    (conf.parent / "good.conf").unlink()
    before = look(restore, given(conf))
    with pytest.raises(NotFound, match=r"good\.conf is not there"):
        apply(restore, given(conf))
    assert (conf.read_text(), hidden(conf.parent)) == (BAD, [])

    conf.unlink()
    assert restore.happened(before, look(restore, given(conf))) is UNKNOWN


def test_what_changes_nothing_is_refused(restore: Action, conf: Path) -> None:
    """A file like its copy, or named as its own copy, was not restored, so is not undone."""
    conf.write_text(GOOD)
    with pytest.raises(Refused, match="already"):
        apply(restore, given(conf))
    with pytest.raises(BadInput, match="its own source"):
        apply(restore, given(conf, conf))
    assert hidden(conf.parent) == []


def test_nothing_is_allowed_by_default(conf: Path) -> None:
    """Without allowed roots no file can be seen or replaced."""
    action = files.Restore(Roots())
    with pytest.raises(Refused, match="no folder that actions may touch"):
        apply(action, given(conf))
    with pytest.raises(Unavailable):
        look(action, given(conf))


@pytest.mark.parametrize("role", ["path", "source"])
@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("{place}/../outside.conf", BadInput),
        ("{place}/./app.conf", BadInput),
        ("{place}//app.conf", BadInput),
        ("{place}/app.conf/", BadInput),
        ("{place}/", BadInput),
        ("{place}/a\0b", BadInput),
        ("{place}/a\nb", BadInput),
        ("{place}/\u202efnoc.ppa", BadInput),
        ("{place}/\ud800", BadInput),
        ("{place}/" + "n" * 201, BadInput),
        ("{place}/" + "\N{SNOWMAN}" * 70, BadInput),
        ("{place}/" + "d/" * 2_100 + "f", BadInput),
        ("app.conf", BadInput),
        ("", BadInput),
        ("@other", BadInput),
        ("/app.conf", Refused),
        ("/etc/hostname", Refused),
        ("{place}", Refused),
        ("{place}-evil/app.conf", Refused),
        ("{place}/opx/sign.key", Refused),
        ("{place}/opx/new/sign.key", Refused),
        ("{place}/link.conf", Refused),
        ("{place}/up/outside.conf", Failed),
        ("{place}/fifo", Refused),
        ("{place}/socket", Refused),
        ("{place}/folder", Refused),
        ("{place}/hard.conf", Refused),
        ("{place}/huge.conf", TooLarge),
        ("{place}/app.conf/inner", Failed),
        ("{place}/nowhere/app.conf", NotFound),
    ],
)
def test_only_plain_files_below_a_root_are_touched(
    restore: Action,
    conf: Path,
    role: str,
    path: str,
    error: type[OpxError],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As path or as source: no way out of the root, no opx, no link, nothing but plain files."""
    place = conf.parent
    (place.parent / "outside.conf").write_text("outside")
    (place.with_name("srv-evil")).mkdir()
    (place / "link.conf").symlink_to("/etc/hostname")
    (place / "up").symlink_to("..")
    os.mkfifo(place / "fifo")
    (place / "folder").mkdir()
    (place / "first.conf").write_text("x")
    os.link(place / "first.conf", place / "hard.conf")
    with open(place / "huge.conf", "wb") as file:
        file.truncate(swaps.LARGEST + 1)
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(place)
        listener.bind("socket")
    asked = path.replace("{place}", str(place))
    inputs = given(asked, place / "good.conf") if role == "path" else given(conf, asked)
    before = sorted(os.listdir(place))

    with pytest.raises(error) as raised:
        apply(restore, inputs)

    assert not isinstance(raised.value, Unavailable)
    assert sorted(os.listdir(place)) == before
    assert conf.read_text() == BAD
    assert (place.parent / "outside.conf").read_text() == "outside"


@pytest.mark.skipif(os.getuid() != 0, reason="takes root to make a device")
def test_a_device_is_not_opened(restore: Action, conf: Path) -> None:
    """A device in the place of a file is refused by looking at it alone."""
    device = conf.parent / "device"
    os.mknod(device, stat.S_IFCHR | 0o600, os.makedev(10, 130))  # a watchdog: opening arms it
    with pytest.raises(Refused, match="no plain file"):
        apply(restore, given(device))


def test_a_root_inside_opx_opens_nothing(place: Path) -> None:
    """A root in opx's own folder, or a second name of it, is opx's own."""
    inner = place / "opx" / "deep"
    inner.mkdir()
    (inner / "app.conf").write_text(BAD)
    (inner / "good.conf").write_text(GOOD)
    (place / "alias").symlink_to(inner)
    for root in (inner, place / "alias"):
        action = files.Restore(Roots((str(root),), (str(place / "opx"),)))
        with pytest.raises(Refused, match="opx's own"):
            apply(action, given(root / "app.conf"))


def test_a_root_may_be_a_link(conf: Path) -> None:
    """Whoever allows a root says where it is; only below it are links refused."""
    (conf.parent / "alias").symlink_to(conf.parent)
    action = files.Restore(Roots((str(conf.parent / "alias"),)))
    apply(action, given(conf.parent / "alias" / "app.conf"))
    assert conf.read_text() == GOOD


def test_a_link_swapped_in_meanwhile_leads_nowhere(restore: Action, conf: Path) -> None:
    """While a folder on the way is swapped for a link out of the root, again and again, the
    file outside is never written and never read."""
    place, outside = conf.parent, conf.parent.parent / "outside"
    for folder in (place / "sub", outside):
        folder.mkdir()
    (outside / "app.conf").write_text("outside")
    (place / "sub" / "app.conf").write_text(BAD)
    (place / "link").symlink_to(outside)
    swapper = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent(f"""
                import ctypes
                rename = ctypes.CDLL(None).renameat2
                a, b = {os.fsencode(place / "sub")!r}, {os.fsencode(place / "link")!r}
                print("ready", flush=True)
                while True:
                    rename(-100, a, -100, b, 2)
            """),
        ],
        stdout=subprocess.PIPE,
    )
    try:
        assert swapper.stdout is not None
        swapper.stdout.readline()
        done = refused = 0
        inputs = given(place / "sub" / "app.conf", place / "good.conf")
        for _ in range(3_000):
            try:
                assert look(restore, inputs)["sha256"] in (sha(BAD), sha(GOOD))
                done += 1
                apply(restore, inputs)
            except OpxError:
                refused += 1
    finally:
        swapper.kill()
        swapper.communicate()
    assert done
    assert refused
    assert os.listdir(outside) == ["app.conf"] or os.listdir(place / "sub") == ["app.conf"]
    assert "outside" in ((outside / "app.conf").read_text(), (place / "sub/app.conf").read_text())


CHILD = """
import asyncio, concurrent.futures.thread, os, resource, signal, sys
from opx.adapters.actions import files, swaps
from opx.adapters.actions.roots import Roots
from opx.errors import OpxError

place, source = sys.argv[1:]
{prepare}
action = files.Restore(Roots((place,)))
try:
    inputs = {{"path": place + "/app.conf", "source": source}}
    print(asyncio.run(action.apply("a target", inputs, "order-1")))
except OpxError as error:
    print(type(error).__name__, error)
"""


def child(inputs: dict[str, str], prepare: str) -> subprocess.CompletedProcess[str]:
    """The action in a process of its own, in which ``prepare`` was run before."""
    program = CHILD.format(prepare=textwrap.dedent(prepare))
    place = str(Path(inputs["path"]).parent)
    command = [sys.executable, "-c", program, place, inputs["source"]]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("undo", [False, True])
@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_killed_on_the_way_it_is_finished_by_another(
    restore: Action, conf: Path, after: int, undo: bool
) -> None:
    """A process killed before, between and after its renames leaves the old file or the new
    one, whole; whoever looks next knows which, goes on, and what was kept can be put back."""
    inputs, source, former = given(conf), GOOD, BAD
    if undo:
        apply(restore, inputs)
        inputs, source, former = given(conf, "@replaced"), BAD, GOOD
    before = look(restore, inputs)
    ended = child(
        inputs,
        f"""
        real, done = os.replace, []
        def replace(*names, **folders):
            if len(done) == {after}:
                os.kill(os.getpid(), signal.SIGKILL)
            real(*names, **folders)
            done.append(names)
            if len(done) == {after} == 2:
                os.kill(os.getpid(), signal.SIGKILL)
        os.replace = replace
        """,
    )

    assert ended.returncode == (0 if after == 3 else -signal.SIGKILL), ended.stderr
    known = restore.happened(before, look(restore, inputs))
    assert known is (YES if after >= 2 else NO)
    assert conf.read_text() == (source if after >= 2 else former)
    if known is NO:
        apply(restore, inputs)
    assert conf.read_text() == source
    if known is NO:
        assert len(hidden(conf.parent)) == 1
    apply(restore, given(conf, "@replaced"))
    assert conf.read_text() == former


def test_a_full_disk_changes_nothing(conf: Path) -> None:
    """When no more can be written the file is as it was, nothing is left, and it is certain."""
    (conf.parent / "good.conf").write_bytes(b"g" * 3_000_000)
    ended = child(given(conf), "resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))")
    assert ended.stdout.startswith("Failed"), ended
    assert (conf.read_text(), hidden(conf.parent)) == (BAD, [])


@pytest.mark.skipif(os.getuid() != 0, reason="takes root to become somebody else")
@pytest.mark.parametrize(
    ("mode", "owner", "said"),
    [(0o755, 0, "Permission denied"), (0o777, 0, "Operation not permitted")],
)
def test_without_the_right_nothing_changes(conf: Path, mode: int, owner: int, said: str) -> None:
    """A folder that may not be written, or an owner that cannot be kept, is a plain failure."""
    for folder in (conf.parent, conf.parent.parent):
        folder.chmod(mode)
    os.chown(conf, owner, owner)
    above = {one: one.stat().st_mode for one in conf.parent.parent.parents}
    opened = {one: mode for one, mode in above.items() if mode & 0o005 != 0o005}
    for one in opened:
        one.chmod(0o755)
    try:
        ended = child(given(conf), "os.setgid(65534), os.setuid(65534)")
    finally:
        for one, old in opened.items():
            one.chmod(stat.S_IMODE(old))
    assert ended.stdout.startswith("Failed"), ended
    assert said in ended.stdout
    assert (conf.read_text(), hidden(conf.parent)) == (BAD, [])


def test_a_change_in_between_is_not_lost(
    restore: Action, conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What somebody writes while the copy is made is not replaced unkept."""
    real = swaps.write

    def write(*args: object) -> str:
        made = real(*args)  # type: ignore[arg-type]
        conf.write_text("written in between")
        return made

    monkeypatch.setattr(swaps, "write", write)
    with pytest.raises(Failed, match="changed"):
        apply(restore, given(conf))
    assert conf.read_text() == "written in between"


def test_two_at_once_do_not_mix(restore: Action, conf: Path) -> None:
    """Of many restores of one file at once one works, the others find it done."""

    async def all_of_them() -> list[str | BaseException]:
        tries = (restore.apply("a target", given(conf), f"order-{n}") for n in range(8))
        return await asyncio.gather(*tries, return_exceptions=True)

    came = asyncio.run(all_of_them())

    assert sum(isinstance(one, str) for one in came) == 1
    assert sum(isinstance(one, Refused) for one in came) == 7
    assert (conf.read_text(), hidden(conf.parent)) == (GOOD, [KEPT + sha(BAD)[:16]])


def test_once_given_up_nothing_changes(
    restore: Action, conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When its time is over, the call ends only when the work has, and the file is as it was."""
    ended = []
    real = swaps.write

    def slow(*args: object) -> str:
        time.sleep(0.3)
        try:
            return real(*args)  # type: ignore[arg-type]
        finally:
            ended.append(True)

    monkeypatch.setattr(swaps, "write", slow)

    async def hurried() -> None:
        async with asyncio.timeout(0.05):
            await restore.apply("a target", given(conf), "order-1")

    with pytest.raises(TimeoutError):
        asyncio.run(hurried())
    assert ended
    assert (conf.read_text(), hidden(conf.parent)) == (BAD, [])


def test_a_dry_run_says_both_names(restore: Action) -> None:
    """In one line, whatever is in them."""
    line = restore.dry_run("a target", {"path": "/srv/a\nb", "source": "/srv/c"})
    assert line == r"would replace '/srv/a\nb' by '/srv/c'"
