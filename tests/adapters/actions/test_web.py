# SPDX-License-Identifier: Apache-2.0

"""``http.request`` against a real server: where it may go, what it sends, what it believes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from opx.adapters.actions import web
from opx.adapters.actions.web import Hosts
from opx.engine.ports import EffectKnown
from opx.errors import BadInput, Failed, OpxError, Refused, Unavailable

YES, NO, UNKNOWN = EffectKnown.YES, EffectKnown.NO, EffectKnown.UNKNOWN


class Site:
    """Answers each path with what ``answers`` holds for it, and keeps what it was sent."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.got: list[bytes] = []
        self.place = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = [line for line in head.split(b"\r\n") if line.startswith(b"Content-Length: ")]
        body = await reader.readexactly(int(length[0][16:])) if length else b""
        self.got.append(head + body)
        writer.write(self.answers.get(head.split(b" ")[1].decode(), b""))
        writer.close()

    def say(self, path: str, status: int, body: str = "", head: str = "") -> None:
        text = f"HTTP/1.1 {status} x\r\n{head}Content-Length: {len(body)}\r\n\r\n{body}"
        self.answers[path] = text.encode()

    def url(self, path: str) -> str:
        return f"http://{self.place}{path}"

    def run(self, *works: Callable[[web.Request], Any], hosts: str = "") -> list[Any]:
        """What each of ``works`` comes to, while the site is up and allowed."""

        async def main() -> list[Any]:
            server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            self.place = f"127.0.0.1:{port}"
            allowed = (hosts or "127.0.0.1:{port}").replace("{port}", str(port)).split(",")
            action = web.Request(Hosts(frozenset(allowed)))
            async with server:
                return [await work(action) for work in works]

        return asyncio.run(main())

    def post(self, path: str, **more: str) -> Callable[[web.Request], Any]:
        return lambda action: action.apply(
            "a target", {"method": "POST", "url": self.url(path), **more}, "order-1"
        )


@pytest.fixture
def site() -> Site:
    return Site()


def test_it_is_sent_once_with_the_orders_key(site: Site) -> None:
    """Method, body, its kind and the order's key arrive; the answer is told."""
    site.say("/drain", 202, "draining")
    (line,) = site.run(site.post("/drain", body='{"worker": "a"}'))

    (got,) = site.got
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /drain HTTP/1.1\r\n")
    assert b"\r\nIdempotency-Key: order-1\r\n" in head
    assert b"\r\nContent-Type: application/json\r\n" in head
    assert body == b'{"worker": "a"}'
    assert line == f"POST {site.url('/drain')}: 202 draining"


def test_what_is_shown_is_masked_short_and_plain(site: Site) -> None:
    """No secret of the answer or the URL, no control character, no novel."""
    site.say("/x?token=tiger", 200, 'a\x1b[31m\n{"password": "tiger"}' + "z" * 2_000)
    (line,) = site.run(site.post("/x?token=tiger"))
    assert "tiger" not in line
    assert line.isprintable()
    assert len(line) < 1_000


@pytest.mark.parametrize(
    ("status", "error"),
    [(301, Unavailable), (303, Unavailable), (404, Failed), (429, Failed), (503, Unavailable)],
)
def test_what_an_answer_means(site: Site, status: int, error: type[OpxError]) -> None:
    """4xx did certainly not work; redirects, which are not followed, and 5xx may have."""
    site.say("/x", status, head="Location: /elsewhere\r\n")
    with pytest.raises(error, match=str(status)):
        site.run(site.post("/x"))
    assert len(site.got) == 1


