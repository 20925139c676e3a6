# SPDX-License-Identifier: Apache-2.0

"""The webhook against a real server that is well, busy, broken, slow or gone."""

from __future__ import annotations

import asyncio
import json

import pytest

from opx.adapters.receivers import webhook
from opx.adapters.receivers.webhook import Webhook
from opx.core.ingest.signals import Severity
from opx.core.notify.notice import Edge, Notice
from opx.errors import OpxError, Refused, Unavailable

NOTICE = Notice(
    id="n-1",
    incident="i-1",
    edge=Edge.OPENED,
    severity=Severity.SEV2,
    title="orders is down",
    text="Since 00:00:01",
    at=1_767_225_600_123,
)


def deliver(reply: bytes | None) -> bytes:
    """Deliver the notice to a server that replies so (None: never); return what it got."""
    got = bytearray()

    async def main() -> None:
        done = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            got.extend(head + await reader.readexactly(length))
            try:
                if reply is None:
                    await done.wait()
                else:
                    writer.write(reply)
            finally:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        receiver = Webhook("pager", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook")
        try:
            await receiver.deliver(NOTICE)
        finally:
            done.set()
            await receiver.close()
            server.close()

    asyncio.run(main())
    return bytes(got)


def status(line: str) -> bytes:
    return f"HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n".encode()


@pytest.fixture(autouse=True)
def _proxied(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that is not there: this machine must be reached without it."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)


def test_a_notice_arrives_as_json_with_its_id_as_key() -> None:
    """One POST of the notice; times as RFC 3339; the id is the idempotency key."""
    head, _, body = deliver(status("204 Thanks")).partition(b"\r\n\r\n")

    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /hook HTTP/1.1"
    assert "Idempotency-Key: n-1" in lines
    assert "Content-Type: application/json" in lines
    assert json.loads(body) == {
        "id": "n-1",
        "incident": "i-1",
        "prediction": "",
        "edge": "opened",
        "severity": 2,
        "title": "orders is down",
        "text": "Since 00:00:01",
        "at": "2026-01-01T00:00:00.123Z",
    }


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("429 Later", Unavailable),
        ("500 Oh", Unavailable),
        ("503 Busy", Unavailable),
        ("301 Moved\r\nLocation: http://192.0.2.1/", Refused),
        ("400 Bad", Refused),
        ("404 Nothing", Refused),
    ],
)
def test_the_status_says_whether_trying_again_can_help(line: str, error: type[OpxError]) -> None:
    """429 and 5xx can be tried again, any other answer than 2xx cannot."""
    with pytest.raises(error, match="pager answered"):
        deliver(status(line))


def test_a_silent_receiver_can_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the timeout the receiver is unavailable."""
    monkeypatch.setattr(webhook, "TIMEOUT", 100)

    with pytest.raises(Unavailable, match="pager"):
        deliver(None)


def test_a_receiver_that_hangs_up_can_be_tried_again() -> None:
    """No answer at all is unavailable."""
    with pytest.raises(Unavailable, match="cannot be reached"):
        deliver(b"")


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("http://127.0.0.1:1/", Unavailable),
        ("ftp://127.0.0.1/", Refused),
        ("http://[::1/", Refused),
        ("nonsense", Refused),
    ],
)
def test_where_nobody_can_be_there_trying_again_does_not_help(
    url: str, error: type[OpxError]
) -> None:
    """A refused connection may come back; a URL that is none never will."""

    async def main() -> None:
        receiver = Webhook("pager", url)
        try:
            await receiver.deliver(NOTICE)
        finally:
            await receiver.close()

    with pytest.raises(error):
        asyncio.run(main())
