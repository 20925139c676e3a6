# SPDX-License-Identifier: Apache-2.0

"""What a supervisord may answer besides the truth: it is a value, a fault, or no answer."""

from __future__ import annotations

import asyncio
import xmlrpc.client

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opx.adapters.clients import supervisord
from opx.adapters.clients.http1 import Reply
from opx.adapters.clients.supervisord import Process, Supervisord
from opx.errors import Refused, Unavailable

FAULT = b"<methodResponse><fault>%s</fault></methodResponse>"
ANSWER = b"<methodResponse><params><param>%s</param></params></methodResponse>"
INFO = xmlrpc.client.dumps(
    ({"statename": "RUNNING", "pid": 7, "start": 3},), methodresponse=True
).encode()
GARBLED = [
    b"",
    b"<html><body>hi</body></html>",
    FAULT % b"",
    FAULT % b"<value><string>boom</string></value>",
    FAULT % b"<value><struct></struct></value>",
    ANSWER % b"",
    ANSWER % b"<array></array>",
    ANSWER % b"<value><struct><member></member></struct></value>",
    ANSWER % b"<value><base64>x</base64></value>",
    ANSWER % b"<value><int>many</int></value>",
    ANSWER % b"<value><int>1</int></value>",
    ANSWER % b"<value><string>RUNNING</string></value>",
    INFO.replace(b"<int>7</int>", b"<double>inf</double>"),
    INFO.replace(b"pid", b"other"),
]


def look(body: bytes, monkeypatch: pytest.MonkeyPatch) -> Process:
    """What is seen of a program when supervisord answers ``body``."""

    async def answer(*_: object) -> Reply:
        return Reply(200, body)

    monkeypatch.setattr(supervisord.http1, "request", answer)
    client = Supervisord()
    return asyncio.run(client.look(client.target("http://127.0.0.1:9001#web")))


def test_an_answer_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program's state, pid and start."""
    assert look(INFO, monkeypatch) == Process("RUNNING", 7, 3)


def test_a_fault_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """supervisord's own faults are no garbage."""
    body = xmlrpc.client.dumps(xmlrpc.client.Fault(supervisord.BAD_NAME, "BAD_NAME")).encode()
    with pytest.raises(Refused, match="knows no program web"):
        look(body, monkeypatch)


@pytest.mark.parametrize("body", GARBLED)
def test_a_garbled_answer_is_none(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """XML or not: what makes no sense is as if nobody had answered."""
    with pytest.raises(Unavailable):
        look(body, monkeypatch)


TAGS = ("value", "struct", "member", "name", "array", "data", "int", "double", "fault", "params")
trees: st.SearchStrategy[bytes] = st.recursive(
    st.sampled_from([b"", b"1", b"x", b"faultCode"]),
    lambda inner: st.tuples(st.sampled_from(TAGS), st.lists(inner, max_size=3)).map(
        lambda one: b"<%s>%s</%s>" % (one[0].encode(), b"".join(one[1]), one[0].encode())
    ),
    max_leaves=8,
)


@given(inner=trees)
def test_any_tree_is_a_process_a_refusal_or_no_answer(inner: bytes) -> None:
    """Whatever well-formed XML comes, nothing but what callers expect is raised."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for body in (FAULT % inner, ANSWER % inner, b"<methodResponse>%s</methodResponse>" % inner):
            try:
                assert isinstance(look(body, monkeypatch), Process)
            except (Unavailable, Refused):
                continue