def test_no_answer_may_have_worked_and_no_connection_has_not(site: Site) -> None:
    """Closed before an answer is unknown; refused before anything was sent is certain."""
    with pytest.raises(Unavailable, match="did not answer"):
        site.run(site.post("/silent"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    action = web.Request(Hosts(frozenset({place})))
    with pytest.raises(Failed, match="no connection"):
        asyncio.run(action.apply("t", {"method": "GET", "url": f"http://{place}/"}, "k"))


def test_nothing_is_allowed_by_default(site: Site) -> None:
    """Without allowed hosts nothing is sent, nor asked."""
    site.say("/x", 200)
    for work in (
        site.post("/x"),
        lambda action: action.observe("t", {"method": "GET", "url": "", "check": site.url("/x")}),
    ):
        with pytest.raises(OpxError, match="not among the hosts allowed"):
            site.run(work, hosts="example.org:80")
    assert site.got == []


def test_a_name_that_leads_inside_is_refused(site: Site) -> None:
    """A name that is allowed may lead to the internet; to this machine or network only where
    its very address and port are allowed too."""
    site.say("/x", 200)

    def named(action: web.Request) -> Any:
        return action.apply(
            "t", {"method": "POST", "url": f"http://localhost:{site.place[10:]}/x"}, "k"
        )

    with pytest.raises(Refused, match="where opx may not go"):
        site.run(named, hosts="localhost:{port}")
    with pytest.raises(Refused, match="where opx may not go"):
        site.run(named, hosts="localhost:{port},127.0.0.1:1")
    assert site.got == []
    site.run(named, hosts="localhost:{port},127.0.0.1:{port},[::1]:{port}")
    assert len(site.got) == 1


def test_a_name_is_looked_up_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a name led to when it was judged is what is connected to."""
    asked = []

    async def lookup(self: Any, host: str, port: int, **_: Any) -> list[Any]:
        if host[0].isdigit():
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "169.254.169.254"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", lookup)
    site.say("/x", 200)

    def named(action: web.Request) -> Any:
        return action.apply(
            "t", {"method": "POST", "url": f"http://ops.example:{site.place[10:]}/x"}, "k"
        )

    site.run(named, hosts="ops.example:{port},127.0.0.1:{port}")
    assert asked == ["ops.example"]
    with pytest.raises(Refused):
        site.run(named, hosts="ops.example:{port},127.0.0.1:{port},169.254.169.254:{port}")


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("64:ff9b::5db8:d822", True),
        ("127.0.0.1", False),
        ("0.0.0.0", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::127.0.0.1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("64:ff9b:1::7f00:1", False),
        ("2002:7f00:1::", False),
        ("fc00::1", False),
        ("fd00:ec2::254", False),
        ("fe80::1", False),
        ("fec0::1", False),
        ("feff:ffff::1", False),
        ("168.63.129.16", False),
        ("168.63.129.17", True),
        ("::ffff:168.63.129.16", False),
        ("64:ff9b::a83f:8110", False),
        ("fe80::1%eth0", False),
        ("ff02::1", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    """No private, local, shared or reserved range, however it is wrapped."""
    assert Hosts().opens(address, 80) is public
    listed = Hosts(frozenset({f"[{address}]:80" if ":" in address else f"{address}:80"}))
    assert listed.opens(address, 80)
    assert listed.opens(address, 81) is public


@pytest.mark.parametrize(
    ("inputs", "error"),
    [
        ({"method": "POST", "url": "http://user:word@127.0.0.1:80/"}, BadInput),
        ({"method": "POST", "url": "file:///etc/passwd"}, BadInput),
        ({"method": "POST", "url": "http://127.0.0.1:99999/"}, BadInput),
        ({"method": "POST", "url": "http://[::1/"}, BadInput),
        ({"method": "POST", "url": "http://127.0.0.1:80/a b"}, BadInput),
        ({"method": "POST", "url": "http://127.0.0.1:80/\u00e9"}, BadInput),
        ({"method": "POST", "url": "http://127.0.0.1.evil.example:80/"}, Refused),
        ({"method": "POST", "url": "http://127.0.0.1:81/"}, Refused),
        ({"method": "POST", "url": "https://127.0.0.1/"}, Refused),
        ({"method": "CONNECT", "url": "http://127.0.0.1:80/"}, BadInput),
        ({"method": "POST / HTTP/1.1\r\nX: y", "url": "http://127.0.0.1:80/"}, BadInput),
        ({"method": "POST", "url": "http://127.0.0.1:80/", "body": "x" * 65_537}, BadInput),
    ],
)
def test_only_proper_requests_leave(inputs: dict[str, str], error: type[OpxError]) -> None:
    """Whatever else stands in the inputs is refused before a connection is made."""
    action = web.Request(Hosts(frozenset({"127.0.0.1:80"})))
    with pytest.raises(error) as raised:
        asyncio.run(action.apply("a target", inputs, "order-1"))
    assert "word" not in str(raised.value)


def test_a_check_tells_whether_it_took_effect(site: Site) -> None:
    """Its page before and after is compared; one that is not well says nothing."""
    inputs = {"method": "POST", "url": "", "check": ""}

    async def look(action: web.Request) -> dict[str, str]:
        inputs["check"] = site.url("/state")
        return await action.observe("t", inputs)

    seen = []
    for body in ("on", "on", "off"):
        site.say("/state", 200, body)
        seen += site.run(look)
    action = web.Request(Hosts())
    assert action.happened(seen[0], seen[1]) is NO
    assert action.happened(seen[0], seen[2]) is YES
    site.say("/state", 500, "off")
    with pytest.raises(Unavailable, match="answered 500"):
        site.run(look)


def test_without_a_check_nobody_can_tell() -> None:
    """What cannot be looked for is unknown, also right after looking: a crash asks a person."""
    action = web.Request(Hosts())
    seen = asyncio.run(action.observe("t", {"method": "POST", "url": "http://x"}))
    assert action.happened(seen, seen) is UNKNOWN


def test_an_endless_answer_is_cut(site: Site) -> None:
    """No more than 64 KiB of an answer are read."""
    site.answers["/x"] = b"HTTP/1.1 200 x\r\n\r\n" + b"x" * 10_000_000
    (line,) = site.run(site.post("/x"))
    assert len(line) < 600
