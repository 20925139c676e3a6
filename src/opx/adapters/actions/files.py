# SPDX-License-Identifier: Apache-2.0

"""``file.restore`` {path, source}: a known good copy takes the place of a file.

The copy gets the mode and the owner of what it replaces, but no access lists, no extended
attributes and no set-id bits. What is replaced is kept beside it, as ``.NAME.opx-HASH`` (as
``.NAME.opx-missing``, empty, if there was nothing): the last one of each path. ``source:
"@replaced"`` puts that back, and so undoes a restore. A file that is like its source already
is refused, so that a step that changed nothing is never undone. It must never write into a
file: it only ever puts a whole one in its place.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import BinaryIO

from opx.adapters.actions import swaps
from opx.adapters.actions.roots import Roots
from opx.adapters.actions.swaps import GivenUp
from opx.core.decide.actions import ActionSpec, Blast, Undo
from opx.engine.ports import EffectKnown, Say, silent
from opx.errors import BadInput, Failed, NotFound, OpxError, Refused, Unavailable

REPLACED = "@replaced"
"""As a source: what the last restore of this path replaced."""
MISSING = "missing"
"""In the place of a hash: there is no file."""


class Restore:
    spec = ActionSpec(
        name="file.restore",
        undo=Undo.ROLLBACK,
        blast=Blast.SERVICE,
        required=("path", "source"),
    )

    def __init__(self, roots: Roots) -> None:
        self._roots = roots

    async def observe(self, target: str, inputs: dict[str, str]) -> dict[str, str]:
        """``{sha256, size, mtime, source}``: ``sha256`` is ``missing`` where there is no file,
        ``source`` the copy's hash, empty where there is none. ``Unavailable``: it may not be
        touched, or cannot be read."""
        try:
            return await swaps.apart(lambda _: self._look(inputs["path"], inputs["source"]))
        except OpxError as error:
            raise Unavailable(str(error)) from error

    def happened(self, before: dict[str, str], now: dict[str, str]) -> EffectKnown:
        """YES: the content is what the source's was before. UNKNOWN: it is something else."""
        if now["sha256"] == before["sha256"]:
            return EffectKnown.NO
        return EffectKnown.YES if now["sha256"] == before["source"] else EffectKnown.UNKNOWN

    async def apply(self, target: str, inputs: dict[str, str], key: str, say: Say = silent) -> str:
        """Replace it. ``Refused``: it may not be touched, or nothing would change.
        ``Unavailable``: it is done, and the disk did not confirm it. Any other error: the
        file is as it was."""
        path, source = inputs["path"], inputs["source"]
        return await swaps.apart(lambda given_up: self._restore(path, source, given_up))

    def dry_run(self, target: str, inputs: dict[str, str]) -> str:
        return f"would replace {inputs['path']!r} by {inputs['source']!r}"

    def _look(self, path: str, source: str) -> dict[str, str]:
        with self._roots.beside(path) as (folder, name), swaps.plain(folder, name) as old:
            now, seen = _hash(old), os.fstat(old.fileno()) if old else None
            try:
                with self._copy(folder, name, source, now) as copy:
                    wanted = _hash(copy)
            except NotFound:
                wanted = ""
        return {
            "sha256": now,
            "size": str(seen.st_size if seen else 0),
            "mtime": str(seen.st_mtime_ns // 1_000_000 if seen else 0),
            "source": wanted,
        }

    def _restore(self, path: str, source: str, given_up: GivenUp) -> str:
        if path == source:
            raise BadInput(f"{path} is its own source")
        with (
            self._roots.beside(path) as (folder, name),
            swaps.turn(folder),
            swaps.plain(folder, name) as old,
            self._copy(folder, name, source, _hash(old)) as copy,
        ):
            kept = _replace(folder, name, old, copy, given_up)
        return f"{path} is now {source}; what it was is kept as {kept}"

    @contextmanager
    def _copy(self, folder: int, name: str, source: str, now: str) -> Iterator[BinaryIO | None]:
        """What is to be in its place; None: nothing. ``now``: the hash of what is there."""
        if source == REPLACED:
            with _replaced(folder, name, now) as copy:
                yield copy
            return
        with self._roots.beside(source) as (place, good), swaps.plain(place, good) as copy:
            if copy is None:
                raise NotFound(f"{source} is not there")
            yield copy


def _replace(
    folder: int, name: str, old: BinaryIO | None, copy: BinaryIO | None, given_up: GivenUp
) -> str:
    """Put ``copy`` where ``old`` is; return the name under which ``old`` is kept."""
    was, some = swaps.state(old), old or copy
    if some is None or _hash(old) == _hash(copy):
        raise Refused(f"{name} is like that already")
    kept = _keep(folder, name, old, os.fstat(some.fileno()), given_up)
    try:
        swaps.replace(folder, name, was, old, copy, given_up)
    except Unavailable:
        raise
    except (OpxError, OSError):
        swaps.tidy(folder, kept)
        raise
    swaps.tidy(folder, *(_kept(folder, name) - {kept}))  # one too many only makes undoing ask
    return kept


def _keep(
    folder: int, name: str, old: BinaryIO | None, like: os.stat_result, given_up: GivenUp
) -> str:
    """Copy ``old`` onto the disk under a name with its hash, which is returned."""
    now, making = _hash(old), swaps.beside(name, "old")
    if swaps.write(folder, making, old or BytesIO(), like, given_up) != now and old:
        raise Failed(f"{name} was changed while it was kept")
    kept = swaps.beside(name, now)
    swaps.swap(folder, making, kept, given_up)
    return kept


@contextmanager
def _replaced(folder: int, name: str, now: str) -> Iterator[BinaryIO | None]:
    """The kept file that is not what is there now; None: there was none."""
    others = _kept(folder, name) - {swaps.beside(name, now)}
    if not others:
        raise NotFound(f"nothing is kept that {name} was before")
    if len(others) > 1:
        raise Refused(f"more than one is kept that {name} may have been before")
    kept = others.pop()
    with swaps.plain(folder, kept) as copy:
        if kept == swaps.beside(name, MISSING):
            yield None
            return
        if kept != swaps.beside(name, _hash(copy)):
            raise Refused(f"{kept} is not any more what was kept")
        yield copy


def _kept(folder: int, name: str) -> set[str]:
    pattern = re.compile(
        re.escape(swaps.beside(name, "")) + rf"([0-9a-f]{{{swaps.TAG}}}|{MISSING})"
    )
    return {found for found in os.listdir(folder) if pattern.fullmatch(found)}


def _hash(file: BinaryIO | None) -> str:
    return MISSING if file is None else swaps.digest(file)
