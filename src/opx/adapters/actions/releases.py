# SPDX-License-Identifier: Apache-2.0

"""``release.rollback`` {root, to?}: ``root/current`` points at an earlier release again.

``current`` is a symlink to ``releases/NAME``. Without ``to`` the release before it is taken:
the one before it by name (runs of digits read as numbers) must be the last one made before
it too, by the folders' times; where the two orders disagree, nobody can tell and ``to`` must
say. What ``current`` was is kept in the symlink ``.current.opx-replaced``, and ``to:
"@replaced"`` points at it again, which undoes a rollback. It must never point at anything
but a folder in ``releases``, nor touch what is in one.
"""

from __future__ import annotations

import os
import re
import stat

from opx.adapters.actions import swaps
from opx.adapters.actions.roots import Roots, translated
from opx.adapters.actions.swaps import GivenUp
from opx.core.decide.actions import ActionSpec, Blast, Undo
from opx.engine.ports import EffectKnown, Say, silent
from opx.errors import BadInput, NotFound, OpxError, Refused, Unavailable

CURRENT, RELEASES = "current", "releases"
REPLACED = "@replaced"
"""As ``to``: what ``current`` was before the last rollback."""
_KEPT, _NEW = ".current.opx-replaced", ".current.opx-new"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+~-]{0,199}")


class Rollback:
    spec = ActionSpec(
        name="release.rollback",
        undo=Undo.ROLLBACK,
        blast=Blast.SERVICE,
        required=("root",),
        optional=("to",),
    )

    def __init__(self, roots: Roots) -> None:
        self._roots = roots

    async def observe(self, target: str, inputs: dict[str, str]) -> dict[str, str]:
        """``{release, aim}``: what is current, and what would be; ``aim`` empty: nothing can.
        ``Unavailable``: it may not be touched, or there is no ``current`` to see."""
        try:
            return await swaps.apart(lambda _: self._look(inputs))
        except OpxError as error:
            raise Unavailable(str(error)) from error

    def happened(self, before: dict[str, str], now: dict[str, str]) -> EffectKnown:
        """YES: what would have been current is. UNKNOWN: something else is."""
        if now["release"] == before["release"]:
            return EffectKnown.NO
        return EffectKnown.YES if now["release"] == before["aim"] else EffectKnown.UNKNOWN

    async def apply(self, target: str, inputs: dict[str, str], key: str, say: Say = silent) -> str:
        """Point ``current`` at it. ``Refused``, ``NotFound``: there is nothing to go to, or it
        is current already. ``Unavailable``: it is done, and the disk did not confirm it."""
        return await swaps.apart(lambda given_up: self._roll(inputs, given_up))

    def dry_run(self, target: str, inputs: dict[str, str]) -> str:
        return f"would point {inputs['root']!r} at {inputs.get('to', 'the release before')!r}"

    def _look(self, inputs: dict[str, str]) -> dict[str, str]:
        with self._roots.folder(inputs["root"]) as root:
            now = _release(root, CURRENT)
            try:
                aim = _aim(root, now, inputs.get("to"))
            except (BadInput, NotFound, Refused):
                aim = ""
        return {"release": now, "aim": aim}

    def _roll(self, inputs: dict[str, str], given_up: GivenUp) -> str:
        path = inputs["root"]
        with self._roots.folder(path) as root, swaps.turn(root), translated(path):
            now = _release(root, CURRENT)
            aim = _aim(root, now, inputs.get("to"))
            if aim == now:
                raise Refused(f"{aim} is current already")
            _point(root, _KEPT, now, given_up)
            _point(root, CURRENT, aim, given_up)
        return f"{path}: {now} -> {aim}"


def _release(root: int, link: str) -> str:
    """The release that ``link`` points at, which need not be there any more."""
    try:
        if not stat.S_ISLNK(os.stat(link, dir_fd=root, follow_symlinks=False).st_mode):
            raise Refused(f"{link} is no symlink")
        above, _, name = os.readlink(link, dir_fd=root).rpartition("/")
    except FileNotFoundError as error:
        raise NotFound(f"there is no {link}") from error
    if not _NAME.fullmatch(name) or not (above == RELEASES or _is_releases(root, above)):
        raise Refused(f"{link} does not point into {RELEASES}")
    return name


def _is_releases(root: int, path: str) -> bool:
    """Whether the absolute ``path`` is this root's ``releases``."""
    if not path.startswith("/"):
        return False
    try:
        there, here = os.stat(path), os.stat(RELEASES, dir_fd=root, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, here)


def _aim(root: int, now: str, to: str | None) -> str:
    """The release to point at. ``BadInput``, ``NotFound``, ``Refused``: there is none."""
    made = _made(root)
    if to is None:
        return _before(made, now)
    aim = _release(root, _KEPT) if to == REPLACED else to
    if not _NAME.fullmatch(aim):
        raise BadInput(f"{aim[:100]!r} is no name of a release")
    if aim not in made:
        raise NotFound(f"there is no release {aim}")
    return aim


def _made(root: int) -> dict[str, int]:
    """The folders in ``releases``, and when something was last put into each, in ns."""
    there = os.open(RELEASES, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=root)
    try:
        seen = {
            name: os.stat(name, dir_fd=there, follow_symlinks=False)
            for name in os.listdir(there)
            if _NAME.fullmatch(name)
        }
    finally:
        os.close(there)
    return {name: one.st_mtime_ns for name, one in seen.items() if stat.S_ISDIR(one.st_mode)}


def _before(made: dict[str, int], now: str) -> str:
    if now not in made:
        raise Refused(f"{now} is current and not there any more", hint="say which one under 'to'")
    by_name = max((name for name in made if _order(name) < _order(now)), key=_order, default="")
    by_time = max(
        (name for name in made if made[name] < made[now]),
        key=lambda name: (made[name], _order(name)),
        default="",
    )
    if by_name != by_time:
        raise Refused(
            f"by name {by_name or 'none'} came before {now}, by time {by_time or 'none'}",
            hint="say which one under 'to'",
        )
    if not by_name:
        raise NotFound(f"there is no release before {now}")
    return by_name


def _order(name: str) -> tuple[list[str | int], str]:
    """By name, with runs of digits as numbers: ``v9`` before ``v10``."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if part.isdigit() else part for part in parts], name


def _point(root: int, link: str, release: str, given_up: GivenUp) -> None:
    swaps.remove(root, _NEW)
    os.symlink(f"{RELEASES}/{release}", _NEW, dir_fd=root)
    try:
        swaps.swap(root, _NEW, link, given_up)
    finally:
        swaps.tidy(root, _NEW)
