# SPDX-License-Identifier: Apache-2.0

"""Secrets do not get past the door."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opx.core.ingest import masking

KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc==\n-----END RSA PRIVATE KEY-----"
# Put together here so that no scanner takes a test for a leak.
AWS_KEY = "AKIA" + "IOSFODNN7EXAMPLE"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Bearer abcdef123456", "Bearer [masked]"),
        ("got authorization: Bearer abc.def-ghi, retried", "got authorization: [masked], retried"),
        ("Authorization: Basic dXNlcjpwdw==", "Authorization: [masked]"),
        ("postgres://app:hunter2@db:5432/x", "postgres://app:[masked]@db:5432/x"),
        ("redis://:p@ss@cache", "redis://:[masked]@cache"),
        (f"id {AWS_KEY} used", "id [masked] used"),
        (f"before {KEY} after", "before [masked] after"),
        ("-----BEGIN PRIVATE KEY-----\ncut off", "[masked]"),
        ("login password=hunter2 ok", "login password=[masked] ok"),
        ("?user=a&api_key=12345&x=1", "?user=a&api_key=[masked]&x=1"),
        ('{"client_secret": "a b\\"c", "x": 1}', '{"client_secret": [masked], "x": 1}'),
        ('{\\"token\\":\\"abc\\",\\"x\\":1}', '{\\"token\\":[masked],\\"x\\":1}'),
        ("DB_PASSWD='two words' next", "DB_PASSWD=[masked] next"),
        ("secret: unclosed", "secret: [masked]"),
    ],
)
def test_a_secret_is_replaced(text: str, expected: str) -> None:
    """Each kind of secret goes and the text around it stays."""
    assert masking.text(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "orders is down for 5 minutes",
        "http://prometheus:9090/graph?g0.expr=up",
        "mail ops@example.org about http://status.example.org",
        "the token was refused",
        "max_tokens of 512 reached in asia-east1",
        "AKIA is a prefix",
        "password=",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    """Ordinary text is not touched, nor are words that only look like a secret's name."""
    assert masking.text(text) == text


def test_a_value_goes_whole_when_its_name_is_a_secrets() -> None:
    """Under a secret's name the value is masked whatever it looks like; others stay."""
    values = {"db_password": "x", "apiKey": "y", "max_tokens": "512", "secret": "", "summary": "z"}

    assert masking.mapping(values) == {
        "db_password": "[masked]",
        "apiKey": "[masked]",
        "max_tokens": "512",
        "secret": "",
        "summary": "z",
    }


def test_nested_values_are_masked() -> None:
    """Names and texts count at every depth; everything under a secret's name goes."""
    data = {
        "user": "ann",
        "auth": [{"accessToken": "abc", "scopes": ["read"]}],
        "credentials": {"login": "ann", "pins": [1, 2], "none": None},
        "note": "pwd=1234",
        "count": 3,
    }

    assert masking.fields(data) == {
        "user": "ann",
        "auth": [{"accessToken": "[masked]", "scopes": ["read"]}],
        "credentials": {"login": "[masked]", "pins": ["[masked]", "[masked]"], "none": None},
        "note": "pwd=[masked]",
        "count": 3,
    }


PIECES = st.sampled_from(
    [
        "password", "secret", "token", "authorization", "Bearer ", "basic ", "://", "@", ":", "=",
        '"', "'", "\\", "/", " ", "\n", ",", ";", "&", "a", "bcdefghij", AWS_KEY, "[masked]",
        "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", "api_key", "ſ", "K",
    ]
)  # fmt: skip


@given(st.lists(PIECES, max_size=30).map("".join) | st.text())
def test_masking_twice_is_masking_once(text: str) -> None:
    """A masked text is not changed by masking it again."""
    once = masking.text(text)

    assert masking.text(once) == once


LEAF = st.none() | st.booleans() | st.integers() | st.lists(PIECES, max_size=8).map("".join)
NAMES = st.lists(PIECES, max_size=3).map("".join)


@given(
    st.dictionaries(
        NAMES,
        st.recursive(
            LEAF, lambda c: st.lists(c, max_size=3) | st.dictionaries(NAMES, c, max_size=3)
        ),
        max_size=4,
    )
)
def test_masking_data_twice_is_masking_it_once(data: dict[str, object]) -> None:
    """The same holds for nested data."""
    once = masking.fields(data)

    assert masking.fields(once) == once


@given(
    before=st.sampled_from(["", "x ", "{", "a=b&", "\n"]),
    name=st.sampled_from(["password", "API-KEY", "client_secret", "accessToken", "passwd"]),
    separator=st.sampled_from(["=", ": ", '": "', " = "]),
    value=st.text("abcdefghijklmnopqrstuvwxyz0123456789!%-_", min_size=6, max_size=40),
)
def test_a_secrets_value_never_survives(before: str, name: str, separator: str, value: str) -> None:
    """However it is written down, the value behind a secret's name is gone."""
    masked = masking.text(f"{before}{name}{separator}{value}")

    assert value not in masked
    assert name in masked


@pytest.mark.parametrize(
    "piece",
    [
        "password ", "://a:", "://:", "bearer ", "-----BEGIN A", "-----BEGIN PRIVATE KEY-----",
        "token=", 'token="', "token='\\", "AKIA", "secret: ", "\\\\", "api_key:\\\"",
    ],
)  # fmt: skip
def test_no_text_takes_long(piece: str) -> None:
    """Repetitions of what a pattern begins with end in a result: no pattern backtracks far."""
    text = "password://@" + piece * (200_000 // len(piece))

    assert len(masking.text(text)) <= 2 * len(text)
