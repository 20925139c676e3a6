# SPDX-License-Identifier: Apache-2.0

"""Secrets are taken out of what comes in before anything keeps it.

Stage 1, on every label, annotation, event and quarantined text. Linear in the length of
the text; masking twice is masking once. It errs on the side of hiding: a harmless word
that looks like a secret's value is lost. It must never let a private key, a token that can
be told by its looks, a password in a URL, an AWS key, a cookie or the value of a field named
like a secret pass.

Why it is linear: a pattern either fails within a bounded number of steps from where it
begins, or takes what it looked at.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping

MASK = "[masked]"

# One of these is in every text that a pattern below could match, so most texts are left
# after a few substring searches.
_MARKERS = (
    "secret", "token", "pass", "pwd", "bearer", "basic", "authorization", "credential", "key",
    "cookie", "-----begin", "akia", "asia", "eyj", "opx_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_",
    "github_pat_", "glpat-", "xox", "sk_live_", "sk_test_", "rk_live_", "rk_test_", "sk-proj-",
    "aiza", "npm_", " -u", "--user",
)  # fmt: skip

_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----.*?"
    r"(?:-----END [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)",
    re.ASCII | re.DOTALL,
)
_BEARER = re.compile(r"\b(bearer\s{1,8})[a-z0-9._~+/=-]{8,}", re.ASCII | re.IGNORECASE)
_BASIC = re.compile(r"\b(basic\s{1,8})([a-z0-9+/]{4,}={0,2})", re.ASCII | re.IGNORECASE)
_AWS_KEY = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b", re.ASCII)
_AWS_SECRET = re.compile(
    r"(?<![A-Za-z0-9/+=])(?![0-9a-f]{40})[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])", re.ASCII
)
_TOKEN = re.compile(
    r"gh[opusr]_[A-Za-z0-9]{20,} | github_pat_[A-Za-z0-9_]{20,} | glpat-[A-Za-z0-9_-]{16,}"
    # What opx makes has a capital or a digit among its 43; its metrics' names have not.
    r"| xox[a-z]-[A-Za-z0-9-]{10,} | opx_(?=[a-z_-]{0,42}[A-Z0-9])[A-Za-z0-9_-]{43}"
    r"| [sr]k_(?:live|test)_[A-Za-z0-9]{16,} | sk-proj-[A-Za-z0-9_-]{20,}"
    r"| AIza[A-Za-z0-9_-]{35} | npm_[A-Za-z0-9]{36}",
    re.ASCII | re.VERBOSE,
)
_JWT = re.compile(r"eyJ[A-Za-z0-9_-]{8,}(\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?)?", re.ASCII)
_URL_PASSWORD = re.compile(r"(://[^\s/:@]*:)(?!\[masked\]@)[^\s/]+(?=@)", re.ASCII)
_URL_TOKEN = re.compile(r"(://)[^\s/:@]{16,}(?=@)", re.ASCII)
_QUOTED = r"""
    \\{1,2}["'] [^"'\n]* ["']?
  | " (?: [^"\\\n] | \\. )* "?
  | ' (?: [^'\\\n] | \\. )* '?
