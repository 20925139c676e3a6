# SPDX-License-Identifier: Apache-2.0

"""Where actions may touch files: below the folders that settings allow, never in opx's own.

Beneath the actions on files, releases and flags. A path is walked from its allowed folder
down, each part opened within the one before; a symlink on the way is refused, so what was
checked is what is touched. Nothing is allowed until somebody allows it, and no allowed
folder opens opx's data, keys or code.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from opx.errors import BadInput, Failed, NotFound, Refused

LONGEST = 4096
"""Bytes of a path."""
LONGEST_NAME = 200
"""Bytes of its last part: opx's own files beside it have longer names, and 255 is the end."""
_ON_THE_WAY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
"""Passing through a folder takes no right to read it."""


@dataclass(frozen=True, slots=True)
class Roots:
    """``allowed``: absolute folders below which actions may go; they may be reached through
    symlinks, what is below them may not. ``own``: opx's folders, closed whatever is allowed."""

    allowed: tuple[str, ...] = ()
    own: tuple[str, ...] = ()

    @contextmanager
    def folder(self, path: str) -> Iterator[int]:
        """A descriptor of the folder ``path``. ``BadInput``: no proper path. ``Refused``: not
        allowed. ``NotFound``, ``Failed``: it is not there, or cannot be opened."""
        with translated(path):
            handle = self._open(path)
            try:
                yield handle
            finally:
                os.close(handle)

    @contextmanager
    def beside(self, path: str) -> Iterator[tuple[int, str]]:
        """A descriptor of the folder that ``path`` is in, and its last part. As ``folder``."""
        above, name = _split(path)
        with self.folder(above) as handle:
            yield handle, name

    def _open(self, path: str) -> int:
        names = _names(path)
        root = next((root for root in self.allowed if _below(path, root)), None)
        if root is None:
            raise Refused(
                f"{path} is in no folder that actions may touch", hint="action_roots in opx.toml"
            )
        own = _identities(self.own)
        handle = os.open(root, _ON_THE_WAY)
        try:
            _not_within(handle, own, path)
            for name in names[len(_names(root)) :]:
                handle = _step(handle, name)
                if _identity(handle) in own:
                    raise Refused(f"{path} is opx's own")
            return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=handle)
        finally:
            os.close(handle)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """The system's refusals as opx's: certain ones, for they come before anything is done."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"{what} is not there") from error
    except OSError as error:
        raise Failed(f"{what}: {error.strerror or error}") from error


def _names(path: str) -> list[str]:
    if not path.startswith("/") or not path.isprintable():
        raise BadInput(f"{path[:100]!r} is not an absolute path")
    if len(os.fsencode(path)) > LONGEST:
        raise BadInput(f"a path of more than {LONGEST} bytes")
    names = path.split("/")[1:]
    if any(name in ("", ".", "..") for name in names):
        raise BadInput(f"{path!r} must be written without . and .. and //")
    return names


def _split(path: str) -> tuple[str, str]:
    name = _names(path)[-1]
    if len(os.fsencode(name)) > LONGEST_NAME:
        raise BadInput(f"a name of more than {LONGEST_NAME} bytes")
    above = path.removesuffix(f"/{name}")
    if not above:
        raise Refused("nothing at the very top is touched")
    return above, name


def _below(path: str, root: str) -> bool:
    return path == root or path.startswith(f"{root}/")


def _step(handle: int, name: str) -> int:
    """The folder ``name`` in ``handle``, which is closed then; a symlink is not followed."""
    inner = os.open(name, _ON_THE_WAY | os.O_NOFOLLOW, dir_fd=handle)
    os.close(handle)
    return inner


def _identity(handle: int) -> tuple[int, int]:
    seen = os.fstat(handle)
    return seen.st_dev, seen.st_ino


def _identities(paths: tuple[str, ...]) -> set[tuple[int, int]]:
    """However they are spelled or mounted, folders are told by these."""
    found = set()
    for path in paths:
        try:
            seen = os.stat(path)
        except FileNotFoundError:
            continue
        found.add((seen.st_dev, seen.st_ino))
    return found


def _not_within(handle: int, own: set[tuple[int, int]], path: str) -> None:
    """The folder is none of opx's and in none of them, however far up."""
    handle = os.dup(handle)
    try:
        while (here := _identity(handle)) not in own:
            handle = _step(handle, "..")
            if _identity(handle) == here:
                return
        raise Refused(f"{path} is opx's own")
    finally:
        os.close(handle)
