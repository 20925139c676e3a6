# SPDX-License-Identifier: Apache-2.0

"""Changing one entry of a folder at once: whoever looks sees the old one or the new one.

Beneath the actions on files, releases and flags. The new one is made beside the old one and
put in its place by a rename, by one of opx at a time in a folder. Only plain files with one
name are read or replaced. It works in threads, for a disk may hang, and changes nothing once
nobody waits for it any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, TypeVar

from opx.core.base.time import SECOND, Ms
from opx.errors import Failed, Refused, TooLarge, Unavailable

T = TypeVar("T")

LARGEST = 64 * 1024 * 1024
"""Bytes of a file that is looked at, copied or replaced."""
TURN_WITHIN: Ms = 5 * SECOND
"""How long to wait for another that changes the same folder."""
TAG = 16
"""Digits of a hash in the name of a file of opx's own."""
_CHUNK = 1024 * 1024
_PLAIN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class GivenUp(threading.Event):
    """Set once nobody waits for the work any more."""

    def check(self) -> None:
        """``Failed``: it is set, so nothing more may be changed."""
        if self.is_set():
            raise Failed("it was given up before it took effect")


async def apart(work: Callable[[GivenUp], T]) -> T:
    """Run ``work`` in a thread. When its caller gives up, it is told, and its end is waited
    for: nothing changes behind the back of who looks next."""
    given_up = GivenUp()
    task = asyncio.create_task(asyncio.to_thread(work, given_up))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        given_up.set()
        await asyncio.wait([task])
        task.exception()  # that it gave up is no news
        raise


@contextmanager
def turn(folder: int) -> Iterator[None]:
    """Only one of opx changes the folder meanwhile. ``Failed``: another did all the time."""
    deadline = time.monotonic() + TURN_WITHIN / SECOND
    while True:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise Failed("something else is changing its folder all the time") from None
            time.sleep(0.02)
    try:
        yield
    finally:
        fcntl.flock(folder, fcntl.LOCK_UN)


@contextmanager
def plain(folder: int, name: str) -> Iterator[BinaryIO | None]:
    """The file ``name``, open for reading; None: there is none. ``Refused``: it is no plain
    file, or has a second name, under which it would stay as it is. ``TooLarge``."""
    try:
        _check(os.stat(name, dir_fd=folder, follow_symlinks=False), name)
        handle = os.open(name, _PLAIN, dir_fd=folder)
    except FileNotFoundError:
        yield None
        return
    with open(handle, "rb") as file:
        _check(os.fstat(handle), name)
        yield file


def _check(seen: os.stat_result, name: str) -> None:
    if not stat.S_ISREG(seen.st_mode):
        raise Refused(f"{name} is no plain file")
    if seen.st_nlink != 1:
        raise Refused(f"{name} has {seen.st_nlink} names (hard links)")
    if seen.st_size > LARGEST:
        raise TooLarge(f"{name} is larger than {LARGEST >> 20} MiB")


def digest(file: BinaryIO) -> str:
    """The SHA-256 of the whole file, in hex."""
    hasher = hashlib.sha256()
    for chunk in _chunks(file):
        hasher.update(chunk)
    return hasher.hexdigest()


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    file.seek(0)
    left = LARGEST
    while chunk := file.read(_CHUNK):
        left -= len(chunk)
        if left < 0:
            raise TooLarge(f"more than {LARGEST >> 20} MiB: it grows while it is read")
        yield chunk


def write(folder: int, name: str, source: BinaryIO, like: os.stat_result, given_up: GivenUp) -> str:
    """Write ``name`` anew from ``source``, with mode and owner as in ``like`` (never set-id),
    onto the disk; return its SHA-256. What is left of it after an error is removed."""
    remove(folder, name)
    handle = os.open(name, _NEW, 0o600, dir_fd=folder)
    try:
        with open(handle, "wb") as file:
            hasher = hashlib.sha256()
            for chunk in _chunks(source):
                given_up.check()
                hasher.update(chunk)
                file.write(chunk)
            file.flush()
            os.fchown(handle, like.st_uid, like.st_gid)
            os.fchmod(handle, stat.S_IMODE(like.st_mode) & 0o777)
            os.fsync(handle)
    except BaseException:
        remove(folder, name)
        raise
    return hasher.hexdigest()


def beside(name: str, tag: str) -> str:
    """The name of a file that opx itself keeps beside ``name``; ``tag`` may be a hash."""
    return f".{name}.opx-{tag[:TAG]}"


def state(file: BinaryIO | None) -> tuple[int, ...]:
    """What changes when anybody writes to the file, or puts another in its place."""
    return _state(os.fstat(file.fileno()) if file else None)


def replace(
    folder: int,
    name: str,
    was: tuple[int, ...],
    old: BinaryIO | None,
    new: BinaryIO | None,
    given_up: GivenUp,
) -> None:
    """Put a copy of ``new`` where ``old`` is, with its mode and owner; None: no file, but not
    for both. ``was``: the ``state`` of ``old`` before it was read. ``Failed``: another has
    changed one of them meanwhile. ``Unavailable`` as in ``swap``; after any other error ``old``
    is as it was."""
    making = beside(name, "new")
    try:
        if new is not None:
            like = os.fstat((old or new).fileno())
            if digest(new) != write(folder, making, new, like, given_up):
                raise Failed(f"the copy of {name} was changed while it was read")
        _unchanged(folder, name, was)
        if new is not None:
            swap(folder, making, name, given_up)
        else:
            given_up.check()
            remove(folder, name)
            settle(folder)
    finally:
        tidy(folder, making)


def _unchanged(folder: int, name: str, was: tuple[int, ...]) -> None:
    """It is still the file that was read, or still not there. ``Failed``: it is not."""
    try:
        now = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        now = None
    if _state(now) != was:
        raise Failed(f"{name} was changed in the meantime")


def _state(seen: os.stat_result | None) -> tuple[int, ...]:
    return (seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns) if seen else ()


def remove(folder: int, name: str) -> None:
    """Fine if it is not there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def tidy(folder: int, *names: str) -> None:
    """Remove what is not needed any more, as far as that is possible."""
    for name in names:
        with contextlib.suppress(OSError):
            remove(folder, name)


def swap(folder: int, new: str, name: str, given_up: GivenUp) -> None:
    """Put ``new`` in the place of ``name``, for good. ``Unavailable``: it is there now, and
    may be gone after a power cut."""
    given_up.check()
    os.replace(new, name, src_dir_fd=folder, dst_dir_fd=folder)
    settle(folder)


def settle(folder: int) -> None:
    """The folder's entries onto the disk. ``Unavailable``: nobody knows whether they are."""
    try:
        os.fsync(folder)
    except OSError as error:
        raise Unavailable(f"the disk did not confirm it: {error.strerror}") from error
