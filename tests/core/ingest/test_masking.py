# SPDX-License-Identifier: Apache-2.0

"""Secrets do not get past the door."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from opx.core.ingest import masking

KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc==\n-----END RSA PRIVATE KEY-----"
# Put together here so that no scanner takes a test for a leak.
AWS_KEY = "AKIA" + "IOSFODNN7EXAMPLE"
AWS_SECRET = "wJalrXUtnFEMI/K7MDENG/" + "bPxRfiCYEXAMPLEKEY"
GITHUB = "_" + "a1B2" * 9
JWT = "eyJ" + "hbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiJ4In0" + ".c2lnbmF0dXJl"
OWN = "opx_" + "Ab-0_" * 8 + "Abc"
COMMIT = "9fceb02d0ae598e95dc970b74767f19372d61af8"


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
        ("login pass=hunter2 ok", "login pass=[masked] ok"),
        ("db_pass: hunter2", "db_pass: [masked]"),
        ("DB_PASS='two words' x", "DB_PASS=[masked] x"),
        ("dbPass=hunter2", "dbPass=[masked]"),
        ('{"pass": "a b", "x": 1}', '{"pass": [masked], "x": 1}'),
        ("{'pwd': 'a b'}", "{'pwd': [masked]}"),
        ("passwd=x password2=y", "passwd=[masked] password2=[masked]"),
        (f"clone with ghp{GITHUB} now", "clone with [masked] now"),
        (f"gho{GITHUB} ghs{GITHUB}", "[masked] [masked]"),
        ("github_pat_" + "a1B2_" * 5, "[masked]"),
        ("glpat-" + "a1B2-" * 4, "[masked]"),
        (f"x={'xox' + 'b-1234567890-abc'}", "x=[masked]"),
        (f"used {OWN}.", "used [masked]."),
        (f"{AWS_KEY} {AWS_SECRET}", "[masked] [masked]"),
        (f"at {COMMIT}: {AWS_SECRET} of {AWS_KEY}", f"at {COMMIT}: [masked] of [masked]"),
        ("sent Basic dXNlcjpwdw== to it", "sent Basic [masked] to it"),
        ("Cookie: a=b; sid=12 34\nnext", "Cookie: [masked]\nnext"),
        ("set-cookie: sid=1; Path=/", "set-cookie: [masked]"),
        (f"cookie: a={JWT}; sid=1", "cookie: [masked]"),
        ('{"Cookie": "a=b; c=d", "x": 1}', '{"Cookie": [masked], "x": 1}'),
        (f"jwt {JWT}, ok", "jwt [masked], ok"),
        ("https://0123456789abcdef0123@sentry.io/1", "https://[masked]@sentry.io/1"),
        ("Server=db;User Id=sa;Password=p;", "Server=db;User Id=sa;Password=[masked];"),
        ("AccountName=a;AccountKey=abc==;", "AccountName=a;AccountKey=[masked];"),
        ("mongodb+srv://a:b@c/d?e=f", "mongodb+srv://a:[masked]@c/d?e=f"),
        ("key " + "sk_" + "live_a1B2a1B2a1B2a1B2 used", "key [masked] used"),
        ("sk-" + "proj-a1B2_a1B2-a1B2a1B2a1B2", "[masked]"),
        ("AI" + "za" + "a1B2-" * 7, "[masked]"),
        ("npm" + "_" + "a1B2a1B2a" * 4, "[masked]"),
        ("mysql --user=app --password hunter2 -h db", "mysql --user=app --password [masked] -h db"),
        (
            "x --db-password 'two words' --api-key  12345",
            "x --db-password [masked] --api-key  [masked]",
        ),
        ("ran -token abc", "ran -token [masked]"),
        ("curl -u ann:hunter2 http://h", "curl -u ann:[masked] http://h"),
        (
            "curl -s -uann:hunter2 --user 'bob:p w'",
            "curl -s -uann:[masked] --user 'bob:[masked] w'",
        ),
        ("/next%3Ftoken%3Dabc%26x%3D1 y", "/next%3Ftoken%3D[masked] y"),
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
        "passed=12 failed=0",
        "the pass rate is 98%",
        "passes: 3, bypass=true, compass: north, passenger=ann",
        f"deploy of {COMMIT} by ann",
        "run 0198f1b4-7c1e-7a52-9d3e-0a1b2c3d4e5f",
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "basic authentication failed, Basic understanding",
        "ghp_ and glpat- and xoxb- and opx_ and eyJ are beginnings",
        "opx_ingest_items_that_were_taken_by_each_of_its_wires_total",
        "key=orders primary_key: id cache_key: orders",
        "cookies were set; the cookie jar",
        "sk_live_ and sk-proj- and npm_ and AIza are beginnings of npm_install_duration_seconds",
        "id -u ann and curl --user-agent x:y and a --token",
        "by-passing it, and sub-token of it - token by token",
        "tokenizer=bert secretary=ann monkey: 1",
        "ssh://git@github.com/x and http://host:8080/path?mail=a@b.c",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    """Ordinary text is not touched, nor are words that only look like a secret's name."""
    assert masking.text(text) == text


