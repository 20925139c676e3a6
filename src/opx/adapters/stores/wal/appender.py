# SPDX-License-Identifier: Apache-2.0

"""``front``'s end of the write-ahead log: everything that waits becomes one commit.

``append`` packs a batch on the event loop and waits; one thread takes all that is waiting,
writes it as one frame, has it on disk and only then answers. The more wait, the more share
one sync. What cannot be written is refused, all of it, and the next try starts afresh. It
must never acknowledge what is not on disk, nor keep a point whose series nobody knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

import numpy as np

from opx.adapters.stores.wal import format, segments
from opx.core.ingest.signals import Series
from opx.engine.ports import Batch, Clock
from opx.errors import Conflict, OpxError, TooLarge, Unavailable

MAX_BATCH = 16 << 20
MAX_GROUP = 1 << 20
"""A commit stops growing at this many bytes, give or take one batch."""
MAX_WAITING = 64 << 20
"""More bytes than this do not wait for the disk: the sender is told to come again."""
MAX_SERIES = 10_000_000


@dataclass(slots=True)
class _Request:
    """One batch, packed."""

    series: tuple[Series, ...]
    points: tuple[bytes, bytes, bytes]
    items: bytes
    size: int
    done: asyncio.Future[int]


class WalAppender:
    """``Appender`` on ``folder``. ``floor``: the newest seq that any reader has kept.

    ``torn`` says what a crash had left half-written, if anything. ``Conflict`` while another
    process appends, ``Damaged`` when the log cannot be trusted.
    """

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        floor: int = 0,
        segment_bytes: int = segments.SEGMENT_BYTES,
        failpoint: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._writer = segments.Writer(folder, floor, segment_bytes)
        self.torn = self._writer.torn
        self._clock = clock
        self._failpoint = failpoint
        self._known = np.zeros(1024, dtype=np.bool_)
        self._know(self._writer.series_log.series)
        self._queue: SimpleQueue[_Request | None] = SimpleQueue()
        self._waiting = 0
        self._keeping = True
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._work, name="wal", daemon=True)
        self._thread.start()

    async def append(self, batch: Batch) -> int:
        """``TooLarge`` beyond ``MAX_BATCH`` bytes; ``Conflict`` when a sid is another series."""
        self._loop = asyncio.get_running_loop()
        points = format.columns(batch.points)
        items = format.encode_items(batch.items)
        size = sum(map(len, points)) + len(items) + 256 * len(batch.series)
        if size > MAX_BATCH:
            raise TooLarge(f"a batch has at most {MAX_BATCH} bytes")
        if any(not 0 <= one.sid < MAX_SERIES for one in batch.series):
            raise TooLarge(f"a log has at most {MAX_SERIES} series")
        if self._closed or (self._waiting and self._waiting + size > MAX_WAITING):
            raise Unavailable("the log is closed" if self._closed else "too much is waiting")
        self._waiting += size
        request = _Request(batch.series, points, items, size, self._loop.create_future())
        self._queue.put(request)
        return await request.done

    def alive(self) -> bool:
        """Whether it can still write. Never again once its thread has died: only a new process
        can."""
        return self._thread.is_alive()

    def keeping(self) -> bool:
        """Whether the last commit is on disk: one comes every second at least, with the tick."""
        return self._keeping

    def series(self) -> Sequence[Series]:
        known = dict(self._writer.series_log.series)
        return [known[sid] for sid in sorted(known)]

    async def close(self) -> None:
        """Write what is waiting, then close."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)

    # ------------------------------------------------------------ in the thread

    def _work(self) -> None:
        group: list[_Request] = []
        open_ = True
        try:
            while open_:
                group, open_ = self._take()
                if group:
                    self._commit(group)
        finally:
            self._closed = True
            self._answer(group, Unavailable("the log is closed"))  # had one no answer yet
            self._writer.close()

    def _take(self) -> tuple[list[_Request], bool]:
        """All that waits, at least one; False with it when nothing more will come."""
        group: list[_Request] = []
        size = 0
        with contextlib.suppress(Empty):
            while size < MAX_GROUP:
                request = self._queue.get(block=not group)
                if request is None:
                    return group, False
                group.append(request)
                size += request.size
        return group, True

    def _commit(self, group: list[_Request]) -> None:
        fresh: dict[int, Series] = {}
        good = [request for request in group if self._defines(request, fresh)]
        self._know(fresh)
        if self._strange(b"".join(request.points[0] for request in good)):
            good = [request for request in good if self._uses_known(request)]
        if not good:
            self._forget(fresh)
            return
        series = tuple(fresh.values())
        payload = format.commit(series, [r.points for r in good], [r.items for r in good])
        try:
            seq = self._writer.write(self._clock.now(), series, payload)
        except OSError as error:
            self._forget(fresh)
            self._keeping = False
            self._answer(good, Unavailable(f"the log cannot be written: {error}"))
        else:
            self._keeping = True
            self._failpoint("appended")
            self._answer(good, seq)

    def _defines(self, request: _Request, fresh: dict[int, Series]) -> bool:
        """Take its new series into ``fresh``; False when one has another's number."""
        known = self._writer.series_log.series
        for one in request.series:
            standing = known.get(one.sid) or fresh.setdefault(one.sid, one)
            if standing != one:
                self._answer([request], Conflict(f"series {one.sid} is {standing.metric}"))
                return False
        return True

    def _uses_known(self, request: _Request) -> bool:
        strange = self._strange(request.points[0])
        if strange:
            self._answer(
                [request],
                Unavailable("a series of these points is not in the log: send it along"),
            )
        return not strange

    def _strange(self, sids: bytes) -> bool:
        """Whether any of these (int32, packed) is not a known series."""
        numbers = np.frombuffer(sids, "<i4")
        if not len(numbers):
            return False
        within = numbers.min() >= 0 and numbers.max() < len(self._known)
        return not (within and self._known[numbers].all())

    def _know(self, series: dict[int, Series]) -> None:
        if not series:
            return
        size = len(self._known)
        while size <= max(series):
            size *= 2
        self._known.resize(size, refcheck=False)  # what is added is False
        self._known[list(series)] = True

    def _forget(self, series: dict[int, Series]) -> None:
        self._known[list(series)] = False

    def _answer(self, group: list[_Request], answer: int | OpxError) -> None:
        if self._loop is None:
            return
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
            self._loop.call_soon_threadsafe(self._settle, group, answer)

    def _settle(self, group: list[_Request], answer: int | OpxError) -> None:
        for request in group:
            self._waiting -= request.size
            if request.done.done():
                continue
            if isinstance(answer, OpxError):
                request.done.set_exception(answer)
            else:
                request.done.set_result(answer)
