# SPDX-License-Identifier: Apache-2.0

"""Bodies as they come in: how long one may be, and how much of all is kept at once.

Under the ingest routes, whose bodies are large. A body counts from its first byte until it was
taken in, as it came and as it was decompressed, so that no number of senders that never come to
an end fills the memory. It must never read more than the limit.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping
from types import TracebackType

from starlette.requests import Request

from opx.engine.intake import Limits
from opx.errors import BadInput, TooLarge, Unavailable

_GZIP_WINDOW = 31
_DIGITS = 18
"""A length of more digits is refused unread, whatever it is."""


def too_long(headers: Mapping[str, str], most: int) -> bool:
    """Whether a body is said to have more than ``most`` bytes."""
    length = headers.get("content-length", "")
    return length.isascii() and length.isdigit() and (len(length) > _DIGITS or int(length) > most)


class Room:
    """What is kept of bodies now, in all and for each sender."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.kept: Counter[str] = Counter()
        self.all = 0

    def body(self, sender: str) -> Body:
        """For one body of ``sender``, as a context: what it keeps is let go at its end."""
        return Body(self, sender)


class Body:
    """One body while it is read and taken in."""

    def __init__(self, room: Room, sender: str) -> None:
        self._room = room
        self._sender = sender
        self._size = 0

    def __enter__(self) -> Body:
        return self

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        room, sender = self._room, self._sender
        room.all -= self._size
        room.kept[sender] -= self._size
        if not room.kept[sender]:
            del room.kept[sender]

    async def read(self, request: Request) -> bytes:
        """The body of ``request``, decompressed. ``TooLarge`` as soon as it is known to exceed the
        limit, ``Unavailable`` when there is no room for it now."""
        most = self._room.limits.body
        if too_long(request.headers, most):
            raise TooLarge(f"a body has at most {most} bytes")
        parts: list[bytes] = []
        async for part in request.stream():
            self._keep(len(part))
            if self._size > most:
                raise TooLarge(f"a body has at most {most} bytes")
            parts.append(part)
        body = b"".join(parts)
        if request.headers.get("content-encoding", "").strip().lower() == "gzip":
            body = _unzipped(body, most)
            self._keep(len(body))
        return body

    def _keep(self, size: int) -> None:
        room, sender = self._room, self._sender
        self._size += size
        room.all += size
        room.kept[sender] += size
        if room.kept[sender] > room.limits.unfinished:
            raise Unavailable("too many bodies of this token are on their way")
        if room.all > room.limits.all_unfinished:
            raise Unavailable("too many bodies are on their way")


def _unzipped(body: bytes, most: int) -> bytes:
    stream = zlib.decompressobj(_GZIP_WINDOW)
    try:
        # One byte more than is taken: enough to tell "exactly" from "too much".
        plain = stream.decompress(body, most + 1)
    except zlib.error:
        raise BadInput("the body is not gzip") from None
    if len(plain) > most:
        raise TooLarge(f"a body has at most {most} bytes once decompressed")
    if not stream.eof or stream.unused_data:
        raise BadInput("the gzip body is cut off or followed by something else")
    return plain