def test_a_value_goes_whole_when_its_name_is_a_secrets() -> None:
    """Under a secret's name the value is masked whatever it looks like; others stay."""
    values = {
        **dict.fromkeys(("db_password", "apiKey", "pass", "DB_PASS", "dbPass", "Set-Cookie"), "x"),
        "bypass": "yes",
        "compass": "n",
        "max_tokens": "512",
        "secret": "",
        "summary": "z",
    }

    assert masking.mapping(values) == {
        "db_password": "[masked]",
        "apiKey": "[masked]",
        "pass": "[masked]",
        "DB_PASS": "[masked]",
        "dbPass": "[masked]",
        "Set-Cookie": "[masked]",
        "bypass": "yes",
        "compass": "n",
        "max_tokens": "512",
        "secret": "",
        "summary": "z",
    }


@pytest.mark.parametrize(
    "name",
    [
        "password", "passwd", "passphrase", "passcode", "pass", "pwd", "secret", "token",
        "credential", "credentials", "authorization", "api_key", "access-key", "privatekey",
        "account_key", "signing-key", "encryptionKey",
    ],
)  # fmt: skip
def test_each_name_of_a_secret_is_known_in_any_case(name: str) -> None:
    """At the start of a text, after a word, with a number, whatever letters are capitals."""
    for spelled in (name, name.upper(), name.capitalize(), f"my_{name}", f"{name}2"):
        for before in ("", "x ", "\n"):
            told = masking.text(f"{before}{spelled}=hunter2")
            assert told == f"{before}{spelled}=[masked]"


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


def test_an_aws_secret_is_known_by_the_key_beside_it() -> None:
    """In a field of its own, too; without a key beside it forty letters are only letters."""
    pair = {"id": AWS_KEY, "value": AWS_SECRET, "commit": COMMIT}

    expected = {"id": "[masked]", "value": "[masked]", "commit": COMMIT}
    assert masking.mapping(pair) == expected
    assert masking.fields({"x": [pair]}) == {"x": [expected]}
    assert masking.text(AWS_SECRET) == AWS_SECRET


PIECES = st.sampled_from(
    [
        "pass", "Pass", "cookie", "Basic ", "dXNlcjpwdw==", "eyJ", "ghp_", "xoxb-", "glpat-",
        "opx_", ".", "-", "_", "0123456789ABCDEFGHIJ", AWS_SECRET,
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
    assume(value not in name)
    masked = masking.text(f"{before}{name}{separator}{value}")

    assert value not in masked
    assert name in masked


@pytest.mark.parametrize(
    "piece",
    [
        "password ", "://a:", "://:", "bearer ", "-----BEGIN A", "-----BEGIN PRIVATE KEY-----",
        "token=", 'token="', "token='\\", "AKIA", "secret: ", "\\\\", "api_key:\\\"", "pass ",
        "Pass1", "eyJ", "eyJaaaaaaaa", "-eyJaaaaaaaa.", "eyJaaaaaaaa.a", "ghp_", "ghp_a1", "xoxb-",
        "github_pat_", "opx_", "opx_a", "opx_-", "glpat-", "cookie", "cookie:", 'cookie="',
        "cookie ", "basic ", "basic aaaa", "://@", "://aaaaaaaaaaaaaaaa", "a" * 39 + " ",
        "a" * 41 + " ", "=", AWS_KEY + " ", " ", "-----BEGIN PRIVATE KEY----------END ",
        "password1", "access_", "a:", "--", "--a-", "-password ", " --token '", " -u", " -u a",
        "--user ", "--user a:", "token%3D", "sk_live_", "sk-proj-", "sk-proj-a", "AIza", "npm_",
    ],
)  # fmt: skip
def test_no_text_takes_long(piece: str) -> None:
    """Two hundred thousand characters of what a pattern begins with end in a result: a pattern
    that backtracks far would take minutes."""
    text = f"password://@ {AWS_KEY} " + piece * (200_000 // len(piece))

    assert len(masking.text(text)) <= 2 * len(text)
