# SPDX-License-Identifier: Apache-2.0

"""Laws of the log's bytes."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from opx.adapters.stores.wal import format
from opx.core.ingest.signals import Alert, Rejected, Tick
from opx.testing.contracts import log as contract

sids = st.lists(st.integers(0, 2**31 - 1), max_size=5)
times = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3)
seqs = st.integers(1, 2**63)


def framed(batches: list[list[int]], ticks: list[list[int]], seq: int = 7) -> bytes:
    points = [format.columns(contract.points(batch) if batch else None) for batch in batches]
    items = [format.encode_items(tuple(map(Tick, few))) for few in ticks]
    return format.frame(seq, 5, format.commit((), points, items))


@given(st.lists(sids, max_size=5), st.lists(times, max_size=5), seqs)
def test_a_commit_holds_its_batches_in_order(
    batches: list[list[int]], ticks: list[list[int]], seq: int
) -> None:
    """Whatever batches share a commit, their points and items come out joined, in order."""
    data = memoryview(framed(batches, ticks, seq))
    found = format.whole(data, 0)
    assert found is not None
    chunk = format.chunk(found)

    assert (chunk.seq, chunk.at, found.end) == (seq, 5, len(data))
    expected = [sid for batch in batches for sid in batch]
    assert [sid for sid, _, _ in contract.rows([chunk])] == expected
    assert [value for _, _, value in contract.rows([chunk])] == [sid + 0.5 for sid in expected]
    assert chunk.items == tuple(Tick(at) for few in ticks for at in few)


def test_items_keep_their_order_and_older_logs_are_read() -> None:
    """Runs of kinds come out as they went in; so does what was written item by item."""
    rejected = Rejected(id="r", at=1, wire="w", reason="x", item="i")
    mixed = (Tick(1), Tick(2), rejected, Tick(3), rejected)
    older = b'["tick",{"at":1}],["tick",{"at":2}]'

    payload = format.commit((), [], [format.encode_items(mixed), older])
    found = format.whole(memoryview(format.frame(1, 5, payload)), 0)

    assert found is not None
    assert format.chunk(found).items == (*mixed, Tick(1), Tick(2))


def test_an_alert_of_an_older_log_has_an_end_that_was_named() -> None:
    """Whether it was filled in was not written then: it stands, as it did."""
    older = json.dumps(
        {
            "fingerprint": "f",
            "identity": {"environment": "shop", "service": "orders", "resource": ""},
            "severity": 3,
            "labels": {"a": "b"},
            "annotations": {},
            "starts_at": 1,
            "ends_at": 9,
            "received_at": 2,
        }
    )
    payload = format.commit((), [], [f'["alert",[{older}]]'.encode()])
    found = format.whole(memoryview(format.frame(1, 5, payload)), 0)

    assert found is not None
    [alert] = format.chunk(found).items
    assert isinstance(alert, Alert)
    assert (alert.ends_at, alert.timeout) == (9, False)
    assert format.encode_items([replace(alert, timeout=True)]).count(b'"timeout":true') == 1


@given(sids, st.data())
def test_a_changed_byte_is_seen(batch: list[int], data: st.DataObject) -> None:
    """No single byte of a frame can change, or be missing, without the reader noticing."""
    frame = bytearray(framed([batch], [[1]]))
    at = data.draw(st.integers(0, len(frame) - 1))
    assert format.whole(memoryview(frame)[:at], 0) is None
    frame[at] ^= data.draw(st.integers(1, 255))
    assert format.whole(memoryview(frame), 0) is None


def test_text_that_was_sent_never_looks_like_a_frame() -> None:
    """A frame inside an item's text does not make a torn end look like damage."""
    inner = framed([], [[1]], seq=99).decode("latin-1")
    rejected = Rejected(id="r", at=1, wire="w", reason="x", item=inner)
    item = format.encode_items((rejected,))
    torn = format.frame(8, 5, format.commit((), [], [item]))[:-1]

    assert not format.followed(torn, 0, 7)
