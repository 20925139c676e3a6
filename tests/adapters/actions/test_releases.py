# SPDX-License-Identifier: Apache-2.0

"""``release.rollback`` on real links: which release is the one before, and how it is undone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from opx.engine.ports import Action, EffectKnown
from opx.errors import BadInput, Failed, NotFound, OpxError, Refused, Unavailable

YES, NO, UNKNOWN = EffectKnown.YES, EffectKnown.NO, EffectKnown.UNKNOWN


@pytest.fixture
def root(place: Path) -> Path:
    """``v8``, ``v9`` and ``v10``, made in that order; ``v10`` is current."""
    folder = place / "shop"
    for at, name in enumerate(("v8", "v9", "v10")):
        (folder / "releases" / name).mkdir(parents=True)
        os.utime(folder / "releases" / name, (1_000 + at, 1_000 + at))
    (folder / "current").symlink_to("releases/v10")
    return folder


@pytest.fixture
def rollback(action: Callable[[str], Action]) -> Action:
    return action("release.rollback")


def given(root: Path | str, **more: str) -> dict[str, str]:
    return {"root": str(root), **more}


def apply(action: Action, inputs: dict[str, str]) -> str:
    return asyncio.run(action.apply("a target", inputs, "order-1"))


def look(action: Action, inputs: dict[str, str]) -> dict[str, str]:
    return asyncio.run(action.observe("a target", inputs))


def test_the_release_before_is_current_again(rollback: Action, root: Path) -> None:
    """``v9`` comes before ``v10``; a second rollback goes further back, to the end."""
    before = look(rollback, given(root))
    assert before == {"release": "v10", "aim": "v9"}
    assert rollback.happened(before, look(rollback, given(root))) is NO

    assert apply(rollback, given(root)) == f"{root}: v10 -> v9"
    assert os.readlink(root / "current") == "releases/v9"
    assert rollback.happened(before, look(rollback, given(root))) is YES

    apply(rollback, given(root))
    assert os.readlink(root / "current") == "releases/v8"
    assert rollback.happened(before, look(rollback, given(root))) is UNKNOWN
    with pytest.raises(NotFound, match="no release before v8"):
        apply(rollback, given(root))
    assert look(rollback, given(root)) == {"release": "v8", "aim": ""}


def test_it_can_be_undone(rollback: Action, root: Path) -> None:
    """``@replaced`` is what was current before the last rollback, whichever that went to."""
    with pytest.raises(NotFound):
        apply(rollback, given(root, to="@replaced"))
    apply(rollback, given(root, to="v8"))
    assert os.readlink(root / "current") == "releases/v8"

    apply(rollback, given(root, to="@replaced"))

    assert os.readlink(root / "current") == "releases/v10"
    assert sorted(os.listdir(root)) == [".current.opx-replaced", "current", "releases"]


def test_when_name_and_time_disagree_nobody_can_tell(rollback: Action, root: Path) -> None:
    """Names that are no order, or times that are none, need ``to``."""
    os.utime(root / "releases" / "v8", (1_001.5, 1_001.5))
    with pytest.raises(Refused, match="by name v9 came before v10, by time v8"):
        apply(rollback, given(root))
    for name in ("v8", "v9", "v10"):
        os.utime(root / "releases" / name, (1_000, 1_000))
    with pytest.raises(Refused, match="by name v9 came before v10, by time none"):
        apply(rollback, given(root))
    assert os.readlink(root / "current") == "releases/v10"
    apply(rollback, given(root, to="v9"))


def test_only_folders_are_releases(rollback: Action, root: Path) -> None:
    """Links, files and hidden things in ``releases`` are never pointed at."""
    (root / "releases" / "v9a").symlink_to("v8")
    (root / "releases" / "v9b").write_text("")
    (root / "releases" / ".v9c").mkdir()
    os.utime(root / "releases" / ".v9c", (1_001.5, 1_001.5))
    for to in ("v9a", "v9b"):
        with pytest.raises(NotFound):
            apply(rollback, given(root, to=to))
    apply(rollback, given(root))
    assert os.readlink(root / "current") == "releases/v9"


@pytest.mark.parametrize("link", ["releases/v10", "{root}/releases/v10"])
def test_links_as_tools_write_them(rollback: Action, root: Path, link: str) -> None:
    """``current`` may be a relative link or an absolute one."""
    (root / "current").unlink()
    (root / "current").symlink_to(link.replace("{root}", str(root)))
    assert look(rollback, given(root))["release"] == "v10"


@pytest.mark.parametrize(
    "link", ["../opx", "/etc", "releases", "releases/..", "releases/../../opx", "elsewhere/v9"]
)
def test_a_current_that_points_elsewhere_is_refused(
    rollback: Action, root: Path, link: str
) -> None:
    """What is no release is not replaced."""
    (root / "current").unlink()
    (root / "current").symlink_to(link)
    with pytest.raises(Refused):
        apply(rollback, given(root, to="v9"))
    assert os.readlink(root / "current") == link


def test_a_current_that_is_no_link_is_refused(rollback: Action, root: Path) -> None:
    """A folder or nothing in its place stays as it is."""
    (root / "current").unlink()
    with pytest.raises(NotFound):
        apply(rollback, given(root))
    (root / "current").mkdir()
    with pytest.raises(Refused, match="no symlink"):
        apply(rollback, given(root))


def test_a_current_whose_release_is_gone_needs_to(rollback: Action, root: Path) -> None:
    """Nobody can tell what came before a release that was deleted."""
    (root / "releases" / "v10").rmdir()
    with pytest.raises(Refused, match="not there any more"):
        apply(rollback, given(root))
    apply(rollback, given(root, to="v9"))
    with pytest.raises(NotFound):
        apply(rollback, given(root, to="@replaced"))


@pytest.mark.parametrize(
    ("to", "error"),
    [
        ("", BadInput),
        ("..", BadInput),
        ("../v9", BadInput),
        ("v9/", BadInput),
        ("v9\n", BadInput),
        ("v9\0", BadInput),
        ("ｖ9", BadInput),
        ("n" * 300, BadInput),
        ("v7", NotFound),
        ("v10", Refused),
    ],
)
def test_to_is_another_release(
    rollback: Action, root: Path, to: str, error: type[OpxError]
) -> None:
    """Nothing but the name of another release will do, an empty one least of all."""
    with pytest.raises(error):
        apply(rollback, given(root, to=to))
    assert os.readlink(root / "current") == "releases/v10"
    assert sorted(os.listdir(root)) == ["current", "releases"]


def test_a_root_that_is_not_allowed(rollback: Action, root: Path, place: Path) -> None:
    """Outside the allowed folders, in opx's, or through a link, nothing is rolled back."""
    (place / "link").symlink_to(root)
    for path, error in (
        ("/", BadInput),
        ("/srv", Refused),
        (place / "opx", Refused),
        (place / "link", Failed),
        (place / "nowhere", NotFound),
    ):
        with pytest.raises(error):
            apply(rollback, given(path))
        with pytest.raises(Unavailable):
            look(rollback, given(path))


def test_releases_that_are_a_link_are_not_followed(rollback: Action, root: Path) -> None:
    """``releases`` itself leads nowhere else."""
    (root / "releases").rename(root / "other")
    (root / "releases").symlink_to("other")
    with pytest.raises(Failed):
        apply(rollback, given(root))
