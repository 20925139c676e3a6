# SPDX-License-Identifier: Apache-2.0

"""What documents may point opx at."""

from __future__ import annotations

import pytest

from opx.core.base import addresses
from opx.core.base.documents import Node
from opx.core.base.reads import ProbeKind
from opx.errors import DocumentError

HTTP, TCP, PROCESS = ProbeKind.HTTP, ProbeKind.TCP, ProbeKind.PROCESS


def node(text: str) -> Node:
    return Node(text, 7, "a.yaml")


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        (HTTP, "http://127.0.0.1:9101/health"),
        (HTTP, "https://shop.example/health?deep=1&who=a@b"),
        (HTTP, "http://shop.example/@home"),
        (HTTP, "http://[::1]:80?x"),
        (HTTP, "http://169.253.255.255/"),
        (TCP, "localhost:5432"),
        (TCP, "[::1]:80"),
        (PROCESS, "unix:///run/s.sock#web"),
        (PROCESS, "http://127.0.0.1:9001#shop:web"),
    ],
)
def test_an_address_is_read_as_it_is(kind: ProbeKind, address: str) -> None:
    """Nothing is added to it and nothing taken away; a path may hold an at sign."""
    assert addresses.probe(node(address), kind) == address


@pytest.mark.parametrize("example", addresses.FORMS.values(), ids=lambda form: form[1])
def test_the_examples_are_addresses(example: tuple[str, str]) -> None:
    """What an error tells to write can be written."""
    kind = next(kind for kind, form in addresses.FORMS.items() if form == example)
    assert addresses.probe(node(example[1]), kind) == example[1]


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        (PROCESS, "http://user:hunter2@127.0.0.1:9001#web"),
        (PROCESS, "http://hunter2@127.0.0.1:9001#web"),
        (PROCESS, "user:hunter2@127.0.0.1:9001#web"),
        (PROCESS, "unix://user:hunter2@/run/s.sock#web"),
        (HTTP, "https://user:hunter2@shop.example/health"),
        (HTTP, "http://user:hunter2@shop.example?x"),
        (TCP, "user:hunter2@shop.example:80"),
    ],
)
def test_a_login_is_refused_and_not_repeated(kind: ProbeKind, address: str) -> None:
    """The line and what to do instead, without a word of the login."""
    with pytest.raises(DocumentError, match=r"^a\.yaml:7: a login stands in") as caught:
        addresses.probe(node(address), kind)

    assert "hunter2" not in str(caught.value)
    assert ("supervisors.toml" in caught.value.hint) is (kind is PROCESS)


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        (HTTP, "http://169.254.169.254/latest/meta-data/"),
        (HTTP, "https://169.254.0.0:8080"),
        (HTTP, "http://[fe80::1]/"),
        (HTTP, "http://[febf::1]:80/"),
        (HTTP, "http://[::ffff:169.254.169.254]/"),
        (TCP, "169.254.169.254:80"),
        (TCP, "[fe80::1]:80"),
        (PROCESS, "http://169.254.169.254#web"),
    ],
)
def test_the_link_itself_is_refused(kind: ProbeKind, address: str) -> None:
    """169.254.0.0/16 and fe80::/10, also as IPv6 writes the former."""
    with pytest.raises(DocumentError, match=r"169\.254\.0\.0/16"):
        addresses.probe(node(address), kind)


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        (HTTP, "ftp://a/"),
        (HTTP, "http:///nohost"),
        (HTTP, "http:/user:hunter2@a"),
        (HTTP, "http://a/#b"),
        (TCP, "a"),
        (PROCESS, "http://127.0.0.1:9001"),
    ],
)
def test_what_is_no_address_is_told_with_an_example(kind: ProbeKind, address: str) -> None:
    """An example to learn from, and not what was written: it may hold anything."""
    with pytest.raises(DocumentError) as caught:
        addresses.probe(node(address), kind)

    assert addresses.FORMS[kind][1] in caught.value.hint
    assert "hunter2" not in str(caught.value)