"""
_ASSIGNMENT = re.compile(
    rf"""
    (   (?-i: [PpSsTtCcAaEe] )  # first, and in both cases: what begins otherwise costs nothing
        (?: (?<=p) (?: ass(?:word|wd|phrase|code) | (?<![a-z0-9].)ass | (?-i:(?<=[a-z0-9]P)ass)
                     | wd | rivate[_-]?key )
          | (?<=s) (?: ecret | igning[_-]?key )
          | (?<=t) oken
          | (?<=c) redentials?
          | (?<=a) (?: uthorization | (?:pi|ccess|ccount)[_-]?key )
          | (?<=e) ncryption[_-]?key )
        \d{{0,3}} \\{{0,2}}["']? (?: \s{{0,8}} [=:] \s{{0,8}} | %3[AD] ) )
    (?!\[masked\])
    (?: (?:bearer|basic|token) \s{{1,8}} )?
    (?: {_QUOTED} | [^\s,;&"']+ )
    """,
    re.ASCII | re.IGNORECASE | re.VERBOSE,
)
_COOKIE = re.compile(
    rf"""(cookie \\{{0,2}}["']? \s{{0,8}} [=:] \s{{0,8}}+) (?!\[masked\])
    (?: {_QUOTED} | [^\r\n"']+ )""",
    re.ASCII | re.IGNORECASE | re.VERBOSE,
)
_OPTION = re.compile(
    rf"""
    (   - (?<![a-z0-9-]-) -? (?:[a-z0-9]{{1,20}}[_-]){{0,4}}
        (?: pass(?:word|wd|phrase|code)? | pwd | secret | token | credentials?
          | (?:api|access|private|account|signing|encryption|secret)[_-]?key ) \s{{1,8}} )
    (?!\[masked\]) (?: {_QUOTED} | [^\s"']+ )
    """,
    re.ASCII | re.IGNORECASE | re.VERBOSE,
)
_USER = re.compile(
    r"""(-(?:(?<=[ ]-)u|-user[=\s])\s{0,8}["']?[^\s:"']{1,100}:)(?!\[masked\])[^\s"']+""",
    re.ASCII,
)
_NOT_ALNUM = re.compile(r"[^a-z0-9]+")
_PASS = re.compile(r"(?:^|[^A-Za-z0-9])(?i:pass)\d*$|[a-z0-9]Pass\d*$", re.ASCII)
_SECRET_NAMES = (
    "password", "passwords", "passwd", "passphrase", "passcode", "pwd", "secret", "secrets",
    "token", "credential", "credentials", "authorization", "cookie", "apikey", "accesskey",
    "privatekey", "secretkey", "accountkey", "signingkey", "encryptionkey",
)  # fmt: skip
_ROUNDS = 8


def text(value: str) -> str:
    """``value`` with every secret in it replaced by ``[masked]``."""
    if not _suspicious(value):
        return value
    # One pattern's replacement may uncover another's match, so until nothing changes.
    for _ in range(_ROUNDS):
        masked = _once(value)
        if masked == value:
            return value
        value = masked
    return MASK


def mapping(values: Mapping[str, str]) -> dict[str, str]:
    """Labels or annotations with their secrets masked, whole where the name is a secret's."""
    if not _suspicious("\n".join((*values, *values.values()))):
        return dict(values)
    aws = any(_AWS_KEY.search(value) for value in values.values())
    return {
        name: MASK if value and _names_a_secret(name) else _beside(value, aws)
        for name, value in values.items()
    }


def fields(values: Mapping[str, object], *, secret: bool = False) -> dict[str, object]:
    """Plain JSON values with their secrets masked; everything under a secret's name goes."""
    aws = any(isinstance(value, str) and _AWS_KEY.search(value) for value in values.values())
    return {
        text(name): _tree(
            _beside(value, aws) if isinstance(value, str) else value,
            secret or _names_a_secret(name),
        )
        for name, value in values.items()
    }


def is_token(name: str) -> bool:
    """Whether a name has in it what can be told by its looks to be a token."""
    if not _suspicious(name):
        return False
    web = any(found[1] for found in _JWT.finditer(name))
    return web or _TOKEN.search(name) is not None or _AWS_KEY.search(name) is not None


def _beside(value: str, aws: bool) -> str:
    """A text; ``aws``: beside it stands an AWS key's id, whose secret it may be."""
    return text(_AWS_SECRET.sub(MASK, value) if aws else value)


def _suspicious(value: str) -> bool:
    lower = value.lower()
    for marker in _MARKERS:
        if marker in lower:
            return True
    return "@" in lower and "://" in lower


def _tree(value: object, secret: bool) -> object:
    if isinstance(value, dict):
        return fields(value, secret=secret)
    if isinstance(value, list):
        return [_tree(item, secret) for item in value]
    if secret and value not in (None, ""):
        return MASK
    return text(value) if isinstance(value, str) else value


def _names_a_secret(name: str) -> bool:
    lower = name.lower()
    if not _suspicious(lower):
        return False
    bare = _NOT_ALNUM.sub("", lower).rstrip("0123456789")
    return bare.endswith(_SECRET_NAMES) or _PASS.search(name) is not None


def _once(value: str) -> str:
    value = _PRIVATE_KEY.sub(MASK, value)
    value = _COOKIE.sub(_after_name, value)  # the whole of it, before parts of it are masked
    if _AWS_KEY.search(value):
        value = _AWS_KEY.sub(MASK, _AWS_SECRET.sub(MASK, value))
    value = _TOKEN.sub(MASK, value)
    value = _JWT.sub(lambda found: MASK if found[1] else found[0], value)
    value = _ASSIGNMENT.sub(_after_name, value)
    value = _OPTION.sub(_after_name, value)
    value = _USER.sub(_after_name, value)
    value = _BEARER.sub(_after_name, value)
    value = _BASIC.sub(_basic, value)
    value = _URL_TOKEN.sub(_after_name, value)
    return _URL_PASSWORD.sub(_after_name, value)


def _after_name(found: re.Match[str]) -> str:
    """What stands before a secret stays. As a template this costs three times as much."""
    return f"{found[1]}{MASK}"


def _basic(found: re.Match[str]) -> str:
    """A name and a password in base64; "basic" is an ordinary word, too."""
    try:
        pair = base64.b64decode(found[2], validate=True)
    except binascii.Error:
        return found[0]
    return f"{found[1]}{MASK}" if b":" in pair else found[0]
